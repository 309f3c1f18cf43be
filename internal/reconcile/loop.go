package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"
)

// Loop runs Pass at once, whenever it is triggered, and at the latest every Interval. Triggers that come during a
// pass cause exactly one more. After an error the next pass comes after a back-off that doubles up to Interval.
type Loop struct {
	Name     string
	Interval time.Duration
	// Coalesce is how long further triggers are gathered after a pass that a trigger caused.
	Coalesce time.Duration
	Pass     func(ctx context.Context) error
	Log      *slog.Logger

	once    sync.Once
	trigger chan struct{}
	mu      sync.Mutex
	status  Status
}

// Status is how a loop fares.
type Status struct {
	// Passes and Errors count since the start.
	Passes, Errors uint64
	// Moved is when the loop last began or ended a pass; zero before it runs.
	Moved time.Time
	// LastSuccess is the end of the last pass without error; zero when there was none.
	LastSuccess time.Time
	// Duration is how long the last pass took.
	Duration time.Duration
	// Err is the error of the last pass, nil when it succeeded.
	Err error
}

const firstBackOff = time.Second

func (l *Loop) init() { l.once.Do(func() { l.trigger = make(chan struct{}, 1) }) }

// Trigger asks for a pass soon. It never blocks.
func (l *Loop) Trigger() {
	l.init()
	select {
	case l.trigger <- struct{}{}:
	default:
	}
}

// Status returns the loop's status.
func (l *Loop) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

// Run runs the loop until ctx ends.
func (l *Loop) Run(ctx context.Context) {
	l.init()
	timer := time.NewTimer(0)
	defer timer.Stop()
	backOff := firstBackOff
	for {
		triggered := false
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-l.trigger:
			triggered = true
		}
		wait := jitter(l.Interval)
		if err := l.pass(ctx); err != nil && ctx.Err() == nil {
			wait, backOff = min(jitter(backOff), wait), min(2*backOff, l.Interval)
			l.Log.Warn("pass failed", "loop", l.Name, "err", err, "retry", wait.Round(time.Millisecond))
		} else {
			backOff = firstBackOff
		}
		timer.Reset(wait)
		if triggered && l.Coalesce > 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(l.Coalesce):
			}
		}
	}
}

// pass runs one pass; a panic in it is an error of this loop, not the end of the daemon.
func (l *Loop) pass(ctx context.Context) (err error) {
	start := time.Now()
	l.mu.Lock()
	l.status.Moved = start
	l.mu.Unlock()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.status.Passes++
		l.status.Moved = time.Now()
		l.status.Duration, l.status.Err = time.Since(start), err
		if err != nil {
			l.status.Errors++
		} else {
			l.status.LastSuccess = time.Now()
		}
	}()
	return l.Pass(ctx)
}

// jitter spreads d by a tenth both ways, so that many hosts do not move in step.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d - d/10 + rand.N(d/5+1)
}
