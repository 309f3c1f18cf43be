package storage

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"labd/internal/host"
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

func FuzzCrypttab(f *testing.F) {
	f.Add("data UUID=6b8b4567-327b-23c6-643c-986966334873 none luks\n# c\n\nshort\n")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<12 {
			return
		}
		h := host.New(host.DefaultPaths(), "")
		dir := t.TempDir()
		h.Etc, h.Dev, h.Sysfs, h.Procfs = filepath.Join(dir, "etc"), filepath.Join(dir, "dev"), filepath.Join(dir, "sys"), filepath.Join(dir, "proc")
		if err := errors.Join(os.MkdirAll(h.Etc, 0o755), os.WriteFile(filepath.Join(h.Etc, "crypttab"), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		reader := h.NewReader(0)
		defer reader.Close()
		_ = hasLockedDisk(reader, h.Paths) // must not panic
	})
}
