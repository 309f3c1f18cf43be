package reconcile

import (
	"sync"
	"time"
)

// queue hands out keys. Its invariants: a key is in ready at most once; a key that is being worked on is not in ready;
// a key that is asked for and not in ready has a timer, or is being worked on and is looked at again when that is done.
type queue struct {
	mu     sync.Mutex
	wake   *sync.Cond
	items  map[string]*item
	ready  []string
	closed bool
	// adds counts how often a key that nobody had asked for was asked for.
	adds uint64
	// rest is Loop.Rest.
	rest int
}

// item is one key.
type item struct {
	// asked says that a pass is wanted, not before due; since is when that was first said.
	asked      bool
	since, due time.Time
	inReady    bool
	timer      *time.Timer
	// working says that a pass is being made, since started.
	working bool
	started time.Time
	// last is when each source's last pass was, or is to be.
	last map[string]time.Time
	// rest is until when triggers wait after a costly pass. triggered says that the wish is a trigger's.
	rest      time.Time
	triggered bool
}

const (
	// costly is how long a pass takes at least that is followed by a rest, longestRest the longest one.
	costly      = 500 * time.Millisecond
	longestRest = 30 * time.Second
)

func newQueue() *queue {
	q := &queue{items: map[string]*item{}}
	q.wake = sync.NewCond(&q.mu)
	return q
}

func (q *queue) item(key string) *item {
	it := q.items[key]
	if it == nil {
		it = &item{last: map[string]time.Time{}}
		q.items[key] = it
	}
	return it
}

// add asks for a pass of key, not before due. An earlier wish stands.
func (q *queue) add(key string, due time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if it := q.item(key); !it.asked || due.Before(it.due) {
		it.triggered = false
	}
	q.ask(key, due)
}

// addFrom asks for a pass on behalf of a source: at once the first time, and together with all that the same source says
// within gather after that.
func (q *queue) addFrom(key, source string, gather time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it, now := q.item(key), time.Now()
	due := it.last[source]
	if !due.After(now) {
		if due = due.Add(gather); due.Before(now) {
			due = now
		}
		it.last[source] = due
	}
	if due.Before(it.rest) {
		due = it.rest
	}
	if !it.asked || due.Before(it.due) {
		it.triggered = true
	}
	q.ask(key, due)
}

func (q *queue) ask(key string, due time.Time) {
	it := q.item(key)
	if it.asked && !due.Before(it.due) {
		return
	}
	if !it.asked {
		it.asked, it.since = true, time.Now()
		q.adds++
	}
	it.due = due
	q.schedule(key, it)
}

// schedule makes the key ready when it is due.
func (q *queue) schedule(key string, it *item) {
	if !it.asked || it.working || it.inReady || q.closed {
		return
	}
	if wait := time.Until(it.due); wait > 0 {
		if it.timer == nil {
			it.timer = time.AfterFunc(wait, func() { q.fire(key) })
		} else {
			it.timer.Reset(wait)
		}
		return
	}
	it.stopTimer()
	it.inReady = true
	q.ready = append(q.ready, key)
	q.wake.Signal()
}

func (it *item) stopTimer() {
	if it.timer != nil {
		it.timer.Stop()
		it.timer = nil
	}
}

func (q *queue) fire(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if it := q.items[key]; it != nil {
		it.timer = nil
		q.schedule(key, it)
	}
}

// get waits for a key and hands it out, with when it was asked for; stop ends the wait when it returns true and wakeAll is called.
func (q *queue) get(stop func() bool) (key string, asked time.Time, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if stop() {
			return "", time.Time{}, false
		}
		if len(q.ready) > 0 {
			break
		}
		q.wake.Wait()
	}
	key, q.ready = q.ready[0], q.ready[1:]
	it := q.items[key]
	it.inReady, it.asked, it.working, it.started = false, false, true, time.Now()
	return key, it.since, true
}

// done ends the work on key.
func (q *queue) done(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.items[key]
	it.working = false
	now := time.Now()
	if took := now.Sub(it.started); q.rest > 0 && took >= costly {
		it.rest = now.Add(min(time.Duration(q.rest)*took, longestRest))
	}
	if it.triggered && it.due.Before(it.rest) {
		it.due = it.rest // it came while the pass was being made
	}
	q.schedule(key, it)
}

func (q *queue) wakeAll() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.wake.Broadcast()
}

// keep forgets the keys that keep does not want and that nobody has asked for.
func (q *queue) keep(keep func(string) bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for key, it := range q.items {
		if !it.asked && !it.working && !keep(key) {
			delete(q.items, key)
		}
	}
}

// close stops the timers; what is ready may still be handed out.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, it := range q.items {
		it.stopTimer()
	}
}

// depth is how many keys wait for a worker; oldest is since when the key that waits or is worked on longest does so,
// working since when the one that is worked on longest is. Both are zero where there is none.
func (q *queue) depth() (ready int, oldest, working time.Time, adds uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	earlier := func(a *time.Time, b time.Time) {
		if a.IsZero() || b.Before(*a) {
			*a = b
		}
	}
	now := time.Now()
	for _, it := range q.items {
		if it.working {
			earlier(&oldest, it.started)
			earlier(&working, it.started)
		}
		if it.asked && !it.due.After(now) {
			earlier(&oldest, it.since)
		}
	}
	return len(q.ready), oldest, working, q.adds
}
