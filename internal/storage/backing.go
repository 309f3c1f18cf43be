package storage

import "strings"

// Backing is what a storage lies on, for whoever joins storages with disks.
type Backing struct {
	// Point is the mount point that its path is on, or should be on.
	Point string
	// Group is its LVM volume group, Pool its ZFS pool without the data set.
	Group, Pool string
}

// Backing is what an entry lies on; empty for one on the network or that PVE rejects.
func (r *Report) Backing(e Entry) Backing {
	if e.section == nil || r.facts == nil {
		return Backing{}
	}
	switch e.Type {
	case "lvm", "lvmthin":
		return Backing{Group: e.section.Get("vgname")}
	case "zfspool":
		pool, _, _ := strings.Cut(e.section.Get("pool"), "/")
		return Backing{Pool: pool}
	case "dir", "btrfs":
		if e.source.Point != "" {
			return Backing{Point: e.point}
		}
		m, _ := mountOf(r.facts.Mounts, e.Path)
		return Backing{Point: m.Point}
	}
	return Backing{}
}
