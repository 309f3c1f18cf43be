package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"

	"labd/internal/host"
	"labd/internal/plan"
	"labd/internal/pve"
)

// PVE are the calls to PVE's API that removal and undo need; *pve.Client has them.
type PVE interface {
	CreateStorage(ctx context.Context, id string, props map[string]string) error
	UpdateStorage(ctx context.Context, id string, props map[string]string, digest string) error
	DeleteStorage(ctx context.Context, id string) error
	ActiveTasks(ctx context.Context, node string) ([]pve.Task, error)
}

// Applier carries out the steps of removals.
type Applier struct {
	host *host.Host
	node string
	// connect returns a client of PVE's API, or says what is missing for one.
	connect func(ctx context.Context) (PVE, error)
}

// NewApplier returns an Applier for the node of that name.
func NewApplier(h *host.Host, node string, connect func(ctx context.Context) (PVE, error)) *Applier {
	return &Applier{h, node, connect}
}

// saved is what undo of a change to the entry needs.
type saved struct {
	// Disabled and Nodes are the former values; Nodes "" means everywhere.
	Disabled bool   `json:"disabled"`
	Nodes    string `json:"nodes"`
	// Create are the parameters that make the entry again.
	Create map[string]string `json:"create"`
	// Properties are what the entry must then have, as identity gives them.
	Properties map[string]string `json:"properties"`
}

// Ops are the operations of this domain's plans.
func (a *Applier) Ops() plan.Ops {
	return plan.Ops{
		opDisable: plan.Typed[entryParams, saved]{
			CheckFunc: a.checkBeforeAll, CaptureFunc: a.capture, DoFunc: a.disable, VerifyFunc: a.verifyDisabled,
			UndoFunc: func(ctx context.Context, p entryParams, s saved) error { return a.restoreSwitch(ctx, p.ID, s) },
		},
		opDelete: plan.Typed[entryParams, saved]{
			CheckFunc: a.checkSame, CaptureFunc: a.capture, DoFunc: a.deleteEntry, VerifyFunc: a.verifyDeleted,
			UndoFunc: func(ctx context.Context, p entryParams, s saved) error { return a.restoreEntry(ctx, p.ID, s) },
		},
		opDropNode: plan.Typed[entryParams, saved]{
			CheckFunc: a.checkBeforeAll, CaptureFunc: a.capture, DoFunc: a.dropNode, VerifyFunc: a.verifyDropped,
			UndoFunc: func(ctx context.Context, p entryParams, s saved) error { return a.restoreNodes(ctx, p.ID, s) },
		},
		opStopUnit:   a.stopUnit(),
		opRemoveUnit: a.removeUnit(),
		opRemoveDir:  a.removeDir(),
	}
}

// readEntry reads storage.cfg and finds the entry; nil when it is not there.
func (a *Applier) readEntry(ctx context.Context, id string) (*pve.StorageConfig, *pve.StorageSection, error) {
	data, err := a.host.ReadFile(ctx, filepath.Join(a.host.PVE, "storage.cfg"))
	if err != nil {
		return nil, nil, fmt.Errorf("read storage.cfg: %w", err)
	}
	config := pve.ParseStorageConfig(data, pve.StorageConfigOptions{})
	return config, config.Section(id), nil
}

// checkSame refuses when the entry is not the one that the plan was made for.
func (a *Applier) checkSame(ctx context.Context, p entryParams) error {
	_, section, err := a.readEntry(ctx, p.ID)
	if err != nil {
		return err
	}
	if section == nil || section.Malformed != "" || !maps.Equal(identity(section), p.Properties) {
		return &plan.ChangedError{What: fmt.Sprintf("the entry of storage %s in storage.cfg", p.ID)}
	}
	return nil
}

// checkBeforeAll makes sure, before anything is touched, that all steps can run: the entry is the same, programs may be
// run, PVE answers, and no task works on the storage.
func (a *Applier) checkBeforeAll(ctx context.Context, p entryParams) error {
	if err := a.checkSame(ctx, p); err != nil {
		return err
	}
	if a.host.ExecPATH() == "" {
		return &plan.RefusedError{Reason: host.ErrNoPrograms.Error(), Hint: "removing a storage needs systemctl"}
	}
	client, err := a.connect(ctx)
	if err != nil {
		return &plan.RefusedError{Reason: "PVE's API cannot be used: " + err.Error(), Hint: "write the token to /etc/labd/token, as user@realm!name=secret"}
	}
	tasks, err := client.ActiveTasks(ctx, a.node)
	if err != nil {
		return fmt.Errorf("ask PVE for running tasks: %w", err)
	}
	for _, task := range tasks {
		// Removing a volume or pruning backups of a guest is a task on "GUEST@STORAGE" (PVE::API2::Storage::Content).
		if task.ID == p.ID || strings.HasSuffix(task.ID, "@"+p.ID) {
			return &plan.RefusedError{Reason: fmt.Sprintf("PVE's task %s works on storage %s", task.UPID, p.ID), Hint: "wait until it has ended"}
		}
	}
	return nil
}

func (a *Applier) capture(ctx context.Context, p entryParams) (saved, error) {
	config, section, err := a.readEntry(ctx, p.ID)
	if err != nil {
		return saved{}, err
	}
	if section == nil {
		return saved{}, &plan.ChangedError{What: fmt.Sprintf("storage %s is not in storage.cfg any more", p.ID)}
	}
	create, err := config.CreateParams(p.ID)
	return saved{Disabled: section.Disabled(), Nodes: strings.Join(section.Nodes(), ","), Create: create, Properties: identity(section)}, err
}

