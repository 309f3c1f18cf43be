package storage

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/plan"
)

// Names of the operations.
const (
	opDisable    = "storage.disable"
	opStopUnit   = "storage.stop-unit"
	opDelete     = "storage.delete-entry"
	opDropNode   = "storage.drop-node"
	opRemoveUnit = "storage.remove-unit"
	opRemoveDir  = "storage.remove-mount-point"
	opComment    = "storage.comment-line"
	opImporter   = "storage.disable-importer"
	opFixGuest   = "storage.fix-guest"
	opFixJob     = "storage.fix-job"
	opRepair     = "storage.repair-entry"
	opEdit       = "storage.remove-section"
)

// entryParams are the parameters of the operations on PVE's entry. Properties are those that the entry must still
// have, as PVE reads them; lists are sorted.
type entryParams struct {
	ID         string            `json:"id"`
	Properties map[string]string `json:"properties"`
	// Nodes is the new list of nodes, for opDropNode.
	Nodes string `json:"nodes,omitempty"`
	// Dead is what must still be gone; empty where the entry need not be dead.
	Dead deadParams `json:"dead"`
}

// deadParams say what is looked at again, right before a step, to see whether it came back.
type deadParams struct {
	// Volume is a volume group, a thin pool as VG/LV, a pool or a dataset, by the entry's type.
	Type   string `json:"type,omitempty"`
	Volume string `json:"volume,omitempty"`
	// What is a device, and Point where it would be mounted.
	What  string `json:"what,omitempty"`
	Point string `json:"point,omitempty"`
}

// unitParams are the parameters of the operations on the mount unit. File is "" where fstab alone makes the unit.
type unitParams struct {
	Unit  string   `json:"unit"`
	File  string   `json:"file"`
	Wants []string `json:"wants"`
	Point string   `json:"point"`
	What  string   `json:"what"`
}

type dirParams struct {
	Path string `json:"path"`
}

// guards are the facts that a plan for one entry depends on.
type guards struct {
	Action     string      `json:"action"`
	Entry      entryParams `json:"entry"`
	Verdict    string      `json:"verdict"`
	Unit       unitParams  `json:"unit"`
	Fstab      string      `json:"fstab"`
	Mounted    bool        `json:"mounted"`
	Members    plan.Set    `json:"members"`
	Quorate    bool        `json:"quorate"`
	References plan.Set    `json:"references"`
	FixRefs    bool        `json:"fixRefs"`
}

// builder puts a plan together.
type builder struct {
	f    *Facts
	r    *Report
	o    Options
	plan plan.Plan
	// removed are the ids whose steps are in the plan already.
	removed []string
	guards  []guards
}

func (b *builder) add(op string, params any, words plan.Step) error {
	if words.Risk == "" {
		words.Risk, words.Undoable = finding.RiskLow, true
	}
	step, err := plan.NewStep(op, params, words)
	b.plan.Steps = append(b.plan.Steps, step)
	return err
}

func (b *builder) note(notes ...string) {
	for _, n := range notes {
		if !slices.Contains(b.plan.Notes, n) {
			b.plan.Notes = append(b.plan.Notes, n)
		}
	}
}

func (b *builder) finish() (*plan.Plan, error) {
	var err error
	b.plan.Digest, err = plan.Digest(b.guards)
	return &b.plan, err
}

// guard notes what the plan for an entry depends on.
func (b *builder) guard(action string, e *Entry, entry entryParams, unit unitParams) {
	g := guards{
		Action: action, Entry: entry, Verdict: e.Verdict, Unit: unit, Fstab: e.source.Line, Mounted: e.mounted, Quorate: b.f.Cluster.Quorate, FixRefs: b.o.FixRefs,
	}
	for _, m := range b.f.Cluster.Members {
		g.Members = append(g.Members, m.Name)
	}
	for _, r := range e.References {
		g.References = append(g.References, strings.Join([]string{r.File, r.Section, r.Key, r.Value}, " "))
	}
	b.guards = append(b.guards, g)
}

