package storage

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"labd/internal/finding"
	"labd/internal/layer"
	"labd/internal/pve"
)

// Verdicts of an Entry.
const (
	VerdictOK          = "ok"
	VerdictDown        = "down"
	VerdictGone        = "gone"
	VerdictMasked      = "masked"
	VerdictOrphanNode  = "orphan-node"
	VerdictMisplaced   = "misplaced"
	VerdictMalformed   = "malformed"
	VerdictUnsupported = "unsupported"
	VerdictDisabled    = "disabled"
	VerdictUnknown     = "unknown"
)

// Verdicts are all verdicts.
func Verdicts() []string {
	return []string{VerdictOK, VerdictDown, VerdictGone, VerdictMasked, VerdictOrphanNode, VerdictMisplaced, VerdictMalformed, VerdictUnsupported, VerdictDisabled, VerdictUnknown}
}

// TypeUnit is the type of an item that is no entry of storage.cfg but a mount unit that outlived its one.
const TypeUnit = "unit"

// Report is what the facts mean.
type Report struct {
	At   time.Time
	Node string
	// Readable says that storage.cfg could be read. Where it could not, Kept is when it last was: entries and findings are
	// those of then.
	Readable bool
	Kept     time.Time
	// NoPVE says that this is no PVE host.
	NoPVE    bool
	Entries  []Entry
	Findings []finding.Finding
	Notes    []string

	facts *Facts
}

// Facts are what the report was made of.
func (r *Report) Facts() *Facts { return r.facts }

// Entry is one entry of storage.cfg as this node sees it, or a mount unit that is left of one.
type Entry struct {
	ID, Type, Path string
	Verdict        string
	Reason         string
	// GoneSince is when it was first found dead, CandidateAt when a bare fix-storage may take it; zero if never.
	GoneSince, CandidateAt time.Time
	// Waits is why a bare fix-storage does not take it by itself although it is dead.
	Waits      string
	References []Reference
	// Layers are what it lies on, nearest first; none for one on the network or that PVE rejects.
	Layers []layer.Layer
	// Refusal is why no plan may be made for an entry that is dead.
	Refusal string
	// Ignored says that the configuration names it.
	Ignored bool

	section *pve.StorageSection
	skipped *pve.SkippedSection
	// code is the finding's where the verdict leaves a choice.
	code finding.Code
	// volume is what an entry of LVM or ZFS is on: a volume group, a thin pool as VG/LV, a pool or dataset.
	volume string
	// point is where it should be mounted, source what, and mounted whether anything is.
	point   string
	source  Source
	mounted bool
	// automount says that systemd waits there to mount it for whoever looks.
	automount bool
	// removable says that its disk is, or was, one that people take along.
	removable bool
	evidence  []finding.Evidence
	// watch is how long it has been found dead.
	watch watch
	// proof is what is known of its device, or of the disks that it may lie on.
	proof proof
}

func (e *Entry) set(verdict, reason string, args ...any) {
	e.Verdict, e.Reason = verdict, fmt.Sprintf(reason, args...)
}

func (e *Entry) saw(source, text string, args ...any) {
	e.evidence = append(e.evidence, finding.Evidence{Source: source, Text: fmt.Sprintf(text, args...)})
}

// isDead tells the verdicts with which an entry may be removed.
func (e *Entry) isDead() bool { return e.Verdict == VerdictGone || e.Verdict == VerdictOrphanNode }

// name is the name of what an entry lies on, "" for a plain directory.
func (e *Entry) name() string { return strings.TrimSpace(e.source.What + " " + e.volume) }

// isLost reports whether what an entry lies on is gone, whether PVE knows it or writes to the file system below.
func (e *Entry) isLost() bool {
	return e.Verdict == VerdictGone || e.Verdict == VerdictMasked && e.proof.state == DeviceGone
}

// Plannable reports whether fix-storage has a plan for an entry.
func (e *Entry) Plannable() bool {
	switch e.Verdict {
	case VerdictOrphanNode, VerdictMalformed, VerdictUnsupported:
	default:
		if !e.isLost() {
			return false
		}
	}
	return e.Refusal == "" && !e.Ignored
}

// fingerprint tells an entry from another one that takes its name later.
func (e *Entry) fingerprint() string {
	return strings.Join([]string{e.Type, e.Path, e.source.What, e.volume, e.Verdict}, " ")
}

