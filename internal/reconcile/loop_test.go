package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func run(t *testing.T, l *Loop, body func()) {
	synctest.Test(t, func(t *testing.T) {
		l.Log = slog.New(slog.DiscardHandler)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { l.Run(ctx); close(done) }()
		synctest.Wait()
		body()
		cancel()
		<-done
	})
}

func TestLoopResyncAndTrigger(t *testing.T) {
	var count atomic.Int64
	l := &Loop{Name: "t", Interval: time.Minute, Coalesce: 250 * time.Millisecond}
	l.Pass = func(context.Context) error { count.Add(1); return nil }
	run(t, l, func() {
		if passes := count.Load(); passes != 1 {
			t.Fatalf("%d passes at the start, want 1", passes)
		}
		l.Trigger()
		synctest.Wait()
		if passes := count.Load(); passes != 2 {
			t.Fatalf("%d passes after a trigger, want 2 at once", passes)
		}
		for range 50 {
			l.Trigger()
		}
		synctest.Wait()
		if passes := count.Load(); passes != 2 {
			t.Fatalf("%d passes within the coalescing time, want 2", passes)
		}
		<-time.After(time.Second) // fake clock
		if passes := count.Load(); passes != 3 {
			t.Fatalf("%d passes after fifty triggers in a row, want one more", passes)
		}
		<-time.After(10 * time.Minute)
		if passes := count.Load(); passes < 12 || passes > 15 {
			t.Errorf("%d passes after ten intervals", passes)
		}
	})
}

func TestLoopBacksOffAndSurvivesPanic(t *testing.T) {
	var count atomic.Int64
	l := &Loop{Name: "t", Interval: time.Minute}
	l.Pass = func(context.Context) error {
		passes := count.Add(1)
		if passes == 1 {
			panic("broken")
		}
		if passes < 4 {
			return errors.New("not yet")
		}
		return nil
	}
	run(t, l, func() {
		if s := l.Status(); s.Err == nil || !strings.Contains(s.Err.Error(), "broken") || s.Errors != 1 {
			t.Fatalf("status after a panic: %+v", s)
		}
		<-time.After(10 * time.Second) // 1 s + 2 s + 4 s with jitter
		s := l.Status()
		if passes := count.Load(); passes != 4 || s.Err != nil || s.Errors != 3 || s.LastSuccess.IsZero() {
			t.Errorf("%d passes, status %+v", passes, s)
		}
	})
}
