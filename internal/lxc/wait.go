package lxc

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Wait returns nil when the container has ended, or an error when ctx ends first. It blocks no thread.
func (c *Container) Wait(ctx context.Context) error {
	fd, err := unix.FcntlInt(uintptr(c.pidfd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("wait for the end of container %d: %w", c.ID, err)
	}
	// The runtime waits for descriptors that do not block.
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("wait for the end of container %d: %w", c.ID, err)
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	defer file.Close()
	defer context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })()
	conn, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for the end of container %d: %w", c.ID, err)
	}
	err = conn.Read(func(uintptr) bool { return !c.Alive() })
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("wait for the end of container %d: %w", c.ID, err)
	}
	return nil
}
