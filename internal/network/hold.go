package network

import (
	"context"
	"errors"
	"sync"
)

// holder keeps containers open between looks, so that what is known of them by the kernel's own marks need not be found
// out again. A container that ended is let go.
type holder struct {
	containers

	mu     sync.Mutex
	held   map[int]*held
	closed bool
}

// held is an open container with the number of its users.
type held struct {
	container
	users int
	// dropped says that it is closed when the last user is done.
	dropped bool
}

func newHolder(next containers) *holder { return &holder{containers: next, held: map[int]*held{}} }

// Open takes hold of a container, of the one that is open already where it is still the same.
func (h *holder) Open(ctx context.Context, id int) (container, error) {
	if lease := h.lease(id); lease != nil {
		return lease, nil
	}
	opened, err := h.containers.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if other := h.held[id]; other != nil && other.Alive() {
		other.users++
		return &lease{holder: h, held: other}, opened.Close()
	}
	_ = h.drop(id)
	x := &held{container: opened, users: 1, dropped: h.closed}
	if !h.closed {
		h.held[id] = x
	}
	return &lease{holder: h, held: x}, nil
}

func (h *holder) lease(id int) container {
	h.mu.Lock()
	defer h.mu.Unlock()
	x := h.held[id]
	switch {
	case x == nil:
		return nil
	case !x.Alive():
		_ = h.drop(id)
		return nil
	}
	x.users++
	return &lease{holder: h, held: x}
}

// drop lets a container go.
func (h *holder) drop(id int) error {
	x := h.held[id]
	if x == nil {
		return nil
	}
	delete(h.held, id)
	x.dropped = true
	if x.users == 0 {
		return x.container.Close()
	}
	return nil
}

// keep lets go of all containers but those in ids.
func (h *holder) keep(ids []int) {
	wanted := map[int]bool{}
	for _, id := range ids {
		wanted[id] = true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.held {
		if !wanted[id] {
			_ = h.drop(id)
		}
	}
}

// Close lets all go; what is opened later is closed by its user.
func (h *holder) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	var errs []error
	for id := range h.held {
		errs = append(errs, h.drop(id))
	}
	return errors.Join(errs...)
}

// lease is one user's hold of a container.
type lease struct {
	*held
	holder *holder
	once   sync.Once
}

// Close ends this use.
func (l *lease) Close() (err error) {
	l.once.Do(func() {
		l.holder.mu.Lock()
		defer l.holder.mu.Unlock()
		l.held.users--
		if l.held.users == 0 && l.held.dropped {
			err = l.held.container.Close()
		}
	})
	return err
}
