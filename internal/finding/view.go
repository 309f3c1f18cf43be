package finding

import (
	"time"
)

// State is whether a finding is shown, or why it is not.
type State string

// States. An active finding is shown, counted and told. A pending one has not been there for its code's Settle time.
// A consequence is hidden behind the finding that it depends on. A silenced one is what an operator does not want to
// hear of for a while.
const (
	StateActive      State = "active"
	StatePending     State = "pending"
	StateConsequence State = "consequence"
	StateSilenced    State = "silenced"
)

// States are all states, in the order of how much they ask for attention.
func States() []State { return []State{StateActive, StateConsequence, StatePending, StateSilenced} }

// Severities are all severities, worst first.
func Severities() []Severity { return []Severity{Fail, Warn, Info} }

// upstream returns the findings among present that ref depends on, directly or not; ref itself only in a cycle.
func upstream(ref Ref, present map[Ref]*entry) map[Ref]bool {
	seen := map[Ref]bool{}
	todo := []Ref{ref}
	for len(todo) > 0 {
		e := present[todo[0]]
		todo = todo[1:]
		if e == nil {
			continue
		}
		for _, dep := range e.finding.DependsOn {
			if present[dep] != nil && !seen[dep] {
				seen[dep] = true
				todo = append(todo, dep)
			}
		}
	}
	return seen
}

// cause returns the finding behind which ref hides: of those that it depends on, the one that depends on nothing
// present itself. In a circle of findings that depend on each other the first by name stays visible.
func cause(ref Ref, present map[Ref]*entry) (Ref, bool) {
	var best Ref
	found := false
	for candidate := range upstream(ref, present) {
		if candidate == ref {
			continue
		}
		above := upstream(candidate, present)
		root := true
		for other := range above {
			// Something strictly above the candidate, or before it in its circle, is a better root.
			if other != candidate && (!upstream(other, present)[candidate] || less(other, candidate)) {
				root = false
			}
		}
		if root && above[ref] && less(ref, candidate) {
			root = false // ref is the visible one of this circle
		}
		if root && (!found || less(candidate, best)) {
			best, found = candidate, true
		}
	}
	return best, found
}

func less(a, b Ref) bool {
	if a.Subject != b.Subject {
		return a.Subject < b.Subject
	}
	return a.Code < b.Code
}

// view fills in what the registry knows of an entry: its state, since when, and what hides it.
func (r *Registry) view(e *entry, now time.Time, present map[Ref]*entry) Finding {
	f := e.finding
	f.Since = e.record.Since
	ref := f.Ref()
	if s := r.silenceOf(ref, now); s != nil {
		f.State, f.Silence = StateSilenced, s
		return f
	}
	if root, hidden := cause(ref, present); hidden {
		f.State, f.Behind = StateConsequence, &root
		// Who does not want to hear of the cause does not want to hear of what follows from it.
		if s := r.silenceOf(root, now); s != nil {
			f.State, f.Silence = StateSilenced, s
		}
		return f
	}
	f.State = StateActive
	if !e.settled && !r.immediate && now.Sub(e.seen) < r.settle(f.Code) {
		f.State = StatePending
	}
	return f
}
