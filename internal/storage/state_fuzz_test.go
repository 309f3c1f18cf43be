package storage

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"labd/internal/statefile"
)

// Whatever stands in the memory of dead storages, a report can be made and nothing becomes removable by it that was not seen dead.
func FuzzMemory(f *testing.F) {
	f.Add([]byte(`{"usb1":{"dead":"2026-11-01T10:00:00Z","of":"x"}}`))
	f.Add([]byte(`{"usb1":null,"":{"removable":true}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if !json.Valid(data) || len(data) > 1<<12 {
			return
		}
		dir := t.TempDir()
		if err := statefile.New(filepath.Join(dir, "storage-seen.json"), memoryVersion).Save(json.RawMessage(data)); err != nil {
			return
		}
		m := NewMemory(dir, nil)
		_ = m.Seen()
		if err := m.Note(&Report{Readable: true}); err != nil {
			t.Error(err)
		}
		if left := NewMemory(dir, nil).Seen(); len(left) != 0 {
			t.Errorf("kept without an entry: %v", left)
		}
	})
}

func FuzzMonitors(f *testing.F) {
	f.Add([]byte("[global]\n\tmon_host = 10.0.0.1 10.0.0.2:6789\n"))
	f.Add([]byte("mon host = [v2:10.0.0.1:3300,v1:10.0.0.1:6789] [v2:[fd00::1]:3300]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, monitor := range monitorsOf(data) {
			if monitor == "" || strings.ContainsAny(monitor, " \t\n") {
				t.Errorf("a monitor %q", monitor)
			}
		}
	})
}
