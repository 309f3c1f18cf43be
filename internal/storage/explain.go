package storage

import (
	"fmt"
	"strconv"
	"strings"

	"labd/internal/finding"
	"labd/internal/pve"
)

// explanation is a finding being put together.
type explanation struct {
	finding.Finding
	f *Facts
	e *Entry
}

func (x *explanation) evidence(source, text string) {
	x.Evidence = append(x.Evidence, finding.Evidence{Source: source, Text: text})
}

func (x *explanation) remedy(risk finding.Risk, title string, commands ...string) {
	x.Remedies = append(x.Remedies, finding.Remedy{Title: title, Risk: risk, Commands: commands})
}

func (x *explanation) kind(code finding.Code, severity finding.Severity, cause string) {
	x.Code, x.Severity, x.Cause = code, severity, cause
	if cause == "" {
		x.Confidence = finding.Unknown
	}
}

// explain makes the finding of an entry that is not well.
func (r *Report) explain(f *Facts, e Entry) finding.Finding {
	x := &explanation{f: f, e: &e}
	x.Subject, x.Confidence, x.Title = r.Subject(e), finding.Certain, e.Reason
	if e.Type != TypeUnit {
		x.evidence("storage.cfg", fmt.Sprintf("%s: %s", e.Type, e.ID))
	}
	if e.source.What != "" {
		x.evidence(e.source.File, "What="+e.source.What)
	}
	x.Evidence = append(x.Evidence, e.evidence...)
	switch e.Verdict {
	case VerdictGone:
		x.gone()
	case VerdictMasked:
		x.masked()
	case VerdictDown:
		x.down()
	case VerdictMisplaced:
		x.misplaced()
	case VerdictMalformed:
		x.kind(finding.StorageMalformed, finding.Fail, "while this section is so, PVE refuses every change to any storage")
		x.remedy(finding.RiskNone, "see how PVE reads the file", "labctl lint-storage")
		x.remedyOfFix("have PVE write it anew, or take it out, whichever the plan says")
	case VerdictUnsupported:
		x.kind(finding.StorageUnsupported, finding.Warn, "its plug-in is not installed on this node, or this PVE no longer has the type")
		x.remedy(finding.RiskLow, "keep a copy of storage.cfg before any change to a storage", "cp /etc/pve/storage.cfg /root/storage.cfg.saved")
		x.remedyOfFix("take the section out if nothing needs it any more")
	case VerdictUnknown:
		x.kind(finding.StorageUnknown, finding.Warn, "")
		x.Remedies = append(x.Remedies, e.proof.ways...)
		x.remedy(finding.RiskNone, "see what PVE says of it", "pvesm status --storage "+e.ID)
		x.remedy(finding.RiskNone, "where labd can never tell, have it leave the storage alone: ignore in section [storage] of labd.toml", "labctl config")
	case VerdictOrphanNode:
		x.kind(finding.StorageOrphanNode, finding.Warn, "the node was removed from the cluster, and its entries stayed")
		x.remedyOfFix("remove the entry if nothing needs it any more")
	}
	return x.Finding
}

// mountFlag is what is_mountpoint must be so that PVE insists on what should be mounted.
func mountFlag(e *Entry) string {
	if e.point != "" && e.point != e.Path {
		return e.point
	}
	return "1"
}

// remedyOfFix names fix-storage, unless it would refuse.
func (x *explanation) remedyOfFix(title string) {
	if x.e.Refusal == "" {
		x.remedy(finding.RiskLow, title, "labctl fix-storage "+x.e.ID)
	}
}

func (x *explanation) masked() {
	e := x.e
	x.kind(finding.StorageMasked, finding.Fail, "the entry lacks is_mountpoint, so PVE makes the directory anew and fills the file system below")
	if e.source.What == "" {
		x.Cause = "what its directory lies in is not mounted, so PVE makes the directory anew and fills the file system below"
	}
	x.remedy(finding.RiskLow, "tell PVE what must be mounted, then look at what was written below it", "pvesm set "+e.ID+" --is_mountpoint "+mountFlag(e))
	x.remedy(finding.RiskLow, "or switch it off for now, which ends the writing", "labctl fix-storage --disable "+e.ID)
	if e.proof.state == DeviceGone {
		x.mountEvidence()
		x.bootEvidence()
		x.remedyOfFix("or, if the disk is gone for good, remove the storage with all leftovers; what lies below the mount point stays")
	}
}

// mountEvidence says what is at the mount point of a device that is gone.
func (x *explanation) mountEvidence() {
	e := x.e
	if e.point == "" {
		return
	}
	state := " is not mounted"
	if e.mounted {
		state = " is still mounted"
	}
	x.evidence("mount table", e.point+state)
	if d := x.f.Directories[e.point]; !e.mounted && d.Entries > 0 {
		x.evidence(e.point, fmt.Sprintf("%d entries lie below the mount point, on the file system under it; labd does not touch them", d.Entries))
	}
}

