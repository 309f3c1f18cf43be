package storage

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"labd/internal/finding"
	"labd/internal/layer"
	"labd/internal/pve"
)

// volumeGroup is the type whose volumes lie in an LVM volume group.
type volumeGroup struct{ local }

func (volumeGroup) observe(q *questions, s *pve.StorageSection) {
	q.groups = append(q.groups, s.Get("vgname"))
}
func (volumeGroup) lost() string { return "volume group" }

func (volumeGroup) backing(s *pve.StorageSection) []layer.Layer {
	return []layer.Layer{{Kind: layer.VolumeGroup, Name: s.Get("vgname")}}
}

// judge judges by the group. One of which disks are missing is damaged, not gone.
func (volumeGroup) judge(f *Facts, e *Entry) {
	name := e.section.Get("vgname")
	e.volume = name
	if g, ok := findGroup(f, e, name); ok {
		if g.Missing > 0 {
			e.set(VerdictDown, "volume group %s lacks %s; volumes on the others may well be intact", name, disks(g.Missing))
			return
		}
		e.set(VerdictOK, "volume group %s is there", name)
	}
}

func disks(n int) string {
	if n == 1 {
		return "a disk"
	}
	return strconv.Itoa(n) + " disks"
}

// findGroup finds an entry's volume group, or gives the verdict that it is not there.
func findGroup(f *Facts, e *Entry, name string) (VolumeGroup, bool) {
	g, ok := f.LVM.Groups[name]
	switch {
	case f.LVM.Err != nil:
		e.set(VerdictUnknown, "LVM cannot be asked: %v", f.LVM.Err)
	case !f.LVM.Asked:
		e.set(VerdictUnknown, "LVM was not asked")
	case ok:
		return g, true
	case e.section.Get("base") != "":
		e.set(VerdictDown, "volume group %s is not there; it comes from another storage, %s", name, e.section.Get("base"))
	case e.section.Shared():
		e.set(VerdictDown, "volume group %s is not seen here; it is a shared one, so its disk is on the network", name)
	case slices.Contains(f.LVM.Hidden, name):
		e.set(VerdictDown, "volume group %s is there, and LVM's filter or devices file keeps it from view", name)
	default:
		if e.lost(f, "volume group "+name) {
			e.code = finding.StorageVGGone
			e.set(VerdictGone, "there is no volume group %s, nor any disk of one", name)
			e.saw("vgs, pvs", "no volume group and no physical volume of %s, also without LVM's filters", name)
		}
	}
	return VolumeGroup{}, false
}

// leaves names what LVM keeps of a dead volume, which does no harm.
func (volumeGroup) leaves(e *Entry) []string {
	group := groupOf(e.volume)
	return []string{fmt.Sprintf("LVM's copy of the metadata, /etc/lvm/backup/%s, stays. Device nodes of volumes that were active when the disk went stay until a reboot, or: dmsetup ls | grep ^%s-", group, strings.ReplaceAll(group, "-", "--"))}
}

func (volumeGroup) isHere(f *Facts, e *Entry) bool {
	_, there := f.LVM.Groups[groupOf(e.volume)]
	return there
}

func (volumeGroup) explainGone(x *explanation) {
	group := groupOf(x.e.volume)
	if !x.f.Traces[group] && x.f.Seen[x.e.ID].Present != x.e.name() {
		x.Cause, x.Confidence = "nothing shows that this host ever had the group: LVM keeps no copy of its metadata here. The entry may come from another host, or from an installation without LVM; or the disk was never here since", finding.Likely
		x.evidence("/etc/lvm/backup", "no file "+group)
	}
	if name := renamedGroup(x.f, x.e); name != "" {
		x.Cause, x.Confidence = fmt.Sprintf("volume group %s, which is here, has %s; it may be the same under another name", name, sameVolumes(x.f, x.e, name)), finding.Likely
		x.remedy(finding.RiskLow, "if it is the same, give the group its former name while no guest runs on it", "vgrename "+shellWord(name)+" "+shellWord(group))
		return
	}
	if others := unnamedGroups(x.f, x.e); len(others) > 0 {
		x.evidence("vgs", "groups that no storage names: "+strings.Join(others, ", "))
	}
	x.putDiskBack()
}

// unnamedGroups are the groups that no entry names, where an entry lost its group: one that was renamed is among them.
func unnamedGroups(f *Facts, e *Entry) (out []string) {
	_, there := f.LVM.Groups[groupOf(e.volume)]
	if e.code != finding.StorageVGGone && (e.Verdict != VerdictOrphanNode || e.volume == "" || there) {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(f.LVM.Groups)) {
		if !slices.ContainsFunc(f.Config.Sections, func(s *pve.StorageSection) bool { return s.Get("vgname") == name }) {
			out = append(out, name)
		}
	}
	return out
}

// renamedGroup returns the group that may be an entry's lost one under another name, "" where none is.
func renamedGroup(f *Facts, e *Entry) string {
	if e.code != finding.StorageVGGone {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(f.LVM.Groups)) {
		if name != groupOf(e.volume) && sameVolumes(f, e, name) != "" {
			return name
		}
	}
	return ""
}

// sameVolumes returns what a group has that an entry's lost group had, by the entry's own line: its thin pool, or volumes of
// guests whose files name the storage.
func sameVolumes(f *Facts, e *Entry, group string) string {
	g := f.LVM.Groups[group]
	if _, pool, ok := strings.Cut(e.volume, "/"); ok {
		for _, s := range f.Config.Sections {
			if s.ID != e.ID && s.Get("vgname") == group && s.Get("thinpool") == pool {
				return "" // another entry's
			}
		}
		if v, there := g.Volumes[pool]; there && v.IsPool() {
			return "the same thin pool " + pool
		}
		return ""
	}
	for _, r := range f.References[e.ID] {
		_, volume, _ := strings.Cut(r.Value, ":")
		volume, _, _ = strings.Cut(volume, ",")
		if _, there := g.Volumes[volume]; there && volume != "" {
			return "the volume " + volume + ", which " + r.File + " names"
		}
	}
	return ""
}

func (volumeGroup) explainDown(x *explanation) {
	group := groupOf(x.e.volume)
	_, damaged := x.f.LVM.Groups[group]
	switch {
	case damaged:
		x.Severity = finding.Fail
		x.remedy(finding.RiskNone, "see what ails the volume group", "vgs -o +vg_missing_pv_count "+shellWord(group), "pvs -o +pv_missing", "lvs -a "+shellWord(group))
		x.remedy(finding.RiskLow, "put the missing disk back, then activate", "vgchange -ay "+shellWord(group))
	case slices.Contains(x.f.LVM.Hidden, group):
		x.remedy(finding.RiskNone, "see which disks LVM leaves out: by its devices file, or by a filter in lvm.conf", "lvmdevices", "lvmconfig devices")
		for device, of := range x.f.LVM.AllDevices {
			if of == group {
				x.remedy(finding.RiskLow, "have LVM use the disk; where a filter in lvm.conf keeps it out, correct that instead", "lvmdevices --adddev "+shellWord(device))
			}
		}
	case x.e.proof.reason == "":
		x.remedy(finding.RiskNone, "see what LVM has", "vgs", "pvs -a")
	}
}

// groupOf returns the volume group of a thin pool's name, VG/LV, or of a group's own.
func groupOf(volume string) string {
	group, _, _ := strings.Cut(volume, "/")
	return group
}
