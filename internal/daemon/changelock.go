package daemon

import (
	"context"
	"errors"
	"sync"
)

// changeLock keeps changes of the host and reloads of the configuration apart. The zero value is open.
type changeLock struct {
	mu      sync.Mutex
	inside  int
	closed  bool
	emptied chan struct{} // closed when the last change leaves; nil while nobody waits
}

var errReloading = errors.New("the configuration is being reloaded; try again")

// enter begins a change; it does not wait.
func (l *changeLock) enter() (leave func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errReloading
	}
	l.inside++
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.inside--
		if l.inside == 0 && l.emptied != nil {
			close(l.emptied)
			l.emptied = nil
		}
	}), nil
}

// close waits until no change is under way and lets none in until open.
func (l *changeLock) close(ctx context.Context) error {
	for {
		l.mu.Lock()
		if l.inside == 0 {
			l.closed = true
			l.mu.Unlock()
			return nil
		}
		if l.emptied == nil {
			l.emptied = make(chan struct{})
		}
		emptied := l.emptied
		l.mu.Unlock()
		select {
		case <-emptied:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *changeLock) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = false
}
