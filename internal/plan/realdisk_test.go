package plan

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A real file system that is full, then read-only: no step runs without its record, what ran can be undone when there is room
// again, and the journal tells.
func TestJournalOnARealFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test needs root")
		}
		t.Skip("this test needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("labd-test", dir, "tmpfs", 0, "size=32k"); err != nil {
		t.Skip("no mounts here: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	w := &world{on: map[string]bool{"a": true, "b": true, "c": true}}
	r := &Runner{Journal: NewJournal(filepath.Join(dir, "journal"), time.Now), Ops: w.ops()}
	inner := r.Ops["switch-off"].(Typed[string, bool])
	// The second step needs more room than there is.
	r.Ops["switch-off"] = Typed[string, map[string]any]{
		CaptureFunc: func(_ context.Context, name string) (map[string]any, error) {
			saved := map[string]any{"was": w.on[name]}
			if name == "b" {
				saved["more"] = strings.Repeat("x", 64<<10)
			}
			return saved, nil
		},
		DoFunc: inner.DoFunc, VerifyFunc: inner.VerifyFunc,
		UndoFunc: func(_ context.Context, name string, saved map[string]any) error {
			w.on[name] = saved["was"] == true
			return nil
		},
	}
	entry, err := r.Apply(t.Context(), switches(t, "storage/n/x", "a", "b", "c"), "test")
	if !errors.Is(err, unix.ENOSPC) || w.on["a"] || !w.on["b"] || !w.on["c"] {
		t.Fatalf("%v, world %v", err, w.on)
	}
	if entry.State != StateFailed || entry.StepsDone() != 1 || entry.Steps[1].Begun || entry.Damaged > 0 || !strings.Contains(entry.Error, "no space") {
		t.Errorf("the journal says %+v", entry)
	}
	// Full to the last byte: nothing more can begin, and the undo cannot either, which is said.
	filler := filepath.Join(dir, "filler")
	for _, size := range []int{4096, 1} {
		for {
			f, err := os.OpenFile(filler, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.Write(make([]byte, size))
			f.Close()
			if err != nil {
				break
			}
		}
	}
	if _, err := r.Apply(t.Context(), switches(t, "storage/n/y", "c"), "test"); !errors.Is(err, unix.ENOSPC) || !w.on["c"] {
		t.Errorf("a change without room for its record: %v", err)
	}
	if _, err := undo(t, r, "1"); !errors.Is(err, unix.ENOSPC) || w.on["a"] {
		t.Errorf("an undo without room for its record: %v", err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Apply(t.Context(), switches(t, "storage/n/y", "c"), "test"); !errors.Is(err, unix.EROFS) || !w.on["c"] {
		t.Errorf("a change on a read-only disk: %v", err)
	}
	if entries, err := r.Journal.Entries(); err != nil || len(entries) != 1 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	if err := errors.Join(unix.Mount("", dir, "", unix.MS_REMOUNT, ""), os.Remove(filler)); err != nil {
		t.Fatal(err)
	}
	if _, err := undo(t, r, "1"); err != nil || !w.on["a"] {
		t.Errorf("undo when there is room again: %v, world %v", err, w.on)
	}
}
