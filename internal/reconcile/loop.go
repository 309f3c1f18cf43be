package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// HostKey is the key of what concerns the whole host, and the only key of a loop without Keys.
const HostKey = "host"

// Loop makes passes over keys: over all of them at once and then every Resync, and over one whenever it is added.
type Loop struct {
	Name string
	// Keys are the keys of a resync; nil stands for HostKey alone.
	Keys func() []string
	// Work brings one key to where it should be. Its error may be Permanent, a *LaterError or a *PanicError.
	Work func(ctx context.Context, key string) error
	// Resync is how often all keys are worked on without a cause, give or take a tenth.
	Resync time.Duration
	// Coalesce is how long the triggers of one source are gathered after one that had its pass.
	Coalesce time.Duration
	// Rest is how many times as long as a costly pass (of half a second or more) the triggers of its key wait after it: whoever
	// makes passes slow and asks for them all the time, as a container with ten thousand addresses, gets a share of the host
	// and not all of it. Retries and resyncs have times of their own. 0 stands for no rest.
	Rest int
	// Workers is how many keys are worked on at a time; 0 stands for 1.
	Workers int
	Log     *slog.Logger
	// OnPanic, where set, is told of a panic, and with nil when it is long past and its key was worked on since.
	OnPanic func(*Panic)

	once    sync.Once
	queue   *queue
	retries *Bucket
	// spread is jitter; tests that want to know the very moment leave it out.
	spread func(time.Duration) time.Duration

	mu     sync.Mutex
	status Status
	keys   map[string]*KeyStatus
	panic  *Panic
}

func (l *Loop) init() {
	l.once.Do(func() {
		l.queue = newQueue()
		l.queue.rest = l.Rest
		l.retries = NewBucket(retryBurst, retryEvery)
		l.keys = map[string]*KeyStatus{}
		// From a quiet look to a pass that takes all its time.
		l.status.Work = NewHistogram(0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 10, 30)
		if l.spread == nil {
			l.spread = jitter
		}
	})
}

// Add asks for a pass of key because source says that it changed: at once, or together with what else that source says
// within Coalesce of its last pass. A permanent error of the key is forgotten. It never blocks.
func (l *Loop) Add(key, source string) {
	l.init()
	l.mu.Lock()
	if k := l.keys[key]; k != nil && k.State == StateRejected {
		k.set(StateWaiting, source)
	}
	l.mu.Unlock()
	l.queue.addFrom(key, source, l.Coalesce)
}

// Nudge asks for a pass of key unless it failed last and waits for its turn, or was rejected: for what follows from other
// keys, which must not shorten a back-off.
func (l *Loop) Nudge(key string) {
	l.init()
	l.mu.Lock()
	k := l.keys[key]
	waits := k != nil && (k.Failures > 0 || k.State == StateRejected || k.State == StateWaiting)
	l.mu.Unlock()
	if !waits {
		l.queue.add(key, time.Now())
	}
}

// askedKey is the key of a context's value: when the pass was asked for.
type askedKey struct{}

// AskedAt is when the pass that ctx belongs to was asked for; now outside of passes.
func AskedAt(ctx context.Context) time.Time {
	if at, ok := ctx.Value(askedKey{}).(time.Time); ok {
		return at
	}
	return time.Now()
}