// onto finds what the entry lies on, for whoever joins storages with disks.
func (e *Entry) onto(f *Facts) (on []layer.Layer) {
	if e.section == nil {
		return e.source.layers()
	}
	on = append(e.source.layers(), kindOf(e.Type).backing(e.section)...)
	if !isDirectory(e.Type) {
		return on
	}
	switch m, below := mountOf(f.Mounts, e.Path); {
	case e.mounted:
		on = append(on, layer.Layer{Kind: layer.Mount, Name: e.point})
	case e.source.What != "": // a drive that is not mounted is known by what it holds
	case e.Verdict != VerdictOK && e.Verdict != VerdictUnknown && e.section.MountPoint() != "":
		on = append(on, layer.Layer{Kind: layer.Mount, Name: e.point})
	case below:
		on = append(on, layer.Layer{Kind: layer.Mount, Name: m.Point})
	}
	return on
}

// layers are what a source names that a disk can be seen to hold.
func (s Source) layers() []layer.Layer {
	for _, prefix := range []string{"UUID=", "/dev/disk/by-uuid/"} {
		if uuid, ok := strings.CutPrefix(s.What, prefix); ok {
			return []layer.Layer{{Kind: layer.UUID, Name: strings.Trim(uuid, `"`)}}
		}
	}
	if name, ok := strings.CutPrefix(s.What, "/dev/disk/by-id/"); ok {
		return []layer.Layer{{Kind: layer.ByID, Name: name}}
	}
	return nil
}

// Entry returns the entry of an id.
func (r *Report) Entry(id string) (Entry, bool) {
	for _, e := range r.Entries {
		if e.ID == id {
			return e, true
		}
	}
	return Entry{}, false
}

// Subject is what findings about an entry are about.
func (r *Report) Subject(e Entry) finding.Subject { return finding.Storage(r.Node, e.ID) }

// Diagnose judges every entry. It does no I/O.
func Diagnose(f *Facts, p Policy) *Report {
	r := &Report{At: f.At, Node: f.Node, Readable: f.Config != nil, facts: f}
	if f.ClusterErr != nil {
		r.Notes = append(r.Notes, "the cluster's files cannot be read: "+f.ClusterErr.Error())
	}
	if f.NoPVE {
		r.NoPVE = true
		r.Notes = append(r.Notes, "this host has no Proxmox VE, so it has no storages")
		return r
	}
	r.Findings = clusterFindings(f)
	if f.Config == nil {
		r.Notes = append(r.Notes, f.ConfigErr.Error())
		return r
	}
	for _, e := range judgeAll(f) {
		e.Ignored = p.ignored(e.ID)
		e.References = referencesOf(f, &e)
		e.removable = f.Removable[e.ID]
		e.Layers = e.onto(f)
		switch e.Verdict {
		case VerdictGone, VerdictOrphanNode:
			r.wait(f, p, &e)
		case VerdictMasked:
			if e.isLost() {
				e.Refusal = refusal(f, &e, Options{})
				e.Waits = "PVE writes to the file system below its mount point, and it is taken only by its name"
			}
		case VerdictMalformed, VerdictUnsupported:
			e.Refusal = refusal(f, &e, Options{})
		}
		r.Entries = append(r.Entries, e)
		if e.Verdict != VerdictOK && e.Verdict != VerdictDisabled && !e.Ignored {
			r.Findings = append(r.Findings, r.explain(f, e))
		}
	}
	r.Findings = append(r.Findings, hazards(f)...)
	r.Findings = append(r.Findings, access(f)...)
	finding.Sort(r.Findings)
	return r
}

// Keep takes over the entries and findings of the last report that could read storage.cfg, where this one could not: what was
// wrong with storages is so until it is seen not to be.
func (r *Report) Keep(last *Report) {
	if r.Readable || last == nil {
		return
	}
	r.Kept = last.At
	r.Notes = append(r.Notes, "what is said of storages is from "+last.At.Local().Format(time.DateTime)+", when storage.cfg could last be read")
	r.Entries = slices.Clone(last.Entries)
	for i := range r.Entries {
		r.Entries[i].CandidateAt = time.Time{}
		r.Entries[i].Refusal = "storage.cfg cannot be read now"
	}
	for _, x := range last.Findings {
		if x.Subject.IsKind(finding.KindStorage) {
			r.Findings = append(r.Findings, x)
		}
	}
	finding.Sort(r.Findings)
}

