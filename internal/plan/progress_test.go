package plan

import (
	"encoding/json"
	"slices"
	"testing"
)

// Whoever applies hears of each step, and the journal knows when each began and ended and what was there before.
func TestProgress(t *testing.T) {
	w := &world{on: map[string]bool{"a": true, "b": true, "c": true}, failDo: "b"}
	r := newRunner(t, w)
	var got []Progress
	ctx := WithProgress(t.Context(), func(p Progress) { got = append(got, p) })
	entry, err := r.Apply(ctx, switches(t, "storage/n/x", "a", "b", "c"), "uid 0")
	if err == nil {
		t.Fatal("step b is to fail")
	}
	want := []Progress{{1, 3, "a", PhaseBegun}, {1, 3, "a", PhaseDone}, {2, 3, "b", PhaseBegun}, {2, 3, "b", PhaseFailed}}
	if !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
	for i, times := range []bool{true, true, false} {
		s := entry.Steps[i]
		if s.BegunAt.IsZero() == times || s.EndedAt.IsZero() == times || s.EndedAt.Before(s.BegunAt) {
			t.Errorf("step %d: from %v to %v", i, s.BegunAt, s.EndedAt)
		}
	}
}

func TestFormer(t *testing.T) {
	ops := Ops{
		"tells": Typed[string, bool]{FormerFunc: func(name string, was bool) string {
			if was {
				return name + " was on"
			}
			return name + " was off"
		}},
		"silent": Typed[string, bool]{},
	}
	for _, tt := range []struct{ op, params, saved, want string }{
		{"tells", `"a"`, "true", "a was on"},
		{"tells", `"a"`, "", ""},
		{"tells", `"a"`, `{"of": "another labd"}`, ""},
		{"silent", `"a"`, "true", ""},
		{"unknown", `"a"`, "true", ""},
	} {
		if got := ops.Former(tt.op, json.RawMessage(tt.params), json.RawMessage(tt.saved)); got != tt.want {
			t.Errorf("%s %s %s: %q, want %q", tt.op, tt.params, tt.saved, got, tt.want)
		}
	}
}
