package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"
	"testing"

	"labd/test/lab"
)

// labctlIn runs labctl on the host with an input.
func labctlIn(t *testing.T, l *lab.Lab, in io.Reader, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := l.Command(t.Context(), "labctl", args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &errs
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// Commands, logs and ports of a real Docker container in a real LXC container.
func TestStreams(t *testing.T) {
	l, ct, _ := dockerLab(t, "e2e-streams", lab.Container{ID: 101})
	t.Run("exec", func(t *testing.T) {
		for name, test := range map[string]struct {
			in             string
			args           []string
			code           int
			stdout, stderr string
		}{
			"both outputs":      {args: []string{"exec", "101/web", "--", "/bin/busybox", "sh", "-c", "echo out; echo err >&2"}, stdout: "out\n", stderr: "err\n"},
			"exit code":         {args: []string{"exec", "101/web", "--", "/bin/busybox", "sh", "-c", "exit 42"}, code: 42},
			"input and its end": {in: "one\ntwo\n", args: []string{"exec", "-i", "101/web", "--", "/bin/busybox", "wc", "-l"}, stdout: "2\n"},
			"no input":          {in: "ignored", args: []string{"exec", "101/web", "--", "/bin/busybox", "cat"}},
			"environment":       {args: []string{"exec", "-e", "A=b c", "-w", "/www", "101/web", "--", "/bin/busybox", "sh", "-c", `echo "$A $PWD"`}, stdout: "b c /www\n"},
			"flags of its own":  {args: []string{"exec", "101/web", "--", "/bin/busybox", "echo", "-n", "-i"}, stdout: "-i"},
		} {
			code, stdout, stderr := labctlIn(t, l, strings.NewReader(test.in), test.args...)
			if code != test.code || stdout != test.stdout || stderr != test.stderr {
				t.Errorf("%s: exit %d, %q, %q", name, code, stdout, stderr)
			}
		}
	})
	t.Run("a client that is killed ends Docker's side", func(t *testing.T) {
		cmd := l.Command(t.Context(), "labctl", "exec", "-i", "101/web", "--", "/bin/busybox", "cat")
		if _, err := cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		started := func() bool {
			out, err := ct.Docker(t.Context(), "top", "web")
			return err == nil && strings.Contains(out, "busybox cat")
		}
		wait(t, l, "the command runs", started)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		// Its input ends with the stream, and so does cat.
		wait(t, l, "the command ends", func() bool { return !started() })
	})
	t.Run("a terminal", func(t *testing.T) {
		code, stdout, stderr := labctlIn(t, l, nil, "exec", "-t", "101/web", "--", "/bin/busybox", "tty")
		if code != 1 || !strings.Contains(stderr, "no terminal; -t is ignored") {
			t.Errorf("without one: exit %d, %q, %q", code, stdout, stderr)
		}
		// As with docker exec, the size comes a moment after the start (Docker before API 1.42).
		out, err := l.Run(t.Context(), "script", "-qec", "stty rows 33 cols 101; labctl exec -it 101/web -- /bin/busybox sh -c 'tty; for i in $(seq 200); do stty size 2>/dev/null | grep -q 101 && break; usleep 10000; done; stty size; exit 7'; echo left $?; stty -a", "/dev/null")
		if err != nil || !strings.Contains(out, "/dev/pts/0") || !strings.Contains(out, "33 101") || !strings.Contains(out, "left 7") || !strings.Contains(out, " icanon") {
			t.Errorf("%q, %v", out, err)
		}
	})
	t.Run("fifty megabytes there and back", func(t *testing.T) {
		data := make([]byte, 50<<20)
		_, _ = rand.Read(data)
		sum := sha256.Sum256(data)
		code, stdout, stderr := labctlIn(t, l, bytes.NewReader(data), "exec", "-i", "101/web", "--", "/bin/busybox", "sh", "-c", "sha256sum | cut -c1-64")
		if code != 0 || strings.TrimSpace(stdout) != hex.EncodeToString(sum[:]) {
			t.Errorf("exit %d, %q, %q", code, stdout, stderr)
		}
	})
	t.Run("the process ends before its input", func(t *testing.T) {
		code, stdout, stderr := labctlIn(t, l, endless{}, "exec", "-i", "101/web", "--", "/bin/busybox", "head", "-n", "1")
		if code != 0 || stdout != "y\n" {
			t.Errorf("exit %d, %q, %q", code, stdout, stderr)
		}
	})
	t.Run("refusals in Docker's own words", func(t *testing.T) {
		for want, args := range map[string][]string{
			"no such Docker container": {"exec", "101/nope", "--", "/bin/busybox", "true"},
			"does not run":             {"exec", "999/web", "--", "/bin/busybox", "true"},
			"nosuchuser":               {"exec", "-u", "nosuchuser", "101/web", "--", "/bin/busybox", "true"},
			"is no TARGET":             {"exec", "web", "--", "/bin/busybox", "true"},
		} {
			if code, stdout, stderr := labctlIn(t, l, nil, args...); code == 0 || !strings.Contains(stdout+stderr, want) {
				t.Errorf("labctl %v: exit %d, %q, %q", args, code, stdout, stderr)
			}
		}
	})
	t.Run("logs", func(t *testing.T) {
		if _, err := ct.Docker(t.Context(), "run", "-d", "--name", "chatty", lab.Image, "/bin/busybox", "sh", "-c", "for i in 1 2 3; do echo line $i; done; echo bad >&2; sleep 600"); err != nil {
			t.Fatal(err)
		}
		wait(t, l, "the container's lines", func() bool {
			code, stdout, stderr := labctl(t, l, "logs", "101/chatty")
			return code == 0 && stdout == "line 1\nline 2\nline 3\n" && stderr == "bad\n"
		})
		if got := must(t, l, 0, "logs", "--prefix", "--tail", "2", "101/chatty"); !strings.HasSuffix(got, "[101/chatty] line 3\n") || strings.Contains(got, "line 1") {
			t.Errorf("tail: %q", got)
		}
	})
	t.Run("port-forward", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cmd := l.Command(ctx, "labctl", "port-forward", "101/web", "18080:80", "0:9")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { cancel(); _ = cmd.Wait() }()
		line := make([]byte, 200)
		if n, err := out.Read(line); err != nil || !strings.HasPrefix(string(line[:n]), "Forwarding from 127.0.0.1:18080 -> 80\n") {
			t.Fatalf("%q, %v", line[:n], err)
		}
		wait(t, l, "an answer through the port", func() bool {
			body, err := l.Run(t.Context(), "curl", "-s", "http://127.0.0.1:18080/")
			return err == nil && strings.Contains(body, "hello")
		})
	})
}

// endless is an input without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "y\n"[i%2]
	}
	return len(p) &^ 1, nil
}
