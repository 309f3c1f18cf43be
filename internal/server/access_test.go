package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	apiv1 "labd/api/v1"
	"labd/internal/plan"
	"labd/internal/pve"
)

// What PVE does not permit is "not permitted", which is exit code 6, and names the way out; before a plan and at a step.
func TestNotPermittedByPVE(t *testing.T) {
	refused := pve.TokenRefused("the API token labd@pve!labd expired on 2026-11-01")
	for _, err := range []error{refused, fmt.Errorf("plan: %w", refused), &plan.StepError{Entry: "3", Step: 1, Of: 2, Title: "t", Err: refused, Touched: true}} {
		e := classify(err)
		if e.status != http.StatusForbidden || e.code != apiv1.ErrorNotPermitted || !strings.Contains(e.hint, "labctl setup pve") {
			t.Errorf("%v: %+v", err, e)
		}
	}
}

// A failed undo names the entry that is to be undone again, not the undo itself.
func TestFailedUndoNamesItsEntry(t *testing.T) {
	e := classify(&plan.StepError{Entry: "3", Step: 1, Of: 2, Title: "t", Err: fmt.Errorf("x"), Touched: true, Undoes: "2"})
	if !strings.Contains(e.hint, "labctl undo 2 again") || strings.Contains(e.hint, "undo 3") {
		t.Errorf("hint %q", e.hint)
	}
}
