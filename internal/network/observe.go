package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"labd/internal/docker"
	"labd/internal/host"
	"labd/internal/lxc"
	"labd/internal/netfilter"
)

// sockets are where Docker and Podman listen inside a container.
var sockets = [...]string{"run/docker.sock", "var/run/docker.sock", "run/podman/podman.sock"}

// lastGoodFor is how long an earlier answer of Docker stands in for one that does not come.
const lastGoodFor = 5 * time.Minute

// Observer looks at the host's network and into the running containers.
type Observer struct {
	host   *host.Host
	policy Policy
	state  *State
	now    func() time.Time

	mu   sync.Mutex
	busy map[int]bool     // containers whose last observation still hangs
	good map[int]lastGood // Docker's last good answer
}

type lastGood struct {
	netNS string
	at    time.Time
	info  *docker.Info
}

// NewObserver returns an Observer.
func NewObserver(h *host.Host, policy Policy, state *State, now func() time.Time) *Observer {
	return &Observer{host: h, policy: policy, state: state, now: now, busy: map[int]bool{}, good: map[int]lastGood{}}
}

// Observe looks at everything once. A container that cannot be looked at, or not in time, spoils only its own facts.
func (o *Observer) Observe(ctx context.Context) (*Facts, error) {
	f := &Facts{At: o.now()}
	var err error
	if f.Switch, f.Owners, err = o.state.read(); err != nil {
		return nil, err
	}
	if f.Host, err = observeHost(ctx, o.host, o.policy); err != nil {
		return nil, err
	}
	ids, err := lxc.Running(ctx, o.host)
	if err != nil {
		return nil, err
	}
	f.Containers = make([]Container, len(ids))
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() { f.Containers[i] = o.container(ctx, id) })
	}
	wg.Wait()
	o.forget(ids)
	return f, nil
}

// container looks into one container within the policy's time.
func (o *Observer) container(ctx context.Context, id int) Container {
	if !o.begin(id) {
		return Container{ID: id, Err: errors.New("an earlier look into it still hangs")}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(o.policy.Timeout))
	done := make(chan Container, 1)
	go func() {
		defer cancel()
		c := o.look(ctx, id)
		o.end(id)
		done <- c
	}()
	select {
	case c := <-done:
		return o.remember(c)
	case <-ctx.Done():
	}
	// It may have ended at the same moment.
	select {
	case c := <-done:
		return o.remember(c)
	default:
		return Container{ID: id, Err: fmt.Errorf("look into container %d: %w", id, context.DeadlineExceeded)}
	}
}

func (o *Observer) begin(id int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.busy[id] {
		return false
	}
	o.busy[id] = true
	return true
}

func (o *Observer) end(id int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.busy, id)
}

// remember keeps a good answer of Docker, or puts the last one in for a bad one of the same start of the container.
func (o *Observer) remember(c Container) Container {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	if c.Docker != nil {
		o.good[c.ID] = lastGood{netNS: c.NetNS, at: now, info: c.Docker}
		return c
	}
	if last, ok := o.good[c.ID]; ok && c.DockerErr != nil && !c.Hostile && last.netNS == c.NetNS && now.Sub(last.at) < lastGoodFor {
		c.Docker, c.LastGood = last.info, true
	}
	return c
}

func (o *Observer) forget(running []int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	alive := map[int]bool{}
	for _, id := range running {
		alive[id] = true
	}
	for id := range o.good {
		if !alive[id] {
			delete(o.good, id)
		}
	}
}

func (o *Observer) look(ctx context.Context, id int) Container {
	c := Container{ID: id}
	ct, err := lxc.Open(ctx, o.host, id)
	if err != nil {
		c.Err = err
		return c
	}
	defer ct.Close()
	ns := ct.NetNSID()
	c.NetNS = fmt.Sprintf("%d:%d", ns.Dev, ns.Ino)
	if c.Err = observeContainerLinks(ct, &c); c.Err != nil {
		return c
	}
	space := namespaceOf(o.host, ct)
	if c.Backend, c.Rules, err = space.Detect(ctx); err != nil {
		c.Err = err
		return c
	}
	c.Docker, err = askDocker(ctx, ct)
	switch {
	case errors.Is(err, errNoSocket):
		c.NoDocker = true
	case err != nil:
		c.DockerErr = err
		c.Hostile = errors.Is(err, lxc.ErrForeignPeer) || errors.Is(err, docker.ErrTooLarge) || errors.Is(err, docker.ErrTooMany)
	}
	return c
}

// namespaceOf is the container's network namespace for reading and changing rules.
func namespaceOf(h *host.Host, ct *lxc.Container) netfilter.Namespace {
	return netfilter.Namespace{Host: h, NetNS: ct.NetNS(), Proc: ct.ProcFile("net")}
}

var errNoSocket = errors.New("no Docker socket")

// askDocker asks the first daemon that listens in the container.
func askDocker(ctx context.Context, ct *lxc.Container) (*docker.Info, error) {
	last := errNoSocket
	for _, path := range sockets {
		socket, err := ct.Socket(ctx, path)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, lxc.ErrNotSocket):
			continue
		case err != nil:
			return nil, err
		}
		info, err := docker.Discover(ctx, socket)
		_ = socket.Close()
		if err == nil {
			return info, nil
		}
		if last = err; !errors.Is(err, docker.ErrUnreachable) {
			return nil, err
		}
	}
	return nil, last
}

// observeContainerLinks reads the container's interfaces and its uplink by netlink in its namespace.
func observeContainerLinks(ct *lxc.Container, c *Container) error {
	handle, err := ct.Netlink()
	if err != nil {
		return err
	}
	defer handle.Close()
	links, err := dump(handle.LinkList)
	if err != nil {
		return fmt.Errorf("list the interfaces of container %d: %w", ct.ID, err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return handle.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list the addresses of container %d: %w", ct.ID, err)
	}
	c.Interfaces = addresses(addrs, names)
	routes, err := dump(func() ([]netlink.Route, error) { return handle.RouteList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return fmt.Errorf("list the routes of container %d: %w", ct.ID, err)
	}
	for _, r := range toRoutes(routes, names) {
		if r.Dst.IsValid() || r.Dev == "" {
			continue
		}
		c.Uplink = r.Dev
		for _, a := range c.Interfaces {
			if a.Interface == r.Dev && a.Prefix.Addr().Is4() {
				c.Address = a.Prefix.Addr()
				return nil
			}
		}
	}
	if c.Uplink == "" {
		return fmt.Errorf("container %s has no default route, so it has no uplink", strconv.Itoa(ct.ID))
	}
	return fmt.Errorf("container %d has no IPv4 address on its uplink %s", ct.ID, c.Uplink)
}
