package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// plainLoop is a loop without jitter whose passes are noted by their keys.
func plainLoop(passes *[]string, work func(key string) error) *Loop {
	var mu sync.Mutex // of several workers
	return &Loop{
		Name: "test", Resync: time.Hour, Log: slog.New(slog.DiscardHandler), spread: func(d time.Duration) time.Duration { return d },
		Work: func(_ context.Context, key string) error {
			mu.Lock()
			*passes = append(*passes, key)
			mu.Unlock()
			return work(key)
		},
	}
}

// running runs a loop in a bubble until the test ends.
func running(t *testing.T, l *Loop) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	synctest.Wait()
}

// What follows from other keys has a pass at once, unless the key failed, waits or was rejected.
func TestNudge(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want int
	}{
		"done":     {nil, 1},
		"failed":   {errors.New("no"), 0},
		"rejected": {Permanent(errors.New("no")), 0},
		"waits":    {&LaterError{After: 30 * time.Minute, Reason: "later"}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			var passes []string
			var failing atomic.Bool
			failing.Store(true)
			l := plainLoop(&passes, func(string) error {
				if failing.Load() {
					return c.err
				}
				return nil
			})
			running(t, l)
			before := len(passes)
			l.Nudge(HostKey)
			synctest.Wait()
			if got := len(passes) - before; got != c.want {
				t.Errorf("%s: %d passes after a nudge, want %d", name, got, c.want)
			}
			before = len(passes)
			l.Nudge("new")
			synctest.Wait()
			if got := passes[before:]; !slices.Equal(got, []string{"new"}) {
				t.Errorf("%s: a key that nobody knew: %v", name, got)
			}
			// After a success the failures are forgotten.
			failing.Store(false)
			l.Add(HostKey, "person")
			time.Sleep(time.Minute)
			synctest.Wait()
			before = len(passes)
			l.Nudge(HostKey)
			synctest.Wait()
			if len(passes)-before != 1 {
				t.Errorf("%s: no pass after the failure was over", name)
			}
		})
	}
}

func TestAskedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if got := AskedAt(t.Context()); !got.Equal(start) {
			t.Errorf("outside of passes: %v", got)
		}
		if got := AskedAt(context.WithValue(t.Context(), askedKey{}, start.Add(-time.Hour))); !got.Equal(start.Add(-time.Hour)) {
			t.Errorf("in a pass: %v", got)
		}
	})
}

func TestBucket(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	b := NewBucket(3, time.Second)
	for i := range 3 {
		if wait := b.Take(now); wait != 0 {
			t.Errorf("token %d of the burst: wait %v", i, wait)
		}
	}
	for range 2 { // it takes none that is not there
		if wait := b.Take(now); wait != time.Second {
			t.Errorf("after the burst: wait %v", wait)
		}
	}
	if wait := b.Take(now.Add(999 * time.Millisecond)); wait != time.Millisecond {
		t.Errorf("a moment too early: %v", wait)
	}
	if wait := b.Take(now.Add(time.Second)); wait != 0 {
		t.Errorf("in time: %v", wait)
	}
	if wait := b.Reserve(now.Add(time.Second)); wait != time.Second {
		t.Errorf("reserved: %v", wait)
	}
	if wait := b.Reserve(now.Add(time.Second)); wait != 2*time.Second {
		t.Errorf("reserved behind it: %v", wait)
	}
	for i := range 3 {
		if wait := b.Reserve(now.Add(time.Hour)); wait != 0 {
			t.Errorf("token %d of a full bucket: wait %v", i, wait)
		}
	}
}

func TestJitter(t *testing.T) {
	for _, d := range []time.Duration{0, -time.Second} {
		if got := jitter(d); got != 0 {
			t.Errorf("jitter(%v) = %v", d, got)
		}
	}
	for _, d := range []time.Duration{1, 10, time.Second, time.Hour} {
		lowest, highest := d, d
		for range 1000 {
			got := jitter(d)
			lowest, highest = min(lowest, got), max(highest, got)
		}
		if lowest < d-d/10 || highest > d+d/10+1 || d >= time.Second && (lowest == d || highest == d) {
			t.Errorf("jitter(%v) is between %v and %v", d, lowest, highest)
		}
	}
	for failures, want := range map[int]time.Duration{0: time.Second, 1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 9: 256 * time.Second, 10: longestBackOff, 1000: longestBackOff} {
		if got := backOff(failures, time.Hour); got != want {
			t.Errorf("after %d failures: %v, want %v", failures, got, want)
		}
	}
	if got := backOff(9, time.Minute); got != time.Minute {
		t.Errorf("with a resync each minute: %v", got)
	}
}

