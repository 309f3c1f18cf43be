package network

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"labd/internal/lxc"
	"labd/internal/network/watch"
)

// ErrUnseen says that the host was not looked at yet.
var ErrUnseen = errors.New("the networks were not looked at yet")

// snapshot is what was last seen, part by part.
type snapshot struct {
	// whole says that everything was looked at at least once.
	whole   bool
	at      time.Time // of the host
	host    Host
	running []int
	stopped []int
	gone    map[int]bool
	// containers are those that run, looked when each was looked into.
	containers map[int]Container
	looked     map[int]time.Time
	// state is the stamp of what is stored, contentions are those that are told of.
	state       string
	contentions []Contention
	version     uint64
}

func newSnapshot() snapshot {
	return snapshot{gone: map[int]bool{}, containers: map[int]Container{}, looked: map[int]time.Time{}}
}

// Observe looks at everything once. A container that cannot be looked at, or not in time, spoils only its own facts;
// an error is returned only where the host itself cannot be seen.
func (o *Observer) Observe(ctx context.Context) (*Facts, error) {
	if err := o.LookAll(ctx); err != nil {
		return nil, err
	}
	return o.Facts()
}

// LookAll looks at the host and into every running container.
func (o *Observer) LookAll(ctx context.Context) error {
	if _, err := o.lookAtHost(ctx); err != nil {
		return err
	}
	err := o.lookInto(ctx, o.Running())
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen.whole = true
	return err
}

// LookHost looks at the host and at which containers run, and into those that were not seen before.
func (o *Observer) LookHost(ctx context.Context) error {
	fresh, err := o.lookAtHost(ctx)
	if err != nil {
		return err
	}
	err = o.lookInto(ctx, fresh)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen.whole = true
	return err
}

// lookAtHost looks at the host and at which containers run, forgets those that no longer do, and returns those that were
// not seen before.
func (o *Observer) lookAtHost(ctx context.Context) (fresh []int, err error) {
	at := o.now()
	h, err := observeHost(ctx, o.host, o.policy)
	if err != nil {
		return nil, err
	}
	h.Filter = readHostFilter(ctx, o.host, o.filter, hostAddresses(h))
	running, err := o.containers.Running(ctx)
	if err != nil {
		return nil, err
	}
	gone, stopped := o.gone(), o.stopped(running)
	o.mu.Lock()
	s := &o.seen
	s.change(!reflect.DeepEqual(s.host, h) || !slices.Equal(s.running, running) || !maps.Equal(s.gone, gone) || !slices.Equal(s.stopped, stopped))
	s.at, s.host, s.running, s.gone, s.stopped = at, h, running, gone, stopped
	for _, id := range running {
		if _, known := s.containers[id]; !known {
			fresh = append(fresh, id)
		}
	}
	for id := range s.containers {
		if !slices.Contains(running, id) {
			o.forget(id)
		}
	}
	o.mu.Unlock()
	o.containers.Keep(running)
	return fresh, nil
}

func hostAddresses(h Host) []netip.Addr {
	out := make([]netip.Addr, 0, len(h.Addresses))
	for _, a := range h.Addresses {
		out = append(out, a.Prefix.Addr())
	}
	return out
}

// stopped returns the containers of this node that do not run. PVE makes the directory with a container and takes it away when
// the container is destroyed or migrated (PVE::LXC, destroy_lxc_container).
func (o *Observer) stopped(running []int) []int {
	entries, err := os.ReadDir(o.host.LXC)
	if err != nil {
		return nil // then only those that run are known
	}
	var out []int
	for _, e := range entries {
		if id, err := strconv.Atoi(e.Name()); err == nil && id > 0 && e.IsDir() && !slices.Contains(running, id) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// gone are the owners' containers that do not exist any more.
func (o *Observer) gone() map[int]bool {
	gone, asked := map[int]bool{}, map[int]bool{}
	for _, owner := range o.state.owners() {
		id := owner.Container
		if !asked[id] && !o.containers.Exists(id) {
			gone[id] = true
		}
		asked[id] = true
	}
	return gone
}

// lookInto looks into containers side by side.
func (o *Observer) lookInto(ctx context.Context, ids []int) error {
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() { _ = o.LookInto(ctx, id) }) // what went wrong is in its facts
	}
	wg.Wait()
	return ctx.Err()
}

// LookInto looks into one container. Its error is why the container or its Docker could not be looked at, which is in the
// facts too.
func (o *Observer) LookInto(ctx context.Context, id int) error {
	at := o.now()
	c := o.container(ctx, id)
	c.withKernel(o.state.owners())
	o.mu.Lock()
	defer o.mu.Unlock()
	s := &o.seen
	if errors.Is(c.Err, lxc.ErrNotRunning) || !slices.Contains(s.running, id) {
		// It ended; that its monitor still listens, or that it does again, the next look at the host tells.
		if _, known := s.containers[id]; known {
			o.forget(id)
			s.change(true)
		}
		return nil
	}
	before, known := s.containers[id]
	s.change(!known || !reflect.DeepEqual(before, c))
	s.containers[id], s.looked[id] = c, at
	if c.Err != nil {
		return c.Err
	}
	return c.DockerErr
}

func (s *snapshot) change(changed bool) {
	if changed {
		s.version++
	}
}

// forget forgets a container that does not run; the caller holds mu.
func (o *Observer) forget(id int) {
	delete(o.seen.containers, id)
	delete(o.seen.looked, id)
	delete(o.good, id)
}

// Running are the running containers as they were last seen, sorted.
func (o *Observer) Running() []int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.seen.running)
}

// Facts are what was last seen of everything. Two with the same Version differ in nothing but times and counts.
func (o *Observer) Facts() (*Facts, error) {
	stamp, repairs, contentions := o.state.stamp(), o.state.repairs.Load(), o.state.contentions.current(o.now())
	stored, err := o.state.Switch()
	if err != nil {
		return nil, err
	}
	owners, forwarding, approved := o.state.owners(), o.state.forwarding(), o.state.approved()
	o.mu.Lock()
	defer o.mu.Unlock()
	s := &o.seen
	if !s.whole {
		return nil, ErrUnseen
	}
	s.change(stamp != s.state || !slices.Equal(contentions, s.contentions))
	s.state, s.contentions = stamp, contentions
	f := &Facts{
		At: s.at, Host: s.host, Stopped: s.stopped, Switch: stored, Owners: owners, Gone: s.gone, ForwardingSet: forwarding, Approved: approved,
		Looked: maps.Clone(s.looked), Contentions: contentions, Version: s.version, Repairs: repairs, Containers: make([]Container, 0, len(s.containers)),
	}
	for _, id := range slices.Sorted(maps.Keys(s.containers)) {
		f.Containers = append(f.Containers, s.containers[id])
	}
	return f, nil
}

// Watch calls wake for what changes on the host and in running containers, until ctx ends and nothing watches any more.
func (o *Observer) Watch(ctx context.Context, log *slog.Logger, wake watch.Wake) {
	watch.Watcher{Host: o.host, Containers: o.containers, Timeout: time.Duration(o.policy.Timeout), Log: log, Wake: wake}.Run(ctx)
}

// Close closes the containers that are held open.
func (o *Observer) Close() error {
	return errors.Join(o.filter.Close(), o.containers.Close())
}
