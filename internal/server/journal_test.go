package server

import (
	"context"
	"net/http"
	"testing"

	apiv1 "labd/api/v1"
	"labd/internal/finding"
	"labd/internal/plan"
)

// One entry comes with its steps: what was there before, and never what undo keeps.
func TestJournalEntry(t *testing.T) {
	s := testServer(t)
	s.Runner.Ops = plan.Ops{"set": plan.Typed[string, map[string]string]{
		DoFunc: func(_ context.Context, _ string) error { return nil },
		CaptureFunc: func(_ context.Context, _ string) (map[string]string, error) {
			return map[string]string{"value": "0", "password": "hunter2"}, nil
		},
		FormerFunc: func(name string, saved map[string]string) string { return name + " was " + saved["value"] },
	}}
	step, err := plan.NewStep("set", "forwarding", plan.Step{Title: "Switch it on", How: "sysctl", Verified: "read it", Risk: finding.RiskLow})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Runner.Apply(t.Context(), &plan.Plan{Title: "Forward", Steps: []plan.Step{step}}, "root"); err != nil {
		t.Fatal(err)
	}
	var answer apiv1.Envelope[apiv1.JournalItem]
	ask(t, s, reader, http.MethodGet, "/v1/journal/1", "", &answer)
	if len(answer.Items) != 1 || len(answer.Items[0].StepList) != 1 {
		t.Fatalf("%+v", answer)
	}
	got := answer.Items[0].StepList[0]
	if got.Former != "forwarding was 0" || !got.Done || got.BegunAt == nil || got.EndedAt == nil || got.How != "sysctl" {
		t.Errorf("%+v", got)
	}
	for path, status := range map[string]int{"/v1/journal/2": http.StatusNotFound, "/v1/journal/x": http.StatusNotFound} {
		if rec := ask(t, s, reader, http.MethodGet, path, "", nil); rec.Code != status {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
	if rec := ask(t, s, stranger, http.MethodGet, "/v1/journal/1", "", nil); rec.Code != http.StatusForbidden {
		t.Errorf("a stranger: %d", rec.Code)
	}
}
