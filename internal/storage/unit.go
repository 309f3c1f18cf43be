package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"

	"labd/internal/host"
	"labd/internal/plan"
)

// savedUnit is what undo of a unit's removal needs.
type savedUnit struct {
	Active bool   `json:"active"`
	Text   []byte `json:"text"`
	Mode   uint32 `json:"mode"`
	// Links are the links that enabled it, with where they point.
	Links map[string]string `json:"links"`
}

type savedDir struct {
	Existed bool   `json:"existed"`
	Mode    uint32 `json:"mode"`
	UID     uint32 `json:"uid"`
	GID     uint32 `json:"gid"`
}

func (a *Applier) systemctl(ctx context.Context, args ...string) error {
	_, err := a.host.Run(ctx, host.Cmd{Name: "systemctl", Args: args})
	return err
}

// mountedAt tells whether anything is mounted at a point, without touching it.
func (a *Applier) mountedAt(ctx context.Context, point string) (bool, error) {
	mounts, err := a.host.Mounts(ctx)
	if err != nil {
		return false, err
	}
	_, mounted := mountedAt(mounts, point)
	return mounted, nil
}

// checkGone refuses when the device is there again, or another one is mounted in its place: somebody put a disk back.
func (a *Applier) checkGone(ctx context.Context, p unitParams) error {
	reader := a.host.NewReader(0)
	defer reader.Close()
	if findSourceDevice(reader, a.host.Paths, p.What) != DeviceGone {
		return &plan.ChangedError{What: p.What + " is there again, or may be"}
	}
	mounts, err := a.host.Mounts(ctx)
	if err != nil {
		return err
	}
	if m, mounted := mountedAt(mounts, p.Point); mounted && findDevice(reader, a.host.Dev, m.Source) != DeviceGone {
		return &plan.ChangedError{What: fmt.Sprintf("%s is mounted at %s", m.Source, p.Point)}
	}
	return nil
}

// stopUnit ends the mount through systemd, which also knows mounts it did not make; a bare umount would leave the unit
// in a state of its own.
func (a *Applier) stopUnit() plan.Op {
	return plan.Typed[unitParams, savedUnit]{
		CheckFunc: a.checkGone,
		CaptureFunc: func(ctx context.Context, p unitParams) (savedUnit, error) {
			mounted, err := a.mountedAt(ctx, p.Point)
			return savedUnit{Active: mounted}, err
		},
		DoFunc: func(ctx context.Context, p unitParams) error { return a.systemctl(ctx, "stop", p.Unit) },
		VerifyFunc: func(ctx context.Context, p unitParams) error {
			mounted, err := a.mountedAt(ctx, p.Point)
			if err == nil && mounted {
				err = fmt.Errorf("something is still mounted at %s", p.Point)
			}
			return err
		},
		UndoFunc: func(ctx context.Context, p unitParams, s savedUnit) error {
			reader := a.host.NewReader(0)
			defer reader.Close()
			if !s.Active || findDevice(reader, a.host.Dev, p.What) != DevicePresent {
				return nil // without its disk there is nothing to mount
			}
			return a.systemctl(ctx, "start", p.Unit)
		},
	}
}

func (a *Applier) removeUnit() plan.Op {
	return plan.Typed[unitParams, savedUnit]{
		CheckFunc:   a.checkGone,
		CaptureFunc: a.captureUnit,
		DoFunc: func(ctx context.Context, p unitParams) error {
			if err := a.systemctl(ctx, "disable", p.Unit); err != nil {
				return err
			}
			if err := os.Remove(p.File); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove the unit file: %w", err)
			}
			for _, link := range p.Wants {
				if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return fmt.Errorf("remove the link of the unit: %w", err)
				}
			}
			if err := a.systemctl(ctx, "daemon-reload"); err != nil {
				return err
			}
			// Fails when the unit never failed; then there is no ghost to remove either.
			_ = a.systemctl(ctx, "reset-failed", p.Unit)
			return nil
		},
		VerifyFunc: func(ctx context.Context, p unitParams) error {
			for _, file := range append([]string{p.File}, p.Wants...) {
				if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
					return fmt.Errorf("%s is still there", file)
				}
			}
			out, err := a.host.Run(ctx, host.Cmd{Name: "systemctl", Args: []string{"show", "--property=LoadState", "--value", p.Unit}})
			if err == nil && strings.TrimSpace(string(out)) == "loaded" {
				err = fmt.Errorf("systemd still has %s", p.Unit)
			}
			return err
		},
		UndoFunc: a.restoreUnit,
	}
}

