package daemon

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"labd/internal/finding"
)

// job observes one domain and keeps its last report. F are the domain's facts, R is its report.
type job[F, R any] struct {
	observe  func(ctx context.Context) (F, error)
	diagnose func(facts F) *R
	findings func(report *R) []finding.Finding
	// kinds are the kinds of subject that the job's findings speak for completely.
	kinds   []string
	tracker *finding.Tracker

	flight singleflight.Group
	report atomic.Pointer[R]
	mu     sync.Mutex
	facts  F
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

// Refresh observes now. Callers at the same time share one observation, which goes on when a caller gives up.
func (j *job[F, R]) Refresh(ctx context.Context) (*R, error) {
	done := j.flight.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), observeTimeout)
		defer cancel()
		return nil, j.pass(ctx)
	})
	select {
	case result := <-done:
		return j.report.Load(), result.Err
	case <-ctx.Done():
		return j.report.Load(), ctx.Err()
	}
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
