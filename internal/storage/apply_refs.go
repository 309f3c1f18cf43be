package storage

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"labd/internal/plan"
	"labd/internal/pve"
)

func (g guestFix) ref() pve.GuestRef { return pve.GuestRef{Kind: g.Kind, ID: g.ID, Node: g.Node} }

// readGuest reads the file of the guest of a fix, with its digest.
func (a *Applier) readGuest(ctx context.Context, g guestFix) (config pve.GuestConfig, digest string, err error) {
	dir := "qemu-server"
	if g.Kind == pve.LXC {
		dir = "lxc"
	}
	data, err := a.host.ReadFile(ctx, filepath.Join(a.host.PVE, "nodes", g.Node, dir, strconv.Itoa(g.ID)+".conf"))
	if err != nil {
		return config, "", fmt.Errorf("read guest %d: %w", g.ID, err)
	}
	sum := sha1.Sum(data)
	return pve.ParseGuestConfig(g.Kind, data), hex.EncodeToString(sum[:]), nil
}

// pendingValue is what a guest gets for a key at its next start; unset says that it loses the key then.
func pendingValue(c *pve.GuestConfig, key string) (value string, unset bool) {
	for i := range c.Sections {
		if s := &c.Sections[i]; s.Kind == pve.PendingSection {
			value, _ = s.Get(key)
			list, _ := s.Get("delete")
			unset = slices.Contains(strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }), key)
		}
	}
	return value, unset
}

// fixGuest changes one key of a guest that names the storage.
func (a *Applier) fixGuest() plan.Op {
	return plan.Typed[guestFix, struct{}]{
		CheckFunc: func(ctx context.Context, p guestFix) error {
			_, err := a.judgedGuest(ctx, p)
			return err
		},
		DoFunc: func(ctx context.Context, p guestFix) error {
			// The value that was judged is compared in the very reading whose digest PVE gets.
			digest, err := a.judgedGuest(ctx, p)
			if err != nil {
				return err
			}
			what := fmt.Sprintf("change %s of guest %d", p.Key, p.ID)
			if p.isContainersUnused() {
				return a.changeGuestFile(ctx, what, p, p.Value, p.New)
			}
			set, unset := map[string]string{p.Key: p.New}, []string(nil)
			if p.New == "" {
				set, unset = nil, []string{p.Key}
			}
			return a.change(ctx, what, func(c PVE) error { return c.UpdateGuest(ctx, p.ref(), set, unset, digest) })
		},
		VerifyFunc: func(ctx context.Context, p guestFix) error {
			config, _, err := a.readGuest(ctx, p)
			if err != nil {
				return err
			}
			pending, unset := pendingValue(&config, p.Key)
			if v, _ := config.Live().Get(p.Key); v == p.Value && pending != p.New && !unset {
				return fmt.Errorf("%s of guest %d is as before", p.Key, p.ID)
			}
			return nil
		},
		CheckUndoFunc: func(ctx context.Context, p guestFix, _ struct{}) error {
			done, err := a.guestToRestore(ctx, p)
			if err != nil || done || p.Node == a.node {
				return err
			}
			return fmt.Errorf("guest %d is on %s, and PVE there takes it only while the storage can be used", p.ID, p.Node)
		},
		UndoFunc: func(ctx context.Context, p guestFix, _ struct{}) error { return a.restoreGuest(ctx, p) },
	}
}

// isContainersUnused tells an unused volume of a container. PVE takes it off only where it can use the storage, and there
// it deletes the volume (PVE::LXC::Config, vmconfig_apply_pending).
func (g guestFix) isContainersUnused() bool {
	return g.Kind == pve.LXC && strings.HasPrefix(g.Key, "unused")
}

// judgedGuest returns the digest of the guest's file in which the key still has the value that the plan was made for.
func (a *Applier) judgedGuest(ctx context.Context, p guestFix) (digest string, err error) {
	config, digest, err := a.readGuest(ctx, p)
	if err != nil {
		return "", err
	}
	if lock, locked := config.Live().Get("lock"); locked {
		return "", &plan.RefusedError{Reason: fmt.Sprintf("guest %d is locked (%s)", p.ID, lock), Hint: "wait until that is over"}
	}
	if v, _ := config.Live().Get(p.Key); v != p.Value {
		return "", &plan.ChangedError{What: fmt.Sprintf("%s of guest %d", p.Key, p.ID)}
	}
	return digest, nil
}

