package watch

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"labd/internal/host"
	"labd/internal/netfilter"
	"labd/internal/network/container"
)

// Wake asks for a look at a container, or at the host where it is 0, because source says that something changed. It must
// not block.
type Wake func(container int, source string)

// Sources of Wake. What one source says in a row is gathered; two do not wait for each other.
const (
	sourceDocker   = "docker"
	sourceNetlink  = "netlink"
	sourceNFTables = "nftables"
	sourceLegacy   = "legacy"
	sourcePVE      = "pve"
	sourceRunning  = "running"
)

const (
	// runningEvery is how often the running containers are listed where nothing else tells of a start: an interface that
	// appears on the host does at once.
	runningEvery = time.Second
	// legacyEvery is how often legacy tables are asked for changes, since they tell nobody.
	legacyEvery = 5 * time.Second
	// pveEvery is how often /etc/pve is looked at: changes on other nodes are told by no file system event (FUSE).
	pveEvery = 5 * time.Second
	// pause is how long a namespace that changes all the time is not listened to.
	pause = 100 * time.Millisecond
	// Docker's events are asked for again after dockerAgain, doubled up to dockerSlow while it fails.
	dockerAgain = 3 * time.Second
	dockerSlow  = 30 * time.Second
)

// Watcher watches the host and its running containers.
type Watcher struct {
	Host       *host.Host
	Containers container.Source
	// Timeout bounds one question to a container or its Docker.
	Timeout time.Duration
	Log     *slog.Logger
	Wake    Wake
}

// Run calls Wake for what changes, until ctx ends and nothing watches any more.
func (c Watcher) Run(ctx context.Context) {
	w := &watcher{Watcher: c, watched: map[int]*watched{}, links: make(chan struct{}, 1)}
	w.wg.Go(func() { w.host(ctx) })
	w.wg.Go(func() { w.pve(ctx) })
	w.running(ctx)
	for _, x := range w.watched {
		x.stop()
	}
	w.wg.Wait()
}

// watcher is a Watcher that runs.
type watcher struct {
	Watcher
	wg sync.WaitGroup

	watched map[int]*watched // by running alone
	// links is poked when an interface of the host came or went, or a container ended.
	links chan struct{}
}

// watched is a container that is watched from one start to its end.
type watched struct {
	netNS string
	stop  context.CancelFunc
	ended chan struct{} // closed when nothing watches it any more
}

// hostGroups are what is heard of on the host, containerGroups in containers.
var (
	hostGroups      = []int{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE}
	containerGroups = hostGroups[:5]
)

// routingDaemons are protocols of routes that a routing daemon changes all the time (linux/rtnetlink.h); those are seen
// at the next resync.
var routingDaemons = []byte{unix.RTPROT_ZEBRA, unix.RTPROT_BIRD, unix.RTPROT_BABEL, unix.RTPROT_BGP, unix.RTPROT_ISIS, unix.RTPROT_OSPF, unix.RTPROT_RIP, unix.RTPROT_EIGRP}

// matters reports whether a message of the host's netlink may matter.
func matters(message []byte) bool {
	const kind, protocol = 4, unix.NLMSG_HDRLEN + 5
	if len(message) <= protocol {
		return true
	}
	switch binary.NativeEndian.Uint16(message[kind:]) {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return !slices.Contains(routingDaemons, message[protocol])
	}
	return true
}

// host hears of the host's interfaces, addresses and routes.
func (w *watcher) host(ctx context.Context) {
	w.again(ctx, "the host's netlink", func() error {
		m, err := host.NewMulticast(nil, unix.NETLINK_ROUTE, hostGroups...)
		if err != nil {
			return err
		}
		defer m.Close()
		return m.Each(ctx, pause, matters, func() {
			w.Wake(0, sourceNetlink)
			w.lookForStarts()
		})
	})
}

