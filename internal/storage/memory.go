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

// memoryVersion is the format of storage-seen.json.
const memoryVersion = 1

// Memory remembers since when storages have been gone, across restarts, in storage-seen.json below the state
// directory. A file that cannot be read whole is an empty one: grace then begins anew, which errs to the safe side.
type Memory struct {
	file *statefile.File

	mu   sync.Mutex
	gone map[string]time.Time
	read bool
}

// memoryData is what is on disk.
type memoryData struct {
	Gone map[string]time.Time `json:"gone"`
}

// NewMemory returns the memory below dir.
func NewMemory(dir string) *Memory {
	return &Memory{file: statefile.New(filepath.Join(dir, "storage-seen.json"), memoryVersion)}
}

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
	var stored memoryData
	// An error also comes where the copy before a damaged file was read. That may name a storage that came back since.
	if err := m.file.Load(func(_ int, data []byte) error { return json.Unmarshal(data, &stored) }); err == nil && stored.Gone != nil {
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
	if err := m.file.Save(memoryData{now}); err != nil {
		return fmt.Errorf("remember gone storages: %w", err)
	}
	return nil
}