// bootEvidence says that the next boot ends in emergency mode, where it does.
func (x *explanation) bootEvidence() {
	e := x.e
	if !e.source.endsBoot() || e.proof.state != DeviceGone {
		return
	}
	line := e.source.Line
	if line == "" {
		line = e.source.File + " is required by local-fs.target"
	}
	x.evidence(e.source.File, line+" (no nofail: the next boot waits 90 seconds and ends in emergency mode)")
	if e.code != finding.StorageBootBlocked {
		x.Title += "; the next boot ends in emergency mode"
	}
	x.remedy(finding.RiskLow, "before the next boot, add nofail to the options of the line, or comment it out", "editor /etc/fstab", "systemctl daemon-reload")
}

// misplaced explains an entry that is for other nodes and alive here.
func (x *explanation) misplaced() {
	e := x.e
	x.kind(finding.StorageMisplaced, finding.Warn, "this host was renamed, or storage.cfg comes from another one")
	x.Confidence = finding.Likely
	x.evidence("storage.cfg", "nodes "+strings.Join(e.section.Nodes(), ","))
	x.remedy(finding.RiskLow, "give the entry to this node; nothing is removed", "pvesm set "+e.ID+" --nodes "+x.f.Node)
}

func (x *explanation) gone() {
	e := x.e
	code := e.code
	if code == "" {
		code = finding.StorageDeviceGone
	}
	x.kind(code, finding.Fail, "its disk was taken out, or died")
	switch code {
	case finding.StorageUnitLeft:
		x.Severity, x.Cause = finding.Warn, "the storage was removed and PVE left its mount behind, and its disk is gone"
	case finding.StorageBootBlocked:
		x.Cause = "the disk is gone and its line of fstab stayed, without nofail"
	}
	if spare := x.f.Blocks.spare(); len(spare) > 0 && e.proof.state == DeviceGone {
		x.Cause, x.Confidence = x.Cause+"; or it was formatted anew, or its file system is damaged: nothing uses "+strings.Join(spare[:min(len(spare), 6)], ", "), finding.Likely
	}
	if e.proof.moves {
		x.Cause, x.Confidence = "its disk was taken out or died, or has another name now, since the kernel gives such names in the order of discovery", finding.Likely
	}
	x.mountEvidence()
	x.bootEvidence()
	if e.removable {
		x.Cause, x.Confidence = "its disk is a removable one and not here", finding.Likely
	}
	if own, ok := kindOf(e.Type).(explainer); ok {
		own.explainGone(x)
	} else {
		x.putDiskBack()
	}
	title := "remove the storage with all leftovers; labctl undo brings it back"
	if e.Type == TypeUnit {
		title = "remove the mount with all leftovers; labctl undo brings it back"
	}
	x.remedyOfFix(title)
}

// putDiskBack names the way back that costs nothing.
func (x *explanation) putDiskBack() {
	if unit := x.e.source.Unit; unit != "" {
		x.remedy(finding.RiskNone, "put the disk back and start its unit", "systemctl start "+shellWord(unit))
		return
	}
	x.remedy(finding.RiskNone, "put the disk back; PVE finds it by itself then")
}

func (x *explanation) down() {
	e := x.e
	x.kind(finding.StorageDown, finding.Warn, "")
	x.Remedies = append(x.Remedies, e.proof.ways...)
	if e.proof.reason == "" || kindOf(e.Type).remote() {
		if own, ok := kindOf(e.Type).(explainer); ok {
			own.explainDown(x)
		}
	}
	if e.section != nil && !e.section.Disabled() {
		x.remedy(finding.RiskLow, "switch the entry off until it is back", "labctl fix-storage --disable "+e.ID)
	}
}

// hazards are findings about what PVE's next write of storage.cfg would lose without a word, by section. What is a
// finding of its own, as a malformed section, and what does no harm are left out.
func hazards(f *Facts) []finding.Finding {
	bySection := map[string][]pve.Hazard{}
	var order []string
	for _, h := range f.Config.Hazards(f.Text) {
		section := f.Config.Section(h.Section)
		if h.Effect != pve.Loses && h.Effect != pve.Misreads || h.Code == "unknown-type" || section != nil && section.Malformed != "" {
			continue
		}
		if bySection[h.Section] == nil {
			order = append(order, h.Section)
		}
		bySection[h.Section] = append(bySection[h.Section], h)
	}
	var out []finding.Finding
	for _, section := range order {
		subject := section
		if subject == "" {
			subject = "storage.cfg"
		}
		found := bySection[section]
		x := finding.Finding{
			Code: finding.StorageConfigHazard, Severity: finding.Warn, Subject: finding.Storage(f.Node, subject), Confidence: finding.Certain,
			Title: found[0].Text, Cause: "the file was edited by hand, or by a program that does not know its rules",
		}
		for _, h := range found {
			source := "storage.cfg"
			if h.Line > 0 {
				source += " line " + strconv.Itoa(h.Line)
			}
			x.Evidence = append(x.Evidence, finding.Evidence{Source: source, Text: h.Text})
		}
		x.Remedies = []finding.Remedy{{Title: "see how PVE reads the file, and correct it", Risk: finding.RiskLow, Commands: []string{"labctl lint-storage", "editor /etc/pve/storage.cfg"}}}
		out = append(out, x)
	}
	return out
}
