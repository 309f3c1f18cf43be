package server

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"sync"
	"time"

	apiv1 "labd/api/v1"
	"labd/internal/stream"
)

// streams are the streams that run, and the commands that wait to be started.
type streams struct {
	mu      sync.Mutex
	total   int
	callers map[string]int
	execs   map[string]*pendingExec
}

// pendingExec is a command that was made. It holds the container until it ends.
type pendingExec struct {
	exec      stream.Exec
	caller    string
	ct        int
	container OpenContainer
	docker    stream.Docker
	id        string // Docker's
	target    string
	expiry    *time.Timer
	started   bool
}

// begin takes the right to one more stream until end is called.
func (s *streams) begin(who string) (end func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= maxStreams || s.callers[who] >= maxCallerStreams {
		return nil, &apiError{http.StatusServiceUnavailable, apiv1.ErrorRefused, fmt.Sprintf("too many streams: %d of %d run, %d of %d of %s", s.total, maxStreams, s.callers[who], maxCallerStreams, who), "end one of them"}
	}
	if s.callers == nil {
		s.callers = map[string]int{}
	}
	s.total++
	s.callers[who]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.total--
		if s.callers[who]--; s.callers[who] == 0 {
			delete(s.callers, who)
		}
	}), nil
}

// add keeps a command until it is started or forgotten, and returns its id.
func (s *streams) add(e *pendingExec) string {
	random := make([]byte, 16)
	_, _ = rand.Read(random) // never fails (crypto/rand)
	id := hex.EncodeToString(random)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.execs == nil {
		s.execs = map[string]*pendingExec{}
	}
	s.execs[id] = e
	e.expiry = time.AfterFunc(execTime, func() { s.forget(id, false) })
	return id
}

// start takes a command of the caller's for its only start.
func (s *streams) start(id, who string) (*pendingExec, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.execs[id]
	if e == nil || e.caller != who || e.started {
		return nil, noExec(id)
	}
	e.started = true
	e.expiry.Stop()
	return e, nil
}

// running returns a command of the caller's that was started.
func (s *streams) running(id, who string) (*pendingExec, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.execs[id]
	if e == nil || e.caller != who || !e.started {
		return nil, noExec(id)
	}
	return e, nil
}

// forget lets a command go, one that runs only where running says so.
func (s *streams) forget(id string, running bool) {
	s.mu.Lock()
	e := s.execs[id]
	if e == nil || e.started != running {
		s.mu.Unlock()
		return
	}
	delete(s.execs, id)
	s.mu.Unlock()
	_ = e.container.Close()
}

func noExec(id string) error {
	return &apiError{http.StatusNotFound, apiv1.ErrorNotFound, fmt.Sprintf("no command %.40q waits for this caller", id), "a command is started once, within a minute"}
}
