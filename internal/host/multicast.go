package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Multicast hears what the kernel tells of changes in one network namespace (netlink(7)).
type Multicast struct {
	file *os.File
	buf  []byte
}

// NewMulticast joins groups of a netlink protocol in a namespace; nil is labd's own. The caller closes it.
func NewMulticast(namespace *os.File, protocol int, groups ...int) (*Multicast, error) {
	m := &Multicast{buf: make([]byte, multicastBuffer)}
	join := func() (err error) {
		m.file, err = joinGroups(protocol, groups)
		return err
	}
	if namespace == nil {
		return m, join()
	}
	return m, InNetNS(namespace, join)
}

const (
	// multicastBuffer is what is read at a time; longer messages are cut, which does not matter to who only wants to know
	// that something changed.
	multicastBuffer = 4096
	// multicastQueue bounds what the kernel keeps for labd, in bytes: more is only told as "there was more".
	multicastQueue = 64 << 10
)

func joinGroups(protocol int, groups []int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	for _, group := range groups {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group))
	}
	err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, multicastQueue))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("join netlink groups: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

// maxMessages is how many messages are looked at in a row; who sends more is heard of later.
const maxMessages = 256

// Each calls changed when there was something that matters, until ctx ends or the socket fails. It reads on only after
// pause, so a namespace that changes all the time costs little. matters gets a netlink message with its header; nil lets
// all through. Messages that were lost matter.
func (m *Multicast) Each(ctx context.Context, pause time.Duration, matters func([]byte) bool, changed func()) error {
	// A deadline in the past wakes the read.
	defer context.AfterFunc(ctx, func() { _ = m.file.SetReadDeadline(time.Unix(1, 0)) })()
	conn, err := m.file.SyscallConn()
	if err != nil {
		return err
	}
	for {
		something, err := m.read(conn, matters)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("hear of changes by netlink: %w", err)
		}
		if !something {
			continue
		}
		changed()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// read waits for messages and takes those that are there.
func (m *Multicast) read(conn interface {
	Read(func(fd uintptr) bool) error
}, matters func([]byte) bool,
) (something bool, err error) {
	var failed error
	err = conn.Read(func(fd uintptr) bool {
		for taken := range maxMessages {
			n, _, err := unix.Recvfrom(int(fd), m.buf, 0)
			switch {
			case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
				return taken > 0
			case errors.Is(err, unix.ENOBUFS):
				something = true
			case err != nil:
				failed = err
				return true
			case matters == nil || matters(m.buf[:n]):
				something = true
			}
		}
		return true
	})
	return something, errors.Join(err, failed)
}

// Close leaves the groups.
func (m *Multicast) Close() error { return m.file.Close() }
