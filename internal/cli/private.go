package cli

import (
	"bufio"
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

	apiv1 "labd/api/v1"
)

// privateExit is how long labctl waits for its private labd to end: a step that runs is finished first.
const privateExit = 2 * time.Minute

// startPrivate starts a labd for this command: the binary beside labctl, on a socket in a fresh directory that only
// the caller can enter, with its loops off. It ends when its standard input does, so also when labctl is killed.
func (a *app) startPrivate(ctx context.Context) (*client, error) {
	if os.Geteuid() != 0 && !a.anyUser {
		return nil, &Error{apiv1.ErrorUnreachable, "only root may start a labd for one command (--local, --config)", "run labctl as root, or ask the running daemon without --local"}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find labd beside labctl: %w", err)
	}
	if resolved, err := filepath.EvalSymlinks(self); err == nil {
		self = resolved
	}
	binary := filepath.Join(filepath.Dir(self), "labd")
	dir, err := os.MkdirTemp("", "labctl-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the private socket: %w", err)
	}
	args := []string{"--private", dir}
	if a.flags.config != "" {
		args = append(args, "--config", a.flags.config)
	}
	cmd := exec.Command(binary, args...)
	// Ctrl-C goes to labctl alone, which then tells its labd; a step that runs must not be cut in half.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(&Error{apiv1.ErrorUnreachable, "start a private labd: " + err.Error(), "labd must be installed beside labctl"}, os.RemoveAll(dir))
	}
	stop := func() {
		_ = stdin.Close()
		timer := time.AfterFunc(privateExit, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		timer.Stop()
		_ = os.RemoveAll(dir)
	}
	ready := make(chan error, 1)
	go func() {
		_, err := bufio.NewReader(stdout).ReadString('\n')
		ready <- err
	}()
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(a.flags.timeout):
		err = context.DeadlineExceeded
	}
	if err != nil {
		stop()
		return nil, privateFailure(cmd.ProcessState, stderr.String(), err)
	}
	c := newClient(filepath.Join(dir, "labd.sock"), a.flags.timeout, a.changeTimeout())
	c.close = stop
	return c, nil
}

func privateFailure(state *os.ProcessState, stderr string, err error) error {
	text := strings.TrimPrefix(strings.TrimSpace(stderr), "labd: ")
	if text == "" {
		text = err.Error()
	}
	if state != nil && state.ExitCode() == ExitUsage {
		return &Error{apiv1.ErrorUsage, text, ""}
	}
	return &Error{apiv1.ErrorUnreachable, "the private labd did not start: " + text, ""}
}