func TestPermanent(t *testing.T) {
	if Permanent(nil) != nil {
		t.Error("nothing is a permanent error")
	}
	inner := errors.New("inner")
	if err := Permanent(inner); !errors.Is(err, inner) || err.Error() != "inner" {
		t.Errorf("got %v", err)
	}
}

func TestHistogramBounds(t *testing.T) {
	h := NewHistogram(1, 2)
	for _, d := range []time.Duration{500 * time.Millisecond, time.Second, 1500 * time.Millisecond, 2 * time.Second, 3 * time.Second} {
		h.Observe(d)
	}
	copied := h.Clone()
	h.Observe(time.Millisecond)
	if copied.Count != 5 || copied.Sum != 8*time.Second || copied.Buckets[1] != 2 || copied.Buckets[2] != 4 {
		t.Errorf("%+v", copied)
	}
}

// The queue forgets what nobody wants, and never what is asked for or worked on.
func TestQueueKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		defer q.close()
		never := func() bool { return false }
		q.add("asked", time.Now().Add(time.Hour))
		q.add("working", time.Now())
		if key, _, ok := q.get(never); key != "working" || !ok {
			t.Fatalf("got %q, %v", key, ok)
		}
		q.add("wanted", time.Now())
		if key, _, _ := q.get(never); key != "wanted" {
			t.Fatalf("got %q", key)
		}
		q.done("wanted")
		q.add("over", time.Now())
		if key, _, _ := q.get(never); key != "over" {
			t.Fatalf("got %q", key)
		}
		q.done("over")
		q.keep(func(key string) bool { return key == "wanted" })
		for key, want := range map[string]bool{"asked": true, "working": true, "wanted": true, "over": false} {
			if _, there := q.items[key]; there != want {
				t.Errorf("%s is there: %v", key, there)
			}
		}
	})
}

// A key that is asked for later than it is due already keeps its time; an earlier one counts.
func TestQueueDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		start := time.Now()
		q.add("a", start.Add(10*time.Second))
		q.add("a", start.Add(20*time.Second))
		q.add("b", start.Add(20*time.Second))
		q.add("b", start.Add(10*time.Second))
		for range 2 {
			if _, asked, ok := q.get(func() bool { return false }); !ok || time.Since(start) != 10*time.Second || !asked.Equal(start) {
				t.Errorf("handed out after %v, asked at %v", time.Since(start), asked)
			}
		}
		if ready, oldest, working, adds := q.depth(); ready != 0 || !oldest.Equal(start.Add(10*time.Second)) || !working.Equal(oldest) || adds != 2 {
			t.Errorf("%d ready, oldest %v, working %v, %d adds", ready, oldest.Sub(start), working.Sub(start), adds)
		}
		time.Sleep(5 * time.Second)
		q.add("c", time.Now())
		time.Sleep(5 * time.Second)
		q.add("d", time.Now())
		q.add("e", time.Now().Add(time.Hour))
		ready, oldest, working, _ := q.depth()
		if ready != 2 || !oldest.Equal(start.Add(10*time.Second)) || !working.Equal(start.Add(10*time.Second)) {
			t.Errorf("%d ready, oldest %v, working %v", ready, oldest.Sub(start), working.Sub(start))
		}
		q.done("a")
		q.done("b")
		if _, oldest, working, _ := q.depth(); !oldest.Equal(start.Add(15*time.Second)) || !working.IsZero() {
			t.Errorf("oldest %v, working %v", oldest.Sub(start), working)
		}
		// While it is worked on or ready, a key is not handed out twice; after close nothing becomes due.
		key, _, _ := q.get(func() bool { return false })
		q.add(key, time.Now())
		q.add("d", time.Now())
		if ready, _, _, _ := q.depth(); ready != 1 {
			t.Errorf("%d are ready, want d alone", ready)
		}
		q.done(key)
		if ready, _, _, _ := q.depth(); ready != 2 {
			t.Errorf("%d are ready, want d and %s again", ready, key)
		}
		q.close()
		q.add("late", time.Now())
		if ready, _, _, _ := q.depth(); ready != 2 {
			t.Errorf("%d are ready after the end", ready)
		}
	})
}

