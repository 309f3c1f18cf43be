package daemon

import (
	"maps"
	"slices"
	"sync"
	"time"

	"labd/internal/finding"
)

// selfFindings are what labd has to say about itself, by what raised it: a configuration that was refused, a loop that
// fails.
type selfFindings struct {
	registry *finding.Registry

	mu       sync.Mutex
	bySource map[string][]finding.Finding
}

// Set replaces what source has to say; nothing takes it back. The subjects must be of kind labd.
func (o *selfFindings) Set(source string, found ...finding.Finding) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bySource == nil {
		o.bySource = map[string][]finding.Finding{}
	}
	o.bySource[source] = found
	var all []finding.Finding
	for _, name := range slices.Sorted(maps.Keys(o.bySource)) {
		all = append(all, o.bySource[name]...)
	}
	o.registry.Update(time.Now(), all, finding.KindLabd)
}
