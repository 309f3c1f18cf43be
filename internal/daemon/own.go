package daemon

import (
	"maps"
	"slices"
	"sync"
	"time"

	"labd/internal/finding"
)

// ownFindings are what labd has to say about itself, by what raised it: a configuration that was refused, a loop that
// fails. The zero value is ready.
type ownFindings struct {
	mu       sync.Mutex
	bySource map[string][]finding.Finding
}

// Set replaces what source has to say; nothing takes it back.
func (o *ownFindings) Set(source string, found ...finding.Finding) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bySource == nil {
		o.bySource = map[string][]finding.Finding{}
	}
	if len(found) == 0 {
		delete(o.bySource, source)
		return
	}
	now := time.Now()
	for i := range found {
		found[i].Since = now
		for _, old := range o.bySource[source] {
			if old.Ref() == found[i].Ref() {
				found[i].Since = old.Since
			}
		}
	}
	o.bySource[source] = found
}

// All returns all of them, in the order of their sources.
func (o *ownFindings) All() []finding.Finding {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []finding.Finding
	for _, source := range slices.Sorted(maps.Keys(o.bySource)) {
		all = append(all, o.bySource[source]...)
	}
	return all
}
