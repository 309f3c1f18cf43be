package storage

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"labd/internal/pve"
)

// Options are what a person allows beyond the plain removal.
type Options struct {
	// FixRefs has the plan take away the references that can be taken away without loss.
	FixRefs bool

	// together are the ids that one plan removes; they do not stand in each other's way.
	together []string
}

// refusal says why an entry must be left alone although it is dead, or broken; "" when a plan may be made for it.
func refusal(f *Facts, e *Entry, o Options) string {
	for _, guard := range []func(*Facts, *Entry) string{refuseCluster, refuseKind, refusePlace} {
		if reason := guard(f, e); reason != "" {
			return reason
		}
	}
	if reason := refuseNeighbours(f, e, o.together); reason != "" {
		return reason
	}
	return refuseReferences(f, e, o)
}

// refuseCluster holds while /etc/pve is not to be trusted, or cannot be written.
func refuseCluster(f *Facts, _ *Entry) string {
	switch {
	case f.ClusterErr != nil:
		return "the cluster's files cannot be read: " + f.ClusterErr.Error()
	case !f.Cluster.Mounted:
		return "the cluster file system is not mounted at /etc/pve"
	case !f.Cluster.Quorate:
		return "the cluster has no quorum"
	}
	return ""
}

// refuseKind holds for entries that are never this node's to remove.
func refuseKind(f *Facts, e *Entry) string {
	switch {
	case e.ID == pve.LocalStorage && e.section != nil:
		return "PVE makes the storage local anew by itself"
	case e.section != nil && e.isLost() && e.section.Shared():
		return "it is marked as shared, so this node alone cannot tell that it is gone"
	case e.Verdict == VerdictUnsupported && len(f.Cluster.Members) > 1:
		return "another node may have the plug-in for its type"
	}
	return ""
}

// refusePlace holds where a mount that is not the storage's own would go as well.
func refusePlace(f *Facts, e *Entry) string {
	if e.point == "" {
		return ""
	}
	s := e.section
	switch {
	case isSystemPath(e.Path) || isSystemPath(e.point):
		return "its path is part of the system"
	case s != nil && (!isBelow(e.Path, e.point) || s.MountPoint() == "" && e.point != path.Clean(e.Path)):
		return "its path " + e.Path + " and the mount point " + e.point + " differ, and other things may lie on that"
	case e.source.InFstab && e.source.FstabWhat != e.source.What && f.Devices[e.source.FstabWhat] != DeviceGone:
		return "fstab names " + e.source.FstabWhat + " for " + e.point + " as well, which exists or may exist; take out one of the two"
	case e.automount:
		return "an automount unit watches " + e.point + "; stop, disable and remove that first"
	}
	return ""
}

// refuseNeighbours holds while PVE would refuse the change, or lose another section with it, and where another storage
// is on this one.
func refuseNeighbours(f *Facts, e *Entry, together []string) string {
	if e.Type == TypeUnit {
		return "" // storage.cfg is not touched
	}
	for _, other := range f.Config.Sections {
		switch {
		case other.ID == e.ID, slices.Contains(together, other.ID):
		case other.Malformed != "" && !editsFile(e):
			return fmt.Sprintf("the section of %s in storage.cfg is malformed, and PVE refuses every change while it is: labctl fix-storage %s first", other.ID, other.ID)
		case e.isLost() && isDirectory(e.Type) && other.Path() != "" && isBelow(other.Path(), e.Path):
			return fmt.Sprintf("storage %s lies below its path or mount point", other.ID)
		case e.isLost() && e.mounted && usesPoint(other, e.point):
			return fmt.Sprintf("storage %s is on the same mount point", other.ID)
		}
	}
	for _, skipped := range f.Config.Skipped {
		switch {
		case editsFile(e):
		case skipped.UnknownType:
			return fmt.Sprintf("PVE does not know the type of storage %s and would drop its section with any change", skipped.ID)
		default:
			return fmt.Sprintf("PVE skips the section of %s in storage.cfg (%s) and would drop it with any change", skipped.ID, skipped.Reason)
		}
	}
	return ""
}

// editsFile tells the entries that PVE's API cannot help, so that the file is edited.
func editsFile(e *Entry) bool {
	return e.Verdict == VerdictMalformed || e.Verdict == VerdictUnsupported
}

// refuseReferences holds while something hangs on the storage.
func refuseReferences(f *Facts, e *Entry, o Options) string {
	if f.ReferencesErr != nil {
		return f.ReferencesErr.Error()
	}
	if e.Verdict == VerdictMalformed && !removesSection(f, e) {
		return "" // a repair takes nothing from anybody
	}
	var holding []Reference
	fixable := 0
	for _, r := range e.References {
		if r.Kept || r.File == "storage.cfg" && slices.Contains(o.together, r.Section) {
			continue
		}
		if r.Lock != "" {
			return fmt.Sprintf("guest %d is locked (%s); wait until that is over", r.Guest.ID, r.Lock)
		}
		_, can := fixOf(f, e, r)
		if can {
			fixable++
		}
		if !can || !o.FixRefs {
			holding = append(holding, r)
		}
	}
	if len(holding) == 0 {
		return ""
	}
	first, more := holding[0], ""
	if len(holding) > 1 {
		more = fmt.Sprintf(" and %d more", len(holding)-1)
	}
	text := fmt.Sprintf("%s still names it (%s: %s)%s", first.place(), first.Key, first.Value, more)
	if fixable == len(holding) {
		text += "; --fix-refs takes that away"
	}
	return text
}

// place is where a reference is, with its section.
func (r Reference) place() string {
	if r.Section != "" {
		return r.File + " [" + r.Section + "]"
	}
	return r.File
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

// otherNodes are the nodes that keep the entry: those it is restricted to, or all members, but this one. An offline
// member is still a member.
func otherNodes(f *Facts, e *Entry) []string {
	var others []string
	if e.section == nil {
		return nil
	}
	listed := e.section.Nodes()
	for _, m := range f.Cluster.Members {
		if m.Name != f.Node && (listed == nil || slices.Contains(listed, m.Name)) {
			others = append(others, m.Name)
		}
	}
	slices.Sort(others)
	return others
}

// keepsUnit reports whether another entry, that was not removed before, needs the mount unit of this one.
func keepsUnit(f *Facts, e *Entry, removed []string) (other string, keeps bool) {
	for _, s := range f.Config.Sections {
		if s.ID != e.ID && !slices.Contains(removed, s.ID) && e.point != "" && (s.Malformed != "" || s.OnNode(f.Node)) && usesPoint(s, e.point) {
			return s.ID, true
		}
	}
	return "", false
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

// joinNodes writes a list of nodes as PVE does.
func joinNodes(nodes []string) string { return strings.Join(nodes, ",") }