// change makes one change through the API. An unknown outcome is no failure yet: the step's verification reads what
// became of it.
func (a *Applier) change(ctx context.Context, what string, call func(PVE) error) error {
	client, err := a.connect(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	err = call(client)
	if errors.Is(err, pve.ErrUnknownOutcome) {
		return nil
	}
	if errors.Is(err, pve.ErrChanged) {
		return &plan.ChangedError{What: "storage.cfg: " + err.Error()}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (a *Applier) disable(ctx context.Context, p entryParams) error {
	config, _, err := a.readEntry(ctx, p.ID)
	if err != nil {
		return err
	}
	return a.change(ctx, "switch storage "+p.ID+" off", func(c PVE) error {
		return c.UpdateStorage(ctx, p.ID, map[string]string{"disable": "1"}, config.Digest)
	})
}

func (a *Applier) verifyDisabled(ctx context.Context, p entryParams) error {
	_, section, err := a.readEntry(ctx, p.ID)
	if err != nil {
		return err
	}
	if section == nil || !section.Disabled() {
		return fmt.Errorf("storage %s is not switched off in storage.cfg", p.ID)
	}
	return nil
}

func (a *Applier) deleteEntry(ctx context.Context, p entryParams) error {
	return a.change(ctx, "remove storage "+p.ID, func(c PVE) error { return c.DeleteStorage(ctx, p.ID) })
}

func (a *Applier) verifyDeleted(ctx context.Context, p entryParams) error {
	_, section, err := a.readEntry(ctx, p.ID)
	if err != nil {
		return err
	}
	if section != nil {
		return fmt.Errorf("storage %s is still in storage.cfg", p.ID)
	}
	return nil
}

func (a *Applier) dropNode(ctx context.Context, p entryParams) error {
	config, _, err := a.readEntry(ctx, p.ID)
	if err != nil {
		return err
	}
	return a.change(ctx, "restrict storage "+p.ID, func(c PVE) error {
		return c.UpdateStorage(ctx, p.ID, map[string]string{"nodes": p.Nodes}, config.Digest)
	})
}

func (a *Applier) verifyDropped(ctx context.Context, p entryParams) error {
	_, section, err := a.readEntry(ctx, p.ID)
	if err != nil {
		return err
	}
	if section == nil || section.OnNode(a.node) {
		return fmt.Errorf("storage %s is still meant for node %s", p.ID, a.node)
	}
	return nil
}

// restoreSwitch switches the entry on again if it was on.
func (a *Applier) restoreSwitch(ctx context.Context, id string, s saved) error {
	_, section, err := a.readEntry(ctx, id)
	if err != nil {
		return err
	}
	if section == nil {
		return fmt.Errorf("storage %s is not in storage.cfg", id)
	}
	if section.Disabled() == s.Disabled {
		return nil
	}
	props := map[string]string{"delete": "disable"}
	if s.Disabled {
		props = map[string]string{"disable": "1"}
	}
	if err := a.change(ctx, "set the switch of storage "+id+" back", func(c PVE) error { return c.UpdateStorage(ctx, id, props, "") }); err != nil {
		return err
	}
	if _, section, err = a.readEntry(ctx, id); err != nil {
		return err
	}
	if section == nil || section.Disabled() != s.Disabled {
		return fmt.Errorf("the switch of storage %s is not as before", id)
	}
	return nil
}

// restoreEntry adds the entry again, switched off: PVE activates a new entry that is on, and refuses it while its disk
// is away (PVE::API2::Storage::Config, create). An entry of that name that is there by now is left alone.
func (a *Applier) restoreEntry(ctx context.Context, id string, s saved) error {
	_, section, err := a.readEntry(ctx, id)
	if err != nil {
		return err
	}
	if section != nil {
		if maps.Equal(identity(section), s.Properties) {
			return nil // the removal never took place, or was undone already
		}
		return fmt.Errorf("another storage is called %s by now", id)
	}
	create := maps.Clone(s.Create)
	create["disable"] = "1"
	if err := a.change(ctx, "add storage "+id+" again", func(c PVE) error { return c.CreateStorage(ctx, id, create) }); err != nil {
		return err
	}
	if _, section, err = a.readEntry(ctx, id); err != nil {
		return err
	}
	if section == nil || !maps.Equal(identity(section), s.Properties) {
		return fmt.Errorf("storage %s is not in storage.cfg as before", id)
	}
	return nil
}

// restoreNodes sets the former list of nodes. A list that was empty is written as all nodes are meant: with PVE's
// empty value, never by deleting the property.
func (a *Applier) restoreNodes(ctx context.Context, id string, s saved) error {
	_, section, err := a.readEntry(ctx, id)
	if err != nil {
		return err
	}
	if section == nil {
		return fmt.Errorf("storage %s is not in storage.cfg", id)
	}
	if strings.Join(section.Nodes(), ",") == s.Nodes {
		return nil
	}
	if err := a.change(ctx, "set the nodes of storage "+id+" back", func(c PVE) error {
		return c.UpdateStorage(ctx, id, map[string]string{"nodes": s.Nodes}, "")
	}); err != nil {
		return err
	}
	if _, section, err = a.readEntry(ctx, id); err != nil {
		return err
	}
	if section == nil || strings.Join(section.Nodes(), ",") != s.Nodes {
		return fmt.Errorf("the nodes of storage %s are not as before", id)
	}
	return nil
}
