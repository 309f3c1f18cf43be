package reconcile

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Bucket is a token bucket: Burst at once, then one every Every. The zero value is not of use; it is safe for concurrent
// use.
type Bucket struct {
	Burst int
	Every time.Duration

	mu sync.Mutex
	// full is when the bucket will be full again; the tokens that are missing are those of the time until then.
	full time.Time
}

// Take takes a token and returns 0, or takes none and returns how long it will be until there is one.
func (b *Bucket) Take(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	wait := b.wait(now)
	if wait <= 0 {
		b.full = b.full.Add(b.Every)
	}
	return max(wait, 0)
}

// Reserve takes a token in any case, and returns how long to wait before it may be used.
func (b *Bucket) Reserve(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	wait := b.wait(now)
	b.full = b.full.Add(b.Every)
	return max(wait, 0)
}

// wait is how long it will be until there is a token; negative where there are more.
func (b *Bucket) wait(now time.Time) time.Duration {
	if b.full.Before(now) {
		b.full = now
	}
	return b.full.Add(b.Every).Sub(now) - time.Duration(b.Burst)*b.Every
}

const (
	firstBackOff   = time.Second
	longestBackOff = 5 * time.Minute
	// All retries of a loop together: a burst, and then so many a second.
	retryBurst = 100
	retryEvery = 100 * time.Millisecond
)

// backOff is how long to wait after so many failures in a row, at the most most.
func backOff(failures int, most time.Duration) time.Duration {
	wait := firstBackOff
	for i := 1; i < failures && wait < longestBackOff; i++ {
		wait *= 2
	}
	return min(wait, longestBackOff, most)
}

// jitter spreads d by a tenth both ways, so that many hosts, and many keys, do not move in step.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d - d/10 + rand.N(d/5+1)
}
