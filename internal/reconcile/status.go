package reconcile

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// Status is how a loop fares. Counts are since the start.
type Status struct {
	// Passes and Errors count passes of keys, Retries those that come again because of an error, Panics the restarts.
	Passes, Errors, Retries, Panics uint64
	// Adds counts how often a key that was not waiting was asked for.
	Adds uint64
	// Depth is how many keys wait for a worker, Failing how many failed last.
	Depth, Failing int
	// Oldest is how long the key that has waited or been worked on longest does so, Working how long the pass that has
	// been made longest takes; 0 where there is none.
	Oldest, Working time.Duration
	// LastSuccess is the end of the last pass without error; zero when there was none.
	LastSuccess time.Time
	// Duration is how long the last pass took.
	Duration time.Duration
	// Work are the durations of all passes.
	Work Histogram
}

// States of a key.
const (
	StateWaiting = "waiting"
	StateWorking = "working"
	StateDone    = "done"
	StateFailed  = "failed"
	// StateRejected is that of a key with a permanent error.
	StateRejected = "rejected"
)

// KeyStatus is how one key fares.
type KeyStatus struct {
	Key, State string
	// Reason is why: the error, or what is waited for.
	Reason string
	// Since is when the state and its reason last changed; the passes between do not count.
	Since time.Time
	// Failures counts those in a row.
	Failures int
	// LastSuccess is zero when there was none.
	LastSuccess time.Time

	// settled are state and reason before the pass that is being made.
	settled, reason string
}

func (k *KeyStatus) set(state, reason string) {
	k.State, k.Reason = state, reason
	if state == StateWorking || k.settled == state && k.reason == reason {
		return
	}
	k.settled, k.reason, k.Since = state, reason, time.Now()
}

// Panic is a panic in a pass.
type Panic struct {
	// At is when it was, Count how many there were since the loop last counted as well.
	At    time.Time
	Count int
	Key   string
	// Message is the first line of the panic.
	Message, Stack string
}

const (
	// panicMemory is how long a panic is spoken of at least.
	panicMemory    = 10 * time.Minute
	longestRestart = time.Minute
	maxMessage     = 500
)

func firstLine(p *PanicError) string {
	text, _, _ := strings.Cut(p.Error(), "\n")
	text = strings.TrimPrefix(text, "panic: ")
	return text[:min(len(text), maxMessage)]
}

// Status returns the loop's status.
func (l *Loop) Status() Status {
	l.init()
	ready, oldest, working, adds := l.queue.depth()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.status
	s.Work = l.status.Work.Clone()
	s.Depth, s.Adds = ready, adds
	if !oldest.IsZero() {
		s.Oldest = time.Since(oldest)
	}
	if !working.IsZero() {
		s.Working = time.Since(working)
	}
	for _, k := range l.keys {
		if k.Failures > 0 || k.State == StateRejected {
			s.Failing++
		}
	}
	return s
}

// KeyStatuses returns the status of each key that is known, sorted by key.
func (l *Loop) KeyStatuses() []KeyStatus {
	l.init()
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]KeyStatus, 0, len(l.keys))
	for _, k := range l.keys {
		out = append(out, *k)
	}
	slices.SortFunc(out, func(a, b KeyStatus) int { return cmp.Compare(a.Key, b.Key) })
	return out
}

func (l *Loop) note(key string, change func(*KeyStatus)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.change(key, change)
}

func (l *Loop) change(key string, change func(*KeyStatus)) {
	k := l.keys[key]
	if k == nil {
		k = &KeyStatus{Key: key}
		l.keys[key] = k
	}
	change(k)
}

// finish notes the end of a pass.
func (l *Loop) finish(key string, took time.Duration, err error, change func(*KeyStatus)) {
	l.mu.Lock()
	l.status.Passes++
	l.status.Duration = took
	l.status.Work.Observe(took)
	l.change(key, change)
	over := false
	if err != nil {
		l.status.Errors++
	} else {
		now := time.Now()
		l.status.LastSuccess, l.keys[key].LastSuccess = now, now
		over = l.panic != nil && now.Sub(l.panic.At) >= panicMemory && l.workedSince(l.panic)
	}
	if over {
		l.panic = nil
	}
	l.mu.Unlock()
	if over && l.OnPanic != nil {
		l.OnPanic(nil)
	}
}

// workedSince tells whether the key that panicked was worked on without error since, or is not there any more.
func (l *Loop) workedSince(p *Panic) bool {
	k := l.keys[p.Key]
	return k == nil || k.LastSuccess.After(p.At)
}

// notePanic tells of a panic and returns when the one before was; zero when there was none.
func (l *Loop) notePanic(p *Panic) (before time.Time) {
	l.mu.Lock()
	l.status.Panics++
	p.Count = 1
	if l.panic != nil {
		before, p.Count = l.panic.At, l.panic.Count+1
	}
	l.panic = p
	l.mu.Unlock()
	if l.OnPanic != nil {
		l.OnPanic(p)
	}
	return before
}

// Histogram counts durations.
type Histogram struct {
	Count uint64
	Sum   time.Duration
	// Buckets are the numbers of durations up to a bound, by the bound in seconds.
	Buckets map[float64]uint64
}

// NewHistogram counts durations up to each of the bounds, in seconds.
func NewHistogram(bounds ...float64) Histogram {
	h := Histogram{Buckets: map[float64]uint64{}}
	for _, bound := range bounds {
		h.Buckets[bound] = 0
	}
	return h
}

// Observe counts one duration.
func (h *Histogram) Observe(d time.Duration) {
	h.Count++
	h.Sum += d
	for bound := range h.Buckets {
		if d.Seconds() <= bound {
			h.Buckets[bound]++
		}
	}
}

// Clone is a copy that no longer changes.
func (h Histogram) Clone() Histogram {
	h.Buckets = maps.Clone(h.Buckets)
	return h
}
