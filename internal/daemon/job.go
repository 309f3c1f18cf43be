package daemon

import (
	"context"
	"errors"
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
	// snapshot, where set, puts together the facts of everything that was seen; then observe and parts of it may run side
	// by side. again is the report of facts that differ from the last ones in nothing but times, nil where they do not.
	snapshot func() (F, error)
	again    func(last *R, facts F) *R
	// kinds are the kinds of subject that the job's findings speak for completely.
	kinds   []finding.Kind
	tracker *finding.Registry

	report atomic.Pointer[R]

	// publishing lets one report at a time take the place of the last one.
	publishing sync.Mutex

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
	snapshot := j.snapshot
	if snapshot == nil {
		snapshot = func() (F, error) { return facts, nil }
	}
	_, _, err = j.publish(snapshot)
	return err
}

// Look observes a part and puts what is known then in force. It returns the report, and whether anything in it is new.
// The report is there also with an error of the part, which is in its facts.
func (j *job[F, R]) Look(ctx context.Context, part func(ctx context.Context) error) (r *R, changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	failed := part(ctx)
	r, changed, err = j.publish(j.snapshot)
	return r, changed, errors.Join(failed, err)
}

// publish puts the report of the facts in force. Facts that are taken later are never replaced by earlier ones.
func (j *job[F, R]) publish(snapshot func() (F, error)) (report *R, changed bool, err error) {
	j.publishing.Lock()
	defer j.publishing.Unlock()
	last := j.report.Load()
	facts, err := snapshot()
	if err != nil {
		return last, false, err
	}
	if last != nil && j.again != nil {
		report = j.again(last, facts)
	}
	if report == nil {
		report, changed = j.diagnose(facts), true
		found := j.findings(report)
		j.tracker.Update(time.Now(), found, j.kinds...)
		finding.Sort(found)
	}
	j.mu.Lock()
	j.facts = facts
	j.mu.Unlock()
	j.report.Store(report)
	return report, changed, nil
}

// lastFacts are the facts of the last report.
func (j *job[F, R]) lastFacts() F {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.facts
}
