package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ErrNoPrograms says that this labd runs no programs of the machine, because it looks at moved trees.
var ErrNoPrograms = errors.New("no program is run: paths.etc, paths.dev or paths.pve is moved and paths.exec is empty")

// ErrNotInstalled says that the host has no program of that name.
var ErrNotInstalled = exec.ErrNotFound

// DefaultCommandTimeout bounds a command whose context has no earlier deadline.
const DefaultCommandTimeout = 30 * time.Second

// maxOutput is the most that is kept of a program's output, per stream.
const maxOutput = 4 << 20

// Cmd is one run of a program of the host.
type Cmd struct {
	// Name is looked up in the host's PATH, never in the caller's.
	Name  string
	Args  []string
	Stdin string
	// NetNS, when set, is the network namespace that the program runs in; the mount namespace stays the host's, so
	// that nothing of a container is executed.
	NetNS *os.File
	// Env are further variables, "KEY=value".
	Env []string
}

// ExitError says that a program ran and failed.
type ExitError struct {
	Command string
	Code    int
	Stderr  string
}

func (e *ExitError) Error() string {
	text := strings.TrimSpace(e.Stderr)
	if text == "" {
		text = "no message"
	}
	return fmt.Sprintf("%s: exit status %d: %s", e.Command, e.Code, text)
}

// Run runs c to its end and returns what it wrote to standard output. It fails with ErrNoPrograms, with an *ExitError,
// or with the context's error when the deadline (DefaultCommandTimeout at the latest) passes; the whole process group
// is killed then.
func (h *Host) Run(ctx context.Context, c Cmd) ([]byte, error) {
	path := h.ExecPATH()
	if path == "" {
		return nil, fmt.Errorf("run %s: %w", c.Name, ErrNoPrograms)
	}
	program, err := lookPath(path, c.Name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, DefaultCommandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, c.Args...)
	cmd.Env = append([]string{"PATH=" + path, "LC_ALL=C", "HOME=/root"}, c.Env...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if c.Stdin != "" {
		cmd.Stdin = strings.NewReader(c.Stdin)
	}
	stdout, stderr := &limited{max: maxOutput}, &limited{max: maxOutput}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err = start(cmd, c.NetNS); err == nil {
		err = cmd.Wait()
	}
	title := strings.Join(append([]string{c.Name}, c.Args...), " ")
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return stdout.Bytes(), fmt.Errorf("run %s: %w", title, ctx.Err())
	case errors.As(err, &exit):
		return stdout.Bytes(), &ExitError{Command: title, Code: exit.ExitCode(), Stderr: stderr.String()}
	case err != nil:
		return nil, fmt.Errorf("run %s: %w", title, err)
	}
	return stdout.Bytes(), nil
}

// start starts the program; a child is born into the network namespace of the thread that makes it (clone(2)).
func start(cmd *exec.Cmd, namespace *os.File) error {
	if namespace == nil {
		return cmd.Start()
	}
	return InNetNS(namespace, cmd.Start)
}

// HasProgram tells whether a program can be run.
func (h *Host) HasProgram(name string) bool {
	path := h.ExecPATH()
	if path == "" {
		return false
	}
	_, err := lookPath(path, name)
	return err == nil
}

func lookPath(path, name string) (string, error) {
	if strings.ContainsRune(name, '/') {
		return "", fmt.Errorf("run %s: a program is named without a path", name)
	}
	for dir := range strings.SplitSeq(path, ":") {
		if !filepath.IsAbs(dir) {
			continue
		}
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("run %s: program not found in %s: %w", name, path, exec.ErrNotFound)
}

// limited keeps the first max bytes and drops the rest.
type limited struct {
	bytes.Buffer
	max int
}

func (l *limited) Write(p []byte) (int, error) {
	if room := l.max - l.Len(); room > 0 {
		l.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
