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
}

// Memory remembers since when storages have been dead, across restarts, in storage-seen.json below the state directory.
// A file that cannot be read is an empty one: grace then begins anew, which errs to the safe side.
type Memory struct {
	mayWrite func() bool
	file     *statefile.File

	mu   sync.Mutex
	seen map[string]Seen
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
		if e.isDead() {
			s.Dead, s.Of = e.GoneSince, e.fingerprint()
		}
		if s != (Seen{}) {
			now[e.ID] = s
		}
	}
	if maps.EqualFunc(now, m.seen, func(a, b Seen) bool {
		return a.Dead.Equal(b.Dead) && a.Of == b.Of && a.Removable == b.Removable
	}) {
		return nil
	}
	m.seen = now
	if m.mayWrite != nil && !m.mayWrite() {
		return nil
	}
	if err := m.file.Save(now); err != nil {
		return fmt.Errorf("remember dead storages: %w", err)
	}
	return nil
}
