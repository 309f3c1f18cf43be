package daemon

import (
	"fmt"
	"time"

	"labd/internal/finding"
	"labd/internal/reconcile"
)

// panicked returns what a loop tells its panics to: each is a finding until the loop has worked without for a while.
func (s *service) panicked(loop string) func(*reconcile.Panic) {
	return func(p *reconcile.Panic) {
		if p == nil {
			s.self.Set(loop)
			return
		}
		s.self.Set(loop, panicFinding(loop, p))
	}
}

func panicFinding(loop string, p *reconcile.Panic) finding.Finding {
	return finding.Finding{
		Code: finding.LabdLoopPanicked, Severity: finding.Warn, Subject: finding.Labd(loop),
		Title:      fmt.Sprintf("the %s loop met a fault in labd and was started again", loop),
		Cause:      "a fault in labd itself; the other loops go on, and so does what this one keeps in routes and rules",
		Confidence: finding.Certain,
		Evidence: []finding.Evidence{
			{Source: "panic", Text: p.Message},
			{Source: "key", Text: fmt.Sprintf("%s, %d times by %s", p.Key, p.Count, p.At.UTC().Format(time.DateTime))},
		},
		Remedies: []finding.Remedy{{
			Title: "report it with the lines of labd's log around it", Risk: finding.RiskNone,
			Commands: []string{"labctl version", "journalctl -u labd --since=-1h --grep=panicked"},
		}},
	}
}
