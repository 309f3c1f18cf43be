package reconcile

import (
	"testing"
	"time"
)

// A bucket gives its burst at once and then a token in each interval; one that is not given is not taken.
func TestBucket(t *testing.T) {
	now := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	b := NewBucket(2, 10*time.Second)
	for i := range 2 {
		if wait := b.Take(now); wait != 0 {
			t.Errorf("token %d: wait %s", i, wait)
		}
	}
	for range 3 { // to be refused costs nothing
		if wait := b.Take(now); wait.Round(time.Millisecond) != 10*time.Second {
			t.Errorf("an empty bucket: wait %s", wait)
		}
	}
	if wait := b.Take(now.Add(10 * time.Second)); wait != 0 {
		t.Errorf("after the interval: wait %s", wait)
	}
	if first, second := b.Reserve(now.Add(10*time.Second)), b.Reserve(now.Add(10*time.Second)); first.Round(time.Millisecond) != 10*time.Second || second.Round(time.Millisecond) != 20*time.Second {
		t.Errorf("reserved: %s, %s", first, second)
	}
}
