package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/vishvananda/netlink"

	"labd/internal/docker"
	"labd/internal/host"
	"labd/internal/lxc"
	"labd/internal/netfilter"
)

// containers finds the running containers of this node.
type containers interface {
	// Running are the ids of the running containers, sorted.
	Running(ctx context.Context) ([]int, error)
	// Open takes hold of a running container; the caller closes it. It fails with lxc.ErrNotRunning.
	Open(ctx context.Context, id int) (container, error)
	// Exists tells whether the container is there, running or not. It errs to yes.
	Exists(id int) bool
}

// container is a running container that is held.
type container interface {
	NetNS() *os.File
	// NetNSID tells one start of the container from the next.
	NetNSID() string
	Netlink() (*netlink.Handle, error)
	// ProcFile is a file below /proc/PID of the container's init.
	ProcFile(name string) string
	// Docker asks the daemon in the container; errNoSocket says that there is none.
	Docker(ctx context.Context) (*docker.Info, error)
	Close() error
}

// lxcContainers are the LXC containers of the host.
type lxcContainers struct{ host *host.Host }

func (l lxcContainers) Running(ctx context.Context) ([]int, error) { return lxc.Running(ctx, l.host) }

func (l lxcContainers) Open(ctx context.Context, id int) (container, error) {
	c, err := lxc.Open(ctx, l.host, id)
	if err != nil {
		return nil, err
	}
	return lxcContainer{c}, nil
}

// PVE makes the directory with the container and takes it away when the container is destroyed or migrated (PVE::LXC,
// destroy_lxc_container).
func (l lxcContainers) Exists(id int) bool {
	_, err := os.Stat(filepath.Join(l.host.LXC, strconv.Itoa(id)))
	return !errors.Is(err, fs.ErrNotExist)
}

type lxcContainer struct{ *lxc.Container }

func (c lxcContainer) NetNSID() string {
	id := c.Container.NetNSID()
	return fmt.Sprintf("%d:%d", id.Dev, id.Ino)
}

// sockets are where Docker and Podman listen inside a container.
var sockets = [...]string{"run/docker.sock", "var/run/docker.sock", "run/podman/podman.sock"}

var errNoSocket = errors.New("no Docker socket")

// Docker asks the first daemon that listens in the container.
func (c lxcContainer) Docker(ctx context.Context) (*docker.Info, error) {
	last := errNoSocket
	for _, path := range sockets {
		socket, err := c.Socket(ctx, path)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, lxc.ErrNotSocket):
			continue
		case err != nil:
			return nil, err
		}
		info, err := docker.Discover(ctx, socket)
		if err := errors.Join(err, socket.Close()); err == nil {
			return info, nil
		}
		if last = err; !errors.Is(err, docker.ErrUnreachable) {
			return nil, err
		}
	}
	return nil, last
}

// namespaceOf is the container's network namespace for reading and changing rules.
func namespaceOf(h *host.Host, ct container) netfilter.Namespace {
	return netfilter.Namespace{Host: h, NetNS: ct.NetNS(), Proc: ct.ProcFile("net")}
}
