package network

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"labd/internal/docker"
	"labd/internal/host"
	"labd/internal/lxc"
	"labd/internal/netfilter"
	"labd/internal/network/container"
	"labd/internal/reconcile"
)

// fleet are containers that come and go: network namespaces with a scripted Docker API each, asked as in production.
type fleet struct {
	t  testing.TB
	mu sync.Mutex
	// members are those that run.
	members map[int]*member
}

// member is one start of a container.
type member struct {
	id, pid int
	ended   chan struct{}
	socket  plainSocket

	mu       sync.Mutex
	networks string // what the API answers for them
	boxes    string
	changed  chan struct{} // closed at each event
}

// plainSocket is a socket without a check of who listens.
type plainSocket string

func (p plainSocket) Address() string { return string(p) }
func (p plainSocket) Dial(ctx context.Context) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", string(p))
}

func newFleet(t testing.TB) *fleet { return &fleet{t: t, members: map[int]*member{}} }

// start starts a container in the namespaces of a process.
func (f *fleet) start(id, pid int, networks, boxes string) *member {
	f.t.Helper()
	m := &member{id: id, pid: pid, ended: make(chan struct{}), networks: networks, boxes: boxes, changed: make(chan struct{})}
	dir, err := os.MkdirTemp("", "labd-fleet")
	if err != nil {
		f.t.Fatal(err)
	}
	m.socket = plainSocket(filepath.Join(dir, "docker.sock"))
	listener, err := net.Listen("unix", string(m.socket))
	if err != nil {
		f.t.Fatal(err)
	}
	server := &http.Server{Handler: m}
	go func() { _ = server.Serve(listener) }()
	f.t.Cleanup(func() {
		_ = server.Close()
		_ = os.RemoveAll(dir)
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.members[id] = m
	return m
}

// stop stops a container.
func (f *fleet) stop(id int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.members[id].ended)
	delete(f.members, id)
}

// set changes what Docker answers, and tells of it.
func (m *member) set(networks, boxes string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.networks, m.boxes = networks, boxes
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *member) state() (networks, boxes string, changed chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.networks, m.boxes, m.changed
}

func (m *member) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	networks, boxes, changed := m.state()
	w.Header().Set("Api-Version", "1.51")
	switch endpoint := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]; endpoint {
	case "version":
		fmt.Fprint(w, `{"Version":"28.5.2","ApiVersion":"1.51"}`)
	case "info":
		fmt.Fprint(w, `{}`)
	case "networks":
		fmt.Fprint(w, networks)
	case "json":
		fmt.Fprint(w, boxes)
	case "events":
		flusher, _ := w.(http.Flusher)
		flusher.Flush()
		for {
			select {
			case <-changed:
				fmt.Fprintln(w, `{"Type":"network","Action":"create"}`)
				flusher.Flush()
				_, _, changed = m.state()
			case <-r.Context().Done():
				return
			case <-m.ended:
				return
			}
		}
	}
}

func (f *fleet) Running(context.Context) ([]int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.members)), nil
}

func (f *fleet) Exists(int) bool { return true }

func (f *fleet) Open(_ context.Context, id int) (container.Handle, error) {
	f.mu.Lock()
	m := f.members[id]
	f.mu.Unlock()
	if m == nil {
		return nil, lxc.ErrNotRunning
	}
	file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", m.pid))
	if err != nil {
		return nil, err
	}
	return &fleetContainer{member: m, file: file, rules: netfilter.NewCache(file), session: docker.NewSession(m.socket)}, nil
}

// fleetContainer is a member that is held.
type fleetContainer struct {
	*member
	file    *os.File
	rules   *netfilter.Cache
	session *docker.Session
}

