package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"labd/internal/plan"
)

// applyLock is the right to change this host: <state>/lock. It is taken when it is first needed and kept.
type applyLock struct {
	state string

	mu   sync.Mutex
	lock *plan.Lock
}

// Acquire takes the lock, or returns plan.ErrLocked while another labd holds it.
func (l *applyLock) Acquire() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lock != nil {
		return nil
	}
	if err := os.MkdirAll(l.state, 0o700); err != nil {
		return fmt.Errorf("take the lock: %w", err)
	}
	lock, err := plan.AcquireLock(filepath.Join(l.state, "lock"))
	if err != nil {
		return err
	}
	l.lock = lock
	return nil
}

// Release gives the lock up.
func (l *applyLock) Release() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lock == nil {
		return nil
	}
	err := l.lock.Release()
	l.lock = nil
	return err
}
