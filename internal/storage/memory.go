package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/renameio/v2"
)

// memoryVersion is the format of storage-seen.json.
const memoryVersion = 1

// Memory remembers since when storages have been gone, across restarts, in storage-seen.json below the state
// directory. A file that cannot be read is an empty one: grace then begins anew, which errs to the safe side.
type Memory struct {
	file string

	mu   sync.Mutex
	gone map[string]time.Time
	read bool
}

type memoryJSON struct {
	Version int                  `json:"version"`
	Gone    map[string]time.Time `json:"gone"`
}

// NewMemory returns the memory below dir.
func NewMemory(dir string) *Memory { return &Memory{file: filepath.Join(dir, "storage-seen.json")} }

// Gone is since when each storage has been found gone, by id.
func (m *Memory) Gone() map[string]time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.load()
	return maps.Clone(m.gone)
}

func (m *Memory) load() {
	if m.read {
		return
	}
	m.read = true
	m.gone = map[string]time.Time{}
	data, err := os.ReadFile(m.file)
	if err != nil {
		return
	}
	var stored memoryJSON
	if json.Unmarshal(data, &stored) == nil && stored.Version == memoryVersion && stored.Gone != nil {
		m.gone = stored.Gone
	}
}

// Note keeps what a report found gone, since when it was first found so, and forgets what came back. A report
// without storage.cfg says nothing of any storage, so it changes nothing. It writes only when something changed.
func (m *Memory) Note(r *Report) error {
	if !r.Readable {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.load()
	now := map[string]time.Time{}
	for _, e := range r.Entries {
		if e.Verdict != VerdictGone {
			continue
		}
		now[e.ID] = r.At
		if since, ok := m.gone[e.ID]; ok && !since.After(r.At) {
			now[e.ID] = since
		}
	}
	if maps.EqualFunc(now, m.gone, time.Time.Equal) {
		return nil
	}
	m.gone = now
	data, err := json.MarshalIndent(memoryJSON{memoryVersion, now}, "", "  ")
	if err != nil {
		return fmt.Errorf("remember gone storages: %w", err)
	}
	if len(now) == 0 {
		if err := os.Remove(m.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remember gone storages: %w", err)
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(m.file), 0o700); err != nil {
		return fmt.Errorf("remember gone storages: %w", err)
	}
	if err := renameio.WriteFile(m.file, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("remember gone storages: %w", err)
	}
	return nil
}
