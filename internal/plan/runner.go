package plan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"labd/internal/finding"
)

// DefaultStepTimeout bounds one step with its check and verification.
const DefaultStepTimeout = 90 * time.Second

// Runner applies and undoes plans, one at a time.
type Runner struct {
	Journal *Journal
	Ops     Ops
	// StepTimeout is DefaultStepTimeout when zero.
	StepTimeout time.Duration
	mu          sync.Mutex
}

// ErrBusy says that another apply is running.
var ErrBusy = errors.New("another change is being applied; try again when it is done")

// Wait returns when no plan is being applied any more.
func (r *Runner) Wait() {
	r.mu.Lock()
	defer r.mu.Unlock()
}

// StepError says which step failed and what is left to do.
type StepError struct {
	Entry string
	Step  int // counted from 1
	Of    int
	Title string
	Err   error
	// Touched says that a step has changed something, so that there is something to undo.
	Touched bool
	// Undoes is the entry that was to be taken back, "" when the plan was no undo. Failed is how many of its steps could
	// not be.
	Undoes string
	Failed int
}

func (e *StepError) Error() string {
	text := fmt.Sprintf("step %d of %d (%s): %v", e.Step, e.Of, e.Title, e.Err)
	if e.Failed > 1 {
		text += fmt.Sprintf("; %d more steps could not be taken back", e.Failed-1)
	}
	return text
}

func (e *StepError) Unwrap() error { return e.Err }

// Apply carries out p step by step and returns the journal entry, also with an error. When ctx ends, the step that
// runs is finished first; the entry then says interrupted. A precondition that fails before the first step leaves
// the host untouched.
func (r *Runner) Apply(ctx context.Context, p *Plan, actor string) (*Entry, error) {
	if !r.mu.TryLock() {
		return nil, ErrBusy
	}
	defer r.mu.Unlock()
	return r.run(ctx, p, actor, "", r.applyStep)
}

// Undo takes entry id back: the steps that began, last first. A step that cannot be taken back now does not stop the
// others; the entry then counts as not undone, and a later Undo tries again what is left. It is refused when nothing
// began, when the entry is undone already, and when a later entry touched the same subject.
func (r *Runner) Undo(ctx context.Context, id, digest, actor string) (*Entry, error) {
	if !r.mu.TryLock() {
		return nil, ErrBusy
	}
	defer r.mu.Unlock()
	entry, order, p, err := r.undoPlan(ctx, id)
	if err != nil {
		return nil, err
	}
	if p.Digest != digest {
		return nil, &ChangedError{What: "the journal has another record of entry " + id}
	}
	done, err := r.run(ctx, p, actor, id, func(ctx context.Context, w *writer, i int, _ Step) (bool, error) {
		step, state := entry.Plan.Steps[order[i]], entry.Steps[order[i]]
		op, ok := r.Ops[step.Op]
		if !ok {
			return false, fmt.Errorf("this labd does not know how to undo %q", step.Op)
		}
		if err := w.write(record{Type: "intent", Step: i}); err != nil {
			return false, err
		}
		crashPoint(intentKept, i)
		if err := op.Undo(ctx, step.Params, state.Saved); err != nil {
			return true, err
		}
		crashPoint(changeMade, i)
		return true, nil
	})
	if err != nil {
		return done, err
	}
	return done, r.Journal.markUndone(id, done.ID)
}

// checkUndoTimeout bounds the look at what cannot be taken back now.
const checkUndoTimeout = 10 * time.Second

// UndoPlan shows what Undo would do. Its notes say what cannot be taken back, ever or now.
func (r *Runner) UndoPlan(id string) (*Plan, error) {
	ctx, cancel := context.WithTimeout(context.Background(), checkUndoTimeout)
	defer cancel()
	_, _, p, err := r.undoPlan(ctx, id)
	return p, err
}

// undoOrder are the indices of the steps to take back.
func undoOrder(e *Entry) []int {
	var order []int
	for i := len(e.Steps) - 1; i >= 0; i-- {
		if e.Steps[i].Begun && e.Plan.Steps[i].Undoable {
			order = append(order, i)
		}
	}
	return order
}

// remaining are those of an order that earlier attempts to undo e have not taken back; all, where none is left, since
// such an attempt was cut off before it could say so.
func remaining(e *Entry, order []int, later []*Entry) []int {
	left := slices.Clone(order)
	for _, attempt := range later {
		if attempt.Undoes != e.ID {
			continue
		}
		for i, state := range attempt.Steps {
			if !state.Done {
				continue
			}
			undone := attempt.Plan.Steps[i]
			at := slices.IndexFunc(left, func(k int) bool {
				step := e.Plan.Steps[k]
				return step.Op == undone.Op && bytes.Equal(step.Params, undone.Params)
			})
			if at >= 0 {
				left = slices.Delete(left, at, at+1)
			}
		}
	}
	if len(left) == 0 {
		return order
	}
	return left
}

