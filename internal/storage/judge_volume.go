package storage

import (
	"slices"
	"strings"

	"labd/internal/finding"
)

// judgeLVM judges a storage on a volume group. A group of which disks are missing is damaged, not gone.
func judgeLVM(f *Facts, e *Entry) {
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

// judgeThin judges a storage on a thin pool.
func judgeThin(f *Facts, e *Entry) {
	group, pool := e.section.Get("vgname"), e.section.Get("thinpool")
	e.volume = group + "/" + pool
	g, ok := findGroup(f, e, group)
	if !ok {
		return
	}
	v, there := g.Volumes[pool]
	switch {
	case g.Missing > 0:
		e.set(VerdictDown, "volume group %s, which holds its thin pool, lacks %s", group, disks(g.Missing))
	case !there:
		e.code = finding.StorageVGGone
		e.set(VerdictGone, "volume group %s is there and whole, and has no volume %s", group, pool)
		e.saw("lvs", "no %s in %s", pool, group)
	case !v.IsPool():
		e.set(VerdictDown, "%s/%s is no thin pool", group, pool)
	case v.Health() != "":
		e.set(VerdictDown, "thin pool %s/%s: %s", group, pool, v.Health())
	case !v.Active():
		e.set(VerdictDown, "thin pool %s/%s is there and not active", group, pool)
	default:
		e.set(VerdictOK, "thin pool %s/%s is active", group, pool)
	}
	if there && e.Verdict == VerdictDown {
		e.saw("lvs", "%s/%s has the attributes %s", group, pool, v.Attr)
	}
}

func disks(n int) string {
	if n == 1 {
		return "a disk"
	}
	return itoa(n) + " disks"
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
	case f.LockedDisk:
		e.set(VerdictUnknown, "volume group %s is not seen, and may lie in an encrypted disk that is locked", name)
	default:
		e.code = finding.StorageVGGone
		e.set(VerdictGone, "there is no volume group %s, nor any disk of one", name)
		e.saw("vgs, pvs", "no volume group and no physical volume of %s, also without LVM's filters", name)
	}
	return VolumeGroup{}, false
}

// judgePool judges a storage on a ZFS pool or dataset. A pool that is degraded works; one that is unavailable or
// suspended is damaged; one that could be imported is merely down.
func judgePool(f *Facts, e *Entry) {
	dataset := strings.Trim(e.section.Get("pool"), "/")
	pool := poolOf(dataset)
	e.volume = dataset
	health, imported := f.ZFS.Pools[pool]
	state, importable := f.ZFS.Importable[pool]
	switch {
	case f.ZFS.Err != nil:
		e.set(VerdictUnknown, "ZFS cannot be asked: %v", f.ZFS.Err)
	case !f.ZFS.Asked:
		e.set(VerdictUnknown, "ZFS was not asked")
	case imported && !worksZFS(health):
		e.set(VerdictDown, "pool %s is %s: damaged, not gone", pool, health)
		e.saw("zpool list", "%s %s", pool, health)
	case imported && f.ZFS.Missing[dataset]:
		e.code = finding.StoragePoolGone
		e.set(VerdictGone, "pool %s is there, and has no dataset %s", pool, dataset)
		e.saw("zfs list", "%s: dataset does not exist", dataset)
	case imported && dataset != pool && f.ZFS.DatasetErr != nil:
		e.set(VerdictUnknown, "whether pool %s has dataset %s cannot be told: %v", pool, dataset, f.ZFS.DatasetErr)
	case imported && health == "DEGRADED":
		e.set(VerdictOK, "pool %s works, and is degraded", pool)
	case imported:
		e.set(VerdictOK, "pool %s is imported", pool)
	case importable:
		e.set(VerdictDown, "pool %s is there and not imported, in state %s", pool, state)
		e.saw("zpool import", "%s %s", pool, state)
	case f.ZFS.ScanErr != nil:
		e.set(VerdictUnknown, "pool %s is not imported, and whether its disks are there cannot be told: %v", pool, f.ZFS.ScanErr)
	case f.LockedDisk:
		e.set(VerdictUnknown, "pool %s is not seen, and may lie in an encrypted disk that is locked", pool)
	default:
		e.code = finding.StoragePoolGone
		e.set(VerdictGone, "there is no pool %s, and no disk has a label of it", pool)
		e.saw("zpool list, zpool import", "no pool %s, imported or not", pool)
	}
}
