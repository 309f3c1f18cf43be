package pve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

const (
	storageLockName = "file-storage_cfg"
	// maxClusterFile is the longest file that the cluster file system takes.
	maxClusterFile = 1 << 20
)

var errReadOnly = syscall.EROFS

// StorageFile edits storage.cfg itself, for what PVE's API cannot do: take out a
// section that PVE rejects, or touch a file that holds types unknown to it.
type StorageFile struct {
	// Root is /etc/pve.
	Root string
	// Major is the running PVE's, which decides the known types.
	Major int
	// LockWait is how long another writer is waited for; default 10 s, as PVE.
	LockWait time.Duration
}

// Edit replaces storage.cfg by what change makes of its text. It holds PVE's own
// lock meanwhile, reads the file anew under it, parses it before and after, and
// refuses an edit that touches more than one section, or leaves a section that
// PVE rejects and did not reject before. The file is replaced as a whole or not
// at all. When ctx ends while a call into the cluster file system hangs, it
// fails with ErrUnknownOutcome.
func (f StorageFile) Edit(ctx context.Context, change func(text []byte) ([]byte, error)) error {
	if f.LockWait == 0 {
		f.LockWait = lockWait
	}
	ctx, cancel := context.WithTimeout(ctx, f.LockWait+lockHold)
	defer cancel()
	return bounded(ctx, "edit storage.cfg", func() error { return f.edit(ctx, change) })
}

func (f StorageFile) edit(ctx context.Context, change func([]byte) ([]byte, error)) (err error) {
	cluster, err := ReadCluster(DirFS(f.Root))
	switch {
	case err != nil:
		return fmt.Errorf("edit storage.cfg: %w", err)
	case !cluster.Mounted:
		return fmt.Errorf("edit storage.cfg: %w", ErrClusterFSDown)
	case !cluster.Quorate:
		return fmt.Errorf("edit storage.cfg: %w", ErrNoQuorum)
	}
	lock, err := lockCluster(ctx, f.Root, storageLockName, f.LockWait)
	if err != nil {
		return fmt.Errorf("edit storage.cfg: %w", err)
	}
	defer func() { err = errors.Join(err, lock.release()) }()
	file := filepath.Join(f.Root, "storage.cfg")
	old, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("edit storage.cfg: %w", err)
	}
	text, err := change(bytes.Clone(old))
	if err != nil || bytes.Equal(text, old) {
		return err
	}
	if err := f.compare(old, text); err != nil {
		return fmt.Errorf("edit storage.cfg: refused, nothing was written: %w", err)
	}
	if err := replace(ctx, lock, file, text); err != nil {
		return fmt.Errorf("edit storage.cfg: %w", err)
	}
	written, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(written, text) {
		return fmt.Errorf("edit storage.cfg: it does not hold what was written (%v)", err)
	}
	return nil
}

// replace puts text in the place of storage.cfg while the lock is surely labd's.
func replace(ctx context.Context, lock *clusterLock, file string, text []byte) error {
	return writeBeside(file, text, 0o640, func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return lock.renew()
	})
}

// compare parses both texts as PVE does and fails unless they differ in one
// section at the most and nothing got worse.
func (f StorageFile) compare(old, text []byte) error {
	if len(text) > maxClusterFile {
		return fmt.Errorf("the file would be longer than 1 MiB")
	}
	options := StorageConfigOptions{Major: f.Major}
	before, after := ParseStorageConfig(old, options), ParseStorageConfig(text, options)
	touched := map[string]bool{}
	was, is := sectionsByID(before), sectionsByID(after)
	for id := range maps.Keys(joinKeys(was, is)) {
		a, b := was[id], is[id]
		if a == nil || b == nil || a.malformed != b.malformed || a.typ != b.typ || !maps.Equal(a.properties, b.properties) {
			touched[id] = true
		}
		if b != nil && b.malformed != "" && (a == nil || a.malformed == "") {
			return fmt.Errorf("PVE would reject the section of %s (%s), and then every change of any storage", id, b.malformed)
		}
	}
	if len(touched) > 1 {
		return fmt.Errorf("it would touch more than one section: %v", slices.Sorted(maps.Keys(touched)))
	}
	worse := func(h Hazard) bool { return h.Effect == Misreads }
	if n, m := count(before.Hazards(old), worse), count(after.Hazards(text), worse); m > n {
		return errors.New("PVE would read the result otherwise than it looks")
	}
	return nil
}

// comparedSection is a section, or a skipped one, in a form that can be compared.
type comparedSection struct {
	typ, malformed string
	properties     map[string]string
}

func sectionsByID(c *StorageConfig) map[string]*comparedSection {
	out := map[string]*comparedSection{}
	for _, s := range c.Skipped {
		properties := map[string]string{}
		for i, p := range s.Properties {
			properties[strconv.Itoa(i)+" "+p.Key] = p.Value
		}
		out[s.Type+": "+s.ID] = &comparedSection{typ: s.Type, properties: properties}
	}
	for _, s := range c.Sections {
		if !s.Injected {
			out[s.ID] = &comparedSection{typ: s.Type, malformed: s.Malformed, properties: s.Properties}
		}
	}
	return out
}

func joinKeys[V any](a, b map[string]V) map[string]V {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

func count[T any](items []T, is func(T) bool) (n int) {
	for _, i := range items {
		if is(i) {
			n++
		}
	}
	return n
}