// undoPlan returns the entry of id, the indices of the steps to take back, and the plan that does it.
func (r *Runner) undoPlan(ctx context.Context, id string) (*Entry, []int, *Plan, error) {
	entries, unreadable, err := r.Journal.readAll()
	if err != nil {
		return nil, nil, nil, err
	}
	at := slices.IndexFunc(entries, func(e *Entry) bool { return e.ID == id })
	if at < 0 {
		for _, u := range unreadable {
			if u.ID == id {
				return nil, nil, nil, u
			}
		}
		return nil, nil, nil, fmt.Errorf("journal entry %s: %w", id, ErrNoEntry)
	}
	entry := entries[at]
	hint := "labctl journal lists what was done"
	switch {
	case entry.UndoneBy != "":
		return nil, nil, nil, &RefusedError{Reason: fmt.Sprintf("entry %s is undone already, by entry %s", id, entry.UndoneBy), Hint: hint}
	case entry.Undoes != "":
		return nil, nil, nil, &RefusedError{Reason: fmt.Sprintf("entry %s is itself an undo", id), Hint: hint}
	}
	order := undoOrder(entry)
	if len(order) == 0 {
		return nil, nil, nil, &RefusedError{Reason: fmt.Sprintf("entry %s has no step that can be undone", id), Hint: hint}
	}
	if later := laterOnSameSubject(entry, entries[at+1:]); later != "" {
		return nil, nil, nil, &RefusedError{
			Reason: fmt.Sprintf("the later entry %s touched the same subject", later),
			Hint:   "undo entry " + later + " first",
		}
	}
	order = remaining(entry, order, entries[at+1:])
	p := &Plan{Title: "Undo: " + entry.Plan.Title, Subjects: entry.Plan.Subjects}
	for _, i := range order {
		step := entry.Plan.Steps[i]
		p.Steps = append(p.Steps, Step{
			Title: "Take back: " + step.Title, How: step.Undone, Verified: "the state before is back",
			Risk: step.Risk, Op: step.Op, Params: step.Params,
		})
	}
	for i, step := range entry.Plan.Steps {
		if entry.Steps[i].Begun && !step.Undoable {
			p.Notes = append(p.Notes, "Cannot be taken back: "+step.Title)
		}
	}
	p.Notes = append(p.Notes, r.notNow(ctx, entry, order)...)
	unknown, err := laterUnreadable(entry, unreadable)
	if err != nil {
		return nil, nil, nil, err
	}
	facts := map[string]any{"entry": id, "order": order, "plan": entry.Plan.Digest}
	if len(unknown) > 0 {
		facts["unreadable"] = unknown // whoever consents has seen the note
		p.Notes = append(p.Notes, fmt.Sprintf("Entry %s of the journal is later and cannot be read. If it changed the same things, "+
			"this undo may take its changes back as well.", strings.Join(unknown, ", ")))
	}
	p.Digest, err = Digest(facts)
	return entry, order, p, err
}

// notNow says which steps cannot be taken back as things are.
func (r *Runner) notNow(ctx context.Context, e *Entry, order []int) []string {
	var notes []string
	for _, i := range order {
		step := e.Plan.Steps[i]
		checker, ok := r.Ops[step.Op].(UndoChecker)
		if !ok {
			continue
		}
		if err := checker.CheckUndo(ctx, step.Params, e.Steps[i].Saved); err != nil {
			notes = append(notes, fmt.Sprintf("Cannot be taken back now: %s: %v. The other steps are; labctl undo %s tries this one again later.", step.Title, err, e.ID))
		}
	}
	return notes
}

// laterOnSameSubject is the id of the newest of the entries after e that stands and shares a subject with it. Earlier
// attempts to undo e do not count.
func laterOnSameSubject(e *Entry, later []*Entry) string {
	undoneLater := map[string]bool{}
	for _, o := range later {
		if o.UndoneBy != "" {
			undoneLater[o.ID] = true
		}
	}
	for _, o := range slices.Backward(later) {
		if o.Undoes == e.ID || undoneLater[o.ID] || undoneLater[o.Undoes] || !blocks(o) {
			continue
		}
		if shareSubject(e.Plan.Subjects, o.Plan.Subjects) {
			return o.ID
		}
	}
	return ""
}

// blocks reports whether an entry stands in the way of the undo of earlier ones: something of it stands that could be
// taken back first. What can never be taken back would block for ever.
func blocks(e *Entry) bool {
	if e.Undoes != "" {
		return slices.ContainsFunc(e.Steps, func(s StepState) bool { return s.Begun })
	}
	return len(undoOrder(e)) > 0
}

