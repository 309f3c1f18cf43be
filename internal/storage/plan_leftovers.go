package storage

import (
	"fmt"
	"slices"
	"strings"

	"labd/internal/plan"
)

// leftovers adds what takes away everything that PVE leaves behind: the mount unit, the line of fstab, the unit that
// imports a pool, the empty mount point. What a person wrote below the mount point stays and is named.
func (b *builder) leftovers(e *Entry) error {
	if e.Type == TypeUnit {
		b.guard("unit", e, entryParams{ID: e.ID}, e.unit())
	}
	if unit, links, ok := importerOf(b.f, e); ok {
		if err := b.add(opImporter, unitParams{Unit: unit, Wants: links}, plan.Step{
			Title: "Disable the unit that imports its pool at boot", How: "remove " + strings.Join(links, ", ") + "; daemon-reload", Verified: "its links are gone", Undone: "make its links again",
		}); err != nil {
			return err
		}
	}
	if e.source.Unit == "" {
		if kind, ok := kindOf(e.Type).(noter); ok {
			b.note(kind.leaves(e)...)
		}
		return nil
	}
	if other, keeps := keepsUnit(b.f, e, b.removed); keeps {
		if !slices.Contains(b.o.together, other) {
			b.note(fmt.Sprintf("%s stays: storage %s is on the same mount point.", e.source.Unit, other))
		}
		return nil
	}
	if !b.hasStop(e) {
		if err := b.stopUnit(e); err != nil {
			return err
		}
	}
	if e.unit().File != "" {
		if err := b.add(opRemoveUnit, e.unit(), plan.Step{
			Title: "Disable and remove its mount unit, so that no boot waits for it", How: "remove the links that enable it and " + e.source.File + "; daemon-reload; reset-failed",
			Verified: "systemd no longer knows the unit", Undone: "write the unit file and its links again; daemon-reload",
		}); err != nil {
			return err
		}
	}
	if e.source.InFstab {
		line := lineFix{File: b.f.FstabFile, Line: e.source.Line, Unit: e.source.Unit}
		words := commentWords(line)
		words.Title = "Comment out its line of " + line.File + ", so that no boot waits for it"
		if e.source.endsBoot() {
			words.Title = "Comment out its line of " + line.File + ", so that the next boot does not end in emergency mode"
		}
		words.How += "; daemon-reload; reset-failed"
		if err := b.add(opComment, line, words); err != nil {
			return err
		}
	}
	if err := b.add(opRemoveDir, dirParams{e.point}, plan.Step{
		Title: "Remove the mount point if it is empty", How: "rmdir " + e.point, Verified: "it is gone, or not empty", Undone: "make it again",
	}); err != nil {
		return err
	}
	if d := b.f.Directories[e.point]; !e.mounted && d.Entries > 0 {
		b.note(fmt.Sprintf("%d entries lie in %s, on the file system below the mount point. They stay.", d.Entries, e.point))
	}
	return nil
}

// lostWithEntry names what PVE takes away together with an entry, and whether undo brings it back.
func (b *builder) lostWithEntry(e *Entry) []string {
	f := b.f
	var notes []string
	if names := f.Secrets[e.ID]; len(names) > 0 {
		notes = append(notes, "Its secrets ("+strings.Join(names, ", ")+") go too. They are copied to labd's journal first, for root alone, and come back with an undo.")
	}
	if f.UsersErr != nil {
		return append(notes, fmt.Sprintf("PVE also drops the storage's ACL entries and its place in pools, and which those are cannot be read (%v). Undo does not bring them back.", f.UsersErr))
	}
	acls, pools := f.Users.OfStorage(e.ID)
	for _, acl := range acls {
		notes = append(notes, fmt.Sprintf("PVE also drops an ACL entry, which undo brings back: %s on %s for %s", strings.Join(acl.Roles, ", "), acl.Path, strings.Join(acl.Subjects, ", ")))
	}
	for _, pool := range pools {
		notes = append(notes, fmt.Sprintf("PVE also takes it out of pool %s, which undo brings back.", pool))
	}
	return notes
}

// PlanDisable is what switches storages off: the gentle first move, for what is dead, down or masked.
func PlanDisable(f *Facts, r *Report, ids []string) (*plan.Plan, error) {
	b := &builder{f: f, r: r}
	if f.Config == nil {
		return nil, unreadable(f)
	}
	if len(ids) == 0 {
		ids = r.Candidates()
		if len(ids) == 0 {
			return nil, &plan.RefusedError{Reason: "no storage is due", Hint: "name the storage to switch off"}
		}
	}
	for _, id := range ids {
		e, err := b.entry(id)
		if err != nil {
			return nil, err
		}
		if reason := refuseDisable(f, e); reason != "" {
			return nil, &plan.RefusedError{Subject: r.Subject(*e), Reason: reason, Hint: "labctl fix-storage --dry-run " + id + " shows the details"}
		}
		entry := entryParams{ID: e.ID, Properties: identity(e.section)}
		b.guard("disable", e, entry, unitParams{})
		if others := otherNodes(f, e); len(others) > 0 {
			b.note("The switch holds for all nodes that have it: " + joinNodes(append([]string{f.Node}, others...)) + ".")
		}
		if err := b.add(opDisable, entry, plan.Step{
			Title: "Switch the entry " + e.ID + " off", How: "PUT /storage/" + e.ID + " disable=1, with PVE's digest", Verified: "read storage.cfg again", Undone: "switch it on again",
		}); err != nil {
			return nil, err
		}
		b.plan.Subjects = append(b.plan.Subjects, r.Subject(*e))
	}
	b.plan.Title = "Switch storage " + strings.Join(ids, ", ") + " off"
	b.note("Guests and jobs that need it fail while it is off.")
	return b.finish()
}

// refuseDisable says why an entry must not be switched off.
func refuseDisable(f *Facts, e *Entry) string {
	switch e.Verdict {
	case VerdictGone, VerdictDown, VerdictMasked, VerdictOrphanNode:
	case VerdictDisabled:
		return "it is switched off already"
	default:
		return fmt.Sprintf("it is %s, not dead or down: %s", e.Verdict, e.Reason)
	}
	switch reason := refuseCluster(f, e); {
	case reason != "":
		return reason
	case e.section == nil:
		return "it is no entry of storage.cfg"
	case e.section.Disabled():
		return "it is switched off already"
	case !e.section.Shared() && e.Verdict != VerdictOrphanNode && len(otherNodes(f, e)) > 0:
		return "the switch would hold for " + joinNodes(otherNodes(f, e)) + " as well, where it may be well; labctl fix-storage " + e.ID + " takes it from this node alone"
	}
	return refuseNeighbours(f, &Entry{ID: e.ID, Type: e.Type, Verdict: VerdictDown, section: e.section}, nil)
}
