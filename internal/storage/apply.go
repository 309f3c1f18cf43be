package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
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
	ChangeACL(ctx context.Context, acl pve.ACL, revoke bool) error
	ChangePool(ctx context.Context, pool string, storages []string, remove bool) error
	UpdateGuest(ctx context.Context, g pve.GuestRef, set map[string]string, unset []string, digest string) error
	UpdateBackupJob(ctx context.Context, id string, set map[string]string, unset []string) error
}

// Applier carries out the steps of plans.
type Applier struct {
	Inputs
	host *host.Host
	node string
	// connect returns a client of PVE's API, or says what is missing for one.
	connect func(ctx context.Context) (PVE, error)
	// edit changes storage.cfg itself, under PVE's lock; nil where that cannot be done.
	edit Edit
}

// Edit changes a file's text as a whole or not at all.
type Edit func(ctx context.Context, change func(text []byte) ([]byte, error)) error

// NewApplier returns an Applier that looks at the host as an Observer of in does. connect returns a client of PVE's API, or
// says what is missing for one; edit changes storage.cfg itself, under PVE's lock, and may be nil.
func NewApplier(in Inputs, connect func(ctx context.Context) (PVE, error), edit Edit) *Applier {
	return &Applier{Inputs: in, host: in.Host, node: in.Node, connect: connect, edit: edit}
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
	// Secrets are PVE's files of keys and passwords, by their names below /etc/pve/priv.
	Secrets map[string][]byte `json:"secrets,omitempty"`
	// ACLs and Pools are what user.cfg holds of the storage.
	ACLs  []pve.ACL `json:"acls,omitempty"`
	Pools []string  `json:"pools,omitempty"`
}

// shownProperties are the properties of an entry that a journal's reader may see: where the data are, and no credential.
var shownProperties = []string{"type", "path", "server", "export", "share", "datastore", "pool", "vgname", "thinpool", "portal", "target", "monhost", "content"}

// formerEntry says what an entry was before.
func formerEntry(p entryParams, s saved) string {
	var parts []string
	for _, key := range shownProperties {
		if value := s.Create[key]; value != "" {
			parts = append(parts, key+" "+value)
		}
	}
	if s.Nodes != "" {
		parts = append(parts, "nodes "+s.Nodes)
	}
	if s.Disabled {
		parts = append(parts, "switched off")
	}
	return p.ID + ": " + strings.Join(parts, ", ")
}

// Ops are the operations of this domain's plans.
func (a *Applier) Ops() plan.Ops {
	return plan.Ops{
		opDisable: plan.Typed[entryParams, saved]{
			CheckFunc: a.checkBeforeAll, CaptureFunc: a.capture, DoFunc: a.disable, VerifyFunc: a.verifyDisabled, FormerFunc: formerEntry,
			UndoFunc: func(ctx context.Context, p entryParams, s saved) error { return a.restoreSwitch(ctx, p.ID, s) },
		},
		opDelete: plan.Typed[entryParams, saved]{
			CheckFunc: a.checkSame, CaptureFunc: a.capture, DoFunc: a.deleteEntry, VerifyFunc: a.verifyDeleted, FormerFunc: formerEntry,
			UndoFunc:      func(ctx context.Context, p entryParams, s saved) error { return a.restoreEntry(ctx, p.ID, s) },
			CheckUndoFunc: func(ctx context.Context, p entryParams, s saved) error { return a.checkRestoreEntry(ctx, p.ID, s) },
		},
		opDropNode: plan.Typed[entryParams, saved]{
			CheckFunc: a.checkBeforeAll, CaptureFunc: a.capture, DoFunc: a.dropNode, VerifyFunc: a.verifyDropped, FormerFunc: formerEntry,
			UndoFunc: func(ctx context.Context, p entryParams, s saved) error { return a.restoreNodes(ctx, p.ID, s) },
		},
		opStopUnit:   a.stopUnit(),
		opRemoveUnit: a.removeUnit(),
		opRemoveDir:  a.removeDir(),
		opComment:    a.commentLine(),
		opImporter:   a.disableImporter(),
		opFixGuest:   a.fixGuest(),
		opFixJob:     a.fixJob(),
		opRepair:     a.repairEntry(),
		opEdit:       a.editSection(),
	}
}

// readConfig reads storage.cfg.
func (a *Applier) readConfig(ctx context.Context) (*pve.StorageConfig, error) {
	data, err := a.host.ReadFile(ctx, filepath.Join(a.host.PVE, "storage.cfg"))
	if err != nil {
		return nil, fmt.Errorf("read storage.cfg: %w", err)
	}
	return pve.ParseStorageConfig(data, pve.StorageConfigOptions{Major: a.major()}), nil
}

