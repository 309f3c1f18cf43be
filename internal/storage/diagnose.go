package storage

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"time"

	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/pve"
)

// Verdicts of an Entry.
const (
	VerdictOK          = "ok"
	VerdictDown        = "down"
	VerdictGone        = "gone"
	VerdictMasked      = "masked"
	VerdictOrphanNode  = "orphan-node"
	VerdictMalformed   = "malformed"
	VerdictUnsupported = "unsupported"
	VerdictDisabled    = "disabled"
	VerdictUnknown     = "unknown"
)

// Verdicts are all verdicts.
func Verdicts() []string {
	return []string{VerdictOK, VerdictDown, VerdictGone, VerdictMasked, VerdictOrphanNode, VerdictMalformed, VerdictUnsupported, VerdictDisabled, VerdictUnknown}
}

// Report is what the facts mean.
type Report struct {
	At   time.Time
	Node string
	// Readable says that storage.cfg could be read.
	Readable bool
	Entries  []Entry
	Findings []finding.Finding
	Notes    []string

	facts *Facts
}

// Facts are what the report was made of.
func (r *Report) Facts() *Facts { return r.facts }

// Entry is one entry of storage.cfg as this node sees it.
type Entry struct {
	ID, Type, Path string
	Verdict        string
	Reason         string
	// GoneSince is when it was first found gone, CandidateAt when a bare fix-storage may take it; zero if never.
	GoneSince, CandidateAt time.Time
	References             []pve.Reference
	// Refusal is why no plan may be made for an entry that is gone.
	Refusal string
	// Ignored says that the configuration names it.
	Ignored bool

	section *pve.StorageSection
	// point is where it should be mounted, source what, and mounted whether anything is.
	point   string
	source  Source
	mounted bool
	// automount says that systemd waits there to mount it for whoever looks.
	automount bool
}

// Subject is storage/<node>/<id>.
func (r *Report) Subject(e Entry) finding.Subject { return finding.Storage(r.Node, e.ID) }

// Entry returns the entry of that id.
func (r *Report) Entry(id string) (Entry, bool) {
	i := slices.IndexFunc(r.Entries, func(e Entry) bool { return e.ID == id })
	if i < 0 {
		return Entry{}, false
	}
	return r.Entries[i], true
}

// Diagnose is pure.
func Diagnose(f *Facts, p Policy) *Report {
	r := &Report{At: f.At, Node: f.Node, Readable: f.Config != nil, facts: f}
	if f.ClusterErr != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("the cluster's files cannot be read, so nothing is planned: %v", f.ClusterErr))
	} else if !f.Cluster.Mounted {
		r.Notes = append(r.Notes, "the cluster file system is not mounted at /etc/pve (is this a Proxmox VE host?), so nothing is planned")
	} else if !f.Cluster.Quorate {
		r.Notes = append(r.Notes, "the cluster has no quorum, so nothing can be changed")
	}
	if f.Config == nil {
		r.Notes = append(r.Notes, fmt.Sprintf("no storage can be judged: %v", f.ConfigErr))
		return r
	}
	for _, s := range f.Config.Skipped {
		if s.UnknownType {
			e := Entry{ID: s.ID, Type: s.Type, Verdict: VerdictUnsupported, Reason: fmt.Sprintf("PVE %s; its next change of any storage drops the section", s.Reason)}
			r.Entries = append(r.Entries, e)
			r.Findings = append(r.Findings, r.explain(f, e))
		}
	}
	for _, s := range f.Config.Sections {
		e, ok := judge(f, s)
		if !ok {
			continue
		}
		e.Ignored = p.ignored(e.ID)
		e.References = f.References[s.ID]
		if e.Verdict == VerdictGone {
			e.GoneSince = f.At
			if since, ok := f.GoneSince[e.ID]; ok {
				e.GoneSince = since
			}
			e.Refusal = refusal(f, e)
			if e.Refusal == "" && !e.Ignored {
				e.CandidateAt = e.GoneSince.Add(time.Duration(p.Grace))
			}
		}
		r.Entries = append(r.Entries, e)
		switch e.Verdict {
		case VerdictOK, VerdictDisabled, VerdictUnknown:
		default:
			if !e.Ignored {
				r.Findings = append(r.Findings, r.explain(f, e))
			}
		}
	}
	finding.Sort(r.Findings)
	return r
}

