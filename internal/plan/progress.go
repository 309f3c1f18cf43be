package plan

import "context"

// Phase is how far a step is.
type Phase string

// Phases of a step.
const (
	PhaseBegun  Phase = "begun"
	PhaseDone   Phase = "done"
	PhaseFailed Phase = "failed"
)

// Progress is that a step began or ended.
type Progress struct {
	// Step is counted from 1, Of is how many there are.
	Step, Of int
	Title    string
	Phase    Phase
}

type progressKey struct{}

// WithProgress returns a context with which Apply and Undo tell of each step when it begins and when it ends. tell must
// not wait.
func WithProgress(ctx context.Context, tell func(Progress)) context.Context {
	return context.WithValue(ctx, progressKey{}, tell)
}

func tellProgress(ctx context.Context, p Progress) {
	if tell, ok := ctx.Value(progressKey{}).(func(Progress)); ok {
		tell(p)
	}
}
