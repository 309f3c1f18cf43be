package reconcile

import (
	"fmt"
	"runtime/debug"
	"time"
)

// permanent is an error that the same work would meet again.
type permanent struct{ err error }

func (p *permanent) Error() string { return p.err.Error() }
func (p *permanent) Unwrap() error { return p.err }

// Permanent marks an error that no further try changes: the key is left alone, by resyncs too, until somebody adds it
// because it changed. nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanent{err}
}

// LaterError says that there is more to do for the key and that it has to wait. It is no failure.
type LaterError struct {
	After  time.Duration
	Reason string
}

func (e *LaterError) Error() string {
	return fmt.Sprintf("%s; again in %s", e.Reason, e.After.Round(time.Millisecond))
}

// PanicError is a panic that was caught.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.Value, e.Stack) }

// Catch runs do; a panic in it becomes a *PanicError.
func Catch(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	return do()
}
