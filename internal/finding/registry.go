package finding

import (
	"slices"
	"sync"
	"time"
)

// Store keeps one value on disk; see package statefile.
type Store interface {
	// Load reads the value with decode, which is told the version that wrote it. Without one decode is not called.
	Load(decode func(version int, data []byte) error) error
	Save(value any) error
}

// ChangeKind is what happened to a finding.
type ChangeKind string

// Changes. A finding is raised when it becomes active, cleared when it has been away for its Settle time, and changed
// when its severity, title or state is another one.
const (
	Raised  ChangeKind = "raised"
	Changed ChangeKind = "changed"
	Cleared ChangeKind = "cleared"
)

// Change is something that happened to a finding.
type Change struct {
	Kind    ChangeKind
	At      time.Time
	Finding Finding
	// Was is the severity before; zero for one that was not active.
	Was Severity
}

// Registry knows which findings there are, since when, which of them are to be shown, and which there were. The same
// registry answers for status, JSON, metrics, events and notifications. It is safe for concurrent use.
type Registry struct {
	settle func(Code) time.Duration
	// immediate shows findings at once: a labd for one command has no time to watch them settle.
	immediate   bool
	historyFile Store
	silenceFile Store

	// editing is held while silences are changed, around mu.
	editing sync.Mutex

	mu          sync.Mutex
	entries     map[Ref]*entry
	past        []Record // of findings that are gone, the longest gone first
	silences    []Silence
	lastSilence int
	dirty       bool
	listeners   []func(Change)
}

// entry is a finding that is there, or that went away a moment ago.
type entry struct {
	finding Finding
	record  Record
	// seen is when this process first saw it; with record.Since from before a restart.
	seen time.Time
	// away is since when it has been missing, zero while it is there.
	away time.Time
	// restored says that only the record is known, from before a restart.
	restored bool
	// settled says that it was visible once, so that it need not settle again when it comes back.
	settled bool
	shown   Finding // as it was last told to listeners
}

// Options of a Registry.
type Options struct {
	// Immediate shows findings at once, without waiting for them to settle.
	Immediate bool
	// History and Silences keep what survives a restart; nil keeps it in memory.
	History, Silences Store
	// Settle replaces the package's function, for tests.
	Settle func(Code) time.Duration
}

type nowhere struct{}

func (nowhere) Load(func(int, []byte) error) error { return nil }
func (nowhere) Save(any) error                     { return nil }

// NewRegistry returns a registry with what its stores remember. The error says what could not be read; the registry
// works without it.
func NewRegistry(now time.Time, o Options) (*Registry, error) {
	r := &Registry{settle: o.Settle, immediate: o.Immediate, historyFile: o.History, silenceFile: o.Silences, entries: map[Ref]*entry{}}
	if r.settle == nil {
		r.settle = Settle
	}
	if r.historyFile == nil {
		r.historyFile = nowhere{}
	}
	if r.silenceFile == nil {
		r.silenceFile = nowhere{}
	}
	return r, r.restore(now)
}

// Listen calls f with every change from now on. f must not block and must not call the registry.
func (r *Registry) Listen(f func(Change)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listeners = append(r.listeners, f)
}

// Update tells the registry which findings there are now. kinds are the kinds of subject for which fs is
// complete: what is missing of those is gone.
func (r *Registry) Update(now time.Time, fs []Finding, kinds ...Kind) {
	r.UpdateWhere(now, fs, func(s Subject) bool { return slices.Contains(kinds, s.Kind()) })
}

// UpdateWhere tells the registry which findings there are now about the subjects for which complete is true; what is missing of
// those is gone.
func (r *Registry) UpdateWhere(now time.Time, fs []Finding, complete func(Subject) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	present := make(map[Ref]bool, len(fs))
	for i := range fs {
		ref := fs[i].Ref()
		present[ref] = true
		e := r.entries[ref]
		if e == nil {
			e = &entry{seen: now, record: r.takeUp(ref, now)}
			r.entries[ref] = e
			r.dirty = true
		}
		if e.restored {
			e.restored, e.seen = false, now
		}
		e.away = time.Time{}
		e.finding = fs[i]
		e.record.Severity, e.record.Title, e.record.Last = fs[i].Severity, fs[i].Title, now
	}
	for ref, e := range r.entries {
		if !present[ref] && e.away.IsZero() && complete(ref.Subject) {
			e.away = now
		}
	}
	r.evaluate(now)
}

// Tick lets time pass: findings settle, silences end.
func (r *Registry) Tick(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.evaluate(now)
}

// present are the entries that are there.
func (r *Registry) present() map[Ref]*entry {
	out := make(map[Ref]*entry, len(r.entries))
	for ref, e := range r.entries {
		if e.away.IsZero() && !e.restored {
			out[ref] = e
		}
	}
	return out
}

// Current are all findings that are there, each with its state, worst first.
func (r *Registry) Current(now time.Time) []Finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	present := r.present()
	fs := make([]Finding, 0, len(present))
	for _, e := range present {
		fs = append(fs, r.view(e, now, present))
	}
	Sort(fs)
	return fs
}

// Annotate fills in the state of findings of a report; those that the registry does not know are left alone.
func (r *Registry) Annotate(now time.Time, fs []Finding) []Finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	present := r.present()
	out := slices.Clone(fs)
	for i, f := range out {
		if e := present[f.Ref()]; e != nil {
			known := r.view(e, now, present)
			out[i].State, out[i].Behind, out[i].Silence, out[i].Since = known.State, known.Behind, known.Silence, known.Since
		}
	}
	return out
}

// evaluate finds what changed since the last time and tells the listeners.
func (r *Registry) evaluate(now time.Time) {
	r.expire(now)
	present := r.present()
	refs := make([]Ref, 0, len(r.entries))
	for ref := range r.entries {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b Ref) int {
		if less(a, b) {
			return -1
		}
		return 1
	})
	for _, ref := range refs {
		e := r.entries[ref]
		switch {
		case e.restored && e.away.IsZero():
		case e.away.IsZero():
			r.look(e, now, present)
		case now.Sub(e.away) >= r.settle(ref.Code) || r.immediate:
			r.clear(ref, e, now)
		}
	}
}

// look compares an entry that is there with what was last told of it.
func (r *Registry) look(e *entry, now time.Time, present map[Ref]*entry) {
	f := r.view(e, now, present)
	was := e.shown
	e.shown = f
	if f.State == StateActive {
		e.settled = true
	}
	change := Change{At: now, Finding: f}
	switch {
	case f.State == StateActive && !e.record.Told:
		e.record.Told, r.dirty = true, true
		change.Kind = Raised
	case was.State != "" && (was.State != f.State || was.Severity != f.Severity || was.Title != f.Title):
		change.Kind = Changed
		if was.State == StateActive {
			change.Was = was.Severity
		}
	default:
		return
	}
	r.tell(change)
}

// clear ends an episode.
func (r *Registry) clear(ref Ref, e *entry, now time.Time) {
	delete(r.entries, ref)
	e.record.Cleared = e.away
	told := e.record.Told
	e.record.Told = false
	r.remember(e.record)
	r.dirty = true
	if !told {
		return
	}
	f := e.finding
	if f.Code == "" { // known from before a restart only
		f = Finding{Code: e.record.Code, Subject: e.record.Subject, Severity: e.record.Severity, Title: e.record.Title}
	}
	f.Since = e.record.Since
	r.tell(Change{Kind: Cleared, At: now, Finding: f, Was: f.Severity})
}

func (r *Registry) tell(c Change) {
	for _, listener := range r.listeners {
		listener(c)
	}
}
