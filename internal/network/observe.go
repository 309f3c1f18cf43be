package network

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"labd/internal/docker"
	"labd/internal/host"
	"labd/internal/lxc"
	"labd/internal/netfilter"
	"labd/internal/network/container"
	"labd/internal/reconcile"
	"labd/internal/route"
)

// lastGoodFor is how long an earlier answer of Docker stands in for one that does not come.
const lastGoodFor = 5 * time.Minute

// Observer looks at the host's network and into the running containers.
type Observer struct {
	host       *host.Host
	policy     Policy
	state      *State
	containers Containers
	now        func() time.Time
	filter     *netfilter.Cache // of the host's own rules
	slots      chan struct{}    // one for each program that may run at a time

	mu   sync.Mutex
	busy map[int]chan struct{} // containers that are being looked into; closed at the end
	good map[int]lastGood      // what was last seen of the running containers
	seen snapshot
}

type lastGood struct {
	netNS   string
	address Container
	at      time.Time // of Docker's answer
	info    *docker.Info
}

// Containers are the containers of this node, held open between looks.
type Containers interface {
	container.Source
	// Keep closes all containers but those that run.
	Keep(running []int)
	Close() error
}

// NewObserver returns an Observer. Close closes the containers.
func NewObserver(h *host.Host, policy Policy, state *State, containers Containers, now func() time.Time) *Observer {
	return &Observer{
		host: h, policy: policy, state: state, containers: containers, now: now, filter: netfilter.NewCache(nil),
		slots: make(chan struct{}, maxAtOnce), busy: map[int]chan struct{}{}, good: map[int]lastGood{}, seen: newSnapshot(),
	}
}

// container looks into one container within the policy's time.
func (o *Observer) container(ctx context.Context, id int) Container {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(o.policy.Timeout))
	ended, ok := o.begin(ctx, id)
	if !ok {
		cancel()
		return o.remember(Container{ID: id, Err: errors.New("an earlier look into it still hangs")})
	}
	done := make(chan Container, 1)
	go func() {
		defer cancel()
		c := Container{ID: id}
		// A fault in labd costs this container's facts.
		if err := reconcile.Catch(func() error { c = o.look(ctx, id); return nil }); err != nil {
			c.Err = err
		}
		o.end(id, ended)
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
		return o.remember(Container{ID: id, Err: fmt.Errorf("look into container %d: %w", id, context.Cause(ctx))})
	}
}

// begin begins a look into a container when no other is made any more; it fails when that takes too long.
func (o *Observer) begin(ctx context.Context, id int) (ended chan struct{}, ok bool) {
	for {
		o.mu.Lock()
		other := o.busy[id]
		if other == nil {
			ended = make(chan struct{})
			o.busy[id] = ended
			o.mu.Unlock()
			return ended, true
		}
		o.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, false
		}
	}
}

func (o *Observer) end(id int, ended chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.busy, id)
	close(ended)
}

// remember keeps what is good, and puts what was last good in for what is not, as long as it is the same start of the
// container. After lastGoodFor it only serves to name what is unknown.
func (o *Observer) remember(c Container) Container {
	o.mu.Lock()
	defer o.mu.Unlock()
	now, last := o.now(), o.good[c.ID]
	if c.Err != nil && c.NetNS == "" {
		c.NetNS = last.netNS
	}
	if last.netNS != c.NetNS {
		last = lastGood{netNS: c.NetNS}
	}
	if c.Address.IsValid() || c.Address6.IsValid() {
		last.address = Container{Uplink: c.Uplink, Address: c.Address, Address6: c.Address6, Interfaces: c.Interfaces}
	} else {
		c.Uplink, c.Address, c.Address6, c.Interfaces = last.address.Uplink, last.address.Address, last.address.Address6, last.address.Interfaces
	}
	switch {
	case c.Docker != nil:
		last.at, last.info = now, c.Docker
	case last.info == nil || c.Hostile:
	case c.NoDocker:
		// A daemon that restarts has no socket for a moment; after a while it is gone for good.
		if now.Sub(last.at) < lastGoodFor {
			c.Docker, c.LastGood, c.NoDocker = last.info, true, false
		}
	default:
		c.Docker, c.LastGood, c.Expired = last.info, true, now.Sub(last.at) >= lastGoodFor
	}
	o.good[c.ID] = last
	return c
}

// dockerShare is the part of a container's time that its Docker may take, so that the rest is known also where Docker
// hangs.
const dockerShare = 0.8