// PlanRemoval is what removes dead storages, or repairs or removes sections that PVE cannot read. It is refused, with a
// *plan.RefusedError, when one of them is not surely dead, or something still hangs on it. Without ids it takes those
// that are dead for long enough.
func PlanRemoval(f *Facts, r *Report, ids []string, o Options) (*plan.Plan, error) {
	b := &builder{f: f, r: r, o: o}
	if f.Config == nil {
		return nil, unreadable(f)
	}
	if len(ids) == 0 {
		ids = r.Candidates()
		if len(ids) == 0 {
			return nil, &plan.RefusedError{Reason: "no storage is due for removal", Hint: "labctl fix-storage --dry-run says why each is left alone"}
		}
	}
	var titles []string
	entries, err := b.entries(ids)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		title, err := b.remove(e)
		if err != nil {
			return nil, err
		}
		titles = append(titles, title)
		b.removed = append(b.removed, e.ID)
		b.plan.Subjects = append(b.plan.Subjects, r.Subject(*e))
	}
	b.plan.Title = strings.Join(titles, "; ")
	return b.finish()
}

// Candidates are the entries that a bare fix-storage takes now.
func (r *Report) Candidates() []string {
	var ids []string
	for _, e := range r.Entries {
		if !e.CandidateAt.IsZero() && !e.CandidateAt.After(r.At) {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// entries finds the entries of a plan, each once. One whose directory lies in that of another comes before it.
func (b *builder) entries(ids []string) ([]*Entry, error) {
	var out []*Entry
	for _, id := range ids {
		e, err := b.entry(id)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(b.o.together, e.ID) {
			at := slices.IndexFunc(out, func(o *Entry) bool { return e.Path != "" && o.Path != "" && isBelow(e.Path, o.Path) })
			if at < 0 {
				at = len(out)
			}
			out, b.o.together = slices.Insert(out, at, e), append(b.o.together, e.ID)
		}
	}
	return out, nil
}

// unreadable is the refusal while storage.cfg cannot be read.
func unreadable(f *Facts) error {
	return &plan.RefusedError{Reason: f.ConfigErr.Error(), Hint: "systemctl status pve-cluster; labd changes nothing while the cluster file system is down"}
}

// entry finds an entry for which a plan may be made.
func (b *builder) entry(id string) (*Entry, error) {
	e, ok := b.r.Entry(id)
	if !ok {
		return nil, &plan.RefusedError{Subject: finding.Storage(b.r.Node, id), Reason: "this node has no storage of that name", Hint: "labctl fix-storage --dry-run lists all storages"}
	}
	if e.Ignored {
		return nil, &plan.RefusedError{Subject: b.r.Subject(e), Reason: "the configuration says to leave it alone", Hint: "see storage.ignore in labd.toml"}
	}
	return &e, nil
}

// remove adds what removes or repairs one entry, and returns the sentence that says so.
func (b *builder) remove(e *Entry) (title string, err error) {
	subject := b.r.Subject(*e)
	switch e.Verdict {
	case VerdictGone, VerdictOrphanNode, VerdictMalformed, VerdictUnsupported:
	default:
		if e.isLost() {
			break
		}
		hint := "labd removes only what is surely dead"
		switch e.Verdict {
		case VerdictMasked:
			hint = "have PVE insist on the mount first: pvesm set " + e.ID + " --is_mountpoint 1; labctl fix-storage --disable " + e.ID + " ends the writing at once"
		case VerdictDown:
			hint = "labctl fix-storage --disable " + e.ID + " switches it off until it is back"
		}
		return "", &plan.RefusedError{Subject: subject, Reason: fmt.Sprintf("it is %s, not gone: %s", e.Verdict, e.Reason), Hint: hint}
	}
	if reason := refusal(b.f, e, b.o); reason != "" {
		return "", &plan.RefusedError{Subject: subject, Reason: reason, Hint: "labctl fix-storage --dry-run " + e.ID + " shows the details"}
	}
	if err := b.fix(e, false); err != nil {
		return "", err
	}
	switch {
	case e.Type == TypeUnit:
		return "Remove the mount unit of " + e.Path + ", whose device is gone", b.leftovers(e)
	case e.Verdict == VerdictMalformed:
		return b.repair(e)
	case e.Verdict == VerdictUnsupported:
		return "Remove the section of " + e.ID + ", whose type this PVE does not know", b.removeSection(e)
	case e.Verdict == VerdictOrphanNode:
		return "Remove storage " + e.ID + ", whose nodes are not in the cluster any more", b.removeEntry(e)
	}
	return "Remove storage " + e.ID + ", whose " + kindOf(e.Type).lost() + " is gone", b.removeEntry(e)
}

func (e *Entry) dead() deadParams {
	if !e.isLost() {
		return deadParams{}
	}
	return deadParams{Type: e.Type, Volume: e.volume, What: e.source.What, Point: e.point}
}

func (e *Entry) unit() unitParams {
	u := unitParams{Unit: e.source.Unit, File: e.source.File, Wants: e.source.Wants, Point: e.point, What: e.source.What}
	if e.source.Unit != "" && filepath.Base(u.File) == "fstab" {
		u.File = ""
	}
	if u.Wants == nil {
		u.Wants = []string{}
	}
	return u
}

// removeEntry adds what takes an entry from this node, or from PVE when this is the last node that has it.
func (b *builder) removeEntry(e *Entry) error {
	f := b.f
	entry := entryParams{ID: e.ID, Properties: identity(e.section), Dead: e.dead()}
	b.guard("remove", e, entry, e.unit())
	others := otherNodes(f, e)
	if e.Verdict == VerdictOrphanNode {
		others = nil
	}
	if len(others) > 0 {
		// The entry lives on for the other nodes, so it is never switched off: that would hold for them as well. This PUT
		// takes a digest itself, which is the guard against another writer.
		entry.Nodes = joinNodes(others)
		b.note("The entry stays as it is for " + entry.Nodes + "; only " + f.Node + " loses it. labctl fix-storage on the last node that has it removes it.")
		b.note(haNotes(f, e)...)
		b.note(unseenNotes(f, e)...)
		if err := b.add(opDropNode, entry, plan.Step{
			Title: "Restrict the entry to the other nodes", How: "PUT /storage/" + e.ID + " nodes=" + entry.Nodes + ", with PVE's digest",
			Verified: "read storage.cfg again", Undone: "set the former nodes",
		}); err != nil {
			return err
		}
		return b.leftovers(e)
	}
	// Switched off first: DELETE takes no digest, so the change with one is the guard against another writer, and
	// nothing tries to use the storage from then on. The unit file goes after the entry: as long as the entry is
	// there, PVE's panel shows the unit, and a removal that fails half-way leaves a storage that is still whole.
	if err := b.add(opDisable, entry, plan.Step{
		Title: "Switch the entry off", How: "PUT /storage/" + e.ID + " disable=1, with PVE's digest", Verified: "read storage.cfg again", Undone: "switch it on again",
	}); err != nil {
		return err
	}
	if err := b.stopUnit(e); err != nil {
		return err
	}
	b.note(b.lostWithEntry(e)...)
	b.note(unseenNotes(f, e)...)
	if err := b.add(opDelete, entry, plan.Step{
		Title: "Remove the entry from PVE", How: "DELETE /storage/" + e.ID, Verified: "read storage.cfg again",
		Undone: "add the entry again, switched off, with its secrets, permissions and pools",
	}); err != nil {
		return err
	}
	if err := b.fix(e, true); err != nil {
		return err
	}
	return b.leftovers(e)
}

// fix adds what takes the references away, if that is wanted.
func (b *builder) fix(e *Entry, late bool) error {
	if !b.o.FixRefs {
		return nil
	}
	return fixSteps(b.f, e, late, b.add)
}

// stopUnit adds the end of the mount, once.
func (b *builder) stopUnit(e *Entry) error {
	if _, keeps := keepsUnit(b.f, e, b.removed); e.source.Unit == "" || keeps {
		return nil
	}
	return b.add(opStopUnit, e.unit(), plan.Step{
		Title: "Stop its mount unit", How: "systemctl stop " + shellWord(e.source.Unit), Verified: "nothing is mounted at " + e.point,
		Undone: "start it again if its device is back",
	})
}

// hasStop tells whether the plan stops the unit of an entry already.
func (b *builder) hasStop(e *Entry) bool {
	return slices.ContainsFunc(b.plan.Steps, func(s plan.Step) bool {
		return s.Op == opStopUnit && s.How == "systemctl stop "+shellWord(e.source.Unit)
	})
}

// importerOf is the enabled unit that imports an entry's pool at boot, unless another entry is on that pool as well.
func importerOf(f *Facts, e *Entry) (unit string, links []string, ok bool) {
	pool := poolOf(e.volume)
	if e.Type != "zfspool" || f.ZFS.Pools[pool] != "" {
		return "", nil, false // the dataset alone is gone
	}
	for _, s := range f.Config.Sections {
		if s.ID != e.ID && s.Type == "zfspool" && s.OnNode(f.Node) && poolOf(strings.Trim(s.Get("pool"), "/")) == pool {
			return "", nil, false
		}
	}
	unit = "zfs-import@" + strings.TrimSuffix(host.MountUnitName(pool), ".mount") + ".service"
	links, ok = f.Importers[unit]
	return unit, links, ok
}
