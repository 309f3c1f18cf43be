// Package mountns runs a test binary in a mount namespace of its own, so that
// what its tests mount is nowhere else and goes with them.
package mountns

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// inside marks the process that has its own namespace.
const inside = "LABD_TEST_MOUNTNS=1"

// Main runs the tests of m in a namespace of their own, and returns the exit
// code. Without root they run where they are, and Need skips.
func Main(m *testing.M) int {
	if os.Geteuid() != 0 || os.Getenv("LABD_TEST_MOUNTNS") != "" {
		return m.Run()
	}
	// The child dies with the thread that started it (prctl(2), PR_SET_PDEATHSIG).
	runtime.LockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), inside)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return m.Run()
	}
	return 0
}

// Need skips a test that mounts through FUSE where that cannot be; where
// CI=true that is a failure.
func Need(t *testing.T) {
	t.Helper()
	missing := ""
	if os.Getenv("LABD_TEST_MOUNTNS") == "" {
		missing = "mounting needs root and a mount namespace"
	} else if _, err := os.Stat("/dev/fuse"); err != nil {
		missing = "there is no /dev/fuse"
	}
	if missing == "" {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal(missing)
	}
	t.Skip(missing)
}
