package lxc

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"labd/internal/host"
)

// nested starts a shell that is init of a PID namespace, the "container", with a child that is init of one below it with
// a network namespace of its own, as Docker makes them. It returns the host's PIDs of both.
func nested(t *testing.T) (container, docker int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("namespaces need root")
	}
	cmd := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", "unshare --pid --fork --net --kill-child sleep 600 & echo started; wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	// The process tree: unshare, sh (init of the container), unshare, sleep (init of Docker's container).
	container = firstChild(t, cmd.Process.Pid)
	return container, firstChild(t, firstChild(t, container))
}

// firstChild waits for the first child of a process.
func firstChild(t *testing.T, pid int) int {
	t.Helper()
	path := filepath.Join("/proc", strconv.Itoa(pid), "task", strconv.Itoa(pid), "children")
	for range 1_000_000 {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if fields := strings.Fields(string(data)); len(fields) > 0 {
			found, _ := strconv.Atoi(fields[0])
			return found
		}
	}
	t.Fatalf("process %d has no child", pid)
	return 0
}

// pidsOf returns the line NSpid of a process.
func pidsOf(t *testing.T, pid int) []int {
	t.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	return nsPIDs(status)
}

func TestProcessNetNS(t *testing.T) {
	containerInit, dockerInit := nested(t)
	pidNS, err := namespaceOf(filepath.Join("/proc", strconv.Itoa(containerInit), "ns/pid"))
	if err != nil {
		t.Fatal(err)
	}
	c := &Container{ID: 101, host: host.New(host.DefaultPaths(), ""), pidNS: pidNS}
	pids := pidsOf(t, dockerInit)
	inside := pids[len(pids)-2]

	file, err := c.ProcessNetNS(t.Context(), inside)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var got unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &got); err != nil {
		t.Fatal(err)
	}
	want, err := namespaceOf(filepath.Join("/proc", strconv.Itoa(dockerInit), "ns/net"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Ino != want.Ino {
		t.Errorf("namespace %d, want %d", got.Ino, want.Ino)
	}

	// A number that only a process outside the container has, or that has another meaning further in, is none of its.
	for name, pid := range map[string]int{"a PID of the host": os.Getpid(), "nobody's": 4_000_000, "its own number further in": 0} {
		if f, err := c.ProcessNetNS(t.Context(), pid); !errors.Is(err, ErrNoProcess) {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
	// The PID of Docker's init is 1 inside its own namespace, which is the container's init's number one level up.
	file1, err := c.ProcessNetNS(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer file1.Close()
	if err := unix.Fstat(int(file1.Fd()), &got); err != nil || got.Ino == want.Ino {
		t.Errorf("process 1 of the container is taken for process 1 of Docker's (%v)", err)
	}
}

func TestNSPIDs(t *testing.T) {
	for status, want := range map[string]int{"NSpid:\t9\t3\t1\n": 3, "Name:\tx\nNSpid:\t9\n": 1, "NSpid:\t9\tx\n": 0, "": 0} {
		if got := len(nsPIDs([]byte(status))); got != want {
			t.Errorf("%q: %d PIDs, want %d", status, got, want)
		}
	}
}
