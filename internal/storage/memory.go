package storage

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"sync"
	"time"

	"labd/internal/statefile"
)

// memoryVersion is the format of storage-seen.json. The first one had no checksum and only times; it is not read, so
// grace begins anew.
const memoryVersion = 2

// Seen is what is remembered of one storage.
type Seen struct {
	// Dead is since when it has been found dead, zero when it is not. Of is what it was then: an entry of the same name
	// that is another one begins anew.
	Dead time.Time `json:"dead,omitzero"`
	Of   string    `json:"of,omitempty"`
	// Removable says that its disk was a removable one when it was last here.
	Removable bool `json:"removable,omitempty"`
	// Present is the name of what it lay on when that was last seen here.
	Present string `json:"present,omitempty"`
	watch
}

// watch is how long an entry has been found dead: not by the clock, which may be set, but by the time since the boot. The time
// in which the host was off does not count.
type watch struct {
	Waited time.Duration `json:"waited,omitzero"`
	// Checks is how often it was found so. Boot and Uptime are those of the last time.
	Checks int           `json:"checks,omitzero"`
	Boot   string        `json:"boot,omitempty"`
	Uptime time.Duration `json:"uptime,omitzero"`
}

// since returns the watch with one more look.
func (w watch) since(f *Facts) watch {
	out := watch{Waited: w.Waited, Checks: w.Checks + 1, Boot: f.Boot, Uptime: f.Uptime}
	switch {
	case !f.UptimeKnown:
		out.Uptime = w.Uptime
	case w.Checks == 0: // of the version before, which counted by the clock
	case w.Boot == f.Boot && f.Uptime >= w.Uptime:
		out.Waited += f.Uptime - w.Uptime
	default:
		out.Waited += f.Uptime
	}
	return out
}

// saveEvery is how much a watch grows before it is written again: so much is lost at the most when the host goes down.
const saveEvery = 10 * time.Minute

// same reports whether two memories of a storage differ in nothing that is worth a write.
func (s Seen) same(o Seen) bool {
	grown := o.Waited - s.Waited
	return s.Dead.Equal(o.Dead) && s.Of == o.Of && s.Removable == o.Removable && s.Present == o.Present && s.Boot == o.Boot &&
		(s.Checks == o.Checks || s.Checks >= minChecks) && grown >= 0 && grown < saveEvery
}

// Memory remembers since when storages have been dead, across restarts, in storage-seen.json below the state directory.
// A file that cannot be read is an empty one: grace then begins anew, which errs to the safe side.
type Memory struct {
	mayWrite func() bool
	file     *statefile.File

	mu sync.Mutex
	// seen is what is known, saved what the file has of it.
	seen, saved map[string]Seen
}

// NewMemory returns the memory below dir. mayWrite reports whether this labd may write it; nil may.
func NewMemory(dir string, mayWrite func() bool) *Memory {
	return &Memory{mayWrite: mayWrite, file: statefile.New(filepath.Join(dir, "storage-seen.json"), memoryVersion)}
}

// Seen is what is remembered of each storage, by id.
func (m *Memory) Seen() map[string]Seen {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.load()
	return maps.Clone(m.seen)
}

func (m *Memory) load() {
	if m.seen != nil {
		return
	}
	// Where the file is damaged its copy from before is not used: a storage may have come back since.
	if err := m.file.Load(func(_ int, data []byte) error { return json.Unmarshal(data, &m.seen) }); err != nil || m.seen == nil {
		m.seen = map[string]Seen{}
	}
	m.saved = maps.Clone(m.seen)
}

// Note keeps what a report found dead, since when it was first found so, and forgets what came back or is no entry any
// more. A report without storage.cfg says nothing of any storage, so it changes nothing. It writes only when something
// changed.
func (m *Memory) Note(r *Report) error {
	if !r.Readable {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.load()
	now := map[string]Seen{}
	for _, e := range r.Entries {
		s := Seen{Removable: e.removable}
		if before := m.seen[e.ID]; before.Present == e.name() || e.Verdict == VerdictUnknown {
			s.Present = before.Present
		}
		if kind, ok := kindOf(e.Type).(witness); ok && e.section != nil && e.section.Malformed == "" && kind.isHere(r.facts, &e) {
			s.Present = e.name()
		}
		if e.isDead() {
			s.Dead, s.Of, s.watch = e.GoneSince, e.fingerprint(), e.watch
		}
		if s != (Seen{}) {
			now[e.ID] = s
		}
	}
	if len(now) == len(m.seen) && maps.EqualFunc(m.saved, now, Seen.same) {
		m.seen = now
		return nil
	}
	m.seen, m.saved = now, now
	if m.mayWrite != nil && !m.mayWrite() {
		return nil
	}
	if err := m.file.Save(now); err != nil {
		return fmt.Errorf("remember dead storages: %w", err)
	}
	return nil
}