// judge gives one entry its verdict; ok is false for an entry that is not this node's.
func judge(f *Facts, s *pve.StorageSection) (e Entry, ok bool) {
	e = Entry{ID: s.ID, Type: s.Type, Path: s.Path(), section: s}
	set := func(verdict, reason string, args ...any) { e.Verdict, e.Reason = verdict, fmt.Sprintf(reason, args...) }
	switch {
	case s.Malformed != "":
		set(VerdictMalformed, "PVE rejects its section: %s", s.Malformed)
		return e, true
	case !s.OnNode(f.Node):
		if !onMember(f, s) {
			set(VerdictOrphanNode, "it is restricted to %v, and none of them is in the cluster", s.Nodes())
			return e, true
		}
		return e, false
	case s.Type == "dir":
		judgeDirectory(f, &e)
	case s.Disabled():
		set(VerdictDisabled, "switched off in storage.cfg")
	default:
		set(VerdictUnknown, "labd does not judge storages of type %s", s.Type)
	}
	return e, true
}

func onMember(f *Facts, s *pve.StorageSection) bool {
	if f.ClusterErr != nil || len(f.Cluster.Members) == 0 {
		return true // nothing is known, so nothing is orphaned
	}
	return slices.ContainsFunc(s.Nodes(), func(n string) bool { _, ok := f.Cluster.Member(n); return ok })
}

// judgeDirectory judges a dir storage by the mount that it should be on. A device that is gone counts even when the
// entry is switched off. A mount counts as dead only when its own device is gone as well: somebody may have mounted
// another disk there by hand.
func judgeDirectory(f *Facts, e *Entry) {
	set := func(verdict, reason string, args ...any) { e.Verdict, e.Reason = verdict, fmt.Sprintf(reason, args...) }
	if f.MountsErr != nil {
		set(VerdictUnknown, "the mount table cannot be read: %v", f.MountsErr)
		return
	}
	s := e.section
	insists := s.MountPoint() != ""
	point, source, hasSource := f.sourceOf(s)
	e.point, e.source = point, source
	mount, mounted := mountedAt(f.Mounts, point)
	e.mounted, e.automount = mounted, mount.Type == "autofs"
	device, mountDevice := f.Devices[source.What], mountDevice(f, mount)
	switch {
	case hasSource && device == DeviceGone && mounted && mountDevice == DeviceGone:
		set(VerdictGone, "%s does not exist any more; its mount at %s lives on without it", source.What, point)
	case hasSource && device == DeviceGone && mounted && mountDevice == DeviceUnknown:
		set(VerdictUnknown, "%s does not exist; whether %s, which is mounted at %s, does cannot be told", source.What, mount.Source, point)
	case hasSource && device == DeviceGone && mounted && s.Disabled():
		set(VerdictDisabled, "switched off in storage.cfg")
	case hasSource && device == DeviceGone && mounted:
		set(VerdictOK, "%s is mounted; %s, which %s names for %s, does not exist, so it will not be mounted at the next boot", mount.Source, source.What, where(source), point)
	case hasSource && device == DeviceGone && insists:
		set(VerdictGone, "%s, which %s names for %s, does not exist", source.What, where(source), point)
	case s.Disabled():
		set(VerdictDisabled, "switched off in storage.cfg")
	case hasSource && device == DeviceGone:
		set(VerdictMasked, "%s does not exist, and PVE writes to the file system below %s instead", source.What, point)
	case mounted && insists, mounted && point == path.Clean(s.Path()):
		set(VerdictOK, "mounted")
	case mounted:
		judgePlainDirectory(f, e, set)
	case hasSource && device == DevicePresent && !insists:
		set(VerdictMasked, "%s is there and not mounted, and PVE writes to the file system below %s instead", source.What, point)
	case hasSource && device == DevicePresent:
		set(VerdictDown, "%s is there and not mounted", source.What)
	case hasSource:
		set(VerdictUnknown, "whether %s exists cannot be told", source.What)
	case insists:
		set(VerdictDown, "%s is not mounted, and neither a unit nor fstab says what should be", point)
	default:
		judgePlainDirectory(f, e, set)
	}
}

// mountDevice is the state of what a mount is of. What is no device node, as a dataset, a share or a bind mount, is there.
func mountDevice(f *Facts, m host.Mount) Device {
	if device, ok := f.Devices[m.Source]; ok {
		return device
	}
	return DevicePresent
}

// judgePlainDirectory judges a directory that is no mount point and need not be one.
func judgePlainDirectory(f *Facts, e *Entry, set func(string, string, ...any)) {
	dir, known := f.Directories[e.Path]
	switch {
	case !known:
		set(VerdictUnknown, "it lies on a network file system, which labd does not touch")
	case dir.Err != nil:
		set(VerdictUnknown, "it cannot be read: %v", dir.Err)
	case !dir.Exists:
		set(VerdictDown, "the directory %s does not exist", e.Path)
	default:
		set(VerdictOK, "the directory is there")
	}
}

func where(s Source) string {
	if filepath.Base(s.File) == "fstab" {
		return "fstab"
	}
	return "unit " + s.Unit
}
