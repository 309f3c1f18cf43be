package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

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

// exitNotLoaded is systemctl's exit status for a unit that is not loaded (systemctl(1)).
const exitNotLoaded = 5

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
	if a.host.ExecPATH() == "" {
		return &plan.RefusedError{Reason: host.ErrNoPrograms.Error(), Hint: "removing a mount unit needs systemctl"}
	}
	f := NewObserver(a.Inputs).source(ctx, p)
	if proof := f.prove(Source{What: p.What}); proof.state != DeviceGone {
		return &plan.ChangedError{What: p.What + " is there again, or may be"}
	}
	if f.MountsErr != nil {
		return f.MountsErr
	}
	if m, mounted := mountedAt(f.Mounts, p.Point); mounted && f.Devices[m.Source] != DeviceGone {
		return &plan.ChangedError{What: fmt.Sprintf("%s is mounted at %s", m.Source, p.Point)}
	}
	return nil
}

// stopUnit ends the mount through systemd, which also knows mounts it did not make; a bare umount would leave the unit
// in a state of its own.
func (a *Applier) stopUnit() plan.Op {
	return plan.Typed[unitParams, savedUnit]{
		CheckFunc: a.checkGone,
		FormerFunc: func(p unitParams, s savedUnit) string {
			if s.Active {
				return p.Point + " was mounted"
			}
			return "nothing was mounted at " + p.Point
		},
		CaptureFunc: func(ctx context.Context, p unitParams) (savedUnit, error) {
			mounted, err := a.mountedAt(ctx, p.Point)
			return savedUnit{Active: mounted}, err
		},
		DoFunc: func(ctx context.Context, p unitParams) error {
			err := a.systemctl(ctx, "stop", p.Unit)
			var exit *host.ExitError
			if errors.As(err, &exit) && exit.Code == exitNotLoaded {
				return nil // a line of fstab that systemd has not read; whether anything is mounted is verified
			}
			return err
		},
		VerifyFunc: func(ctx context.Context, p unitParams) error {
			mounted, err := a.mountedAt(ctx, p.Point)
			if err == nil && mounted {
				err = fmt.Errorf("something is still mounted at %s", p.Point)
			}
			return err
		},
		UndoFunc: func(ctx context.Context, p unitParams, s savedUnit) error {
			if a.checkStart(ctx, p, s) != nil || !s.Active {
				return nil // a unit that was dead before stays so, and without its disk there is nothing to mount
			}
			return a.systemctl(ctx, "start", p.Unit)
		},
		CheckUndoFunc: a.checkStart,
	}
}

// checkStart says why a unit that was active is not started again.
func (a *Applier) checkStart(_ context.Context, p unitParams, s savedUnit) error {
	reader := a.host.NewReader(0)
	defer reader.Close()
	if s.Active && newDeviceFinder(reader, a.host.Paths).find(p.What) != DevicePresent {
		return fmt.Errorf("%s is not there; systemctl start '%s' mounts it once it is", p.What, p.Unit)
	}
	return nil
}

