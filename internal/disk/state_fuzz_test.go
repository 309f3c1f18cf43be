package disk

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"labd/internal/statefile"
)

// Whatever stands in the memory of drives, it is recalled, a report can be made with it, and it can be written again.
func FuzzMemory(f *testing.F) {
	f.Add([]byte(`{"drives":[{"model":"m","serial":"s"}],"incidents":[{"kind":"timeout","text":"x"}]}`))
	f.Add([]byte(`{"drives":[null,{}],"incidents":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if !json.Valid(data) || len(data) > 1<<12 {
			return
		}
		dir := t.TempDir()
		if err := statefile.New(filepath.Join(dir, "nvme-drives.json"), memoryVersion).Save(json.RawMessage(data)); err != nil {
			return
		}
		m := NewMemory(dir, nil)
		remembered, err := m.Recall()
		if err == nil {
			facts := &Facts{At: time.Unix(1_700_000_000, 0), Remembered: remembered}
			_ = Diagnose(facts, DefaultPolicy()) // must not panic
		}
		if err := m.Note(&Facts{At: time.Unix(1_700_000_000, 0)}); err != nil {
			t.Error(err)
		}
	})
}
