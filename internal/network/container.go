package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

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
	// Rules remembers the rules of the network namespace; nil where nothing does.
	Rules() *netfilter.Cache
	// Docker asks the daemon in the container; errNoSocket says that there is none.
	Docker(ctx context.Context) (*docker.Info, error)
	// DockerEvents hears the daemon's events until ctx ends or the stream fails; errNoSocket says that there is none. It
	// calls changed when the stream stands and when something changed.
	DockerEvents(ctx context.Context, headerTime time.Duration, changed func()) error
	// Alive tells whether the container still runs, Wait waits until it does not.
	Alive() bool
	Wait(ctx context.Context) error
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
	return &lxcContainer{Container: c, rules: netfilter.NewCache(c.NetNS())}, nil
}

// PVE makes the directory with the container and takes it away when the container is destroyed or migrated (PVE::LXC,
// destroy_lxc_container).
func (l lxcContainers) Exists(id int) bool {
	_, err := os.Stat(filepath.Join(l.host.LXC, strconv.Itoa(id)))
	return !errors.Is(err, fs.ErrNotExist)
}

// lxcContainer is an LXC container with what is remembered of it while it is held.
type lxcContainer struct {
	*lxc.Container
	rules *netfilter.Cache

	mu     sync.Mutex
	docker *dockerSession
}

// dockerSession is a session with the daemon behind a socket.
type dockerSession struct {
	*docker.Session
	socket *lxc.Socket
}

func (c *lxcContainer) NetNSID() string {
	id := c.Container.NetNSID()
	return fmt.Sprintf("%d:%d", id.Dev, id.Ino)
}

func (c *lxcContainer) Rules() *netfilter.Cache { return c.rules }

// Close releases the container.
func (c *lxcContainer) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.forgetDocker(), c.rules.Close(), c.Container.Close())
}

// sockets are where Docker and Podman listen inside a container.
var sockets = [...]string{"run/docker.sock", "var/run/docker.sock", "run/podman/podman.sock"}

var errNoSocket = errors.New("no Docker socket")

// Docker asks the daemon that answered last, else the first one that listens in the container.
func (c *lxcContainer) Docker(ctx context.Context) (*docker.Info, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.docker != nil {
		info, err := c.docker.Discover(ctx)
		if err == nil {
			return info, nil
		}
		// It may have been restarted, and listen at a new socket.
		if err := errors.Join(err, c.forgetDocker()); ctx.Err() != nil || !errors.Is(err, docker.ErrUnreachable) {
			return nil, err
		}
	}
	last := errNoSocket
	for _, path := range sockets {
		socket, err := c.Socket(ctx, path)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, lxc.ErrNotSocket):
			continue
		case err != nil:
			return nil, err
		}
		session := &dockerSession{docker.NewSession(socket), socket}
		info, err := session.Discover(ctx)
		if err == nil {
			c.docker = session
			return info, nil
		}
		last = errors.Join(err, socket.Close())
		if !errors.Is(err, docker.ErrUnreachable) {
			return nil, last
		}
	}
	return nil, last
}

// forgetDocker ends the session.
func (c *lxcContainer) forgetDocker() error {
	if c.docker == nil {
		return nil
	}
	socket := c.docker.socket
	c.docker = nil
	return socket.Close()
}

// DockerEvents hears the first daemon that listens.
func (c *lxcContainer) DockerEvents(ctx context.Context, headerTime time.Duration, changed func()) error {
	last := errNoSocket
	for _, path := range sockets {
		open, cancel := context.WithTimeout(ctx, headerTime)
		socket, err := c.Socket(open, path)
		cancel()
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, lxc.ErrNotSocket):
			continue
		case err != nil:
			return err
		}
		last = docker.Watch(ctx, socket, headerTime, changed)
		if err := errors.Join(last, socket.Close()); !errors.Is(last, docker.ErrUnreachable) {
			return err
		}
	}
	return last
}

// namespaceOf is the container's network namespace for reading and changing rules.
func namespaceOf(h *host.Host, ct container) netfilter.Namespace {
	return netfilter.Namespace{Host: h, NetNS: ct.NetNS(), Proc: ct.ProcFile("net"), Cache: ct.Rules()}
}
