package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"

	"labd/internal/host"
	"labd/internal/lxc"
	"labd/internal/network/container"
	"labd/internal/pve"
	"labd/internal/server"
)

// lxcContainers opens the running LXC containers of this node for streams.
type lxcContainers struct{ host *host.Host }

// ContainersNamed returns the ids of the running containers with a host name in PVE's configuration.
func (c lxcContainers) ContainersNamed(ctx context.Context, name string) ([]int, error) {
	running, err := lxc.Running(ctx, c.host)
	if err != nil {
		return nil, err
	}
	var ids []int
	for _, id := range running {
		data, err := c.host.ReadFile(ctx, filepath.Join(c.host.PVE, "lxc", strconv.Itoa(id)+".conf"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the name of container %d: %w", id, err)
		}
		config := pve.ParseGuestConfig(pve.LXC, data)
		if have, ok := config.Live().Get("hostname"); ok && have == name {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Privileged reports whether root in a container is the host's root: PVE's configuration says unprivileged: 1 where it is
// not. What cannot be read is an error, never a no.
func (c lxcContainers) Privileged(ctx context.Context, ct int) (bool, error) {
	data, err := c.host.ReadFile(ctx, filepath.Join(c.host.PVE, "lxc", strconv.Itoa(ct)+".conf"))
	if err != nil {
		return false, fmt.Errorf("read whether container %d is privileged: %w", ct, err)
	}
	config := pve.ParseGuestConfig(pve.LXC, data)
	value, ok := config.Live().Get("unprivileged")
	return !ok || value != "1", nil
}

// OpenContainer takes hold of a running container and of the socket of the daemon that listens in it.
func (c lxcContainers) OpenContainer(ctx context.Context, ct int) (server.OpenContainer, error) {
	open, err := lxc.Open(ctx, c.host, ct)
	if err != nil {
		return nil, err
	}
	last := container.ErrNoSocket
	for _, path := range container.Sockets() {
		socket, err := open.Socket(ctx, path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, lxc.ErrNotSocket) {
			continue
		}
		if err == nil {
			var conn net.Conn
			if conn, err = socket.Dial(ctx); err == nil {
				_ = conn.Close()
				return &openContainer{Container: open, socket: socket}, nil
			}
			err = errors.Join(err, socket.Close())
		}
		last = err
	}
	return nil, errors.Join(last, open.Close())
}

// openContainer is a running container with the socket of its Docker daemon.
type openContainer struct {
	*lxc.Container
	socket *lxc.Socket
}

func (c *openContainer) Dial(ctx context.Context) (net.Conn, error) { return c.socket.Dial(ctx) }

func (c *openContainer) Close() error { return errors.Join(c.socket.Close(), c.Container.Close()) }

// Connect opens a TCP connection from the network namespace of a process inside the container: a port that listens on its
// loopback alone is reached too.
func (c *openContainer) Connect(ctx context.Context, pid int, addresses []netip.Addr, port uint16) (net.Conn, error) {
	namespace, err := c.ProcessNetNS(ctx, pid)
	if err != nil {
		return nil, err
	}
	defer namespace.Close()
	tries := append([]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, addresses...)
	var errs []error
	for _, address := range tries {
		var conn net.Conn
		err := host.InNetNS(namespace, func() (err error) {
			// One literal address: the socket is made on this very thread.
			conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", netip.AddrPortFrom(address, port).String())
			return err
		})
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
