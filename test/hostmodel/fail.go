package hostmodel

import (
	"fmt"
	"slices"
)

// parts are the devices that a storage lies on directly.
func (s *Storage) parts() []*Device {
	switch {
	case s.backing != nil:
		return append([]*Device{s.backing}, s.more...)
	case s.group != nil:
		return s.group.pvs
	case s.pool != nil:
		return s.pool.vdevs
	}
	return nil
}

// layers are the devices of a storage that somebody has to put together.
func (s *Storage) layers() []*Device {
	var out []*Device
	for _, p := range s.parts() {
		p.walk(func(d *Device) {
			if len(d.Lower) > 0 && d.Kind != KindPartition && !slices.Contains(out, d) {
				out = append(out, d)
			}
		})
	}
	return out
}

func (s *Storage) disks() []*Device {
	var out []*Device
	for _, p := range s.parts() {
		for _, d := range p.disks() {
			if !slices.Contains(out, d) {
				out = append(out, d)
			}
		}
	}
	return out
}

// fail lets one thing go wrong.
func (g *generator) fail() {
	s := g.h.Storages[g.IntN(len(g.h.Storages))]
	disks := s.disks()
	if len(disks) == 0 {
		g.failHost()
		return
	}
	switch g.IntN(20) {
	case 0, 1, 2, 3, 4, 5:
		g.event("all disks of %s are taken away, and the host boots", s.ID)
		g.detach(disks...)
		g.rebooted = true
	case 6:
		d := disks[g.IntN(len(disks))]
		g.event("disk %s of %s is taken away, and the host boots", d.OldName, s.ID)
		g.detach(d)
		g.rebooted = true
	case 7, 8:
		g.event("all disks of %s are pulled while it is in use", s.ID)
		for _, l := range s.layers() {
			l.Stale = l.visible()
		}
		g.stale[s.Point] = s.Point != ""
		if s.pool != nil && s.pool.imported {
			s.pool.suspended = true
		}
		g.detach(disks...)
	case 9, 10:
		if l := s.layers(); len(l) > 0 {
			d := l[g.IntN(len(l))]
			g.event("nobody puts %s %s of %s together", d.Kind, d.OldName, s.ID)
			d.Active = false
			if d.pool != nil {
				d.pool.imported = false
			}
		}
	case 11:
		g.event("nothing of %s is put together after a boot", s.ID)
		for _, d := range s.layers() {
			d.Active = false
		}
		if s.pool != nil {
			s.pool.imported = false
		}
		g.rebooted = true
	case 12:
		g.event("%s is unmounted, exported or deactivated", s.ID)
		g.away[s.Point] = true
		switch {
		case s.pool != nil:
			s.pool.imported = false
		case s.volume != nil:
			s.volume.active = false
		}
	case 13, 14:
		g.destroy(s)
	case 15:
		g.damage(s)
	case 16:
		if s.Point != "" {
			other := g.disk(USB)
			other.Sig = Signature{Type: s.FSType, UUID: g.uuid()}
			g.event("another disk is mounted at %s", s.Point)
			g.other[s.Point] = other
		}
	case 17:
		if s.pool != nil && s.pool.imported {
			g.event("pool %s is suspended", s.pool.name)
			s.pool.suspended = true
		} else if s.group != nil {
			g.event("LVM's filter hides group %s", s.group.name)
			s.group.hidden = true
		}
	case 18:
		g.event("the host boots")
		g.rebooted = true
	default:
		g.failHost()
	}
}

func (g *generator) detach(disks ...*Device) {
	for _, d := range disks {
		d.Attached = d == g.h.devices[0] // the system's disk stays
	}
}

