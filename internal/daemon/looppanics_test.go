package daemon

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"labd/internal/finding"
	"labd/internal/metric"
	"labd/internal/reconcile"
)

// A panic in one loop is a finding that goes away in time, and the loop and the others go on.
func TestPanicIsAFinding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		permit := make(chan struct{})
		close(permit)
		broken, began := testJob(permit) // panics the fourth time
		well, _ := testJob(permit)
		well.observe = func(context.Context) (int, error) { return 1, nil }
		registry, _ := finding.NewRegistry(time.Now(), finding.Options{})
		s := &service{log: slog.New(slog.DiscardHandler), self: &selfFindings{registry: registry}}
		none := metric.NewGatherer()
		first := observingLoop("nvme", time.Minute, broken.Refresh, s, none)
		second := observingLoop("storage", time.Minute, well.Refresh, s, none)
		stop := startLoops(t.Context(), []*reconcile.Loop{first, second}, nil)
		defer stop()
		<-time.After(5 * time.Minute)
		found := registry.Current(time.Now())
		if len(found) != 1 || found[0].Code != finding.LabdLoopPanicked || found[0].Subject != "labd/nvme" || !strings.Contains(found[0].Evidence[0].Text, "broken") {
			t.Errorf("findings %+v", found)
		}
		if n := began.Load(); n < 6 {
			t.Errorf("%d passes of the loop that panicked", n)
		}
		if s := first.Status(); s.Panics != 1 || s.Errors != 1 {
			t.Errorf("%+v", s)
		}
		if s := second.Status(); s.Panics+s.Errors != 0 || s.Passes < 5 {
			t.Errorf("the other loop: %+v", s)
		}
		if err := alive([]*reconcile.Loop{first, second}); err != nil {
			t.Error(err)
		}
		<-time.After(15 * time.Minute)
		if found := registry.Current(time.Now()); len(found) != 0 {
			t.Errorf("findings that stay: %+v", found)
		}
	})
}
