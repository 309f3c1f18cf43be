package plan

import (
	"context"
	"encoding/json"
	"fmt"
)

// Op carries out steps of one kind. All of its methods get the step's parameters; saved is what Capture returned, as
// the journal kept it. Undo must also work when Do was cut off half-way or never began, and may run twice.
type Op interface {
	// Check is the precondition, checked right before the step runs.
	Check(ctx context.Context, params json.RawMessage) error
	// Capture returns what Undo will need. It must not change anything.
	Capture(ctx context.Context, params json.RawMessage) (saved json.RawMessage, err error)
	Do(ctx context.Context, params json.RawMessage) error
	// Verify checks that the change took effect.
	Verify(ctx context.Context, params json.RawMessage) error
	// Undo restores what Capture saw and checks that it is back.
	Undo(ctx context.Context, params, saved json.RawMessage) error
}

// UndoChecker is an Op that can tell before consent whether its Undo would work now.
type UndoChecker interface {
	// CheckUndo returns why Undo cannot restore what Capture saw now, or nil. It must not change anything.
	CheckUndo(ctx context.Context, params, saved json.RawMessage) error
}

// Ops are the operations by name.
type Ops map[string]Op

// Add puts the operations of other into o; a name that is there already is an error.
func (o Ops) Add(other Ops) error {
	for name, op := range other {
		if _, ok := o[name]; ok {
			return fmt.Errorf("operation %s is defined twice", name)
		}
		o[name] = op
	}
	return nil
}

// Typed is an Op over Go types: P are the parameters, S is what Capture saves. Check, Capture, Verify, CheckUndo and
// Undo may be nil where there is nothing to do.
type Typed[P, S any] struct {
	CheckFunc   func(ctx context.Context, params P) error
	CaptureFunc func(ctx context.Context, params P) (S, error)
	DoFunc      func(ctx context.Context, params P) error
	VerifyFunc  func(ctx context.Context, params P) error
	UndoFunc    func(ctx context.Context, params P, saved S) error
	// CheckUndoFunc is for UndoChecker.
	CheckUndoFunc func(ctx context.Context, params P, saved S) error
	// FormerFunc says in words what was there before, without any secret: whoever may read plans sees it. It may be nil.
	FormerFunc func(params P, saved S) string
}

// Former says what was there before a step of an operation, from what its Capture saved; "" where the operation does not
// say, or what was saved cannot be read.
func (o Ops) Former(op string, params, saved json.RawMessage) string {
	teller, ok := o[op].(interface {
		former(params, saved json.RawMessage) string
	})
	if !ok || len(saved) == 0 {
		return ""
	}
	return teller.former(params, saved)
}

func (t Typed[P, S]) former(raw, rawSaved json.RawMessage) string {
	if t.FormerFunc == nil {
		return ""
	}
	params, err := decode[P]("step parameters", raw)
	if err != nil {
		return ""
	}
	saved, err := decode[S]("saved state", rawSaved)
	if err != nil {
		return ""
	}
	return t.FormerFunc(params, saved)
}

func decode[T any](what string, raw json.RawMessage) (value T, err error) {
	if len(raw) == 0 {
		return value, nil
	}
	if err := json.Unmarshal(raw, &value); err != nil {
		return value, fmt.Errorf("decode %s: %w", what, err)
	}
	return value, nil
}

func withParams[P any](ctx context.Context, raw json.RawMessage, f func(context.Context, P) error) error {
	if f == nil {
		return nil
	}
	params, err := decode[P]("step parameters", raw)
	if err != nil {
		return err
	}
	return f(ctx, params)
}

// Check calls CheckFunc.
func (t Typed[P, S]) Check(ctx context.Context, params json.RawMessage) error {
	return withParams(ctx, params, t.CheckFunc)
}

// Capture calls CaptureFunc and encodes its result.
func (t Typed[P, S]) Capture(ctx context.Context, raw json.RawMessage) (json.RawMessage, error) {
	if t.CaptureFunc == nil {
		return nil, nil
	}
	params, err := decode[P]("step parameters", raw)
	if err != nil {
		return nil, err
	}
	saved, err := t.CaptureFunc(ctx, params)
	if err != nil {
		return nil, err
	}
	return json.Marshal(saved)
}

// Do calls DoFunc.
func (t Typed[P, S]) Do(ctx context.Context, params json.RawMessage) error {
	return withParams(ctx, params, t.DoFunc)
}

// Verify calls VerifyFunc.
func (t Typed[P, S]) Verify(ctx context.Context, params json.RawMessage) error {
	return withParams(ctx, params, t.VerifyFunc)
}

// Undo calls UndoFunc.
func (t Typed[P, S]) Undo(ctx context.Context, params, saved json.RawMessage) error {
	return withSaved(ctx, params, saved, t.UndoFunc)
}

// CheckUndo calls CheckUndoFunc.
func (t Typed[P, S]) CheckUndo(ctx context.Context, params, saved json.RawMessage) error {
	return withSaved(ctx, params, saved, t.CheckUndoFunc)
}

func withSaved[P, S any](ctx context.Context, rawParams, rawSaved json.RawMessage, f func(context.Context, P, S) error) error {
	if f == nil {
		return nil
	}
	params, err := decode[P]("step parameters", rawParams)
	if err != nil {
		return err
	}
	saved, err := decode[S]("saved state", rawSaved)
	if err != nil {
		return err
	}
	return f(ctx, params, saved)
}
