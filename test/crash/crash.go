// Package crash kills a plan at every point of every step, and the undo of it, and checks both ways out: what was begun can be
// taken back, and the plan can be made and applied again.
//
// The kill is that of the goroutine which carries out the plan, in the middle of an operation: as with SIGKILL nothing of labd
// runs after it, not even the note that something failed. test/e2e kills a real daemon, for removals.
package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labd/internal/plan"
)

// World is what a plan works on. Each try has a new one.
type World struct {
	Runner *plan.Runner
	// Plan makes the plan for the world as it is now; nil, or one without steps, when there is nothing left to do.
	Plan func() (*plan.Plan, error)
	// State is whatever the plan may change, in a form that can be compared.
	State func() any
}

// point is where a step is cut off.
type point string

// Points of a step: before its precondition, before and after its change, after its verification.
const (
	checked  point = "before"
	intended point = "intent"
	changed  point = "changed"
	verified point = "verified"
)

// killer is an Op that ends its goroutine at one point of one step.
type killer struct {
	plan.Op
	run *run
}

// run is one apply or undo.
type run struct {
	step int // of the present one, -1 before the first
	at   int
	kill point
}

func (r *run) reach(p point) {
	if r.step == r.at && r.kill == p {
		runtime.Goexit()
	}
}

func (k killer) Check(ctx context.Context, params json.RawMessage) error {
	k.run.step++
	k.run.reach(checked)
	return k.Op.Check(ctx, params)
}

func (k killer) Do(ctx context.Context, params json.RawMessage) error {
	k.run.reach(intended)
	err := k.Op.Do(ctx, params)
	k.run.reach(changed)
	return err
}

func (k killer) Verify(ctx context.Context, params json.RawMessage) error {
	err := k.Op.Verify(ctx, params)
	k.run.reach(verified)
	return err
}

func (k killer) Undo(ctx context.Context, params, saved json.RawMessage) error {
	k.run.step++
	k.run.reach(intended)
	err := k.Op.Undo(ctx, params, saved)
	k.run.reach(changed)
	return err
}

// killed runs do with a runner that dies at a point of a step, and reports whether it died.
func killed(w World, at int, p point, do func(r *plan.Runner) error) (died bool, err error) {
	state := &run{step: -1, at: at, kill: p}
	ops := plan.Ops{}
	for name, op := range w.Runner.Ops {
		ops[name] = killer{op, state}
	}
	runner := &plan.Runner{Journal: w.Runner.Journal, Ops: ops, StepTimeout: w.Runner.StepTimeout}
	done := make(chan struct{})
	died = true
	go func() {
		defer close(done)
		err = do(runner)
		died = false
	}()
	<-done
	return died, err
}

// Everywhere kills the plan of a world at each point of each step, and its undo.
func Everywhere(t *testing.T, makeWorld func(t *testing.T) World) {
	t.Helper()
	var steps int
	var after any
	// A world of its own, which is gone before the next one is made.
	if !t.Run("not killed", func(t *testing.T) {
		w := makeWorld(t)
		if steps = len(mustPlan(t, w).Steps); steps == 0 {
			t.Fatal("the plan has no steps")
		}
		if _, err := w.Runner.Apply(t.Context(), mustPlan(t, w), "test"); err != nil {
			t.Fatal(err)
		}
		after = w.State()
	}) {
		return
	}
	for step := range steps {
		for _, p := range []point{checked, intended, changed, verified} {
			t.Run(fmt.Sprintf("apply/%d %s", step, p), func(t *testing.T) { tryApply(t, makeWorld(t), after, step, p) })
		}
	}
	for step := range steps {
		for _, p := range []point{intended, changed} {
			t.Run(fmt.Sprintf("undo/%d %s", step, p), func(t *testing.T) { tryUndo(t, makeWorld(t), step, p) })
		}
	}
}

