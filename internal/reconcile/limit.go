package reconcile

import (
	"math/rand/v2"
	"time"

	"golang.org/x/time/rate"
)

// Bucket is a token bucket: some tokens at once, then one in each interval. It is safe for concurrent use.
type Bucket struct{ limiter *rate.Limiter }

// NewBucket returns a full bucket of burst tokens.
func NewBucket(burst int, every time.Duration) *Bucket {
	return &Bucket{rate.NewLimiter(rate.Every(every), burst)}
}

// Take takes a token and returns 0, or takes none and returns how long it will be until there is one.
func (b *Bucket) Take(now time.Time) time.Duration {
	reservation := b.limiter.ReserveN(now, 1)
	wait := reservation.DelayFrom(now).Round(time.Microsecond) // it counts in floating point
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

// Reserve takes a token in any case, and returns how long to wait before it may be used.
func (b *Bucket) Reserve(now time.Time) time.Duration {
	return b.limiter.ReserveN(now, 1).DelayFrom(now).Round(time.Microsecond)
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