// destroy removes the data on purpose, and leaves the disks.
func (g *generator) destroy(s *Storage) {
	switch {
	case s.lost != "" || s.damaged != "":
	case s.volume != nil:
		g.event("lvremove %s/%s", s.group.name, s.volume.name)
		s.volume.removed, s.lost = true, "its thin pool was removed"
	case s.pool != nil && s.dataset != s.pool.name && s.pool.imported:
		g.event("zfs destroy %s", s.dataset)
		s.pool.datasets, s.lost = nil, "its dataset was destroyed"
	case s.pool != nil && s.pool.imported && !slices.ContainsFunc(g.h.devices, func(d *Device) bool { return d.pool == s.pool }):
		g.event("zpool destroy %s", s.pool.name)
		s.pool.destroyed, s.pool.imported, s.lost = true, false, "its pool was destroyed"
		for _, v := range s.pool.vdevs {
			v.Sig = Signature{}
		}
	case s.backing != nil && s.backing.Kind == KindLV && len(s.more) == 0:
		g.event("lvremove %s/%s", s.backing.Group.name, s.backing.Volume)
		s.backing.Destroyed, s.lost = true, "its volume was removed"
		s.backing.Active = false
		for _, v := range s.backing.Group.volumes {
			v.removed = v.removed || v.name == s.backing.Volume
		}
		g.away[s.Point] = true
	case s.backing != nil && len(s.more) == 0 && s.byFileSystem():
		g.event("%s is formatted anew", s.ID)
		s.backing.Sig, s.lost = Signature{Type: "ext4", UUID: g.uuid()}, "its disk was formatted anew"
		g.away[s.Point] = true
	}
}

// byFileSystem reports whether the storage is known by a name that lies in its file system.
func (s *Storage) byFileSystem() bool {
	return s.What == "UUID="+s.backing.Sig.UUID || s.What == "/dev/disk/by-uuid/"+s.backing.Sig.UUID
}

// damage makes it so that nobody can tell by looking.
func (g *generator) damage(s *Storage) {
	switch {
	case s.lost != "" || s.damaged != "":
	case s.backing != nil && len(s.more) == 0:
		g.event("the superblock of %s is damaged", s.ID)
		s.backing.Sig, s.damaged = Signature{Type: pick(g, "", "unknown")}, "its superblock is damaged"
		g.away[s.Point] = true
	case s.group != nil && s.group.name == s.group.was && s.group.name != "pve":
		g.event("vgrename %s", s.group.name)
		s.group.name, s.damaged = "new"+s.group.name, "its group has another name"
	case s.pool != nil && s.pool.imported && !s.pool.renamed:
		g.event("pool %s is imported by another name", s.pool.name)
		s.pool.name, s.pool.renamed, s.damaged = "new"+s.pool.name, true, "its pool has another name"
		for _, v := range s.pool.vdevs {
			v.Sig.Label = s.pool.name
		}
		s.pool.datasets = nil
	}
}

// failHost lets something go wrong that is no storage's.
func (g *generator) failHost() {
	switch g.IntN(8) {
	case 0:
		g.event("udev does not run after a boot")
		g.h.noUdev, g.rebooted = true, true
	case 1:
		g.event("LVM's programs fail")
		g.h.lvmBroken = true
	case 2:
		g.event("ZFS's programs fail")
		g.h.zfsBroken = true
	case 3:
		g.event("the quorum is lost")
		g.h.Quorate = len(g.h.Members) == 1
	case 4:
		g.event("the host boots, and is up for a minute")
		g.h.Uptime, g.rebooted = 60, true
	default:
		g.event("the servers of network disks are switched off, and the host boots")
		for _, d := range g.h.devices {
			if d.Bus.network() {
				d.Attached = false
			}
		}
		g.rebooted = true
	}
}

// settle mounts what can be mounted, names what is there, and finds what is so.
func (g *generator) settle() {
	if g.rebooted {
		for _, d := range g.h.devices {
			d.Stale = false
		}
		for _, p := range g.h.pools {
			p.suspended = false
		}
		clear(g.stale)
		g.name(false)
	} else {
		for _, d := range g.h.devices {
			if d.Name != "" && !d.visible() {
				d.Name = ""
			}
		}
		for point, d := range g.other {
			d.Name = fmt.Sprintf("sd%c", 'o'+len(point)%6)
		}
	}
	g.h.mounts = []mount{{"/", "ext4", g.source(g.root)}}
	for _, s := range g.h.Storages {
		g.mount(s)
		g.h.judge(s)
	}
}