// changeGuestFile changes the key in the guest's file itself, under PVE's lock of the guest.
func (a *Applier) changeGuestFile(ctx context.Context, what string, p guestFix, was, value string) error {
	if p.Node != a.node {
		return fmt.Errorf("%s: it is on %s, so its file cannot be locked from here", what, p.Node)
	}
	err := a.guestFile(p).Set(ctx, p.Key, was, value)
	if errors.Is(err, pve.ErrChanged) {
		return &plan.ChangedError{What: what + ": " + err.Error()}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// guestFile is the file of a guest of this node. PVE keeps its locks in /run/lock, beside labd's own directory in /run.
func (a *Applier) guestFile(p guestFix) pve.GuestFile {
	return pve.GuestFile{Root: a.host.PVE, LockDir: filepath.Join(filepath.Dir(a.host.Paths.Run), "lock"), Guest: p.ref()}
}

// guestToRestore reports whether the key has its former value again. It fails where somebody has given it another one
// since, which labd leaves alone.
func (a *Applier) guestToRestore(ctx context.Context, p guestFix) (done bool, err error) {
	config, _, err := a.readGuest(ctx, p)
	if err != nil {
		return false, err
	}
	pending, unset := pendingValue(&config, p.Key)
	switch v, _ := config.Live().Get(p.Key); {
	case v == p.Value && pending == "" && !unset:
		return true, nil
	case v != p.Value && v != p.New:
		return false, fmt.Errorf("somebody has set %s of guest %d to %q since; labd leaves that as it is", p.Key, p.ID, v)
	}
	return false, nil
}

// restoreGuest gives the key its former value again. PVE is asked first, since a running guest gets its disc back by that
// as well. It refuses while the storage cannot be used; then the line comes back in the guest's file.
func (a *Applier) restoreGuest(ctx context.Context, p guestFix) error {
	if done, err := a.guestToRestore(ctx, p); err != nil || done {
		return err
	}
	config, digest, err := a.readGuest(ctx, p)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("set %s of guest %d as before", p.Key, p.ID)
	refused := errors.New("PVE keeps the list of unused volumes itself")
	if !strings.HasPrefix(p.Key, "unused") {
		refused = a.change(ctx, what, func(c PVE) error {
			return c.UpdateGuest(ctx, p.ref(), map[string]string{p.Key: p.Value}, nil, digest)
		})
	}
	if refused != nil {
		if p.Node != a.node {
			return refused
		}
		now, _ := config.Live().Get(p.Key)
		if err := a.changeGuestFile(ctx, what, p, now, p.Value); err != nil {
			return errors.Join(refused, err)
		}
	}
	done, err := a.guestToRestore(ctx, p)
	if err == nil && !done {
		// A running guest takes some values at its next start only.
		config, _, err = a.readGuest(ctx, p)
		if pending, _ := pendingValue(&config, p.Key); err == nil && pending != p.Value {
			err = fmt.Errorf("%s of guest %d is not as before", p.Key, p.ID)
		}
	}
	return err
}

// savedJob are the former values of what a fix of a job sets; "" stands for a property that was not there.
type savedJob map[string]string

// readJob are the properties of a backup job.
func (a *Applier) readJob(ctx context.Context, id string) (map[string]string, error) {
	data, err := a.host.ReadFile(ctx, filepath.Join(a.host.PVE, "jobs.cfg"))
	if err != nil {
		return nil, fmt.Errorf("read jobs.cfg: %w", err)
	}
	for _, s := range pve.ParseSections(data) {
		if s.ID != id {
			continue
		}
		props := map[string]string{}
		for _, p := range s.Properties {
			props[p.Key] = p.Value
		}
		return props, nil
	}
	return nil, &plan.ChangedError{What: "backup job " + id + " is not in jobs.cfg any more"}
}

// fixJob changes a backup job that names the storage.
func (a *Applier) fixJob() plan.Op {
	return plan.Typed[jobFix, savedJob]{
		FormerFunc: func(p jobFix, _ savedJob) string { return p.Key + " of backup job " + p.Job + " was " + p.Value },
		CheckFunc: func(ctx context.Context, p jobFix) error {
			props, err := a.readJob(ctx, p.Job)
			if err == nil && props[p.Key] != p.Value {
				err = &plan.ChangedError{What: p.Key + " of backup job " + p.Job}
			}
			return err
		},
		CaptureFunc: func(ctx context.Context, p jobFix) (savedJob, error) {
			props, err := a.readJob(ctx, p.Job)
			s := savedJob{}
			for key := range p.Set {
				s[key] = props[key]
			}
			return s, err
		},
		DoFunc: func(ctx context.Context, p jobFix) error {
			return a.change(ctx, "change backup job "+p.Job, func(c PVE) error { return c.UpdateBackupJob(ctx, p.Job, p.Set, nil) })
		},
		VerifyFunc: func(ctx context.Context, p jobFix) error { return a.verifyJob(ctx, p.Job, p.Set) },
		UndoFunc: func(ctx context.Context, p jobFix, s savedJob) error {
			set, unset := map[string]string{}, []string(nil)
			for key, value := range s {
				if value == "" {
					unset = append(unset, key)
				} else {
					set[key] = value
				}
			}
			if a.verifyJob(ctx, p.Job, s) == nil {
				return nil
			}
			if err := a.change(ctx, "set backup job "+p.Job+" as before", func(c PVE) error { return c.UpdateBackupJob(ctx, p.Job, set, unset) }); err != nil {
				return err
			}
			return a.verifyJob(ctx, p.Job, s)
		},
	}
}

// verifyJob checks properties of a job; "" stands for one that must not be there. PVE leaves out what it takes for
// granted, so a job that is not said to be off is on.
func (a *Applier) verifyJob(ctx context.Context, id string, want map[string]string) error {
	props, err := a.readJob(ctx, id)
	if err != nil {
		return err
	}
	for key, value := range want {
		have := props[key]
		if key == "fleecing" {
			// PVE leaves out the name of the first item.
			have, value = strings.TrimPrefix(have, "enabled="), strings.TrimPrefix(value, "enabled=")
		}
		if have != value && (key != "enabled" || (have == "0") != (value == "0")) {
			return fmt.Errorf("%s of backup job %s is %q, not %q", key, id, have, value)
		}
	}
	return nil
}

// repairEntry has PVE write a malformed section anew. It is added switched off, as PVE would try to use it else, and
// then switched on if it was.
func (a *Applier) repairEntry() plan.Op {
	return plan.Typed[repairParams, struct{}]{
		CheckFunc: func(ctx context.Context, p repairParams) error {
			if err := a.checkQuorum(); err != nil {
				return err
			}
			_, section, err := a.readEntry(ctx, p.ID)
			if err == nil && (section == nil || section.Malformed != p.Malformed) {
				err = &plan.ChangedError{What: "the section of " + p.ID + " in storage.cfg"}
			}
			return err
		},
		DoFunc: func(ctx context.Context, p repairParams) error {
			create := map[string]string{"disable": "1"}
			for k, v := range p.Create {
				create[k] = v
			}
			if err := a.change(ctx, "add the entry of "+p.ID+" anew", func(c PVE) error { return c.CreateStorage(ctx, p.ID, create) }); err != nil {
				return err
			}
			if !p.Enable {
				return nil
			}
			return a.change(ctx, "switch storage "+p.ID+" on", func(c PVE) error {
				return c.UpdateStorage(ctx, p.ID, map[string]string{"delete": "disable"}, "")
			})
		},
		VerifyFunc: func(ctx context.Context, p repairParams) error {
			_, section, err := a.readEntry(ctx, p.ID)
			switch {
			case err != nil:
				return err
			case section == nil || section.Malformed != "":
				return fmt.Errorf("PVE still rejects the section of %s", p.ID)
			case section.Disabled() == p.Enable:
				return fmt.Errorf("the switch of storage %s is not as before", p.ID)
			}
			return nil
		},
	}
}

var errNoEditor = errors.New("storage.cfg cannot be edited here")

// editSection takes a section out of storage.cfg, where PVE's API cannot.
func (a *Applier) editSection() plan.Op {
	return plan.Typed[sectionParams, struct{}]{
		CheckFunc: func(context.Context, sectionParams) error {
			if a.edit == nil {
				return errNoEditor
			}
			return a.checkQuorum()
		},
		DoFunc: func(ctx context.Context, p sectionParams) error {
			return a.edit(ctx, func(text []byte) ([]byte, error) { return cutSection(text, p) })
		},
		VerifyFunc: func(ctx context.Context, p sectionParams) error {
			data, err := a.host.ReadFile(ctx, filepath.Join(a.host.PVE, "storage.cfg"))
			if err == nil && strings.Contains("\n"+string(data), "\n"+p.Text) {
				err = fmt.Errorf("the section of %s is still in storage.cfg", p.ID)
			}
			return err
		},
		UndoFunc: func(ctx context.Context, p sectionParams, _ struct{}) error {
			if a.edit == nil {
				return errNoEditor
			}
			return a.edit(ctx, func(text []byte) ([]byte, error) { return pasteSection(text, p), nil })
		},
	}
}
