package daemon

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"labd/internal/reconcile"
)

// job observes one domain and keeps its last report. F are the domain's facts, R is its report. It belongs to one
// configuration: when that ends, its observation ends too, and nothing of it is published any more.
//
// Locks are taken in this order: publishing, the mutex of what published calls (placements, finding.Registry), mu. None is
// held while the job observes or writes files.
type job[F, R any] struct {
	// life is the time for which the job may look and publish.
	life     context.Context
	observe  func(ctx context.Context) (F, error)
	diagnose func(facts F) *R
	// published is told of each new report before anyone else sees it, one at a time.
	published func(report *R)
	// remember, where set, puts on disk what is to be known of a report later.
	remember func(report *R)
	// snapshot, where set, puts together the facts of everything that was seen; then observe and parts of it may run side
	// by side. again is the report of facts that differ from the last ones in nothing but times, nil where they do not.
	snapshot func() (F, error)
	again    func(last *R, facts F) *R

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

// errEnded says that a job's configuration is not in force any more.
var errEnded = errors.New("another configuration is in force now; ask again")

// Latest returns the last report.
func (j *job[F, R]) Latest() (*R, bool) {
	r := j.report.Load()
	return r, r != nil
}

// latest returns the last report, or nil.
func (j *job[F, R]) latest() *R { return j.report.Load() }

// settled returns when no report of the job is being published. After the end of the job's life none is ever again.
func (j *job[F, R]) settled() {
	j.publishing.Lock()
	defer j.publishing.Unlock()
}

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
	if j.life.Err() != nil {
		return errEnded
	}
	ctx, cancel := context.WithTimeout(j.life, observeTimeout)
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
	report, changed, err := j.publish(snapshot)
	if err == nil && changed && j.remember != nil {
		j.remember(report)
	}
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
	if j.life.Err() != nil {
		return last, false, errEnded
	}
	facts, err := snapshot()
	if err != nil {
		return last, false, err
	}
	if last != nil && j.again != nil {
		report = j.again(last, facts)
	}
	if report == nil {
		report, changed = j.diagnose(facts), true
	}
	j.mu.Lock()
	j.facts = facts
	j.mu.Unlock()
	if changed {
		j.published(report)
	}
	j.report.Store(report)
	return report, changed, nil
}

// lastFacts returns the facts of the last report.
func (j *job[F, R]) lastFacts() F {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.facts
}
