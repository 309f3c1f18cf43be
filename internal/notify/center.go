package notify

import (
	"context"
	"encoding/json"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"labd/internal/finding"
)

// StateVersion is the format of what is kept on disk.
const StateVersion = 1

// Timing is how a Center paces itself; the zero value is not usable.
type Timing struct {
	// Poll is how often a target looks whether there is something to tell, Gather how long it waits for more to put
	// into the same message, Gap the least time between two messages.
	Poll, Gather, Gap time.Duration
	// Deadline bounds the delivery of one message.
	Deadline time.Duration
	// BackOff is the wait after the first failure, doubled up to MaxBackOff.
	BackOff, MaxBackOff time.Duration
}

// DefaultTiming is for production.
func DefaultTiming() Timing {
	return Timing{
		Poll: 5 * time.Second, Gather: 10 * time.Second, Gap: time.Minute, Deadline: 20 * time.Second,
		BackOff: 30 * time.Second, MaxBackOff: time.Hour,
	}
}

// Options of a Center.
type Options struct {
	Findings Findings
	// Store keeps what targets were told over a restart.
	Store finding.Store
	// MayTell says whether this labd is the one of the host that tells; nil is always.
	MayTell func() bool
	// Failing is called with the findings about targets that keep failing, whenever they change.
	Failing func([]finding.Finding)
	Log     *slog.Logger
	Timing  Timing
}

// Center runs the targets. It outlives a reload of the configuration and is safe for concurrent use.
type Center struct {
	opts    Options
	started time.Time

	// changing is held while targets are started, stopped and replaced; around mu, which no one holds for long.
	changing sync.Mutex
	policy   Policy
	node     string
	ctx      context.Context // of the targets' goroutines; nil while they do not run
	stop     func()

	// saving is held while the store is written, reporting while the failing targets are told.
	saving, reporting sync.Mutex
	broken            bool // the last write to the store failed, and that was logged

	mu      sync.Mutex
	targets []*worker // in the order of the policy
}

// New returns a Center with what its store remembers; nothing is told before Start. The error says what could not be
// read; the center works without it.
func New(policy Policy, node string, opts Options) (*Center, error) {
	c := &Center{opts: opts, started: time.Now(), stop: func() {}}
	c.set(policy, node)
	var stored map[string][]Told
	err := opts.Store.Load(func(_ int, data []byte) error { return json.Unmarshal(data, &stored) })
	for _, w := range c.targets {
		w.told = stored[w.target.Name]
	}
	return c, err
}

// set replaces the targets; one that keeps its name keeps what it was told and its figures.
func (c *Center) set(policy Policy, node string) {
	c.policy, c.node = policy, node
	before := c.workers()
	var targets []*worker
	for _, t := range Targets(policy) {
		w := &worker{center: c, target: t, least: policy.least(), node: node, begin: c.started.Add(time.Duration(policy.Grace))}
		if i := slices.IndexFunc(before, func(old *worker) bool { return old.target.Name == t.Name }); i >= 0 {
			w.progress = before[i].snapshot()
		}
		targets = append(targets, w)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.targets = targets
}

// Start runs the targets until Stop.
func (c *Center) Start(ctx context.Context) {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.ctx = ctx
	c.launch()
}

// launch starts a goroutine for each target.
func (c *Center) launch() {
	ctx, cancel := context.WithCancel(c.ctx)
	var wg sync.WaitGroup
	for _, w := range c.workers() {
		wg.Go(func() { w.run(ctx) })
	}
	c.stop = func() { cancel(); wg.Wait() }
}

// Stop ends the targets and waits for them; a message that is being delivered is given up and told after a restart.
func (c *Center) Stop() {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.stop()
	c.stop, c.ctx = func() {}, nil
}

// Configure puts another policy in force.
func (c *Center) Configure(policy Policy, node string) {
	c.changing.Lock()
	defer c.changing.Unlock()
	if node == c.node && reflect.DeepEqual(policy, c.policy) {
		return
	}
	c.stop()
	c.stop = func() {}
	c.set(policy, node)
	if c.ctx != nil {
		c.launch()
	}
	c.reportFailing()
}

// workers are the targets in the order of the policy.
func (c *Center) workers() []*worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.targets)
}

// save puts what all targets were told on disk. A disk that is full or read-only costs the memory over a restart.
func (c *Center) save() {
	c.saving.Lock()
	defer c.saving.Unlock()
	all := map[string][]Told{}
	for _, w := range c.workers() {
		all[w.target.Name] = w.snapshot().told
	}
	err := c.opts.Store.Save(all)
	switch {
	case err != nil && !c.broken:
		c.opts.Log.Error("what was told of findings is not on disk; it may be told again after a restart", "err", err)
	case err == nil && c.broken:
		c.opts.Log.Info("what was told of findings is on disk again")
	}
	c.broken = err != nil
}

// reportFailing says which targets keep failing.
func (c *Center) reportFailing() {
	if c.opts.Failing == nil {
		return
	}
	c.reporting.Lock()
	defer c.reporting.Unlock()
	var found []finding.Finding
	for _, w := range c.workers() {
		if f, failing := w.failing(); failing {
			found = append(found, f)
		}
	}
	c.opts.Failing(found)
}

// Status is how a target fares.
type Status struct {
	Target
	// Pending is how many things there are that it has not been told.
	Pending      int
	Sent, Failed uint64
	// LastSuccess is when a message was last delivered, LastFailure when one last was not; zero for never.
	LastSuccess, LastFailure time.Time
	// Err is why the last message was not delivered, nil when it was.
	Err error
	// Failing says that it failed several times in a row.
	Failing bool
}

// Statuses are how all targets fare.
func (c *Center) Statuses() []Status {
	workers := c.workers()
	list := make([]Status, 0, len(workers))
	for _, w := range workers {
		list = append(list, w.status())
	}
	return list
}

// Result is how the test of one target went.
type Result struct {
	Target
	Err  error
	Took time.Duration
}

// Test sends a test message to the named targets, to all when none is named, and waits for all of them. unknown is a
// name that no target has.
func (c *Center) Test(ctx context.Context, names []string) (results []Result, unknown string) {
	workers := c.workers()
	if len(names) > 0 {
		byName := map[string]*worker{}
		for _, w := range workers {
			byName[w.target.Name] = w
		}
		workers = nil
		for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
			if byName[name] == nil {
				return nil, name
			}
			workers = append(workers, byName[name])
		}
	}
	results = make([]Result, len(workers))
	var wg sync.WaitGroup
	for i, w := range workers {
		wg.Go(func() {
			start := time.Now()
			err := w.deliver(ctx, testMessage(w.node, start))
			results[i] = Result{Target: w.target, Err: err, Took: time.Since(start)}
		})
	}
	wg.Wait()
	c.reportFailing()
	return results, ""
}
