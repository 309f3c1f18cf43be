package storage

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"labd/internal/finding"
	"labd/internal/plan"
	"labd/internal/pve"
)

// Names of the operations.
const (
	opDisable    = "storage.disable"
	opStopUnit   = "storage.stop-unit"
	opDelete     = "storage.delete-entry"
	opDropNode   = "storage.drop-node"
	opRemoveUnit = "storage.remove-unit"
	opRemoveDir  = "storage.remove-mount-point"
)

// entryParams are the parameters of the operations on PVE's entry. Properties are those that the entry must still
// have, as PVE reads them; lists are sorted.
type entryParams struct {
	ID         string            `json:"id"`
	Properties map[string]string `json:"properties"`
	// Nodes is the new list of nodes, for opDropNode.
	Nodes string `json:"nodes,omitempty"`
}

// unitParams are the parameters of the operations on the mount unit.
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

// guards are the facts that a removal depends on.
type guards struct {
	Entry   entryParams `json:"entry"`
	Verdict string      `json:"verdict"`
	Unit    unitParams  `json:"unit"`
	Mounted bool        `json:"mounted"`
	Members plan.Set    `json:"members"`
	Quorate bool        `json:"quorate"`
}

// PlanRemoval is what removes one dead storage. It is refused, with a *plan.RefusedError, for anything that is not
// surely dead, or that something still hangs on.
func PlanRemoval(f *Facts, r *Report, id string) (*plan.Plan, error) {
	e, ok := r.Entry(id)
	if !ok {
		reason := "this node has no storage of that name"
		if f.Config == nil {
			reason = f.ConfigErr.Error()
		}
		return nil, &plan.RefusedError{Subject: finding.Storage(r.Node, id), Reason: reason, Hint: "labctl fix-storage --dry-run lists all storages"}
	}
	subject := r.Subject(e)
	switch {
	case e.Ignored:
		return nil, &plan.RefusedError{Subject: subject, Reason: "the configuration says to leave it alone", Hint: "see storage.ignore in labd.toml"}
	case e.Verdict != VerdictGone:
		return nil, &plan.RefusedError{Subject: subject, Reason: fmt.Sprintf("it is %s, not gone: %s", e.Verdict, e.Reason), Hint: "labd removes only what is surely dead"}
	case e.Refusal != "":
		return nil, &plan.RefusedError{Subject: subject, Reason: e.Refusal, Hint: "labctl fix-storage --dry-run " + id + " shows the details"}
	}
	return buildRemoval(f, r, e)
}

// refusal says why a gone storage must be left alone; "" when it may be removed.
func refusal(f *Facts, e Entry) string {
	s := e.section
	switch {
	case f.ClusterErr != nil:
		return "the cluster's files cannot be read: " + f.ClusterErr.Error()
	case !f.Cluster.Mounted:
		return "the cluster file system is not mounted at /etc/pve"
	case !f.Cluster.Quorate:
		return "the cluster has no quorum"
	case e.ID == pve.LocalStorage:
		return "PVE makes the storage local anew by itself"
	case s.Shared():
		return "it is marked as shared, so this node alone cannot tell that it is gone"
	case isSystemPath(e.Path) || isSystemPath(e.point):
		return "its path is part of the system"
	case !isBelow(e.Path, e.point) || s.MountPoint() == "" && e.point != e.Path:
		return "its path " + e.Path + " and the mount point " + e.point + " differ, and other things may lie on that"
	case e.source.InFstab:
		return "its mount comes from /etc/fstab, which labd does not change; comment the line out first"
	case e.automount:
		return "an automount unit watches " + e.point + "; stop, disable and remove that first"
	case f.ReferencesErr != nil:
		return f.ReferencesErr.Error()
	}
	for _, other := range f.Config.Sections {
		if other.Malformed != "" {
			return fmt.Sprintf("the section of %s in storage.cfg is malformed, and PVE refuses every change while it is", other.ID)
		}
		if other.ID != e.ID && other.Path() != "" && (isBelow(other.Path(), e.Path) || isBelow(other.Path(), e.point) || other.MountPoint() != "" && path.Clean(other.MountPoint()) == e.point) {
			return fmt.Sprintf("storage %s lies below its path or mount point", other.ID)
		}
	}
	if len(f.Config.Skipped) > 0 {
		skipped := f.Config.Skipped[0]
		if skipped.UnknownType {
			return fmt.Sprintf("PVE does not know the type of storage %s and would drop its section with any change", skipped.ID)
		}
		return fmt.Sprintf("PVE skips the section of %s in storage.cfg (%s) and would drop it with any change", skipped.ID, skipped.Reason)
	}
	if len(e.References) > 0 {
		first := e.References[0]
		more := ""
		if len(e.References) > 1 {
			more = fmt.Sprintf(" and %d more", len(e.References)-1)
		}
		return fmt.Sprintf("%s still names it (%s: %s)%s", first.File, first.Key, first.Value, more)
	}
	return ""
}

