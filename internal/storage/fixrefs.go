package storage

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"labd/internal/finding"
	"labd/internal/plan"
	"labd/internal/pve"
)

// guestFix changes one key of a guest's configuration.
type guestFix struct {
	Kind pve.GuestKind `json:"kind"`
	ID   int           `json:"id"`
	Node string        `json:"node"`
	Key  string        `json:"key"`
	// Value is what the key must still have, New what it gets; "" unsets it.
	Value string `json:"value"`
	New   string `json:"new"`
}

// jobFix changes one backup job.
type jobFix struct {
	Job string `json:"job"`
	// Key and Value are what the job must still have.
	Key   string            `json:"key"`
	Value string            `json:"value"`
	Set   map[string]string `json:"set"`
}

// lineFix comments out one line of a file of this host. Unit is the unit that systemd makes of it, if any.
type lineFix struct {
	File string `json:"file"`
	Line string `json:"line"`
	Unit string `json:"unit,omitempty"`
}

// fix is how one reference is taken away; one of its parts is set, or none where it does no harm any more.
type fix struct {
	guest *guestFix
	job   *jobFix
	line  *lineFix
}

// fixOf is how a reference can be taken away without loss; ok is false when it cannot.
func fixOf(f *Facts, e *Entry, r Reference) (out fix, ok bool) {
	if r.Grade != pve.Fixable {
		return fix{}, false
	}
	switch {
	case r.Guest.ID != 0:
		if r.Section != "" {
			return fix{}, false // pending values are the guest's next start's
		}
		g := guestFix{Kind: r.Guest.Kind, ID: r.Guest.ID, Node: r.Guest.Node, Key: r.Key, Value: r.Value}
		switch strings.TrimRight(r.Key, "0123456789") {
		case "ide", "sata", "scsi":
			g.New = "none,media=cdrom"
		case "cicustom":
			g.New = withoutParts(r.Value, e.ID)
		case "unused":
			// PVE frees the volume, which it can only do where the storage is, unless it has no such storage at all.
			if e.isLost() && len(otherNodes(f, e)) > 0 {
				return fix{}, false
			}
			// Only on the guest's own node can its file be locked.
			if g.isContainersUnused() && g.Node != f.Node {
				return fix{}, false
			}
		case "hookscript", "vmstatestorage":
		default:
			return fix{}, false
		}
		return fix{guest: &g}, true
	case r.File == "jobs.cfg":
		if f.Effects.Jobs[r.Section]["enabled"] == "0" {
			return fix{}, true
		}
		j := jobFix{Job: r.Section, Key: r.Key, Value: r.Value, Set: map[string]string{"enabled": "0"}}
		if r.Key == "fleecing" {
			j.Set = map[string]string{"fleecing": "enabled=0"}
		}
		return fix{job: &j}, true
	case r.File == "/etc/vzdump.conf":
		if line, ok := f.VzdumpLines[r.Line]; ok {
			return fix{line: &lineFix{File: f.VzdumpFile, Line: line}}, true
		}
	}
	return fix{}, false
}

// withoutParts is a cicustom value without the parts that lie on a storage: "user=usb1:snippets/u.yaml,meta=…".
func withoutParts(value, id string) string {
	parts := slices.DeleteFunc(strings.Split(value, ","), func(part string) bool {
		_, volume, ok := strings.Cut(part, "=")
		storage, _ := pve.VolumeStorage(volume)
		return ok && storage == id
	})
	return strings.Join(parts, ",")
}

// isLate tells a fix that PVE only takes when the entry is gone: it would try to free the volume else.
func (x fix) isLate() bool { return x.guest != nil && strings.HasPrefix(x.guest.Key, "unused") }

// fixSteps are the steps that take an entry's references away: the late ones, or the others.
func fixSteps(f *Facts, e *Entry, late bool, add func(op string, params any, words plan.Step) error) error {
	done := map[string]bool{}
	for _, r := range e.References {
		if r.Kept {
			continue
		}
		how, ok := fixOf(f, e, r)
		if !ok || how.isLate() != late || done[r.place()+" "+r.Key] {
			continue
		}
		done[r.place()+" "+r.Key] = true
		var err error
		switch {
		case how.guest != nil:
			err = add(opFixGuest, *how.guest, guestWords(*how.guest, r))
		case how.job != nil:
			err = add(opFixJob, *how.job, jobWords(*how.job))
		case how.line != nil:
			err = add(opComment, *how.line, commentWords(*how.line))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func guestWords(g guestFix, r Reference) plan.Step {
	change := "delete=" + g.Key
	if g.New != "" {
		change = g.Key + "=" + g.New
	}
	words := plan.Step{
		Title: fmt.Sprintf("Take the %s off guest %d (%s)", r.Reason, g.ID, g.Key), How: fmt.Sprintf("PUT /nodes/%s/%s/%d/config %s", g.Node, g.Kind, g.ID, change),
		Verified: "read the guest's file again", Undone: "set " + g.Key + " as before", Undoable: true, Risk: finding.RiskLow,
	}
	switch {
	case g.isContainersUnused():
		words.How = fmt.Sprintf("take %s out of the guest's file, under PVE's lock: PVE takes it off only where it can use the storage", g.Key)
		words.Undone = "put the line back into the guest's file"
	case strings.HasPrefix(g.Key, "unused"):
		words.Undone = "put the line back into the guest's file"
	default:
		words.Undone += ", or in the guest's file while PVE cannot use the storage"
	}
	return words
}

func jobWords(j jobFix) plan.Step {
	title := "Switch backup job " + j.Job + " off, which could not write any more"
	if _, fleecing := j.Set["fleecing"]; fleecing {
		title = "Switch fleecing off in backup job " + j.Job
	}
	var sets []string
	for _, k := range slices.Sorted(maps.Keys(j.Set)) {
		sets = append(sets, k+"="+j.Set[k])
	}
	return plan.Step{
		Title: title, How: "PUT /cluster/backup/" + j.Job + " " + strings.Join(sets, " "), Verified: "read jobs.cfg again",
		Undone: "set it as before", Undoable: true, Risk: finding.RiskLow,
	}
}

func commentWords(l lineFix) plan.Step {
	return plan.Step{
		Title: "Comment out the line of " + l.File + " that names it", How: "rewrite " + l.File + " as a whole: " + l.Line, Verified: "read it again",
		Undone: "put the line back", Undoable: true, Risk: finding.RiskLow,
	}
}
