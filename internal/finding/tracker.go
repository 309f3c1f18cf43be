package finding

import (
	"sync"
	"time"
)

// Tracker remembers since when each finding has been there. It is safe for concurrent use.
type Tracker struct {
	mu    sync.Mutex
	since map[Ref]time.Time
}

// NewTracker returns an empty Tracker.
func NewTracker() *Tracker { return &Tracker{since: map[Ref]time.Time{}} }

// Update sets Since on each of fs and forgets findings with a subject of the given kind ("nvme", "storage", …) that
// are no longer there. kinds are the kinds of subject that fs speaks for completely.
func (t *Tracker) Update(now time.Time, fs []Finding, kinds ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	present := make(map[Ref]bool, len(fs))
	for i := range fs {
		ref := fs[i].Ref()
		present[ref] = true
		if _, ok := t.since[ref]; !ok {
			t.since[ref] = now
		}
		fs[i].Since = t.since[ref]
	}
	for ref := range t.since {
		for _, kind := range kinds {
			if ref.Subject.IsKind(kind) && !present[ref] {
				delete(t.since, ref)
			}
		}
	}
}