// isSystemPath tells a path that must never be unmounted or removed: the root, a directory of the system and what holds
// one, and anything inside those that belong to nobody but the system.
func isSystemPath(dir string) bool {
	for _, system := range []string{"/etc/pve", "/boot/efi", "/usr/bin", "/var/lib/vz", "/var/lib/labd", "/root", "/home", "/proc", "/sys", "/dev", "/run", "/tmp"} {
		if isBelow(system, dir) {
			return true
		}
	}
	return slices.ContainsFunc([]string{"/etc", "/boot", "/usr", "/bin", "/sbin", "/lib", "/proc", "/sys", "/dev"}, func(system string) bool { return isBelow(dir, system) })
}

func buildRemoval(f *Facts, r *Report, e Entry) (*plan.Plan, error) {
	entry := entryParams{ID: e.ID, Properties: identity(e.section)}
	unit := unitParams{Unit: e.source.Unit, File: e.source.File, Wants: e.source.Wants, Point: e.point, What: e.source.What}
	if unit.Wants == nil {
		unit.Wants = []string{}
	}
	g := guards{Entry: entry, Verdict: e.Verdict, Unit: unit, Mounted: e.mounted, Quorate: f.Cluster.Quorate}
	for _, m := range f.Cluster.Members {
		g.Members = append(g.Members, m.Name)
	}
	p := &plan.Plan{Title: "Remove storage " + e.ID + ", whose device is gone", Subjects: []finding.Subject{r.Subject(e)}}
	add := func(op string, params any, words plan.Step) error {
		words.Risk, words.Undoable = finding.RiskLow, true
		step, err := plan.NewStep(op, params, words)
		p.Steps = append(p.Steps, step)
		return err
	}
	stop := func() error {
		return add(opStopUnit, unit, plan.Step{
			Title: "Stop its mount unit", How: "systemctl stop " + unit.Unit, Verified: "nothing is mounted at " + unit.Point,
			Undone: "start it again if its device is back",
		})
	}
	if others := otherNodes(f, e); len(others) > 0 {
		// The entry lives on for the other nodes, so it is never switched off: that would hold for them as well. This PUT
		// takes a digest itself, which is the guard against another writer.
		entry.Nodes = strings.Join(others, ",")
		if err := add(opDropNode, entry, plan.Step{
			Title: "Restrict the entry to the other nodes", How: "PUT /storage/" + e.ID + " nodes=" + entry.Nodes + ", with PVE's digest",
			Verified: "read storage.cfg again", Undone: "set the former nodes",
		}); err != nil {
			return nil, err
		}
		if err := stop(); err != nil {
			return nil, err
		}
		p.Notes = append(p.Notes, "The entry stays as it is for "+entry.Nodes+"; only "+f.Node+" loses it. labctl fix-storage on the last node that has it removes it.")
	} else {
		// Switched off first: DELETE takes no digest, so the change with one is the guard against another writer, and
		// nothing tries to use the storage from then on. The unit file goes after the entry: as long as the entry is
		// there, PVE's panel shows the unit, and a removal that fails half-way leaves a storage that is still whole.
		if err := add(opDisable, entry, plan.Step{
			Title: "Switch the entry off", How: "PUT /storage/" + e.ID + " disable=1, with PVE's digest", Verified: "read storage.cfg again", Undone: "switch it on again",
		}); err != nil {
			return nil, err
		}
		if err := stop(); err != nil {
			return nil, err
		}
		if err := add(opDelete, entry, plan.Step{
			Title: "Remove the entry from PVE", How: "DELETE /storage/" + e.ID, Verified: "read storage.cfg again", Undone: "add the entry again, switched off",
		}); err != nil {
			return nil, err
		}
		p.Notes = append(p.Notes, lostWithEntry(f, e.ID)...)
	}
	if err := add(opRemoveUnit, unit, plan.Step{
		Title: "Disable and remove its mount unit, so that no boot waits for it", How: "systemctl disable " + unit.Unit + "; remove " + unit.File + "; daemon-reload; reset-failed",
		Verified: "systemd no longer knows the unit", Undone: "write the unit file and its links again; daemon-reload",
	}); err != nil {
		return nil, err
	}
	if err := add(opRemoveDir, dirParams{unit.Point}, plan.Step{
		Title: "Remove the mount point if it is empty", How: "rmdir " + unit.Point, Verified: "it is gone, or not empty", Undone: "make it again",
	}); err != nil {
		return nil, err
	}
	if d := f.Directories[e.point]; !e.mounted && d.Entries > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("%d entries lie in %s, on the file system below the mount point. They stay.", d.Entries, e.point))
	}
	var err error
	p.Digest, err = plan.Digest(g)
	return p, err
}

