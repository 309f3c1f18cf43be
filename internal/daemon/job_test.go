package daemon

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// testJob counts its observations; each waits for a permit.
func testJob(permit chan struct{}) (*job[int, int], *atomic.Int64) {
	var began atomic.Int64
	return &job[int, int]{
		observe: func(context.Context) (int, error) {
			n := int(began.Add(1))
			<-permit
			if n == 4 {
				panic("broken")
			}
			return n, nil
		},
		life:      context.Background(),
		diagnose:  func(n int) *int { return &n },
		published: func(*int) {},
	}, &began
}

// Who asks while an observation runs gets one that began after the question, and shares it with others who asked.
func TestRefreshIsFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		permit := make(chan struct{})
		j, began := testJob(permit)
		results := make(chan int, 4)
		ask := func() {
			go func() {
				r, err := j.Refresh(t.Context())
				if err != nil {
					t.Error(err)
				}
				results <- *r
			}()
			synctest.Wait()
		}
		ask()
		for range 3 {
			ask()
		}
		permit <- struct{}{}
		if got := <-results; got != 1 {
			t.Errorf("the first is answered with observation %d", got)
		}
		permit <- struct{}{}
		for range 3 {
			if got := <-results; got != 2 {
				t.Errorf("who asked meanwhile is answered with observation %d, want 2", got)
			}
		}
		synctest.Wait()
		if n := began.Load(); n != 2 {
			t.Errorf("%d observations, want 2", n)
		}
		// A caller who gives up gets the last report, and the observation goes on.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if r, err := j.Refresh(ctx); err == nil || *r != 2 {
			t.Errorf("gave up: %d, %v", *r, err)
		}
		permit <- struct{}{}
		synctest.Wait()
		if r, ok := j.Latest(); !ok || *r != 3 {
			t.Errorf("afterwards: %d", *r)
		}
		go func() { permit <- struct{}{} }()
		if r, err := j.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "broken") || *r != 3 {
			t.Errorf("a panic: %d, %v", *r, err)
		}
	})
}

// A job belongs to one configuration: an observation that outlives it, since a device does not answer, publishes nothing.
func TestJobEndsWithItsConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		permit := make(chan struct{})
		j, _ := testJob(permit) // does not look at its context, as a read that hangs
		life, end := context.WithCancel(t.Context())
		published := 0
		j.life, j.published = life, func(*int) { published++ }
		j.snapshot = func() (int, error) { return 7, nil }
		answers := make(chan error, 1)
		go func() {
			_, err := j.Refresh(t.Context())
			answers <- err
		}()
		synctest.Wait()
		end()
		j.settled()
		permit <- struct{}{}
		if err := <-answers; !errors.Is(err, errEnded) {
			t.Errorf("an observation that outlived its configuration: %v", err)
		}
		if _, err := j.Refresh(t.Context()); !errors.Is(err, errEnded) {
			t.Errorf("an observation after the end: %v", err)
		}
		if _, _, err := j.Look(t.Context(), func(context.Context) error { return nil }); !errors.Is(err, errEnded) {
			t.Errorf("a look at a part after the end: %v", err)
		}
		if r, ok := j.Latest(); published != 0 || ok {
			t.Errorf("published %d times after the end, report %v", published, r)
		}
	})
}
