// Package spaces gives tests network namespaces with real interfaces, so that code can be tried on "a host" without
// touching the machine's own routes, rules and sysctls.
package spaces

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netns"
)

// inNamespace marks a test process that has namespaces of its own, in which it plays the host.
const inNamespace = "LABD_TEST_NETNS"

// Main runs the tests of a package again in a new network namespace, with mounts of their own, and returns their exit code.
// Where that is not possible the tests run as they are, and Need skips those that need it.
func Main(m *testing.M) int {
	if os.Geteuid() != 0 || os.Getenv(inNamespace) != "" {
		return m.Run()
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if cmd.ProcessState == nil {
		log.Printf("no network namespace of their own, so the tests that need one are skipped: %v", err)
		return m.Run()
	}
	return cmd.ProcessState.ExitCode()
}

// Need skips a test that has no namespace of its own, and with -short.
func Need(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("real kernel objects: not with -short")
	}
	if os.Getenv(inNamespace) != "" {
		return
	}
	const why = "needs root, to make network namespaces"
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// Space is a network namespace, with mounts of its own, that a process holds.
type Space struct {
	T testing.TB
	// PID is the process; 0 is the test's own namespace.
	PID int
}

// New makes a namespace that ends with the test. Its loopback is up.
func New(t testing.TB) Space {
	t.Helper()
	cmd := exec.Command("sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	s := Space{T: t, PID: cmd.Process.Pid}
	s.IP("link set lo up")
	return s
}

// Command returns a program that will run in the namespace.
func (s Space) Command(name string, args ...string) *exec.Cmd {
	if s.PID != 0 {
		args = append([]string{"-t", strconv.Itoa(s.PID), "-n", "-m", "--", name}, args...)
		name = "nsenter"
	}
	return exec.Command(name, args...)
}

// Output runs a program in the namespace.
func (s Space) Output(stdin, name string, args ...string) (string, error) {
	cmd := s.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out), err
}

// Run runs a program that must succeed.
func (s Space) Run(name string, args ...string) string {
	s.T.Helper()
	out, err := s.Output("", name, args...)
	if err != nil {
		s.T.Fatal(err)
	}
	return out
}

// IP runs ip(8) with arguments in one string.
func (s Space) IP(args string) string { s.T.Helper(); return s.Run("ip", strings.Fields(args)...) }

// Sysctl makes a setting, NAME=VALUE.
func (s Space) Sysctl(setting string) { s.T.Helper(); s.Run("sysctl", "-q", setting) }

// Shell runs a text in a shell, as somebody would who pastes it.
func (s Space) Shell(text string) string {
	s.T.Helper()
	out, err := s.Output(text, "sh", "-e")
	if err != nil {
		s.T.Fatal(err)
	}
	return out
}

// Listen listens on a TCP address in the namespace, until the test ends.
func (s Space) Listen(address string) net.Listener {
	s.T.Helper()
	l, err := s.listen(address)
	if err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(func() { _ = l.Close() })
	return l
}

// listen comes back to its own namespace: were its thread to end in the other one, the processes that it started would be
// killed with it (Pdeathsig).
func (s Space) listen(address string) (_ net.Listener, err error) {
	if s.PID == 0 {
		return net.Listen("tcp", address)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		return nil, err
	}
	defer home.Close()
	away, err := netns.GetFromPid(s.PID)
	if err != nil {
		return nil, err
	}
	defer away.Close()
	if err := netns.Set(away); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, netns.Set(home)) }()
	return net.Listen("tcp", address)
}

// Serve says a word to whoever connects.
func (s Space) Serve(address, word string) {
	s.T.Helper()
	l := s.Listen(address)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, word+"\n")
			_ = conn.Close()
		}
	}()
}
