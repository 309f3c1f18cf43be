package daemon

import (
	"context"
	"errors"
	"sync"
)

// gate keeps changes of the host and reloads of the configuration apart. The zero value is open.
type gate struct {
	mu      sync.Mutex
	inside  int
	closed  bool
	emptied chan struct{} // closed when the last change leaves; nil while nobody waits
}

var errReloading = errors.New("the configuration is being reloaded; try again")

// enter begins a change; it does not wait.
func (g *gate) enter() (leave func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, errReloading
	}
	g.inside++
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.inside--
		if g.inside == 0 && g.emptied != nil {
			close(g.emptied)
			g.emptied = nil
		}
	}), nil
}

// close waits until no change is under way and lets none in until open.
func (g *gate) close(ctx context.Context) error {
	for {
		g.mu.Lock()
		if g.inside == 0 {
			g.closed = true
			g.mu.Unlock()
			return nil
		}
		if g.emptied == nil {
			g.emptied = make(chan struct{})
		}
		emptied := g.emptied
		g.mu.Unlock()
		select {
		case <-emptied:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = false
}
