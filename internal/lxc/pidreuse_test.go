package lxc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"labd/internal/host"
)

// inPIDs marks a test process that is init of a PID namespace of its own, in which PIDs can be given out at will.
const inPIDs = "LABD_TEST_PIDS"

// A container ends between discovery and use, and another process gets its PID: nothing of that one is ever taken for
// the container's.
func TestPIDUsedAnew(t *testing.T) {
	if os.Getenv(inPIDs) == "" {
		inPIDNamespace(t)
		return
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		t.Fatal(err)
	}
	first := sleeper(t, syscall.CLONE_NEWNET)
	pid := first.Process.Pid
	h, id := monitor(t, func(command int32, c *net.UnixConn) {
		if command == cmdGetInitPID {
			respond(c, 0, uint64(pid))
			return
		}
		respond(c, -int32(syscall.ENOSYS), 0)
	})
	c, err := Open(t.Context(), h, id)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	names := func() string {
		data, err := host.New(host.DefaultPaths(), "").ReadFile(t.Context(), c.ProcFile("net/dev"))
		if err != nil {
			return "error"
		}
		return string(data)
	}
	if got := names(); !strings.Contains(got, "lo:") {
		t.Fatalf("interfaces of the container: %q", got)
	}
	_ = first.Process.Kill()
	_ = first.Wait()
	if err := c.Wait(t.Context()); err != nil || c.Alive() {
		t.Fatalf("it ended: %v, alive %v", err, c.Alive())
	}
	var second *exec.Cmd
	for range 20 {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
			t.Fatal(err)
		}
		if second = sleeper(t, 0); second.Process.Pid == pid {
			break
		}
	}
	if second.Process.Pid != pid {
		t.Fatalf("no process got PID %d again", pid)
	}
	if c.Alive() {
		t.Error("the new process is taken for the container")
	}
	if got := names(); got != "error" {
		t.Errorf("files of the new process: %q", got)
	}
	// The namespace that is held is the old one, with nothing in it.
	handle, err := c.Netlink()
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	if links, err := handle.LinkList(); err != nil || len(links) != 1 {
		t.Errorf("links %v, %v", links, err)
	}
	// Asked again, the monitor still says that PID: it is in labd's own network, so it is refused.
	if again, err := Open(t.Context(), h, id); err == nil {
		t.Errorf("the new process is opened as container: %+v", again)
	}
}

// inPIDNamespace runs this test again as init of a PID namespace.
func inPIDNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		const why = "needs root, to make a PID namespace"
		if os.Getenv("CI") == "true" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inPIDs+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func sleeper(t *testing.T, flags uintptr) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// Wait ends with its context while the container lives.
func TestWait(t *testing.T) {
	own := child(t, "--net")
	h, id := monitor(t, func(_ int32, c *net.UnixConn) { respond(c, 0, uint64(own.Process.Pid)) })
	waitFor(t, func() bool {
		comm, _ := os.ReadFile(filepath.Join("/proc", fmt.Sprint(own.Process.Pid), "comm"))
		return strings.TrimSpace(string(comm)) == "sleep"
	})
	c, err := Open(t.Context(), h, id)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it lives: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait(t.Context()) }()
	_ = own.Process.Kill()
	_ = own.Wait()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the end is not noticed")
	}
}
