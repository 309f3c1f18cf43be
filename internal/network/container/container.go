package container

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

// Source finds the containers of a node.
type Source interface {
	// Running returns the ids of the running containers, sorted.
	Running(ctx context.Context) ([]int, error)
	// Open takes hold of a running container; the caller closes it. It fails with lxc.ErrNotRunning.
	Open(ctx context.Context, id int) (Handle, error)
	// Exists reports whether the container is there, running or not. It errs to yes.
	Exists(id int) bool
}

// Handle is a running container that is held open.
type Handle interface {
	NetNS() *os.File
	// NetNSID tells one start of the container from the next.
	NetNSID() string
	Netlink() (*netlink.Handle, error)
	// ProcFile is a file below /proc/PID of the container's init.
	ProcFile(name string) string
	// Rules returns what remembers the rules of the network namespace; nil where nothing does.
	Rules() *netfilter.Cache
	// Docker asks the daemon in the container; ErrNoSocket says that there is none.
	Docker(ctx context.Context) (*docker.Info, error)
	// DockerEvents hears the daemon's events until ctx ends or the stream fails; ErrNoSocket says that there is none. It
	// calls changed when the stream stands and when something changed.
	DockerEvents(ctx context.Context, headerTime time.Duration, changed func()) error
	// Alive reports whether the container still runs, Wait waits until it does not.
	Alive() bool
	Wait(ctx context.Context) error
	Close() error
}

// LXC returns the LXC containers of the host.
func LXC(h *host.Host) Source { return lxcSource{h} }

type lxcSource struct{ host *host.Host }

func (l lxcSource) Running(ctx context.Context) ([]int, error) { return lxc.Running(ctx, l.host) }

func (l lxcSource) Open(ctx context.Context, id int) (Handle, error) {
	c, err := lxc.Open(ctx, l.host, id)
	if err != nil {
		return nil, err
	}
	return &lxcHandle{Container: c, rules: netfilter.NewCache(c.NetNS())}, nil
}

// PVE makes the directory with the container and takes it away when the container is destroyed or migrated (PVE::LXC,
// destroy_lxc_container).
func (l lxcSource) Exists(id int) bool {
	_, err := os.Stat(filepath.Join(l.host.LXC, strconv.Itoa(id)))
	return !errors.Is(err, fs.ErrNotExist)
}

// lxcHandle is an open LXC container with what is remembered of it while it is held.
type lxcHandle struct {
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

func (c *lxcHandle) NetNSID() string {
	id := c.Container.NetNSID()
	return fmt.Sprintf("%d:%d", id.Dev, id.Ino)
}

func (c *lxcHandle) Rules() *netfilter.Cache { return c.rules }

// Close releases the container.
func (c *lxcHandle) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.forgetDocker(), c.rules.Close(), c.Container.Close())
}

// Sockets are where Docker and Podman listen inside a container.
func Sockets() []string {
	return []string{"run/docker.sock", "var/run/docker.sock", "run/podman/podman.sock"}
}

// ErrNoSocket says that no Docker or Podman listens in a container.
var ErrNoSocket = errors.New("no Docker socket")

// Docker asks the daemon that answered last, else the first one that listens in the container.
func (c *lxcHandle) Docker(ctx context.Context) (*docker.Info, error) {
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
	last := ErrNoSocket
	for _, path := range Sockets() {
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
func (c *lxcHandle) forgetDocker() error {
	if c.docker == nil {
		return nil
	}
	socket := c.docker.socket
	c.docker = nil
	return socket.Close()
}

// DockerEvents hears the first daemon that listens.
func (c *lxcHandle) DockerEvents(ctx context.Context, headerTime time.Duration, changed func()) error {
	last := ErrNoSocket
	for _, path := range Sockets() {
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

// Namespace returns a container's network namespace for reading and changing rules.
func Namespace(h *host.Host, ct Handle) netfilter.Namespace {
	return netfilter.Namespace{Host: h, NetNS: ct.NetNS(), Proc: ct.ProcFile("net"), Cache: ct.Rules()}
}