// access says that labd could find what is dead and not remove it.
func access(f *Facts) []finding.Finding {
	if f.AccessErr == nil {
		return nil
	}
	return []finding.Finding{{
		Code: finding.PVEAccess, Severity: finding.Warn, Subject: finding.PVE(f.Node), Confidence: finding.Certain,
		Title: f.AccessErr.Error(), Cause: "the token was deleted, replaced or has expired, its user is switched off, or a permission was taken away",
		Evidence: []finding.Evidence{{Source: "/etc/pve/user.cfg, PVE's API", Text: f.AccessErr.Error()}},
		Remedies: []finding.Remedy{{Title: "have labd mend what is missing of its access", Risk: finding.RiskLow, Commands: []string{"labctl setup pve"}}},
	}}
}

// minUptime is how long a host must be up before what it does not see counts: disks and mounts may still come.
const minUptime = 15 * time.Minute

// minChecks is how often an entry must have been found dead before its grace can be over.
const minChecks = 3

// wait finds since when an entry is dead, and when a bare fix-storage may take it.
func (r *Report) wait(f *Facts, p Policy, e *Entry) {
	e.GoneSince = f.At
	seen := f.Seen[e.ID]
	e.watch = watch{Checks: 1, Boot: f.Boot, Uptime: f.Uptime}
	if !seen.Dead.IsZero() && seen.Of == e.fingerprint() {
		e.GoneSince, e.watch = seen.Dead, seen.since(f)
	}
	if e.GoneSince.After(f.At) {
		e.GoneSince = f.At // the clock was set back
	}
	e.removable = e.removable || seen.Removable || hintsRemovable(e.source)
	e.Refusal = refusal(f, e, Options{})
	switch {
	case e.Refusal != "" || e.Ignored:
	case e.removable:
		e.Waits = "its disk is a removable one, which may just be elsewhere"
	case e.proof.moves:
		e.Waits = "its name is one that the kernel gives in the order of discovery, so the disk may be here under another name"
	case e.Type == "zfspool":
		e.Waits = "a pool is taken only by its name: it may be exported, or wait for its key"
	case kindOf(e.Type).remote():
		e.Waits = "a network storage is taken only by its name"
	case e.name() == "" || seen.Present != e.name():
		e.Waits = "labd has never seen its disk here, so it may be one that comes and goes"
	case len(unnamedGroups(f, e)) > 0:
		e.Waits = "volume group " + strings.Join(unnamedGroups(f, e), ", ") + ", which no storage names, may be the same under another name"
	case len(f.Blocks.blank()) > 0:
		e.Waits = strings.Join(f.Blocks.blank(), ", ") + ", which nothing uses, holds nothing that can be read, and may be its disk with a damaged file system"
	case !f.UptimeKnown && p.Grace > 0:
		e.Waits = "the time since the boot cannot be read, and the clock alone does not end the grace time"
	default:
		left := time.Duration(p.Grace) - e.watch.Waited
		if p.Grace > 0 {
			left = max(left, time.Duration(minChecks-e.watch.Checks)*time.Duration(p.Resync))
		}
		if f.UptimeKnown {
			left = max(left, minUptime-f.Uptime)
		}
		e.CandidateAt = f.At.Add(max(left, 0))
	}
}

// judgeAll gives every entry of this node its verdict.
func judgeAll(f *Facts) []Entry {
	var out []Entry
	for i := range f.Config.Skipped {
		if s := &f.Config.Skipped[i]; s.UnknownType {
			e := Entry{ID: s.ID, Type: s.Type, skipped: s}
			e.set(VerdictUnsupported, "PVE %s; its next change of any storage drops the section", s.Reason)
			out = append(out, e)
		}
	}
	for _, s := range f.Config.Sections {
		if e, ok := judge(f, s); ok {
			out = append(out, e)
		}
	}
	follow(f, out)
	for _, s := range f.Stray {
		e := Entry{ID: strayID(f, s), Type: TypeUnit, Path: s.Point, point: s.Point, source: s, code: finding.StorageUnitLeft, proof: f.prove(s)}
		if e.proof.state != DeviceGone {
			continue
		}
		e.evidence = e.proof.evidence
		wait := "every boot waits for it"
		if s.endsBoot() {
			e.code, wait = finding.StorageBootBlocked, "the next boot ends in emergency mode"
		}
		e.set(VerdictGone, "%s names %s for %s, which does not exist, and no storage uses it: %s", where(s), s.What, s.Point, wait)
		out = append(out, e)
	}
	return out
}

