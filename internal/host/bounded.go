package host

import (
	"context"
	"io/fs"
)

// Bounded runs do, which may hang in the kernel, and returns when it does or when ctx ends, then with an error that wraps
// ErrHung and ctx's. What hangs keeps a thread; key names it, so that it is counted in Hung and not tried again before the
// kernel lets go. late, if not nil, gets a value that comes after all, to release it.
func Bounded[T any](ctx context.Context, h *Host, key string, do func() (T, error), late func(T)) (value T, err error) {
	if err := ctx.Err(); err != nil {
		return value, &fs.PathError{Op: "reach", Path: key, Err: err}
	}
	if h.isHung(key) {
		return value, &fs.PathError{Op: "reach", Path: key, Err: ErrHung}
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := do()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
	}
	h.markHung(key)
	go func() {
		r := <-done
		h.clearHung(key)
		if r.err == nil && late != nil {
			late(r.value)
		}
	}()
	return value, &fs.PathError{Op: "reach", Path: key, Err: hungError{context.Cause(ctx)}}
}

// hungError is ErrHung together with the end of the context that noticed it.
type hungError struct{ cause error }

func (e hungError) Error() string   { return ErrHung.Error() + ": " + e.cause.Error() }
func (e hungError) Unwrap() []error { return []error{ErrHung, e.cause} }