// again does watch until ctx ends, and after a wait when it fails; a failure is told once in a row.
func (w *watcher) again(ctx context.Context, what string, watch func() error) {
	for told := false; ctx.Err() == nil; {
		err := watch()
		if ctx.Err() != nil {
			return
		}
		if !told {
			w.Log.Warn("changes are seen at the next resync only", "of", what, "err", err)
			told = true
		}
		sleep(ctx, dockerSlow)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (w *watcher) lookForStarts() {
	select {
	case w.links <- struct{}{}:
	default:
	}
}

// running follows which containers run, until ctx ends.
func (w *watcher) running(ctx context.Context) {
	var before []int
	for ctx.Err() == nil {
		if ids, err := w.Containers.Running(ctx); err == nil {
			if !slices.Equal(ids, before) {
				w.Wake(0, sourceRunning)
			}
			w.follow(ctx, ids)
			before = ids
		}
		select {
		case <-ctx.Done():
		case <-w.links:
		case <-time.After(runningEvery):
		}
	}
}

// follow watches each of the running containers and none else.
func (w *watcher) follow(ctx context.Context, ids []int) {
	for id, x := range w.watched {
		over := !slices.Contains(ids, id)
		select {
		case <-x.ended:
			over = true
		default:
		}
		if over {
			x.stop()
			delete(w.watched, id)
		}
	}
	for _, id := range ids {
		if w.watched[id] != nil {
			continue
		}
		open, cancel := context.WithTimeout(ctx, w.Timeout)
		ct, err := w.Containers.Open(open, id)
		cancel()
		if err != nil {
			continue // it is tried again
		}
		one, stop := context.WithCancel(ctx)
		x := &watched{netNS: ct.NetNSID(), stop: stop, ended: make(chan struct{})}
		w.watched[id] = x
		w.wg.Go(func() {
			defer close(x.ended)
			defer ct.Close()
			w.inside(one, stop, id, ct)
		})
		w.Wake(id, sourceRunning)
	}
}

// inside watches one container until it ends or ctx does.
func (w *watcher) inside(ctx context.Context, stop context.CancelFunc, id int, ct container.Handle) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { w.groups(ctx, id, ct, sourceNetlink, unix.NETLINK_ROUTE, containerGroups) })
	wg.Go(func() { w.groups(ctx, id, ct, sourceNFTables, unix.NETLINK_NETFILTER, []int{netfilter.Group}) })
	wg.Go(func() { w.legacy(ctx, id, ct) })
	wg.Go(func() { w.docker(ctx, id, ct) })
	if ct.Wait(ctx) == nil {
		// The host's routes to it go, and it is looked for again: a restart has another namespace.
		w.Wake(id, sourceRunning)
		w.Wake(0, sourceRunning)
		w.lookForStarts()
	}
	stop()
}

// groups hears netlink groups in the container's network namespace.
func (w *watcher) groups(ctx context.Context, id int, ct container.Handle, source string, protocol int, groups []int) {
	w.again(ctx, containerName(id)+", "+source, func() error {
		m, err := host.NewMulticast(ct.NetNS(), protocol, groups...)
		if err != nil {
			return err
		}
		defer m.Close()
		return m.Each(ctx, pause, nil, func() { w.Wake(id, source) })
	})
}

// legacy asks the container's legacy tables for changes.
func (w *watcher) legacy(ctx context.Context, id int, ct container.Handle) {
	space := container.Namespace(w.Host, ct)
	before, known := "", false
	for ctx.Err() == nil {
		if now, err := space.LegacyGeneration(ctx); err == nil {
			if known && now != before {
				w.Wake(id, sourceLegacy)
			}
			before, known = now, true
		}
		sleep(ctx, legacyEvery)
	}
}

// docker hears the events of the container's Docker. Where there is none, it looks for one now and then.
func (w *watcher) docker(ctx context.Context, id int, ct container.Handle) {
	wait := dockerAgain
	for ctx.Err() == nil {
		stood := false
		err := ct.DockerEvents(ctx, w.Timeout, func() {
			stood, wait = true, dockerAgain
			w.Wake(id, sourceDocker)
		})
		if ctx.Err() != nil {
			return
		}
		switch {
		case stood: // it went away: what it says now is another daemon's, or nothing
			w.Wake(id, sourceDocker)
		case errors.Is(err, container.ErrNoSocket):
			wait = dockerAgain
		default:
			wait = min(2*wait, dockerSlow)
		}
		w.Log.Debug("no events of Docker", "container", id, "err", err)
		sleep(ctx, wait)
	}
}