// lostWithEntry names what PVE takes out of user.cfg together with an entry and undo does not bring back, each with the
// command that does (PVE::AccessControl::remove_storage_access).
func lostWithEntry(f *Facts, id string) []string {
	if f.UsersErr != nil {
		return []string{fmt.Sprintf("PVE also drops the storage's ACL entries and its place in pools, and which those are cannot be read (%v). Undo does not bring them back.", f.UsersErr)}
	}
	var notes []string
	acls, pools := f.Users.OfStorage(id)
	for _, acl := range acls {
		var words []string
		for _, subject := range acl.Subjects {
			kind := "--users"
			switch {
			case strings.HasPrefix(subject, "@"):
				kind, subject = "--groups", subject[1:]
			case strings.Contains(subject, "!"):
				kind = "--tokens"
			}
			words = append(words, kind, "'"+subject+"'")
		}
		propagate := 0
		if acl.Propagate {
			propagate = 1
		}
		notes = append(notes, fmt.Sprintf("PVE also drops an ACL entry, which undo does not bring back: pveum acl modify %s %s --roles %s --propagate %d",
			acl.Path, strings.Join(words, " "), strings.Join(acl.Roles, ","), propagate))
	}
	for _, pool := range pools {
		notes = append(notes, fmt.Sprintf("PVE also takes it out of pool %s, which undo does not bring back: pvesh set /pools/%s --storage %s", pool, pool, id))
	}
	return notes
}

// otherNodes are the nodes that keep the entry: those it is restricted to, or all members, but this one. An offline
// member is still a member.
func otherNodes(f *Facts, e Entry) []string {
	var others []string
	listed := e.section.Nodes()
	for _, m := range f.Cluster.Members {
		if m.Name != f.Node && (listed == nil || slices.Contains(listed, m.Name)) {
			others = append(others, m.Name)
		}
	}
	slices.Sort(others)
	return others
}

// identity are the properties by which an entry is recognised as the one the plan was made for. The switch "disable"
// is not among them, since the first step sets it.
func identity(s *pve.StorageSection) map[string]string {
	out := map[string]string{"type": s.Type}
	for k, v := range s.Properties {
		if k != "disable" {
			out[k] = v
		}
	}
	return out
}