func (o *Observer) look(ctx context.Context, id int) Container {
	c := Container{ID: id}
	ct, err := o.containers.Open(ctx, id)
	if err != nil {
		c.Err = err
		return c
	}
	defer ct.Close()
	c.NetNS = ct.NetNSID()

	var info *docker.Info
	var dockerErr error
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		ctx, cancel := context.WithTimeout(ctx, time.Duration(dockerShare*float64(o.policy.Timeout)))
		defer cancel()
		dockerErr = reconcile.Catch(func() (err error) { info, err = ct.Docker(ctx); return err })
	}()
	if c.Err = observeLinks(ct, &c); c.Err == nil {
		c.Err = o.observeRules(ctx, ct, &c)
	}
	c.Firewall = readFirewall(ctx, o.host, id)
	c.Name = c.Firewall.Hostname
	<-asked
	c.Docker = info
	c.findBridges()
	if c.Err == nil && info != nil && info.FirewallBackend.OwnTables() {
		c.Err = o.observeTables(ctx, ct, &c)
	}
	switch {
	case errors.Is(dockerErr, container.ErrNoSocket):
		c.NoDocker = true
	case dockerErr != nil:
		c.DockerErr = dockerErr
		c.Hostile = errors.Is(dockerErr, lxc.ErrForeignPeer) || errors.Is(dockerErr, docker.ErrTooLarge) || errors.Is(dockerErr, docker.ErrTooMany)
	}
	return c
}

// slot waits for the right to run programs; give it back with the function returned.
func (o *Observer) slot(ctx context.Context, id int) (func(), error) {
	select {
	case o.slots <- struct{}{}:
		return func() { <-o.slots }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("read the rules of container %d: %w", id, ctx.Err())
	}
}

// observeRules reads the rules of iptables. Those of IPv6 spoil nothing where they cannot be read, and are not looked for
// where the container has no IPv6 address for a route to lead by.
func (o *Observer) observeRules(ctx context.Context, ct container.Handle, c *Container) error {
	free, err := o.slot(ctx, c.ID)
	if err != nil {
		return err
	}
	defer free()
	space := container.Namespace(o.host, ct)
	if c.Backend, c.Rules, err = space.Detect(ctx); err != nil || !c.Address6.IsValid() {
		return err
	}
	c.Rules6, c.Err6 = space.Current(ctx, c.Backend, netfilter.IPv6)
	return nil
}

// observeTables reads labd's nftables table and what Docker's own says, where Docker programs nftables.
func (o *Observer) observeTables(ctx context.Context, ct container.Handle, c *Container) error {
	free, err := o.slot(ctx, c.ID)
	if err != nil {
		return err
	}
	defer free()
	space := container.Namespace(o.host, ct)
	if c.Table, err = space.ReadTable(ctx); err != nil {
		return err
	}
	c.DockerTables = map[netfilter.Family]netfilter.DockerTable{}
	for _, family := range []netfilter.Family{netfilter.IPv4, netfilter.IPv6} {
		if !c.address(family).IsValid() {
			continue
		}
		var bridges []string
		for _, n := range c.Docker.Networks {
			if n.Bridge != "" && len(bridges) < o.policy.MaxNetworks {
				bridges = append(bridges, n.Bridge)
			}
		}
		if c.DockerTables[family], err = space.ReadDocker(ctx, family, bridges); err != nil {
			return err
		}
	}
	return nil
}

// observeLinks reads the container's interfaces and its uplink by netlink in its namespace.
func observeLinks(ct container.Handle, c *Container) error {
	handle, err := ct.Netlink()
	if err != nil {
		return err
	}
	defer handle.Close()
	if err := handle.SetSocketTimeout(route.Timeout); err != nil {
		return fmt.Errorf("set the time for netlink in container %d: %w", c.ID, err)
	}
	names, err := route.LinkNames(ct.NetNS())
	if err != nil {
		return fmt.Errorf("look into container %d: %w", c.ID, err)
	}
	if c.Interfaces, err = route.ListAddresses(handle, names); err != nil {
		return fmt.Errorf("look into container %d: %w", c.ID, err)
	}
	return findUplink(handle, names, c)
}

// findUplink finds the interface of the default route, that of IPv4 before that of IPv6, and the addresses there.
func findUplink(handle *netlink.Handle, names map[int]string, c *Container) error {
	routes, err := route.ListMain(handle, names)
	if err != nil {
		return fmt.Errorf("look into container %d: %w", c.ID, err)
	}
	for _, r := range routes {
		if r.Dst.IsValid() || r.Dev == "" || c.Uplink != "" {
			continue
		}
		// The name goes into rules, where a last "+" would stand for any interface.
		if !docker.ValidInterface(r.Dev) {
			return fmt.Errorf("container %d calls its uplink %q, which cannot stand in a rule", c.ID, r.Dev)
		}
		c.Uplink = r.Dev
	}
	if c.Uplink == "" {
		return fmt.Errorf("container %d has no default route, so it has no uplink", c.ID)
	}
	for _, a := range c.Interfaces {
		addr := a.Prefix.Addr()
		if a.Interface != c.Uplink || !addr.IsGlobalUnicast() {
			continue
		}
		if addr.Is4() && !c.Address.IsValid() {
			c.Address = addr
		} else if addr.Is6() && (!c.Address6.IsValid() || addr.Less(c.Address6)) {
			c.Address6 = addr // the kernel lists them in no lasting order
		}
	}
	if !c.Address.IsValid() && !c.Address6.IsValid() {
		return fmt.Errorf("container %d has no address on its uplink %s", c.ID, c.Uplink)
	}
	return nil
}
