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
			config, _, err := a.readGuest(ctx, p)
			if err != nil {
				return err
			}
			if lock, locked := config.Live().Get("lock"); locked {
				return &plan.RefusedError{Reason: fmt.Sprintf("guest %d is locked (%s)", p.ID, lock), Hint: "wait until that is over"}
			}
			if v, _ := config.Live().Get(p.Key); v != p.Value {
				return &plan.ChangedError{What: fmt.Sprintf("%s of guest %d", p.Key, p.ID)}
			}
			return nil
		},
		DoFunc: func(ctx context.Context, p guestFix) error {
			_, digest, err := a.readGuest(ctx, p)
			if err != nil {
				return err
			}
			set, unset := map[string]string{p.Key: p.New}, []string(nil)
			if p.New == "" {
				set, unset = nil, []string{p.Key}
			}
			return a.change(ctx, fmt.Sprintf("change %s of guest %d", p.Key, p.ID), func(c PVE) error { return c.UpdateGuest(ctx, p.ref(), set, unset, digest) })
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
		UndoFunc: func(ctx context.Context, p guestFix, _ struct{}) error {
			config, _, err := a.readGuest(ctx, p)
			if err != nil {
				return err
			}
			pending, unset := pendingValue(&config, p.Key)
			if v, _ := config.Live().Get(p.Key); v == p.Value && pending == "" && !unset {
				return nil
			}
			return a.change(ctx, fmt.Sprintf("set %s of guest %d as before", p.Key, p.ID), func(c PVE) error {
				return c.UpdateGuest(ctx, p.ref(), map[string]string{p.Key: p.Value}, nil, "")
			})
		},
	}
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