// Run runs the loop until ctx ends and no pass is being made any more. A panic stops the passes that are being made, and
// the loop goes on after a back-off.
func (l *Loop) Run(ctx context.Context) {
	l.init()
	defer l.queue.close()
	var resync sync.WaitGroup
	defer resync.Wait()
	resync.Go(func() { l.resync(ctx) })
	panics := 0
	for ctx.Err() == nil {
		caught := l.work(ctx)
		if caught == nil {
			return
		}
		if before := l.notePanic(caught); time.Since(before) > panicMemory {
			panics = 0
		}
		panics++
		wait := l.spread(backOff(panics, longestRestart))
		l.Log.Error("loop panicked and is started again", "loop", l.Name, "key", caught.Key, "panic", caught.Message, "wait", wait.Round(time.Millisecond), "stack", caught.Stack)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// resync adds all keys again and again, until ctx ends.
func (l *Loop) resync(ctx context.Context) {
	for {
		keys := []string{HostKey}
		if l.Keys != nil {
			keys = l.Keys()
		}
		for _, key := range keys {
			if !l.rejected(key) {
				l.queue.add(key, time.Now())
			}
		}
		l.forget(keys)
		select {
		case <-ctx.Done():
			return
		case <-time.After(l.spread(l.Resync)):
		}
	}
}

// work lets workers take keys until ctx ends, or until one panics.
func (l *Loop) work(parent context.Context) *Panic {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	defer context.AfterFunc(ctx, l.queue.wakeAll)()
	var caught *Panic
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range max(1, l.Workers) {
		workers.Go(func() {
			for {
				key, asked, ok := l.queue.get(func() bool { return ctx.Err() != nil })
				if !ok {
					return
				}
				p := l.pass(context.WithValue(ctx, askedKey{}, asked), key)
				if p != nil {
					mu.Lock()
					caught = p
					mu.Unlock()
					cancel()
				}
			}
		})
	}
	workers.Wait()
	if parent.Err() != nil {
		return nil
	}
	return caught
}

// pass works on one key and decides when it comes again. It returns the panic, if there was one.
func (l *Loop) pass(ctx context.Context, key string) *Panic {
	start := time.Now()
	l.note(key, func(k *KeyStatus) { k.set(StateWorking, "") })
	err := Catch(func() error { return l.Work(ctx, key) })
	took := time.Since(start)
	defer l.queue.done(key)
	var later *LaterError
	var rejected *permanent
	var panicked *PanicError
	switch {
	case errors.As(err, &later):
		l.finish(key, took, nil, func(k *KeyStatus) { k.set(StateWaiting, later.Reason) })
		l.queue.add(key, time.Now().Add(later.After))
	case err == nil:
		l.finish(key, took, nil, func(k *KeyStatus) {
			k.Failures = 0
			k.set(StateDone, "")
		})
	case ctx.Err() != nil && !errors.As(err, &panicked):
		// The loop was stopped in the middle; after a panic elsewhere the key has its turn again.
		l.note(key, func(k *KeyStatus) { k.set(StateWaiting, "stopped in the middle") })
		l.queue.add(key, time.Now())
	case errors.As(err, &rejected):
		l.finish(key, took, err, func(k *KeyStatus) { k.set(StateRejected, err.Error()) })
		l.Log.Warn("pass failed; not tried again before a change", "loop", l.Name, "key", key, "err", err)
	default:
		wait := l.retry(key, took, err)
		if errors.As(err, &panicked) {
			return &Panic{At: time.Now(), Key: key, Message: firstLine(panicked), Stack: string(panicked.Stack)}
		}
		l.Log.Warn("pass failed", "loop", l.Name, "key", key, "err", err, "retry", wait.Round(time.Millisecond))
	}
	return nil
}

// retry notes a failure and has the key come again after its back-off, as the rate of all retries allows.
func (l *Loop) retry(key string, took time.Duration, err error) time.Duration {
	var wait time.Duration
	l.finish(key, took, err, func(k *KeyStatus) {
		k.Failures++
		wait = l.spread(backOff(k.Failures, l.Resync)) + l.retries.Reserve(time.Now())
		k.set(StateFailed, err.Error())
	})
	l.mu.Lock()
	l.status.Retries++
	l.mu.Unlock()
	l.queue.add(key, time.Now().Add(wait))
	return wait
}

func (l *Loop) rejected(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.keys[key]
	return k != nil && k.State == StateRejected
}

// forget drops what is known of keys that are not among those of a resync and have nothing to do.
func (l *Loop) forget(keys []string) {
	keep := func(key string) bool { return slices.Contains(keys, key) }
	l.queue.keep(keep)
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, k := range l.keys {
		if (k.State == StateDone || k.State == StateRejected) && !keep(key) {
			delete(l.keys, key)
		}
	}
}