func (g *generator) source(d *Device) string {
	switch d.Kind {
	case KindLV:
		return "/dev/mapper/" + d.mapper()
	case KindLUKS, KindIntegrity, KindVDO, KindMultipath:
		return "/dev/mapper/" + d.DMName
	}
	name := d.Name
	if name == "" {
		name = d.OldName
	}
	return "/dev/" + name
}

// mount mounts a storage where that works.
func (g *generator) mount(s *Storage) {
	switch {
	case s.Type == "nfs" && g.one(2):
		g.h.mounts = append(g.h.mounts, mount{s.Path, "nfs4", "192.0.2.9:/x"})
	case s.pool != nil && s.pool.imported:
		g.h.mounts = append(g.h.mounts, mount{"/" + s.pool.name, "zfs", s.pool.name})
	case s.backing == nil:
		return
	}
	if s.backing == nil {
		return
	}
	if other := g.other[s.Point]; other != nil {
		g.h.mounts = append(g.h.mounts, mount{s.Point, s.FSType, g.source(other)})
		s.mounted = other
		return
	}
	if g.away[s.Point] {
		return
	}
	if g.stale[s.Point] {
		g.h.mounts = append(g.h.mounts, mount{s.Point, s.FSType, g.source(s.backing)})
		return
	}
	if s.first != nil {
		if s.first.visible() && s.first.Sig.Type == "ext4" {
			g.h.mounts = append(g.h.mounts, mount{s.Point, "ext4", g.source(s.first)})
			s.mounted = s.first
		}
		return
	}
	for _, p := range s.parts() {
		if !p.visible() {
			return
		}
	}
	// A kernel name is another's after a boot in which disks were missing, and links are udev's.
	if g.rebooted && (s.NoSource || g.h.noUdev || s.What == "/dev/"+s.backing.OldName && s.backing.Name != s.backing.OldName) {
		return
	}
	g.h.mounts = append(g.h.mounts, mount{s.Point, s.FSType, g.source(s.backing)})
	s.mounted = s.backing
}

// judge finds what is so of a storage.
func (h *Host) judge(s *Storage) {
	parts := s.parts()
	alive := slices.ContainsFunc(parts, (*Device).recoverable)
	detached := false
	for _, p := range parts {
		p.walk(func(d *Device) { detached = detached || d.Detached && !d.visible() })
	}
	s.Truth, s.Why = Alive, "its disks are in the host, or on the network"
	switch {
	case s.Type == "plain" && s.Orphan:
		s.Truth, s.Why = Dead, "its directory is not here, and none of its nodes is in the cluster"
	case len(parts) == 0 && s.Orphan:
		s.Truth, s.Why = Doubtful, "it is on a server, and none of its nodes is in the cluster"
	case len(parts) == 0:
		s.Why = "it is a directory of the system, or on a server"
	case s.mounted != nil && s.mounted != s.backing:
		s.Why = "another disk is mounted there"
	case s.first != nil && s.first.recoverable():
		s.Why = "the first of two lines of fstab names a disk that is there"
	case s.lost != "":
		s.Truth, s.Why = Dead, s.lost
	case !alive:
		s.Truth, s.Why = Dead, "none of its disks is in the host"
	case s.damaged != "":
		s.Truth, s.Why = Doubtful, s.damaged
	case s.group != nil && s.group.name != s.group.was:
		s.Truth, s.Why = Doubtful, "its group has another name"
	case s.Orphan && s.NoSource && s.mounted == nil:
		s.Truth, s.Why = Doubtful, "nothing on the host says what is mounted there, and none of its nodes is in the cluster"
	case detached:
		s.Truth, s.Why = Doubtful, "it lies in a LUKS volume whose header is elsewhere"
	}
}