// readEntry reads storage.cfg and finds the entry; nil when it is not there.
func (a *Applier) readEntry(ctx context.Context, id string) (*pve.StorageConfig, *pve.StorageSection, error) {
	config, err := a.readConfig(ctx)
	if err != nil {
		return nil, nil, err
	}
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

// checkBeforeAll makes sure, before the entry is touched, that all steps can run: it is the same and still dead,
// programs may be run, the cluster has quorum, PVE answers, and no task works on the storage.
func (a *Applier) checkBeforeAll(ctx context.Context, p entryParams) error {
	if err := a.checkSame(ctx, p); err != nil {
		return err
	}
	if err := a.checkDead(ctx, p.ID, p.Dead); err != nil {
		return err
	}
	if p.Dead.What != "" && a.host.ExecPATH() == "" {
		return &plan.RefusedError{Reason: host.ErrNoPrograms.Error(), Hint: "removing a mount unit needs systemctl"}
	}
	if err := a.checkQuorum(); err != nil {
		return err
	}
	client, err := a.connect(ctx)
	if err != nil {
		return &plan.RefusedError{Reason: "PVE's API cannot be used: " + err.Error(), Hint: "labctl setup pve makes a token"}
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

// checkQuorum refuses while /etc/pve cannot be written.
func (a *Applier) checkQuorum() error {
	cluster, err := pve.ReadCluster(pve.DirFS(a.host.PVE))
	switch moved := a.host.PVE != host.DefaultPaths().PVE; {
	case err != nil:
		return fmt.Errorf("look whether the cluster has quorum: %w", err)
	case !cluster.Mounted && !moved:
		return &plan.RefusedError{Reason: "the cluster file system is not mounted at /etc/pve"}
	case cluster.Mounted && !cluster.Quorate:
		return &plan.RefusedError{Reason: "the cluster has no quorum", Hint: "pvecm status"}
	}
	return nil
}

// checkDead looks again whether what an entry is on is gone: somebody may have put a disk back.
func (a *Applier) checkDead(ctx context.Context, id string, p deadParams) error {
	if p.Type == "" {
		return nil
	}
	e, ok := NewObserver(a.Inputs).Again(ctx, id)
	if !ok || !e.isLost() || e.volume != p.Volume || e.source.What != p.What {
		return &plan.ChangedError{What: "storage " + id + " is not gone any more: " + e.Reason}
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
	if err != nil {
		return saved{}, err
	}
	s := saved{Disabled: section.Disabled(), Nodes: joinNodes(section.Nodes()), Create: create, Properties: identity(section)}
	if s.Secrets, err = a.readSecrets(ctx, p.ID); err != nil {
		return saved{}, err
	}
	users, err := a.host.ReadFile(ctx, filepath.Join(a.host.PVE, "user.cfg"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return saved{}, fmt.Errorf("keep the storage's permissions: %w", err)
	}
	s.ACLs, s.Pools = pve.ParseUserConfig(users).OfStorage(p.ID)
	return s, nil
}

// readSecrets reads the files of keys and passwords that PVE removes together with the entry.
func (a *Applier) readSecrets(ctx context.Context, id string) (map[string][]byte, error) {
	out := map[string][]byte{}
	for dir, endings := range secretEndings {
		for _, ending := range endings {
			name := dir + "/" + id + ending
			data, err := a.host.ReadFile(ctx, filepath.Join(a.host.PVE, "priv", name))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("keep the storage's secrets: %w", err)
			}
			out[name] = data
		}
	}
	return out, nil
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
		return &plan.ChangedError{What: what + ": " + err.Error()}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// digest is the digest of storage.cfg in which the entry is still the one that the plan was made for: who changed it
// since loses to PVE's own check.
func (a *Applier) digest(ctx context.Context, p entryParams) (string, error) {
	config, section, err := a.readEntry(ctx, p.ID)
	if err != nil {
		return "", err
	}
	if section == nil || !maps.Equal(identity(section), p.Properties) {
		return "", &plan.ChangedError{What: fmt.Sprintf("the entry of storage %s in storage.cfg", p.ID)}
	}
	return config.Digest, nil
}

func (a *Applier) disable(ctx context.Context, p entryParams) error {
	digest, err := a.digest(ctx, p)
	if err != nil {
		return err
	}
	return a.change(ctx, "switch storage "+p.ID+" off", func(c PVE) error {
		return c.UpdateStorage(ctx, p.ID, map[string]string{"disable": "1"}, digest)
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
	digest, err := a.digest(ctx, p)
	if err != nil {
		return err
	}
	return a.change(ctx, "restrict storage "+p.ID, func(c PVE) error {
		return c.UpdateStorage(ctx, p.ID, map[string]string{"nodes": p.Nodes}, digest)
	})
}

func (a *Applier) verifyDropped(ctx context.Context, p entryParams) error {
	_, section, err := a.readEntry(ctx, p.ID)
	if err != nil {
		return err
	}
	if section == nil || joinNodes(section.Nodes()) != p.Nodes {
		return fmt.Errorf("storage %s is not restricted to %s", p.ID, p.Nodes)
	}
	return nil
}

// sortedNames are the names of secrets, in an order that stays.
func sortedNames(secrets map[string][]byte) []string { return slices.Sorted(maps.Keys(secrets)) }
