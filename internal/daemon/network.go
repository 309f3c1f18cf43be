package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"labd/internal/config"
	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/lxc"
	"labd/internal/network"
	"labd/internal/network/container"
	"labd/internal/network/probe"
	"labd/internal/reconcile"
)

const (
	// networkCoalesce is how long what one source says of a container is gathered.
	networkCoalesce = 250 * time.Millisecond
	// networkRest bounds what a container that is slow to look into, and changes all the time, takes of the host.
	networkRest = 6
	// networkWorkers is how many containers are looked into at a time.
	networkWorkers = 8
)

// networks are the parts of the network job. Its loop keeps routes and rules as they are wanted, container by container.
type networks struct {
	job      *job[*network.Facts, network.Report]
	observer *network.Observer
	control  *network.Controller
	prober   *probe.Prober
	lock     *applyLock
	log      *slog.Logger
	loop     *reconcile.Loop

	mu sync.Mutex
	// followed is the version of the report of which all keys were told.
	followed uint64
}

func newNetworks(life context.Context, cfg config.Config, h *host.Host, s *service) *networks {
	containers, state := container.NewPool(container.LXC(h)), network.NewState(cfg.Paths.State)
	observer := network.NewObserver(h, cfg.Network, state, containers, time.Now)
	n := &networks{
		observer: observer, control: network.NewController(h, state, containers), prober: probe.New(h, containers, time.Now),
		lock: s.lock, log: s.log,
		job: &job[*network.Facts, network.Report]{
			life: life, observe: observer.Observe, snapshot: observer.Facts,
			again: func(last *network.Report, f *network.Facts) *network.Report {
				if last.Version() != f.Version {
					return nil
				}
				return last.Again(f)
			},
			diagnose: func(f *network.Facts) *network.Report {
				r := network.Diagnose(f, cfg.Network)
				finding.Sort(r.Findings)
				return r
			},
			published: func(r *network.Report) {
				s.findings.Update(time.Now(), r.Findings, finding.KindNetwork, finding.KindLXC, finding.KindRoute)
			},
		},
	}
	n.loop = &reconcile.Loop{
		Name: "network", Resync: time.Duration(cfg.Network.Resync), Coalesce: networkCoalesce, Rest: networkRest, Workers: networkWorkers,
		Keys: n.keys, Work: n.pass, Log: s.log, OnPanic: s.panicked("network"),
	}
	return n
}

// Probe finds out where packets to an address end, from fresh facts.
func (n *networks) Probe(ctx context.Context, req probe.Request) (*probe.Result, error) {
	report, err := n.job.Refresh(ctx)
	if err != nil {
		return nil, err
	}
	return n.prober.Probe(ctx, report, req)
}

// watch watches for changes until ctx ends, and lets go of what was held of containers then.
func (n *networks) watch(ctx context.Context) {
	n.observer.Watch(ctx, n.log, n.wake)
	if err := n.observer.Close(); err != nil {
		n.log.Warn("not all of what was held of containers was let go", "err", err)
	}
}

func (n *networks) wake(container int, source string) { n.loop.Add(containerKey(container), source) }

// containerKey is the key of a container, "lxc/101"; 0 stands for the host.
func containerKey(id int) string {
	if id == 0 {
		return reconcile.HostKey
	}
	return "lxc/" + strconv.Itoa(id)
}

// keys are the host and each running container.
func (n *networks) keys() []string {
	keys := []string{reconcile.HostKey}
	for _, id := range n.observer.Running() {
		keys = append(keys, containerKey(id))
	}
	return keys
}

// pass looks at one key and, where labctl net on or the configuration says so, keeps its routes and rules as wanted.
func (n *networks) pass(ctx context.Context, key string) error {
	part, keep := n.observer.LookHost, n.control.ReconcileRoutes
	if text, ok := strings.CutPrefix(key, "lxc/"); ok {
		id, err := strconv.Atoi(text)
		if err != nil {
			return reconcile.Permanent(fmt.Errorf("no container has the id %q", text))
		}
		part = func(ctx context.Context) error { return n.observer.LookInto(ctx, id) }
		keep = func(ctx context.Context, r *network.Report) (int, error) {
			return n.control.ReconcileContainer(ctx, r, id)
		}
	}
	report, _, looked := n.job.Look(ctx, part)
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
func (n *networks) keep(ctx context.Context, key string, r *network.Report, keep func(context.Context, *network.Report) (int, error)) error {
	if !r.Active || !n.concerns(key, r) {
		return nil
	}
	if err := n.lock.Acquire(); err != nil {
		return fmt.Errorf("keep routes and rules: %w", err)
	}
	repairs, err := keep(ctx, r)
	if repairs > 0 {
		n.log.Info("routes and rules repaired", "key", key, "repairs", repairs)
		n.loop.Add(key, "own change")
		n.loop.Add(reconcile.HostKey, "own change")
	}
	return err
}

// concerns tells whether something of the key is not as wanted. Where the report is new, the other keys of which
// something is not come too: a prefix that one container lost is another's.
func (n *networks) concerns(key string, r *network.Report) bool {
	unsettled := n.control.Unsettled(r)
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