func (c *fleetContainer) NetNS() *os.File             { return c.file }
func (c *fleetContainer) NetNSID() string             { return strconv.Itoa(c.pid) }
func (c *fleetContainer) ProcFile(name string) string { return fmt.Sprintf("/proc/%d/%s", c.pid, name) }
func (c *fleetContainer) Rules() *netfilter.Cache     { return c.rules }
func (c *fleetContainer) Netlink() (*netlink.Handle, error) {
	return netlink.NewHandleAt(netns.NsHandle(c.file.Fd()), unix.NETLINK_ROUTE)
}

func (c *fleetContainer) Docker(ctx context.Context) (*docker.Info, error) {
	return c.session.Discover(ctx)
}

func (c *fleetContainer) DockerEvents(ctx context.Context, headerTime time.Duration, changed func()) error {
	return docker.Watch(ctx, c.socket, headerTime, changed)
}

func (c *fleetContainer) Alive() bool {
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

func (c *fleetContainer) Wait(ctx context.Context) error {
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *fleetContainer) Close() error {
	_ = c.rules.Close()
	return c.file.Close()
}

// engine keeps routes and rules of a fleet as the daemon does, with one observer and one loop.
type engine struct {
	pool     *container.Pool
	t        testing.TB
	policy   Policy
	observer *Observer
	control  *Controller
	loop     *reconcile.Loop

	mu     sync.Mutex
	report *Report
}

// newEngine makes an engine with the state directory of the machine.
func newEngine(t testing.TB, m *host.Host, f container.Source, policy Policy) *engine {
	state := NewState(m.State)
	pool := container.NewPool(f)
	e := &engine{t: t, policy: policy, pool: pool, observer: NewObserver(m, policy, state, pool, time.Now), control: NewController(m, state, pool)}
	e.loop = &reconcile.Loop{
		Name: "network", Resync: time.Duration(policy.Resync), Coalesce: 250 * time.Millisecond, Workers: 8, Work: e.pass, Log: slog.New(slog.DiscardHandler),
		Keys: func() []string {
			keys := []string{reconcile.HostKey}
			for _, id := range e.observer.Running() {
				keys = append(keys, key(id))
			}
			return keys
		},
	}
	return e
}

func key(id int) string {
	if id == 0 {
		return reconcile.HostKey
	}
	return "lxc/" + strconv.Itoa(id)
}

// publish puts the report of all that was seen in force.
func (e *engine) publish() (*Report, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f, err := e.observer.Facts()
	if err != nil {
		return nil, err
	}
	if e.report != nil && e.report.Version() == f.Version {
		e.report = e.report.Again(f)
		return e.report, nil
	}
	e.report = Diagnose(f, e.policy)
	if e.report.Active {
		u := e.control.Unsettled(e.report)
		for _, id := range u.Containers {
			e.loop.Nudge(key(id))
		}
		if u.Orphans {
			e.loop.Nudge(reconcile.HostKey)
		}
	}
	return e.report, nil
}

func (e *engine) pass(ctx context.Context, k string) error {
	id, _ := strconv.Atoi(strings.TrimPrefix(k, "lxc/"))
	var looked error
	if id == 0 {
		looked = e.observer.LookHost(ctx)
	} else {
		looked = e.observer.LookInto(ctx, id)
	}
	r, err := e.publish()
	if err != nil {
		return err
	}
	if r.Active {
		var n int
		if id == 0 {
			n, err = e.control.ReconcileRoutes(ctx, r)
		} else {
			n, err = e.control.ReconcileContainer(ctx, r, id)
		}
		if n > 0 {
			e.loop.Add(k, "own change")
			e.loop.Add(reconcile.HostKey, "own change")
		}
	}
	if looked != nil {
		return looked
	}
	return err
}

// start starts loop and watches; stop ends them as a daemon that ends.
func (e *engine) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { e.loop.Run(ctx) })
	wg.Go(func() {
		e.observer.Watch(ctx, slog.New(slog.DiscardHandler), func(id int, source string) { e.loop.Add(key(id), source) })
	})
	return sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if err := e.observer.Close(); err != nil {
			e.t.Error(err)
		}
	})
}

// last is the report in force.
func (e *engine) last() *Report {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.report
}
