package pve

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const editedCfg = "# of all disks\ndir: local\n\tpath /var/lib/vz\n\tcontent iso\n\ndir: bad\n\tcontent iso\n\n" +
	"mine: truenas\n\tapi 192.0.2.1\n\nnfs: nas\n  server 192.0.2.2\n\texport /e # no comment\n\tcontent iso,backup\n\n"

// editRoot is an /etc/pve on a plain directory.
func editRoot(t *testing.T, text string) (root string) {
	t.Helper()
	root = t.TempDir()
	if err := errors.Join(
		os.MkdirAll(filepath.Join(root, "priv/lock"), 0o755),
		os.MkdirAll(filepath.Join(root, "nodes/pve1"), 0o755),
		os.Symlink("nodes/pve1", filepath.Join(root, "local")),
		os.WriteFile(filepath.Join(root, "storage.cfg"), []byte(text), 0o640),
	); err != nil {
		t.Fatal(err)
	}
	return root
}

func readEdited(t *testing.T, root string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "storage.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.Contains(e.Name(), "tmp") {
			t.Errorf("%s is left", e.Name())
		}
	}
	return string(data)
}

// without returns a change that takes a text out.
func without(part string) func([]byte) ([]byte, error) {
	return func(text []byte) ([]byte, error) {
		return []byte(strings.Replace(string(text), part, "", 1)), nil
	}
}

func TestStorageFileEdit(t *testing.T) {
	for _, part := range []string{"dir: bad\n\tcontent iso\n\n", "mine: truenas\n\tapi 192.0.2.1\n\n"} {
		root := editRoot(t, editedCfg)
		if err := (StorageFile{Root: root}).Edit(t.Context(), without(part)); err != nil {
			t.Fatal(err)
		}
		want := strings.Replace(editedCfg, part, "", 1)
		if diff := cmp.Diff(want, readEdited(t, root)); diff != "" {
			t.Error(diff)
		}
		if names, _ := os.ReadDir(filepath.Join(root, "priv/lock")); len(names) != 0 {
			t.Error("the lock is still held")
		}
		// And back again.
		err := (StorageFile{Root: root}).Edit(t.Context(), func(text []byte) ([]byte, error) { return append(text, part...), nil })
		if malformed := strings.Contains(part, "bad"); (err == nil) == malformed {
			t.Errorf("adding %q: %v", part, err)
		}
	}
}

func TestStorageFileRefuses(t *testing.T) {
	for name, change := range map[string]func([]byte) ([]byte, error){
		"two sections":             func([]byte) ([]byte, error) { return []byte(editedCfg[:strings.Index(editedCfg, "dir: bad")]), nil },
		"a section gets malformed": without("  server 192.0.2.2\n"),
		"a swallowed header":       without("\n\nnfs"),
		"two changed properties":   func(b []byte) ([]byte, error) { return bytes.ReplaceAll(b, []byte("iso"), []byte("backup")), nil },
		"too long": func(b []byte) ([]byte, error) {
			return append(b, bytes.Repeat([]byte("#\n"), maxClusterFile/2)...), nil
		},
		"the change itself fails": func([]byte) ([]byte, error) { return nil, errors.New("no") },
	} {
		root := editRoot(t, editedCfg)
		err := (StorageFile{Root: root}).Edit(t.Context(), change)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if got := readEdited(t, root); got != editedCfg {
			t.Errorf("%s: the file changed:\n%s", name, cmp.Diff(editedCfg, got))
		}
		if names, _ := os.ReadDir(filepath.Join(root, "priv/lock")); len(names) != 0 {
			t.Errorf("%s: the lock is still held", name)
		}
	}
}

func TestStorageFileWaitsForTheLock(t *testing.T) {
	root := editRoot(t, editedCfg)
	lock := filepath.Join(root, "priv/lock", storageLockName)
	if err := os.Mkdir(lock, 0o755); err != nil {
		t.Fatal(err)
	}
	change := without("dir: bad\n\tcontent iso\n\n")
	if err := (StorageFile{Root: root, LockWait: 20 * time.Millisecond}).Edit(t.Context(), change); !errors.Is(err, ErrLockTimeout) {
		t.Errorf("held by another: %v", err)
	}
	info, err := os.Stat(lock)
	if err != nil || info.ModTime().Unix() != 0 {
		t.Errorf("its holder's lock was not asked for, or taken away: %v %v", err, info)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (StorageFile{Root: root}).Edit(ctx, change); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	// The other lets go while this one waits.
	released := make(chan error, 1)
	go func() {
		for {
			if info, err := os.Stat(lock); err == nil && info.ModTime().Unix() == 0 {
				released <- os.Remove(lock)
				return
			}
		}
	}()
	if err := (StorageFile{Root: root}).Edit(t.Context(), change); err != nil {
		t.Error(err)
	}
	if err := <-released; err != nil {
		t.Error(err)
	}
}

func TestStorageFileNeedsTheCluster(t *testing.T) {
	change := without("dir: bad\n\tcontent iso\n\n")
	root := editRoot(t, editedCfg)
	members := `{"nodename":"pve1","version":2,"cluster":{"name":"lab","version":2,"nodes":2,"quorate":0},"nodelist":{}}`
	if err := os.WriteFile(filepath.Join(root, ".members"), []byte(members), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := (StorageFile{Root: root}).Edit(t.Context(), change); !errors.Is(err, ErrNoQuorum) {
		t.Errorf("no quorum: %v", err)
	}
	if err := (StorageFile{Root: t.TempDir()}).Edit(t.Context(), change); !errors.Is(err, ErrClusterFSDown) {
		t.Errorf("pmxcfs down: %v", err)
	}
	if err := os.Remove(filepath.Join(root, ".members")); err != nil {
		t.Fatal(err)
	}
	// What a killed labd left is taken away.
	if err := os.WriteFile(filepath.Join(root, "storage.cfg"+tempMark+"99"), []byte("half"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := (StorageFile{Root: root}).Edit(t.Context(), change); err != nil {
		t.Error(err)
	}
	readEdited(t, root)
}

// A holder that is too slow writes nothing.
func TestLockThatIsTooOld(t *testing.T) {
	root := editRoot(t, editedCfg)
	l, err := lockCluster(t.Context(), root, storageLockName, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.renew(); err != nil {
		t.Error(err)
	}
	l.acquired = time.Now().Add(-lockHold - time.Second)
	if err := replace(t.Context(), l, filepath.Join(root, "storage.cfg"), []byte("x")); err == nil || readEdited(t, root) != editedCfg {
		t.Errorf("written with a lock that may be another's: %v", err)
	}
	if err := l.release(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(l.dir); err != nil {
		t.Error("a lock that may be another's was taken away")
	}
	if err := os.Remove(l.dir); err != nil {
		t.Fatal(err)
	}
	l.acquired = time.Now()
	if err := l.renew(); err == nil {
		t.Error("a lost lock was renewed")
	}
}
