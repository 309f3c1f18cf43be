package access

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Lives of what is remembered of PVE's answers. A right that was taken away is gone after goodFor at the latest.
const (
	goodFor = 30 * time.Second
	badFor  = 10 * time.Second
	// maxAsked is how many questions to PVE run at a time: each refused one takes PVE 3 s.
	maxAsked = 8
	// maxRemembered bounds the memory: a flood of wrong credentials must not fill it.
	maxRemembered = 4096
)

// PVE is asked what a credential may do on one path: the privileges that it holds there. The error wraps
// ErrUnauthenticated where PVE does not accept the credential.
type PVE interface {
	CallerPermissions(ctx context.Context, c Credential, path string) ([]string, error)
}

// What PVE may say of a caller.
var (
	// ErrUnauthenticated says that PVE does not accept a credential: wrong, expired, switched off.
	ErrUnauthenticated = errors.New("PVE does not accept this token or ticket")
	// ErrBusy says that too many credentials wait for PVE's answer.
	ErrBusy = errors.New("too many callers wait for PVE's answer")
)

// DeniedError says which privilege a caller lacks, in PVE's words.
type DeniedError struct {
	User string
	Need Need
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("Permission check failed (%s, %s)", e.Need.Path, e.Need.Privilege)
}

// Judge says what callers may do, as PVE has it. It is safe for concurrent use.
type Judge struct {
	pve   PVE
	major func() int
	now   func() time.Time
	slots chan struct{}

	mu    sync.Mutex
	known map[question]*answer
}

// question is a credential, of which only a digest is kept, and a path.
type question struct {
	credential [sha256.Size]byte
	path       string
}

// answer is what PVE said, or will have said once done is closed.
type answer struct {
	done       chan struct{}
	privileges []string
	err        error
	until      time.Time
}

// NewJudge returns a Judge. major is the PVE that runs.
func NewJudge(pve PVE, major func() int, now func() time.Time) *Judge {
	return &Judge{pve: pve, major: major, now: now, slots: make(chan struct{}, maxAsked), known: map[question]*answer{}}
}

// May returns nil when PVE grants the caller all that an action asks for. Otherwise it fails with a *DeniedError, with
// ErrUnauthenticated, or with why PVE cannot be asked: then nothing is granted.
func (j *Judge) May(ctx context.Context, c Credential, a Action, t Target) error {
	needs := Needs(a, t, j.major())
	if len(needs) == 0 {
		_, err := j.privileges(ctx, c, "/")
		return err
	}
	for _, need := range needs {
		privileges, err := j.privileges(ctx, c, need.Path)
		if err != nil {
			return err
		}
		if !slices.Contains(privileges, need.Privilege) {
			return &DeniedError{User: c.User, Need: need}
		}
	}
	return nil
}

// Forget drops all that is remembered: users, tokens or rights have changed.
func (j *Judge) Forget() {
	j.mu.Lock()
	defer j.mu.Unlock()
	clear(j.known)
}

// privileges returns what a credential may do on a path. One question a credential and path runs at a time; the others
// wait for its answer.
func (j *Judge) privileges(ctx context.Context, c Credential, path string) ([]string, error) {
	q := question{c.key(), path}
	j.mu.Lock()
	a := j.known[q]
	if a == nil || a.over(j.now()) {
		if j.makeRoom(); len(j.known) >= maxRemembered {
			j.mu.Unlock()
			return nil, ErrBusy
		}
		a = &answer{done: make(chan struct{})}
		j.known[q] = a
		go j.ask(context.WithoutCancel(ctx), q, a, c)
	}
	j.mu.Unlock()
	select {
	case <-a.done:
		return a.privileges, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("ask PVE what %s may do: %w", c, ctx.Err())
	}
}

// over reports whether an answer is too old to be used.
func (a *answer) over(now time.Time) bool {
	select {
	case <-a.done:
		return !now.Before(a.until)
	default:
		return false
	}
}

// makeRoom drops what is over where there is much.
func (j *Judge) makeRoom() {
	if len(j.known) < maxRemembered {
		return
	}
	now := j.now()
	for q, a := range j.known {
		if a.over(now) {
			delete(j.known, q)
		}
	}
}

// askTime bounds one question; PVE lets a refused credential wait for 3 s.
const askTime = 15 * time.Second

// ask asks PVE, for whoever waits: the one who asked first may be gone by then.
func (j *Judge) ask(ctx context.Context, q question, a *answer, c Credential) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	select {
	case j.slots <- struct{}{}:
		a.privileges, a.err = j.pve.CallerPermissions(ctx, c, q.path)
		<-j.slots
	case <-ctx.Done():
		a.err = ErrBusy
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case a.err == nil:
		a.until = j.now().Add(goodFor)
	case errors.Is(a.err, ErrUnauthenticated):
		a.until = j.now().Add(badFor)
	default: // not an answer of PVE's: the next caller asks again
		if j.known[q] == a {
			delete(j.known, q)
		}
	}
	close(a.done)
}
