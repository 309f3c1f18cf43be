package pve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tempMark is in the names of files that labd writes first and renames then: NAME.tmp.labd-PID.
const tempMark = ".tmp.labd-"

// hangGrace is how much longer than its context a call into the cluster file system is waited for.
const hangGrace = 2 * time.Second

// WriteClusterFile puts a file into the cluster file system as PVE does: written whole beside its place, then renamed, so
// that all nodes have the old text or the new one. name is below root, which is /etc/pve. Owner and mode follow from the
// path (pmxcfs.8); a directory that is missing is made. It fails with ErrNoQuorum, and with ErrUnknownOutcome when the
// file system hangs beyond ctx. What a killed labd left beside the file is taken away first: it may hold a secret.
func WriteClusterFile(ctx context.Context, root, name string, data []byte) error {
	return bounded(ctx, "write "+name, func() error {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return asNoQuorum(err)
		}
		return writeBeside(file, data, 0o600, ctx.Err)
	})
}

// bounded does a piece of work that may hang in the cluster file system. It fails with ErrUnknownOutcome when that goes on
// longer than ctx; the work is left to itself then.
func bounded(ctx context.Context, what string, work func() error) error {
	done := make(chan error, 1)
	go func() { done <- work() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	// A wait for a lock ends with ctx by itself; a hanging file system does not.
	t := time.NewTimer(hangGrace)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		return fmt.Errorf("%s: %w: the cluster file system hangs: %w", what, ErrUnknownOutcome, ctx.Err())
	}
}

// writeBeside writes a file beside its place and renames it: the cluster file system makes that one step for all nodes.
// It takes no chmod, and a file must be closed before it is renamed. permit is asked right before the rename: whoever
// gave up waiting must not find the file changed later.
func writeBeside(file string, data []byte, mode fs.FileMode, permit func() error) error {
	if err := removeStale(file); err != nil {
		return err
	}
	temp := file + tempMark + strconv.Itoa(os.Getpid())
	t, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return asNoQuorum(err)
	}
	_, err = t.Write(data)
	err = errors.Join(err, t.Close())
	if err == nil {
		err = permit()
	}
	if err == nil {
		err = os.Rename(temp, file)
	}
	if err != nil {
		if removeErr := os.Remove(temp); !errors.Is(removeErr, fs.ErrNotExist) {
			err = errors.Join(err, removeErr)
		}
		return asNoQuorum(err)
	}
	return nil
}

// removeStale takes away what a killed labd left beside a file. Only one labd of a host writes.
func removeStale(file string) error {
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), filepath.Base(file)+tempMark) {
			continue
		}
		if err := os.Remove(filepath.Join(filepath.Dir(file), e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return asNoQuorum(err)
		}
	}
	return nil
}

// asNoQuorum says what a write that is not permitted means in the cluster file
// system, root or not.
func asNoQuorum(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, errReadOnly) {
		return fmt.Errorf("%w: %w", ErrNoQuorum, err)
	}
	return err
}
