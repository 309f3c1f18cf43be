package daemon

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"labd/internal/reconcile"
)

// What keeps failing is told with its reason, what failed once or twice is not.
func TestLoopNotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loop := &reconcile.Loop{
			Name: "network", Resync: time.Minute, Log: slog.New(slog.DiscardHandler),
			Work: func(context.Context, string) error { return errors.New("no netlink") },
		}
		d := &daemon{loops: []*reconcile.Loop{loop}}
		stop := d.startLoops(t.Context())
		defer stop()
		synctest.Wait()
		if notes := loopNotes(d.loops); len(notes) != 0 {
			t.Errorf("told after the first failure: %q", notes)
		}
		<-time.After(10 * time.Minute)
		synctest.Wait()
		notes := loopNotes(d.loops)
		key := loop.KeyStatuses()[0]
		want := []string{"the network loop gets no further with host since " + key.Since.UTC().Format(time.DateTime) + " (" + strconv.Itoa(key.Failures) + " times in a row): no netlink"}
		if diff := cmp.Diff(want, notes); diff != "" {
			t.Error(diff)
		}
	})
}
