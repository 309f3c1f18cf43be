package daemon

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"labd/internal/finding"
	"labd/internal/reconcile"
)

// job observes one domain and keeps its last report. F are the domain's facts, R is its report.
type job[F, R any] struct {
	observe  func(ctx context.Context) (F, error)
	diagnose func(facts F) *R
	findings func(report *R) []finding.Finding
	// kinds are the kinds of subject that the job's findings speak for completely.
	kinds   []string
	tracker *finding.Registry

	report atomic.Pointer[R]

	mu    sync.Mutex
	facts F
	// running is the observation that is being made, next the one that follows it for those who asked meanwhile.
	running, next *observation
}

// observation is one look at the world that several may wait for.
type observation struct {
	done chan struct{}
	err  error
}

// observeTimeout bounds one observation; each wait inside has a shorter deadline of its own.
const observeTimeout = 30 * time.Second

// Latest is the last report.
func (j *job[F, R]) Latest() (*R, bool) {
	r := j.report.Load()
	return r, r != nil
}

// latest is the last report, or nil.
func (j *job[F, R]) latest() *R { return j.report.Load() }

// Refresh observes now and returns the new report, or the last one with an error. An observation that began before the
// call does not count, since it may have missed what the caller knows of; callers who ask while one runs share the next.
// An observation goes on when a caller gives up.
func (j *job[F, R]) Refresh(ctx context.Context) (*R, error) {
	o := j.join()
	select {
	case <-o.done:
		return j.report.Load(), o.err
	case <-ctx.Done():
		return j.report.Load(), ctx.Err()
	}
}

// join returns an observation that begins after the call.
func (j *job[F, R]) join() *observation {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.running == nil {
		j.running = &observation{done: make(chan struct{})}
		go j.run(j.running)
		return j.running
	}
	if j.next == nil {
		j.next = &observation{done: make(chan struct{})}
	}
	return j.next
}

// run makes an observation, and then the next one where somebody waits for it.
func (j *job[F, R]) run(o *observation) {
	for o != nil {
		o.err = j.observeOnce()
		close(o.done)
		j.mu.Lock()
		o, j.running, j.next = j.next, j.next, nil
		j.mu.Unlock()
	}
}

// observeOnce makes one pass within its time. A panic in it is an error of this job, not the end of the daemon.
func (j *job[F, R]) observeOnce() error {
	ctx, cancel := context.WithTimeout(context.Background(), observeTimeout)
	defer cancel()
	return reconcile.Catch(func() error { return j.pass(ctx) })
}

func (j *job[F, R]) pass(ctx context.Context) error {
	facts, err := j.observe(ctx)
	if err != nil {
		return err
	}
	report := j.diagnose(facts)
	found := j.findings(report)
	j.tracker.Update(time.Now(), found, j.kinds...)
	finding.Sort(found)
	j.mu.Lock()
	j.facts = facts
	j.mu.Unlock()
	j.report.Store(report)
	return nil
}

// lastFacts are the facts of the last report.
func (j *job[F, R]) lastFacts() F {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.facts
}
