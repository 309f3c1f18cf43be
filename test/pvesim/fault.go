package pvesim

import (
	"net/http"
	"strings"
	"time"
)

// Fault makes requests go wrong.
type Fault struct {
	Method string // "" for any
	Path   string // prefix of the path below /api2/json; "" for any
	Times  int    // how many requests; 0 for all

	Delay  time.Duration // wait before the request is handled
	Status int           // then answer this, with Reason, instead of doing anything
	Reason string
	// After does the request's work before Status is answered or the connection
	// is cut: the change is made and the client does not hear of it.
	After bool
	// Do, when set, runs first: another writer, a lock taken, quorum lost.
	Do func()
	// Cut closes the connection without an answer.
	Cut bool

	hits int
}

// Inject adds a fault. The first that matches a request applies.
func (s *Server) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// ClearFaults takes all faults away.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

func (s *Server) takeFault(method, path string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if (f.Method == "" || f.Method == method) && strings.HasPrefix(path, f.Path) && (f.Times == 0 || f.hits < f.Times) {
			f.hits++
			return *f
		}
	}
	return Fault{}
}

// answer handles one request under the faults in force.
func (s *Server) answer(req *http.Request) (res *response, cut bool) {
	c, err := newCall(req)
	if err != nil {
		return fail(err), false
	}
	f := s.takeFault(c.method, c.path)
	if f.Do != nil {
		f.Do()
	}
	s.sleep(f.Delay)
	broken := f.Status != 0 || f.Cut
	if !broken || f.After {
		res = s.handle(c)
	}
	if broken {
		res = fail(&failure{status: f.Status, message: f.Reason, bare: f.Status >= 590})
	}
	return res, f.Cut
}

// sleep waits, but not longer than the server lives.
func (s *Server) sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.ctx.Done():
	}
}