func mustPlan(t *testing.T, w World) *plan.Plan {
	t.Helper()
	p, err := w.Plan()
	if err != nil || p == nil {
		t.Fatalf("plan %v, %v", p, err)
	}
	return p
}

func newest(t *testing.T, w World) *plan.Entry {
	t.Helper()
	entries, err := w.Runner.Journal.Entries()
	if err != nil || len(entries) == 0 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	return entries[len(entries)-1]
}

func undo(t *testing.T, w World, id string) {
	t.Helper()
	p, err := w.Runner.UndoPlan(id)
	if err != nil {
		t.Fatalf("undo %s: %v", id, err)
	}
	if _, err := w.Runner.Undo(t.Context(), id, p.Digest, "test"); err != nil {
		t.Fatalf("undo %s: %v", id, err)
	}
}

func tryApply(t *testing.T, w World, after any, step int, p point) {
	before := w.State()
	died, err := killed(w, step, p, func(r *plan.Runner) error {
		_, err := r.Apply(t.Context(), mustPlan(t, w), "test")
		return err
	})
	if !died {
		t.Fatalf("it did not come so far: %v", err)
	}
	e := newest(t, w)
	if begun := p != checked; e.State != plan.StateInterrupted || e.StepsDone() != step || e.Steps[step].Begun != begun || !e.EndedAt.IsZero() {
		t.Fatalf("the journal says %+v", e)
	}
	canUndo := false
	for i, s := range e.Steps {
		canUndo = canUndo || s.Begun && e.Plan.Steps[i].Undoable
	}
	if canUndo {
		undo(t, w, e.ID)
		if e = entry(t, w, e.ID); e.State != plan.StateUndone {
			t.Errorf("after undo the journal says %+v", e)
		}
	}
	if diff := cmp.Diff(before, w.State()); diff != "" {
		t.Fatalf("after undo, -want +got:\n%s", diff)
	}

	// Once more, and on from there. An undo may have brought about what was wanted.
	if again, err := w.Plan(); err != nil || again == nil {
		if err != nil {
			t.Fatalf("plan again: %v", err)
		}
		return
	}
	if died, err := killed(w, step, p, func(r *plan.Runner) error {
		_, err := r.Apply(t.Context(), mustPlan(t, w), "test")
		return err
	}); !died {
		t.Fatalf("the second time it did not come so far: %v", err)
	}
	rest, err := w.Plan()
	if err != nil {
		t.Fatalf("plan what is left: %v", err)
	}
	if rest != nil && len(rest.Steps) > 0 {
		if _, err := w.Runner.Apply(t.Context(), rest, "test"); err != nil {
			t.Fatalf("apply what is left: %v", err)
		}
	}
	if diff := cmp.Diff(after, w.State()); diff != "" {
		t.Fatalf("after what was left, -want +got:\n%s", diff)
	}
}

func entry(t *testing.T, w World, id string) *plan.Entry {
	t.Helper()
	e, err := w.Runner.Journal.Entry(id)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func tryUndo(t *testing.T, w World, step int, p point) {
	before := w.State()
	e, err := w.Runner.Apply(t.Context(), mustPlan(t, w), "test")
	if err != nil {
		t.Fatal(err)
	}
	back, err := w.Runner.UndoPlan(e.ID)
	if err != nil {
		t.Fatal(err)
	}
	if step >= len(back.Steps) {
		return // the undo has fewer steps
	}
	died, err := killed(w, step, p, func(r *plan.Runner) error {
		_, err := r.Undo(t.Context(), e.ID, back.Digest, "test")
		return err
	})
	if !died {
		t.Fatalf("it did not come so far: %v", err)
	}
	if u := newest(t, w); u.Undoes != e.ID || u.State != plan.StateInterrupted || entry(t, w, e.ID).State != plan.StateApplied {
		t.Fatalf("the journal says %+v", u)
	}
	undo(t, w, e.ID)
	if diff := cmp.Diff(before, w.State()); diff != "" {
		t.Fatalf("after the second undo, -want +got:\n%s", diff)
	}
}
