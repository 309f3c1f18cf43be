package pve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// GuestFile edits a guest's configuration itself, for what PVE's API refuses while a storage cannot be used: PVE
// activates the storage of a CD image that is set, looks a hook script up on it, and wants it to take an unused volume
// off a container. It must be a guest of this node, whose lock is this host's.
type GuestFile struct {
	// Root is /etc/pve, LockDir is /run/lock.
	Root, LockDir string
	Guest         GuestRef
	// LockWait is how long another writer is waited for; default 10 s, as PVE.
	LockWait time.Duration
}

// Set gives a key of the configuration in force the value, "" takes it out; a change of it that waits for a restart is
// dropped. It holds PVE's lock of the guest meanwhile and reads the file anew under it. It fails with ErrChanged when
// the key does not have the value was ("" for a key that is not there), and when PVE has locked the guest for a task.
// All other lines stay; the file is replaced as a whole or not at all.
// Source: PVE::QemuConfig, PVE::LXC::Config, config_file_lock; PVE::AbstractConfig, lock_config.
func (f GuestFile) Set(ctx context.Context, key, was, value string) error {
	if strings.ContainsAny(value, "\r\n") || !guestKeyPattern.MatchString(key) {
		return fmt.Errorf("edit guest %d: %q is no key or value of a configuration", f.Guest.ID, key)
	}
	if f.LockWait == 0 {
		f.LockWait = lockWait
	}
	ctx, cancel := context.WithTimeout(ctx, f.LockWait+lockHold)
	defer cancel()
	what := fmt.Sprintf("edit the file of guest %d", f.Guest.ID)
	if err := bounded(ctx, what, func() error { return f.set(ctx, key, was, value) }); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (f GuestFile) set(ctx context.Context, key, was, value string) (err error) {
	dir, lockName := "qemu-server", filepath.Join("qemu-server", "lock-"+strconv.Itoa(f.Guest.ID)+".conf")
	if f.Guest.Kind == LXC {
		dir, lockName = "lxc", filepath.Join("lxc", "pve-config-"+strconv.Itoa(f.Guest.ID)+".lock")
	}
	unlock, err := lockFile(ctx, filepath.Join(f.LockDir, lockName), f.LockWait)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	file := filepath.Join(f.Root, "nodes", f.Guest.Node, dir, strconv.Itoa(f.Guest.ID)+".conf")
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	config := ParseGuestConfig(f.Guest.Kind, old)
	if lock, locked := config.Live().Get("lock"); locked {
		return fmt.Errorf("the guest is locked (%s)", lock)
	}
	if now, _ := config.Live().Get(key); now != was {
		return fmt.Errorf("%w: %s is %q, not %q", ErrChanged, key, now, was)
	}
	return writeBeside(file, []byte(setGuestKey(string(old), f.Guest.Kind, key, value)), 0o640, ctx.Err)
}

// setGuestKey is a guest's file with one key of the configuration in force set, or taken out, and without a change of it
// that waits.
func setGuestKey(text string, kind GuestKind, key, value string) string {
	is := func(line string) bool {
		name, _, ok := strings.Cut(line, ":")
		return ok && (name == key || kind == QEMU && key == "ide2" && name == "cdrom")
	}
	if text == "" && value != "" {
		return key + ": " + value + "\n"
	}
	var out []string
	section, written := "", value == ""
	put := func() {
		if written {
			return
		}
		written = true
		at := len(out)
		for at > 0 && out[at-1] == "" {
			at--
		}
		out = slices.Insert(out, at, key+": "+value)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		if strings.HasPrefix(line, "[") {
			put()
			section = strings.ToLower(strings.TrimSpace(line))
		}
		pending := section == "[pending]" || section == "[pve:pending]"
		switch list, deletes := strings.CutPrefix(line, "delete:"); {
		case section == "" && is(line):
			if !written {
				out, written = append(out, key+": "+value), true
			}
			continue
		case pending && is(line):
			continue
		case pending && deletes:
			rest := slices.DeleteFunc(splitList(list), func(k string) bool { return strings.TrimPrefix(k, "!") == key })
			if len(rest) == 0 {
				continue
			}
			line = "delete: " + strings.Join(rest, ",")
		}
		out = append(out, line)
	}
	put()
	return strings.Join(out, "\n") + "\n"
}

// lockFile takes a lock of this host as PVE::Tools::lock_file does: flock(2) on a file that stays.
func lockFile(ctx context.Context, name string, wait time.Duration) (unlock func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(wait)
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f.Close, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(err, f.Close())
		}
		left := time.Until(deadline)
		if left <= 0 {
			return nil, errors.Join(fmt.Errorf("lock %s for %s: %w", name, wait, ErrLockTimeout), f.Close())
		}
		t := time.NewTimer(min(left, 100*time.Millisecond))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-t.C:
		}
	}
}