// laterUnreadable are the ids of entries after e that cannot be read and may have touched what e touched. It refuses
// where one of them says that it did.
func laterUnreadable(e *Entry, unreadable []*UnreadableError) ([]string, error) {
	var ids []string
	for _, u := range unreadable {
		switch {
		case !isLater(u.ID, e.ID):
		case shareSubject(e.Plan.Subjects, u.Subjects):
			return nil, &RefusedError{
				Reason: fmt.Sprintf("the later entry %s touched the same subject, and this labd cannot read it: %v", u.ID, u.Err),
				Hint:   "undo entry " + u.ID + " first, with the labd that wrote it",
			}
		case len(u.Subjects) == 0:
			ids = append(ids, u.ID)
		}
	}
	return ids, nil
}

func shareSubject(a, b []finding.Subject) bool {
	return slices.ContainsFunc(a, func(s finding.Subject) bool { return slices.Contains(b, s) })
}

// isLater reports whether entry a came after entry b; ids are numbers.
func isLater(a, b string) bool {
	return len(a) > len(b) || len(a) == len(b) && a > b
}

// stepFunc runs one step; begun says that its intent is on disk, so that the host may have changed.
type stepFunc func(ctx context.Context, w *writer, i int, step Step) (begun bool, err error)

func (r *Runner) run(ctx context.Context, p *Plan, actor, undoes string, do stepFunc) (*Entry, error) {
	w, err := r.Journal.begin(p, actor, undoes)
	if err != nil {
		return nil, err
	}
	defer w.f.Close()
	state, failure := r.steps(ctx, w, p, undoes, do)
	text := ""
	if failure != nil {
		text = failure.Error()
	}
	endErr := w.write(record{Type: "end", State: state, Error: text})
	entry, readErr := r.Journal.Entry(w.id)
	return entry, errors.Join(failure, endErr, readErr)
}

func (r *Runner) steps(ctx context.Context, w *writer, p *Plan, undoes string, do stepFunc) (State, error) {
	timeout := r.StepTimeout
	if timeout == 0 {
		timeout = DefaultStepTimeout
	}
	touched := false
	var failure *StepError
	for i, step := range p.Steps {
		fail := func(err error) error {
			return &StepError{Entry: w.id, Step: i + 1, Of: len(p.Steps), Title: step.Title, Err: err, Touched: touched, Undoes: undoes, Failed: 1}
		}
		if err := context.Cause(ctx); err != nil {
			return StateInterrupted, fail(fmt.Errorf("interrupted before it began: %w", err))
		}
		// A caller who goes away must not cut a step in half.
		stepCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		crashPoint(beforeStep, i)
		progress := Progress{Step: i + 1, Of: len(p.Steps), Title: step.Title, Phase: PhaseBegun}
		tellProgress(ctx, progress)
		begun, err := do(stepCtx, w, i, step)
		cancel()
		touched = touched || begun
		if err != nil {
			progress.Phase = PhaseFailed
			tellProgress(ctx, progress)
			writeErr := w.write(record{Type: "fail", Step: i, Error: err.Error()})
			if undoes == "" || writeErr != nil {
				return StateFailed, fail(errors.Join(err, writeErr))
			}
			if failure == nil {
				failure = &StepError{Entry: w.id, Step: i + 1, Of: len(p.Steps), Title: step.Title, Err: err, Undoes: undoes}
			}
			failure.Failed++
			continue
		}
		if err := w.write(record{Type: "done", Step: i}); err != nil {
			return StateFailed, fail(err)
		}
		progress.Phase = PhaseDone
		tellProgress(ctx, progress)
		crashPoint(doneWritten, i)
	}
	if failure != nil {
		failure.Touched = touched
		return StateFailed, failure
	}
	return StateApplied, nil
}

func (r *Runner) applyStep(ctx context.Context, w *writer, i int, step Step) (begun bool, err error) {
	op, ok := r.Ops[step.Op]
	if !ok {
		return false, fmt.Errorf("this labd does not know the operation %q", step.Op)
	}
	if err := op.Check(ctx, step.Params); err != nil {
		return false, fmt.Errorf("precondition: %w", err)
	}
	saved, err := op.Capture(ctx, step.Params)
	if err != nil {
		return false, fmt.Errorf("save what undo needs: %w", err)
	}
	if err := w.write(record{Type: "intent", Step: i, Saved: saved}); err != nil {
		return false, err
	}
	crashPoint(intentKept, i)
	if err := op.Do(ctx, step.Params); err != nil {
		return true, err
	}
	crashPoint(changeMade, i)
	if err := op.Verify(ctx, step.Params); err != nil {
		return true, fmt.Errorf("verify: %w", err)
	}
	return true, nil
}
