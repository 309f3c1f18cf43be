package host

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// InNetNS runs do on a thread that is in the network namespace; sockets that do makes, and processes that it starts,
// belong to that namespace. do must not start goroutines that need it.
func InNetNS(namespace *os.File, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- inNetNS(namespace, do) }()
	return <-done
}

// inNetNS runs in a goroutine of its own: where the way back fails, its thread ends with it, and nothing else ever runs
// in a foreign namespace.
func inNetNS(namespace *os.File, do func() error) error {
	runtime.LockOSThread()
	own, err := unix.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open labd's network namespace: %w", err)
	}
	defer unix.Close(own)
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	err = do()
	if back := unix.Setns(own, unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("come back from a network namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}
