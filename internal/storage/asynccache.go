package storage

import (
	"context"
	"sync"
	"time"
)

// asyncCache keeps something that may take long to learn, or for ever: a program that reads disks, a server that is asked. It is
// learned in a goroutine of its own, one at a time, so that one that hangs costs that goroutine and is not begun again.
// The zero value is ready.
type asyncCache[T any] struct {
	mu      sync.Mutex
	value   T
	key     string
	at      time.Time
	known   bool
	running chan struct{} // closed when the one that is under way has ended; nil when none is
}

// get returns the value for key when it is at most maxAge old, else learns it and waits for that until ctx ends. ok is
// false when it is not known by then; what is learned later serves the next caller.
func (s *asyncCache[T]) get(ctx context.Context, key string, maxAge time.Duration, learn func() T) (value T, ok bool) {
	for {
		s.mu.Lock()
		if s.known && s.key == key && time.Since(s.at) <= maxAge {
			defer s.mu.Unlock()
			return s.value, true
		}
		if s.running == nil {
			s.running = make(chan struct{})
			go s.run(key, learn)
		}
		running := s.running
		s.mu.Unlock()
		select {
		case <-running:
		case <-ctx.Done():
			return value, false
		}
		s.mu.Lock()
		fits := s.key == key
		value = s.value
		s.mu.Unlock()
		if fits {
			return value, true
		}
	}
}

// forget has the next caller learn it anew, as after an answer that is none.
func (s *asyncCache[T]) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = false
}

func (s *asyncCache[T]) run(key string, learn func() T) {
	value := learn()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.value, s.key, s.at, s.known = value, key, time.Now(), true
	close(s.running)
	s.running = nil
}
