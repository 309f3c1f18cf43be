package lxc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"labd/internal/host"
)

// ErrSharedNetwork says that a container uses the host's network: its rules would be the host's.
var ErrSharedNetwork = errors.New("no network namespace of its own")

// NamespaceID identifies a namespace: device and inode of its file in nsfs. A container's changes at each start.
type NamespaceID struct{ Dev, Ino uint64 }

// Container is a running container, held by its pidfd and its namespaces. Close releases it.
type Container struct {
	ID int
	// PID is its init process; it is of use only while Alive.
	PID int

	pidfd int
	// procDir is /proc/PID: what is opened below it is of this very process, also when its PID is used anew.
	procDir *os.File
	netNS   *os.File
	root    *os.File
	net     NamespaceID
	pidNS   NamespaceID
	host    *host.Host
}

// Open takes hold of a running container. It fails with ErrNotRunning when it is not, or ended meanwhile.
func Open(ctx context.Context, h *host.Host, id int) (_ *Container, err error) {
	pid, pidfd, err := initProcess(ctx, h, id)
	if err != nil {
		return nil, err
	}
	c := &Container{ID: id, PID: pid, pidfd: pidfd, host: h}
	defer func() {
		if err != nil {
			_ = c.Close()
		}
	}()
	if c.procDir, err = os.OpenFile(filepath.Join(h.Procfs, strconv.Itoa(pid)), unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
		return nil, fmt.Errorf("open the process of container %d: %w", id, err)
	}
	dir := c.ProcFile(".")
	if c.netNS, err = os.Open(filepath.Join(dir, "ns/net")); err != nil {
		return nil, fmt.Errorf("open the network namespace of container %d: %w", id, err)
	}
	if c.root, err = os.OpenFile(filepath.Join(dir, "root"), unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
		return nil, fmt.Errorf("open the root of container %d: %w", id, err)
	}
	if c.net, err = namespaceOf(filepath.Join(dir, "ns/net")); err != nil {
		return nil, err
	}
	if c.pidNS, err = namespaceOf(filepath.Join(dir, "ns/pid")); err != nil {
		return nil, err
	}
	// What was opened by PID is the container's only if its init still lives: then no other process had that PID.
	if !c.Alive() {
		return nil, fmt.Errorf("container %d ended while it was opened: %w", id, ErrNotRunning)
	}
	own, err := namespaceOf(filepath.Join(h.Procfs, "self/ns/net"))
	if err != nil {
		return nil, err
	}
	if c.net == own {
		return nil, fmt.Errorf("container %d has %w", id, ErrSharedNetwork)
	}
	return c, nil
}

func namespaceOf(path string) (NamespaceID, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return NamespaceID{}, fmt.Errorf("identify namespace %s: %w", path, err)
	}
	return NamespaceID{Dev: uint64(st.Dev), Ino: st.Ino}, nil
}

// Alive reports whether the container's init still runs: a pidfd becomes readable when its process ends (pidfd_open(2)).
func (c *Container) Alive() bool {
	fds := []unix.PollFd{{Fd: int32(c.pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err == nil && n == 0
	}
}

// NetNS is the container's network namespace, valid until Close also when the container ends.
func (c *Container) NetNS() *os.File { return c.netNS }

// NetNSID tells one start of the container from the next.
func (c *Container) NetNSID() NamespaceID { return c.net }

// Netlink opens a netlink handle in the container's network namespace; the caller closes it.
func (c *Container) Netlink() (*netlink.Handle, error) {
	handle, err := netlink.NewHandleAt(netns.NsHandle(c.netNS.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink in container %d: %w", c.ID, err)
	}
	return handle, nil
}

// ProcFile is a file below /proc/PID of the container's init, valid until Close. When init has ended there is none, and
// never that of another process.
func (c *Container) ProcFile(name string) string {
	return filepath.Join("/proc/self/fd", strconv.Itoa(int(c.procDir.Fd())), name)
}

// Close releases the container.
func (c *Container) Close() error {
	var errs []error
	for _, f := range []*os.File{c.procDir, c.netNS, c.root} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(append(errs, unix.Close(c.pidfd))...)
}
