package container

import (
	"context"
	"errors"
	"sync"
)

// Pool is a Source that leaves containers open between two uses, so that what is known of them by the kernel's own marks
// need not be found out again. A container that ended is closed. It is safe for concurrent use.
type Pool struct {
	Source

	mu     sync.Mutex
	open   map[int]*pooled
	closed bool
}

// pooled is an open container with the number of its users.
type pooled struct {
	Handle
	users int
	// dropped says that it is closed when the last user is done.
	dropped bool
}

// NewPool returns a pool of the containers of a source.
func NewPool(source Source) *Pool { return &Pool{Source: source, open: map[int]*pooled{}} }

// Open returns a container, the one that is open already where it is still the same.
func (p *Pool) Open(ctx context.Context, id int) (Handle, error) {
	if lease := p.lease(id); lease != nil {
		return lease, nil
	}
	opened, err := p.Source.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if other := p.open[id]; other != nil && other.Alive() {
		other.users++
		return &lease{pool: p, pooled: other}, opened.Close()
	}
	_ = p.drop(id)
	x := &pooled{Handle: opened, users: 1, dropped: p.closed}
	if !p.closed {
		p.open[id] = x
	}
	return &lease{pool: p, pooled: x}, nil
}

func (p *Pool) lease(id int) Handle {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.open[id]
	switch {
	case x == nil:
		return nil
	case !x.Alive():
		_ = p.drop(id)
		return nil
	}
	x.users++
	return &lease{pool: p, pooled: x}
}

// drop closes a container when its last user is done.
func (p *Pool) drop(id int) error {
	x := p.open[id]
	if x == nil {
		return nil
	}
	delete(p.open, id)
	x.dropped = true
	if x.users == 0 {
		return x.Handle.Close()
	}
	return nil
}

// Keep closes all containers but those in ids.
func (p *Pool) Keep(ids []int) {
	wanted := map[int]bool{}
	for _, id := range ids {
		wanted[id] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.open {
		if !wanted[id] {
			_ = p.drop(id)
		}
	}
}

// Close closes all containers; what is opened later is closed by its user.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for id := range p.open {
		errs = append(errs, p.drop(id))
	}
	return errors.Join(errs...)
}

// lease is one user's use of a container.
type lease struct {
	*pooled
	pool *Pool
	once sync.Once
}

// Close ends this use.
func (l *lease) Close() (err error) {
	l.once.Do(func() {
		l.pool.mu.Lock()
		defer l.pool.mu.Unlock()
		l.pooled.users--
		if l.pooled.users == 0 && l.pooled.dropped {
			err = l.pooled.Handle.Close()
		}
	})
	return err
}
