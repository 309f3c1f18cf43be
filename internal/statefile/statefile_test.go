package statefile

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

type value struct{ Text string }

func load(f *File) (string, error) {
	var v value
	err := f.Load(func(_ int, data []byte) error { return json.Unmarshal(data, &v) })
	return v.Text, err
}

func save(t *testing.T, f *File, text string) {
	t.Helper()
	if err := f.Save(value{text}); err != nil {
		t.Fatal(err)
	}
}

func TestSaveAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "x.json")
	f := New(path, 1)
	if got, err := load(f); got != "" || err != nil {
		t.Errorf("missing: %q, %v", got, err)
	}
	for _, text := range []string{"one", "two <b>&  ", "three"} {
		save(t, f, text)
		if got, err := load(New(path, 1)); got != text || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got, err := load(New(path, 1)); got != "two <b>&  " || err == nil {
		t.Errorf("removed: %q, %v; want the copy before and a word about it", got, err)
	}
}

// A write that stops after any byte leaves the new value or the one before, never a wrong one.
func TestTornWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.json")
	f := New(path, 1)
	save(t, f, "before")
	save(t, f, "after")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for length := range len(whole) {
		if err := os.WriteFile(path, whole[:length], 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := load(New(path, 1))
		if torn := length < len(whole)-1; torn && (got != "before" || err == nil) {
			t.Fatalf("cut after %d bytes: %q, %v", length, got, err)
		}
	}
	for i := range whole {
		damaged := []byte(string(whole))
		damaged[i] ^= 1
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, _ := load(New(path, 1)); got != "before" && got != "after" {
			t.Fatalf("byte %d damaged: %q", i, got)
		}
	}
	// A damaged file never replaces the good copy.
	if err := os.WriteFile(path, whole[:9], 0o600); err != nil {
		t.Fatal(err)
	}
	again := New(path, 1)
	if got, _ := load(again); got != "before" {
		t.Fatalf("%q", got)
	}
	again.Write = func(string, []byte) error { return unix.ENOSPC }
	if err := again.Save(value{"lost"}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("full disk: %v", err)
	}
	if got, _ := load(New(path, 1)); got != "before" {
		t.Errorf("after a failed write over a damaged file: %q", got)
	}
}

func TestFailingDisk(t *testing.T) {
	for _, fault := range []error{unix.ENOSPC, unix.EROFS, unix.EIO} {
		path := filepath.Join(t.TempDir(), "x.json")
		f := New(path, 1)
		save(t, f, "kept")
		write := f.Write
		f.Write = func(string, []byte) error { return fault }
		for range 3 {
			if err := f.Save(value{"lost"}); !errors.Is(err, fault) || !strings.Contains(err.Error(), path) {
				t.Errorf("%v: %v", fault, err)
			}
		}
		if got, err := load(New(path, 1)); got != "kept" || err != nil {
			t.Errorf("%v: %q, %v", fault, got, err)
		}
		f.Write = write
		save(t, f, "again")
		if got, err := load(New(path, 1)); got != "again" || err != nil {
			t.Errorf("after %v: %q, %v", fault, got, err)
		}
	}
}

// A file of a newer labd is neither read nor overwritten; one of an older labd is upgraded.
func TestVersions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.json")
	save(t, New(path, 2), "new")
	old := New(path, 1)
	if got, err := load(old); got != "" || !errors.Is(err, ErrNewer) {
		t.Errorf("%q, %v", got, err)
	}
	if err := old.Save(value{"downgraded"}); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer labd's file was overwritten: %v", err)
	}
	newer := New(path, 3)
	saw := 0
	if err := newer.Load(func(version int, _ []byte) error { saw = version; return nil }); err != nil || saw != 2 {
		t.Errorf("version %d, %v", saw, err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte(`{"version":1,"sha256":"","data":{}}`))
	f.Fuzz(func(_ *testing.T, raw []byte) {
		_, _ = open(raw, 1) // must not panic
	})
}
