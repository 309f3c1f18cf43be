package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"labd/internal/finding"
	"labd/internal/lxc"
	"labd/internal/network"
	"labd/internal/network/container"
	"labd/internal/reconcile"
)

const (
	// networkCoalesce is how long what one source says of a container is gathered.
	networkCoalesce = 250 * time.Millisecond
	// networkWorkers is how many containers are looked into at a time.
	networkWorkers = 8
)

// networkLoop keeps routes and rules as they are wanted, container by container.
type networkLoop struct {
	daemon   *daemon
	observer *network.Observer
	loop     *reconcile.Loop

	mu sync.Mutex
	// followed is the version of the report of which all keys were told.
	followed uint64
}

func (d *daemon) buildNetwork(tracker *finding.Registry, state *network.State, containers *container.Pool) {
	observer := network.NewObserver(d.host, d.cfg.Network, state, containers, time.Now)
	d.control = network.NewController(d.host, state, containers)
	d.network = &job[*network.Facts, network.Report]{
		observe:  observer.Observe,
		snapshot: observer.Facts,
		again: func(last *network.Report, f *network.Facts) *network.Report {
			if last.Version() != f.Version {
				return nil
			}
			return last.Again(f)
		},
		diagnose: func(f *network.Facts) *network.Report { return network.Diagnose(f, d.cfg.Network) },
		findings: func(r *network.Report) []finding.Finding { return r.Findings },
		kinds:    []finding.Kind{finding.KindNetwork, finding.KindLXC, finding.KindRoute}, tracker: tracker,
	}
	n := &networkLoop{daemon: d, observer: observer}
	n.loop = &reconcile.Loop{
		Name: "network", Resync: time.Duration(d.cfg.Network.Resync), Coalesce: networkCoalesce, Workers: networkWorkers,
		Keys: n.keys, Work: n.pass, Log: d.log, OnPanic: d.service.panicked("network"),
	}
	d.loops, d.tasks = append(d.loops, n.loop), append(d.tasks, n.watch)
}

// watch watches for changes until ctx ends, and lets go of what was held of containers then.
func (n *networkLoop) watch(ctx context.Context) {
	n.observer.Watch(ctx, n.daemon.log, n.wake)
	if err := n.observer.Close(); err != nil {
		n.daemon.log.Warn("not all of what was held of containers was let go", "err", err)
	}
}

func (n *networkLoop) wake(container int, source string) { n.loop.Add(containerKey(container), source) }

// containerKey is the key of a container, "lxc/101"; 0 stands for the host.
func containerKey(id int) string {
	if id == 0 {
		return reconcile.HostKey
	}
	return "lxc/" + strconv.Itoa(id)
}

// keys are the host and each running container.
func (n *networkLoop) keys() []string {
	keys := []string{reconcile.HostKey}
	for _, id := range n.observer.Running() {
		keys = append(keys, containerKey(id))
	}
	return keys
}

// pass looks at one key and, where labctl net on or the configuration says so, keeps its routes and rules as wanted.
func (n *networkLoop) pass(ctx context.Context, key string) error {
	part, keep := n.observer.LookHost, n.daemon.control.ReconcileRoutes
	if text, ok := strings.CutPrefix(key, "lxc/"); ok {
		id, err := strconv.Atoi(text)
		if err != nil {
			return reconcile.Permanent(fmt.Errorf("no container has the id %q", text))
		}
		part = func(ctx context.Context) error { return n.observer.LookInto(ctx, id) }
		keep = func(ctx context.Context, r *network.Report) (int, error) {
			return n.daemon.control.ReconcileContainer(ctx, r, id)
		}
	}
	report, _, looked := n.daemon.network.Look(ctx, part)
	switch {
	case report != nil:
	case key != reconcile.HostKey && errors.Is(looked, network.ErrUnseen):
		return nil // the first look at the host looks into all containers, and brings those back that need something
	default:
		return looked
	}
	err := n.keep(ctx, key, report, keep)
	switch {
	case errors.Is(looked, lxc.ErrSharedNetwork):
		return reconcile.Permanent(looked)
	case looked != nil:
		return looked
	default:
		return err
	}
}

// keep changes what is not as wanted, and looks again at what it changed.
func (n *networkLoop) keep(ctx context.Context, key string, r *network.Report, keep func(context.Context, *network.Report) (int, error)) error {
	if !r.Active || !n.concerns(key, r) {
		return nil
	}
	if err := n.daemon.lock.Acquire(); err != nil {
		return fmt.Errorf("keep routes and rules: %w", err)
	}
	repairs, err := keep(ctx, r)
	if repairs > 0 {
		n.daemon.log.Info("routes and rules repaired", "key", key, "repairs", repairs)
		n.loop.Add(key, "own change")
		n.loop.Add(reconcile.HostKey, "own change")
	}
	return err
}

// concerns tells whether something of the key is not as wanted. Where the report is new, the other keys of which
// something is not come too: a prefix that one container lost is another's.
func (n *networkLoop) concerns(key string, r *network.Report) bool {
	unsettled := n.daemon.control.Unsettled(r)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.followed != r.Version() {
		n.followed = r.Version()
		for _, id := range unsettled.Containers {
			if containerKey(id) != key {
				n.loop.Nudge(containerKey(id))
			}
		}
		if unsettled.Orphans && key != reconcile.HostKey {
			n.loop.Nudge(reconcile.HostKey)
		}
	}
	if key == reconcile.HostKey {
		return unsettled.Routes
	}
	return slices.ContainsFunc(unsettled.Containers, func(id int) bool { return containerKey(id) == key })
}