func (a *Applier) removeUnit() plan.Op {
	return plan.Typed[unitParams, savedUnit]{
		CheckFunc:   a.checkGone,
		CaptureFunc: a.captureUnit,
		FormerFunc: func(p unitParams, s savedUnit) string {
			return fmt.Sprintf("%s had %d bytes, enabled by %d links", p.File, len(s.Text), len(s.Links))
		},
		DoFunc: func(ctx context.Context, p unitParams) error {
			if err := removeLinks(p.Wants); err != nil {
				return err
			}
			if err := os.Remove(p.File); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove the unit file: %w", err)
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
		UndoFunc:      a.restoreUnit,
		CheckUndoFunc: checkRestoreUnit,
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

// commentLine comments out a line of a file of this host, and has systemd read fstab again.
func (a *Applier) commentLine() plan.Op {
	reload := func(ctx context.Context, p lineFix) error {
		if p.Unit == "" {
			return nil
		}
		if err := a.systemctl(ctx, "daemon-reload"); err != nil {
			return err
		}
		_ = a.systemctl(ctx, "reset-failed", p.Unit) // fails when the unit never failed
		return nil
	}
	return plan.Typed[lineFix, struct{}]{
		CheckFunc: func(ctx context.Context, p lineFix) error {
			data, err := a.host.ReadFile(ctx, p.File)
			if err != nil {
				return err
			}
			if _, ok := commentOut(data, p.Line); !ok {
				return &plan.ChangedError{What: p.File}
			}
			return nil
		},
		DoFunc: func(ctx context.Context, p lineFix) error {
			if err := rewrite(p.File, func(data []byte) ([]byte, bool) { return commentOut(data, p.Line) }); err != nil {
				return err
			}
			return reload(ctx, p)
		},
		VerifyFunc: func(ctx context.Context, p lineFix) error {
			data, err := a.host.ReadFile(ctx, p.File)
			if err != nil {
				return err
			}
			if _, still := commentOut(data, p.Line); still {
				return fmt.Errorf("the line is still in %s", p.File)
			}
			return nil
		},
		UndoFunc: func(ctx context.Context, p lineFix, _ struct{}) error {
			data, err := a.host.ReadFile(ctx, p.File)
			if err != nil {
				return err
			}
			if _, there := commentOut(data, p.Line); there {
				return nil
			}
			if err := rewrite(p.File, func(data []byte) ([]byte, bool) { return uncomment(data, p.Line) }); err != nil {
				return err
			}
			return reload(ctx, p)
		},
	}
}

// disableImporter takes away the links of a unit that imports a dead pool at every boot.
func (a *Applier) disableImporter() plan.Op {
	return plan.Typed[unitParams, savedUnit]{
		CaptureFunc: func(_ context.Context, p unitParams) (savedUnit, error) {
			s := savedUnit{Links: map[string]string{}}
			for _, link := range p.Wants {
				target, err := os.Readlink(link)
				if err != nil {
					return s, fmt.Errorf("keep the links of the unit: %w", err)
				}
				s.Links[link] = target
			}
			return s, nil
		},
		DoFunc: func(ctx context.Context, p unitParams) error {
			return errors.Join(removeLinks(p.Wants), a.systemctl(ctx, "daemon-reload"))
		},
		VerifyFunc: func(_ context.Context, p unitParams) error {
			for _, link := range p.Wants {
				if _, err := os.Lstat(link); !errors.Is(err, fs.ErrNotExist) {
					return fmt.Errorf("%s is still there", link)
				}
			}
			return nil
		},
		UndoFunc: func(ctx context.Context, _ unitParams, s savedUnit) error {
			if err := restoreLinks(s.Links); err != nil {
				return err
			}
			return a.systemctl(ctx, "daemon-reload")
		},
	}
}

// removeLinks takes away the links that enable a unit, and no others: systemctl disable would follow Also= of the unit
// file to units that nobody asked about, and remove links that undo does not know.
func removeLinks(links []string) error {
	for _, link := range links {
		if err := unix.Unlink(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the link %s of the unit: %w", link, err)
		}
	}
	return nil
}

// restoreLinks makes the links that enable a unit again.
func restoreLinks(links map[string]string) error {
	for link, target := range links {
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			return fmt.Errorf("make the links of the unit again: %w", err)
		}
		if err := os.Symlink(target, link); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make the links of the unit again: %w", err)
		}
	}
	return nil
}

// checkRestoreUnit fails where somebody has made a unit file of that name since: it is theirs now.
func checkRestoreUnit(_ context.Context, p unitParams, s savedUnit) error {
	text, err := os.ReadFile(p.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look at the unit file: %w", err)
	case !bytes.Equal(text, s.Text):
		return fmt.Errorf("somebody has made another %s since; labd leaves that as it is", p.File)
	}
	return nil
}

// restoreUnit writes the unit file and its links again. It does not start the unit.
func (a *Applier) restoreUnit(ctx context.Context, p unitParams, s savedUnit) error {
	if err := checkRestoreUnit(ctx, p, s); err != nil {
		return err
	}
	if err := renameio.WriteFile(p.File, s.Text, 0o644, renameio.WithStaticPermissions(fs.FileMode(s.Mode))); err != nil {
		return fmt.Errorf("write the unit file again: %w", err)
	}
	if err := restoreLinks(s.Links); err != nil {
		return err
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
			err := unix.Rmdir(p.Path) // os.Remove would take a file or a link as well
			if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.ENOTDIR) {
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