// strayID names a left-over mount as the panel named its storage.
func strayID(f *Facts, s Source) string {
	id := strings.TrimPrefix(s.Point, panelDir+"/")
	if f.Config.Section(id) != nil {
		return s.Point
	}
	return id
}

// judge gives one entry its verdict; ok is false for an entry that is not this node's.
func judge(f *Facts, s *pve.StorageSection) (e Entry, ok bool) {
	e = Entry{ID: s.ID, Type: s.Type, Path: s.Path(), section: s}
	switch {
	case s.Malformed != "":
		e.set(VerdictMalformed, "PVE rejects its section: %s", s.Malformed)
		return e, true
	case !s.OnNode(f.Node):
		if onMember(f, s) {
			return e, false
		}
		judgeOrphan(f, &e)
		return e, true
	case s.Disabled() && kindOf(s.Type).remote():
	default:
		kindOf(s.Type).judge(f, &e)
	}
	// What is gone is gone whether it is switched off or not.
	if s.Disabled() && e.Verdict != VerdictGone {
		e.set(VerdictDisabled, "switched off in storage.cfg")
		e.evidence = nil
	}
	return e, true
}

// judgeOrphan judges an entry whose nodes are all no members of the cluster. The host may have been renamed, or storage.cfg
// may come from another one: what is alive here is misplaced, and only an entry of which nothing is here is an orphan.
func judgeOrphan(f *Facts, e *Entry) {
	nodes := strings.Join(e.section.Nodes(), ", ")
	kindOf(e.Type).judge(f, e)
	here, reason := e.Verdict, e.Reason
	switch {
	case kindOf(e.Type).remote():
		// Its data are elsewhere, and so are safe from here; but what is mounted is in use.
		if _, mounted := mountedAt(f.Mounts, e.Path); !mounted || e.Path == "" {
			here = VerdictGone
		} else {
			here = VerdictOK
		}
	case isDirectory(e.Type) && e.source.What == "" && !e.mounted:
		// A plain directory: what counts is whether anything lies in it.
		dir, known := f.Directories[e.Path]
		m, below := mountOf(f.Mounts, e.Path)
		switch {
		case below && m.Point != "/":
			here, reason = VerdictOK, "it lies on what is mounted at "+m.Point
		case known && dir.Err == nil && dir.Entries == 0:
			here = VerdictGone
			// Nothing says which disk is to be mounted there: it may be any that nothing uses.
			if p := f.accounted(""); p.state != DeviceGone {
				e.proof, here, reason = p, VerdictUnknown, p.reason
			} else if free := f.Blocks.unusedFileSystems(""); len(free) > 0 {
				here, reason = VerdictUnknown, "nothing says which disk belongs at "+e.Path+", and nothing uses "+strings.Join(free, ", ")
			}
		}
	}
	switch here {
	case VerdictOK, VerdictDown, VerdictMasked:
		if e.proof.state == DeviceUnknown && e.proof.reason != "" {
			e.set(VerdictUnknown, "it is restricted to %s, which is not in the cluster, and whether it is on this node cannot be told: %s", nodes, reason)
			return
		}
		e.set(VerdictMisplaced, "it is restricted to %s, which is not in the cluster, and what it lies on is here: %s", nodes, reason)
	case VerdictUnknown:
		e.set(VerdictUnknown, "it is restricted to %s, which is not in the cluster, and whether it is on this node cannot be told: %s", nodes, reason)
	default:
		e.code = ""
		e.set(VerdictOrphanNode, "it is restricted to %s, and none of them is in the cluster", nodes)
	}
}

// onMember tells whether an entry is meant for any member of the cluster. Where the members are not known nothing is
// orphaned.
func onMember(f *Facts, s *pve.StorageSection) bool {
	if f.ClusterErr != nil || len(f.Cluster.Members) == 0 {
		return true
	}
	return slices.ContainsFunc(s.Nodes(), func(n string) bool { _, ok := f.Cluster.Member(n); return ok })
}
