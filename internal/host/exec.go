package host

import (
	"cmp"
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

// ErrTooMuchOutput says that a program wrote more to standard output than its limit. It is killed then: half of an
// answer would be read as a whole one.
var ErrTooMuchOutput = errors.New("it prints more than labd reads")

const (
	// DefaultMaxOutput is the most that a program may write to standard output, in bytes, where Cmd does not say more.
	DefaultMaxOutput = 4 << 20
	// maxStderr is how much is kept of what it writes to standard error; the rest is counted.
	maxStderr = 64 << 10
)

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
	// MaxOutput is DefaultMaxOutput when zero.
	MaxOutput int
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
// with ErrTooMuchOutput, or with the context's error when the deadline (DefaultCommandTimeout at the latest) passes; the
// whole process group is killed in the last two cases.
func (h *Host) Run(ctx context.Context, c Cmd) ([]byte, error) {
	if h.Programs != nil {
		return h.Programs(ctx, c)
	}
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
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	cmd := exec.CommandContext(ctx, program, c.Args...)
	cmd.Env = append([]string{"PATH=" + path, "LC_ALL=C", "HOME=/root"}, c.Env...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if c.Stdin != "" {
		cmd.Stdin = strings.NewReader(c.Stdin)
	}
	stdout := &output{max: cmp.Or(c.MaxOutput, DefaultMaxOutput), overflow: func() { stop(ErrTooMuchOutput) }}
	stderr := &messages{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err = start(cmd, c.NetNS); err == nil {
		err = cmd.Wait()
	}
	title := strings.Join(append([]string{c.Name}, c.Args...), " ")
	var exit *exec.ExitError
	switch {
	case stdout.full: // also where it ended by itself before it could be killed
		return nil, fmt.Errorf("run %s: %w: more than %d bytes", title, ErrTooMuchOutput, stdout.max)
	case ctx.Err() != nil:
		return stdout.data, fmt.Errorf("run %s: %w", title, ctx.Err())
	case errors.As(err, &exit):
		return stdout.data, &ExitError{Command: title, Code: exit.ExitCode(), Stderr: stderr.String()}
	case err != nil:
		return nil, fmt.Errorf("run %s: %w", title, err)
	}
	return stdout.data, nil
}

// start starts the program; a child is born into the network namespace of the thread that makes it (clone(2)).
func start(cmd *exec.Cmd, namespace *os.File) error {
	if namespace == nil {
		return cmd.Start()
	}
	return InNetNS(namespace, cmd.Start)
}

// HasProgram reports whether a program can be run.
func (h *Host) HasProgram(name string) bool {
	if h.Programs != nil {
		return true
	}
	_, err := lookPath(h.ExecPATH(), name)
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

// output takes up to max bytes; what would be more makes it full, once, and is dropped. It is an io.Writer and no more:
// an embedded buffer would bring its own ReadFrom, which io.Copy prefers to Write.
type output struct {
	data     []byte
	max      int
	full     bool
	overflow func()
}

func (o *output) Write(p []byte) (int, error) {
	switch {
	case o.full:
	case len(o.data)+len(p) > o.max:
		o.full, o.data = true, nil
		o.overflow()
	default:
		o.data = append(o.data, p...)
	}
	return len(p), nil
}

// messages keeps the first maxStderr bytes and counts the rest.
type messages struct {
	text    []byte
	dropped int
}

func (m *messages) Write(p []byte) (int, error) {
	n := min(len(p), maxStderr-len(m.text))
	m.text = append(m.text, p[:n]...)
	m.dropped += len(p) - n
	return len(p), nil
}

func (m *messages) String() string {
	if m.dropped > 0 {
		return fmt.Sprintf("%s… (%d bytes more)", m.text, m.dropped)
	}
	return string(m.text)
}