// What is known of a key goes when the key does, unless it has something to do.
func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var passes []string
		results := map[string]error{"rejected": Permanent(errors.New("no")), "failed": errors.New("no"), "waiting": &LaterError{After: 10 * time.Hour}}
		var keys atomic.Pointer[[]string]
		setKeys := func(names ...string) { keys.Store(&names) }
		setKeys("done", "rejected", "failed", "waiting", "stays")
		l := plainLoop(&passes, func(key string) error { return results[key] })
		l.Keys = func() []string { return *keys.Load() }
		running(t, l)
		setKeys("stays")
		time.Sleep(l.Resync)
		synctest.Wait()
		l.mu.Lock()
		defer l.mu.Unlock()
		for key, want := range map[string]bool{"done": false, "rejected": false, "failed": true, "waiting": true, "stays": true} {
			if _, there := l.keys[key]; there != want {
				t.Errorf("%s is known: %v", key, there)
			}
		}
	})
}

// A panic is a finding until its key was worked on since and it is long past; without anybody to tell, it is not told.
func TestPanicIsOver(t *testing.T) {
	for name, told := range map[string]bool{"told": true, "nobody to tell": false} {
		synctest.Test(t, func(t *testing.T) {
			var passes []string
			var bad atomic.Bool
			var panics, ends atomic.Int32
			bad.Store(true)
			l := plainLoop(&passes, func(key string) error {
				if bad.Load() && key == "bad" {
					panic("broken")
				}
				return nil
			})
			l.Keys = func() []string { return []string{"bad", "good"} }
			l.Resync = 5 * time.Minute
			if told {
				l.OnPanic = func(p *Panic) {
					if p == nil {
						ends.Add(1)
					} else {
						panics.Add(1)
					}
				}
			}
			running(t, l)
			time.Sleep(time.Minute)
			bad.Store(false)
			// The other key's passes alone do not end it, nor its own before the time is over.
			time.Sleep(panicMemory / 2)
			synctest.Wait()
			if ends.Load() != 0 || told != (panics.Load() > 0) {
				t.Errorf("%s: %d panics, over %d times", name, panics.Load(), ends.Load())
			}
			time.Sleep(2 * panicMemory)
			synctest.Wait()
			l.mu.Lock()
			left := l.panic
			l.mu.Unlock()
			if left != nil || told != (ends.Load() == 1) {
				t.Errorf("%s: left %v, over %d times", name, left, ends.Load())
			}
		})
	}
	l := &Loop{keys: map[string]*KeyStatus{"old": {LastSuccess: time.Unix(1, 0)}, "new": {LastSuccess: time.Unix(3, 0)}}}
	for key, want := range map[string]bool{"old": false, "new": true, "gone": true} {
		if got := l.workedSince(&Panic{Key: key, At: time.Unix(2, 0)}); got != want {
			t.Errorf("%s was worked on since: %v", key, got)
		}
	}
}

// A key whose passes are slow, and which is asked for all the time, gets a share of the time; one whose passes are quick has
// them all.
func TestCostlyPassesRest(t *testing.T) {
	for took, most := range map[time.Duration]int{
		time.Millisecond:        240, // each trigger has its pass
		costly - 1:              240,
		costly:                  18,
		1500 * time.Millisecond: 7,
		10 * time.Second:        2, // and no rest is longer than longestRest
	} {
		synctest.Test(t, func(t *testing.T) {
			var passes []string
			l := plainLoop(&passes, func(key string) error {
				if key == "costly" {
					time.Sleep(took)
				}
				return nil
			})
			l.Workers, l.Rest = 2, 6
			running(t, l)
			start := time.Now()
			for time.Since(start) < time.Minute {
				l.Add("costly", "flood")
				l.Add("quick", "flood")
				time.Sleep(250 * time.Millisecond)
			}
			synctest.Wait()
			count := func(key string) (n int) {
				for _, p := range passes {
					if p == key {
						n++
					}
				}
				return n
			}
			share := float64(count("costly")) * float64(took) / float64(time.Minute)
			if n := count("costly"); n > most || n < 2 || took >= costly && took < longestRest/6 && share > 0.25 {
				t.Errorf("passes of %v: %d of them, %.0f %% of the time", took, n, 100*share)
			}
			if n := count("quick"); n < 200 {
				t.Errorf("passes of %v: %d quick ones beside them", took, n)
			}
			// A retry and a resync do not rest: their times are their own.
			before := count("costly")
			l.queue.add("costly", time.Now())
			time.Sleep(took + time.Second)
			synctest.Wait()
			if count("costly") == before {
				t.Errorf("passes of %v: none without a trigger", took)
			}
		})
	}
}
