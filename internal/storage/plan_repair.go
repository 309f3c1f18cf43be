package storage

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"labd/internal/finding"
	"labd/internal/plan"
	"labd/internal/pve"
)

// repairParams are the options with which PVE takes a malformed entry again.
type repairParams struct {
	ID string `json:"id"`
	// Malformed is PVE's objection, which must still be the same.
	Malformed string            `json:"malformed"`
	Create    map[string]string `json:"create"`
	// Enable says that the entry was not switched off: PVE activates an entry that is added switched on.
	Enable bool `json:"enable"`
}

// sectionParams name a section that is taken out of the file. Text is what is taken out, as it stands there.
type sectionParams struct {
	ID   string `json:"id"`
	Line int    `json:"line"`
	Text string `json:"text"`
}

// repair adds what has PVE take a malformed section again: with the right options where they are known, else by taking
// the section out of the file.
func (b *builder) repair(e *Entry) (title string, err error) {
	create, why, ok := repairOf(b.f, e)
	if !ok || removesSection(b.f, e) {
		return "Remove the malformed section of " + e.ID + ", whose right options are not known", b.removeSection(e)
	}
	p := repairParams{ID: e.ID, Malformed: e.section.Malformed, Create: create, Enable: !e.section.Disabled()}
	b.guard("repair", e, entryParams{ID: e.ID, Properties: create}, unitParams{})
	var words []string
	for _, k := range slices.Sorted(maps.Keys(create)) {
		words = append(words, k+"="+create[k])
	}
	b.note("What the section held is in the journal; an undo would block every change to any storage again, so there is none.")
	return "Repair the malformed section of " + e.ID, b.add(opRepair, p, plan.Step{
		Title: "Have PVE write the section anew, " + why, How: "POST /storage storage=" + e.ID + " " + strings.Join(words, " "), Verified: "PVE reads the section without objection", Risk: finding.RiskLow,
	})
}

// removesSection tells whether a malformed entry can only be taken out of the file: its options are not known, or PVE
// could not write the file for other reasons.
func removesSection(f *Facts, e *Entry) bool {
	if len(f.Config.Skipped) > 0 || slices.ContainsFunc(f.Config.Sections, func(s *pve.StorageSection) bool { return s.ID != e.ID && s.Malformed != "" }) {
		return true
	}
	_, _, ok := repairOf(f, e)
	return !ok
}

// repairOf finds the options that PVE would take, from what the section holds and from the mount unit that the panel
// made for it. They are tried on PVE's own rules; why says in words what was done.
func repairOf(f *Facts, e *Entry) (create map[string]string, why string, ok bool) {
	props := maps.Clone(e.section.Properties)
	delete(props, "disable")
	try := func(key, value, words string) bool {
		changed := maps.Clone(props)
		if value == "" {
			delete(changed, key)
		} else {
			changed[key] = value
		}
		if _, err := f.Config.NewSection(e.ID, e.Type, changed); err != nil {
			return false
		}
		changed["type"] = e.Type
		create, why, ok = changed, words, true
		return true
	}
	switch given := props["path"]; {
	case !isDirectory(e.Type):
	case given == "" && strings.HasPrefix(props["is_mountpoint"], "/"):
		try("path", path.Clean(props["is_mountpoint"]), "with the mount point that it names as its path")
	case given == "":
		if at := panelDir + "/" + e.ID; slices.ContainsFunc(f.Stray, func(s Source) bool { return s.Point == at }) || f.PanelMounts[at] {
			try("path", at, "with the path of the mount unit that PVE's panel made for it")
		}
	default:
		// A comment behind a value is part of the value for PVE.
		if value, _, has := strings.Cut(given, "#"); has {
			try("path", strings.TrimSpace(value), "without the comment behind its path")
		}
	}
	if !ok && props["content"] != "" {
		try("content", "", "with the content types that PVE gives by itself")
	}
	return create, why, ok
}

// removeSection adds the removal of a section from the file itself.
func (b *builder) removeSection(e *Entry) error {
	p := sectionParams{ID: e.ID}
	if e.section != nil {
		p.Line = e.section.Line
	} else {
		p.Line = e.skipped.Line
	}
	text, ok := b.f.sectionText(p.Line)
	if !ok {
		return &plan.RefusedError{Subject: b.r.Subject(*e), Reason: "its section cannot be told from the text around it", Hint: "edit /etc/pve/storage.cfg by hand; labctl lint-storage shows how PVE reads it"}
	}
	p.Text = text
	b.guard("section", e, entryParams{ID: e.ID, Properties: map[string]string{"text": text}}, unitParams{})
	b.note(fmt.Sprintf("PVE cannot remove this section, so labd takes its lines out of storage.cfg, under PVE's own lock; all other bytes stay. Secrets, ACL entries and pools of %s stay as well.", e.ID))
	words := plan.Step{
		Title: "Take the section out of storage.cfg", How: "replace /etc/pve/storage.cfg as a whole, without line " + strconv.Itoa(p.Line) + " and those that belong to it",
		Verified: "read it again: the other sections are as before", Risk: finding.RiskLow,
	}
	if e.Verdict == VerdictMalformed {
		// Not the text itself: somebody may have written a password into it.
		b.note("An undo would block every change to any storage again, so there is none. What the section held is kept in labd's journal.")
	} else {
		words.Undone, words.Undoable = "put the section back at the end of the file", true
	}
	return b.add(opEdit, p, words)
}
