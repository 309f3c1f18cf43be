package daemon

import (
	"strings"
	"time"

	"labd/internal/finding"
)

// selfFindings are what labd has to say about itself: a configuration that was refused, a loop that fails.
type selfFindings struct{ registry *finding.Registry }

// Set replaces what there is to say about a part of labd, labd/PART and all below it. To set none says that the part is well:
// what is remembered of it from before a restart is over then.
func (o *selfFindings) Set(part string, found ...finding.Finding) {
	o.registry.UpdateWhere(time.Now(), found, func(s finding.Subject) bool {
		name := s.Name()
		return s.IsKind(finding.KindLabd) && (name == part || strings.HasPrefix(name, part+"/"))
	})
}

// setAside ends what is remembered of a notification target that is not configured any more.
func (o *selfFindings) setAside(targets []string) {
	configured := map[string]bool{}
	for _, name := range targets {
		configured["notify/"+name] = true
	}
	o.registry.UpdateWhere(time.Now(), nil, func(s finding.Subject) bool {
		return s.IsKind(finding.KindLabd) && strings.HasPrefix(s.Name(), "notify/") && !configured[s.Name()]
	})
}