func (a *Applier) captureUnit(_ context.Context, p unitParams) (savedUnit, error) {
	info, err := os.Stat(p.File)
	if err != nil {
		return savedUnit{}, fmt.Errorf("keep the unit file: %w", err)
	}
	text, err := os.ReadFile(p.File)
	if err != nil {
		return savedUnit{}, fmt.Errorf("keep the unit file: %w", err)
	}
	s := savedUnit{Text: text, Mode: uint32(info.Mode().Perm()), Links: map[string]string{}}
	for _, link := range p.Wants {
		if s.Links[link], err = os.Readlink(link); err != nil {
			return savedUnit{}, fmt.Errorf("keep the links of the unit: %w", err)
		}
	}
	return s, nil
}

// restoreUnit writes the unit file and its links again. It does not start the unit.
func (a *Applier) restoreUnit(ctx context.Context, p unitParams, s savedUnit) error {
	if err := renameio.WriteFile(p.File, s.Text, 0o644, renameio.WithStaticPermissions(fs.FileMode(s.Mode))); err != nil {
		return fmt.Errorf("write the unit file again: %w", err)
	}
	for link, target := range s.Links {
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			return fmt.Errorf("make the links of the unit again: %w", err)
		}
		if err := os.Symlink(target, link); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make the links of the unit again: %w", err)
		}
	}
	return a.systemctl(ctx, "daemon-reload")
}

// removeDir removes the mount point by rmdir only: what is in it was written while nothing was mounted, and belongs to
// a person.
func (a *Applier) removeDir() plan.Op {
	return plan.Typed[dirParams, savedDir]{
		CheckFunc: func(ctx context.Context, p dirParams) error {
			mounted, err := a.mountedAt(ctx, p.Path)
			if err == nil && mounted {
				err = &plan.ChangedError{What: "something is mounted at " + p.Path}
			}
			return err
		},
		CaptureFunc: func(_ context.Context, p dirParams) (savedDir, error) {
			info, err := os.Lstat(p.Path)
			if errors.Is(err, fs.ErrNotExist) {
				return savedDir{}, nil
			}
			if err != nil {
				return savedDir{}, err
			}
			saved := savedDir{Existed: info.IsDir(), Mode: uint32(info.Mode().Perm())}
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				saved.UID, saved.GID = stat.Uid, stat.Gid
			}
			return saved, nil
		},
		DoFunc: func(_ context.Context, p dirParams) error {
			err := os.Remove(p.Path)
			if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTEMPTY) {
				return nil
			}
			return fmt.Errorf("remove the mount point: %w", err)
		},
		UndoFunc: func(_ context.Context, p dirParams, s savedDir) error {
			if !s.Existed {
				return nil
			}
			if err := os.MkdirAll(filepath.Dir(p.Path), 0o755); err != nil {
				return fmt.Errorf("make the mount point again: %w", err)
			}
			err := os.Mkdir(p.Path, fs.FileMode(s.Mode))
			if errors.Is(err, fs.ErrExist) {
				return nil
			}
			if err == nil { // Mkdir heeds the umask and makes it the caller's
				err = errors.Join(os.Chown(p.Path, int(s.UID), int(s.GID)), os.Chmod(p.Path, fs.FileMode(s.Mode)))
			}
			if err != nil {
				return fmt.Errorf("make the mount point again: %w", err)
			}
			return nil
		},
	}
}
