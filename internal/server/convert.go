package server

import (
	"cmp"
	"time"

	apiv1 "labd/api/v1"
	"labd/internal/finding"
)

// findingsToAPI turns the findings of a report into their API form, with what is known of each; never nil.
func (s *Server) findingsToAPI(fs []finding.Finding) []apiv1.Finding {
	return findingsToAPI(s.Findings.Annotate(time.Now(), fs))
}

func findingsToAPI(fs []finding.Finding) []apiv1.Finding {
	out := make([]apiv1.Finding, 0, len(fs))
	for _, f := range fs {
		item := apiv1.Finding{
			Code: string(f.Code), Severity: apiv1.Severity(f.Severity.String()), Subject: string(f.Subject), Title: f.Title, Cause: f.Cause,
			Confidence: apiv1.Confidence(cmp.Or(f.Confidence, finding.Unknown)), State: apiv1.State(f.State), Evidence: []apiv1.Evidence{}, Remedies: []apiv1.Remedy{},
		}
		if f.Behind != nil {
			item.Behind = &apiv1.FindingRef{Code: string(f.Behind.Code), Subject: string(f.Behind.Subject)}
		}
		if f.Silence != nil {
			silence := silenceToAPI(*f.Silence)
			item.Silence = &silence
		}
		if !f.Since.IsZero() {
			since := f.Since.UTC()
			item.Since = &since
		}
		for _, d := range f.DependsOn {
			item.DependsOn = append(item.DependsOn, apiv1.FindingRef{Code: string(d.Code), Subject: string(d.Subject)})
		}
		for _, e := range f.Evidence {
			item.Evidence = append(item.Evidence, apiv1.Evidence{Source: e.Source, Text: e.Text})
		}
		for _, r := range f.Remedies {
			commands := r.Commands
			if commands == nil {
				commands = []string{}
			}
			item.Remedies = append(item.Remedies, apiv1.Remedy{Title: r.Title, Risk: apiv1.Risk(r.Risk), Commands: commands})
		}
		out = append(out, item)
	}
	return out
}
