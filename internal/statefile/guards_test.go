package statefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What Load says and uses, for each state of the file and of the copy before it.
func TestLoadOfEachPair(t *testing.T) {
	const good, bad, absent = "good", "bad", "absent"
	for _, c := range []struct{ file, old, want, says string }{
		{good, good, "file", ""},
		{good, bad, "file", ""},
		{good, absent, "file", ""},
		{bad, good, "old", "the copy before it is used"},
		{bad, bad, "", "no usable copy"},
		{bad, absent, "", "no usable copy"},
		{absent, good, "old", "the copy before it is used"},
		{absent, bad, "", "no usable copy"},
		{absent, absent, "", ""},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "x.json")
		for name, state := range map[string]string{path: c.file, path + OldSuffix: c.old} {
			text := map[string]string{path: "file", path + OldSuffix: "old"}[name]
			switch state {
			case good:
				other := filepath.Join(dir, "other")
				save(t, New(other, 1), text)
				if err := os.Rename(other, name); err != nil {
					t.Fatal(err)
				}
			case bad:
				if err := os.WriteFile(name, []byte("{"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		f := New(path, 1)
		got, err := load(f)
		if got != c.want || (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path)) {
			t.Errorf("file %s, copy %s: %q, %v", c.file, c.old, got, err)
		}
		// Whatever it was, the next value is kept, and a good file becomes the copy before it.
		save(t, f, "next")
		if got, err := load(New(path, 1)); got != "next" || err != nil {
			t.Errorf("file %s, copy %s: after Save %q, %v", c.file, c.old, got, err)
		}
		if c.want == "" {
			continue
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if got, _ := load(New(path, 1)); got != c.want {
			t.Errorf("file %s, copy %s: the copy after Save is %q, want %q", c.file, c.old, got, c.want)
		}
	}
}

// Each way in which a file is no state, though it may look like one.
func TestDamagedFiles(t *testing.T) {
	for _, text := range []string{
		"", "null", "[]", `{"version":1,"sha256":"","data":{}}`, `{"version":1,"sha256":"` + sum(nil) + `"}`, `{"version":1,"sha256":"x","data":null}`,
		`{"version":"1","sha256":"` + sum([]byte("{}")) + `","data":{}}`,
	} {
		if _, err := open([]byte(text), 1); err == nil || errors.Is(err, ErrNewer) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := open([]byte(`{"version":1,"sha256":"`+sum([]byte("{}"))+`","data":{ }}`), 1); err != nil {
		t.Errorf("a file with spaces: %v", err)
	}
}

// A value that cannot be written, and a directory that cannot be made, leave everything as it was.
func TestSaveThatFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.json")
	f := New(path, 1)
	save(t, f, "kept")
	if err := f.Save(make(chan int)); err == nil {
		t.Error("a channel is saved")
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f.max = len(whole)
	if err := f.Save(value{"kept."}); !errors.Is(err, errTooLarge) {
		t.Errorf("a value that is too large: %v", err)
	}
	if err := f.Save(value{"kept"}); err != nil {
		t.Errorf("one that just fits: %v", err)
	}
	f.max = MaxSize
	if got, err := load(New(path, 1)); got != "kept" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if err := New(filepath.Join(path, "sub", "y.json"), 1).Save("x"); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("below a file: %v", err)
	}
	// A directory in the place of the copy's other name.
	if err := os.MkdirAll(path+OldSuffix+".new/full", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.Save(value{"next"}); !errors.Is(err, unix.ENOTEMPTY) {
		t.Errorf("the copy before cannot be kept: %v", err)
	}
	if got, err := load(New(path, 1)); got != "kept" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if err := os.RemoveAll(path + OldSuffix + ".new"); err != nil {
		t.Fatal(err)
	}
	// What a kill between link and rename left.
	if err := os.WriteFile(path+OldSuffix+".new", []byte("left"), 0o600); err != nil {
		t.Fatal(err)
	}
	save(t, f, "next")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got, _ := load(New(path, 1)); got != "kept" {
		t.Errorf("the copy before is %q", got)
	}
	// A file that somebody removed meanwhile is no reason not to write.
	save(t, f, "after")
	if got, err := load(New(path, 1)); got != "after" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	// The directory is gone.
	f.Write = func(string, []byte) error { return nil }
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Save(value{"x"}); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a file in the place of the directory: %v", err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
}

func TestFileTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.json")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 101)); err != nil {
		t.Fatal(err)
	}
	if _, err := readFile(path, 100); !errors.Is(err, errTooLarge) {
		t.Errorf("got %v", err)
	}
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	if raw, err := readFile(path, 100); err != nil || len(raw) != 100 {
		t.Errorf("as large as allowed: %d, %v", len(raw), err)
	}
	if _, err := readFile(path+"x", 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
