package hostmodel

import (
	"fmt"
	"strings"
)

// Truth is what is so about a storage.
type Truth string

// Truths. Alive: its data are in the host, or on a network, and could be used again. Dead: they are not, and nothing that
// is attached could bring them back. Doubtful: nobody can tell by looking, as with a disk that has lost its superblock;
// a person may remove such an entry by its name, and nothing may take it by itself.
const (
	Alive    Truth = "alive"
	Dead     Truth = "dead"
	Doubtful Truth = "doubtful"
)

// Storage is an entry of storage.cfg.
type Storage struct {
	ID, Type string
	Truth    Truth
	// Why says how it came to that.
	Why string
	// Config is its section.
	Config string
	// Nodes are those that the entry names, nil for all.
	Nodes []string
	// Here says that the entry is meant for this node, Others that it lives on for other members.
	Here, Others bool
	// Path is where it is, Point where it should be mounted, What the name it should be mounted by.
	Path, Point, What string
	// Blocked says that a guest has a disk on it, Soft that something names it that can be changed.
	Blocked, Soft bool
	// Orphan says that none of its nodes is in the cluster, Disabled that it is switched off, Insists that PVE wants it
	// to be mounted, Hinted that its mount says that it needs the network, NoSource that nothing says what to mount.
	Orphan, Disabled, Insists, Hinted, NoSource bool
	FSType, Unit                                string

	backing *Device
	// more are the other disks of a btrfs file system.
	more []*Device
	// first is what an earlier line of fstab names for the same point.
	first   *Device
	group   *group
	volume  *volume
	pool    *pool
	dataset string
	// damaged says what makes it doubtful, lost how its data were removed on purpose.
	damaged, lost string
	// mounted is what is mounted at its point.
	mounted *Device
}

// group is a volume group, pool a ZFS pool.
type group struct {
	// name is what it is called now, was what entries call it.
	name, was string
	pvs       []*Device
	volumes   []*volume
	// hidden says that LVM's filter or devices file keeps its disks from view.
	hidden bool
}

type volume struct {
	name     string
	thinPool bool
	active   bool
	removed  bool
}

type pool struct {
	name      string
	vdevs     []*Device
	imported  bool
	suspended bool
	destroyed bool
	renamed   bool
	datasets  []string
}

type mount struct{ point, fsType, source string }

// Host is a host that was made up.
type Host struct {
	Seed     uint64
	Node     string
	Members  []string
	Quorate  bool
	Storages []*Storage
	// Events are the failures, in their order.
	Events []string
	Uptime int

	devices []*Device
	groups  []*group
	pools   []*pool
	mounts  []mount
	fstab   []string
	// files are further files of the tree.
	files map[string]string
	// noUdev says that nothing makes links, lvmBroken and zfsBroken that the tools fail.
	noUdev, lvmBroken, zfsBroken bool
	crypttab                     []string
}

// Storage returns a storage by its id.
func (h *Host) Storage(id string) *Storage {
	for _, s := range h.Storages {
		if s.ID == id {
			return s
		}
	}
	return nil
}

// String is the host in the words of a person.
func (h *Host) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: node %s of %s, quorate %v, up %d s\n", h.Seed, h.Node, strings.Join(h.Members, " "), h.Quorate, h.Uptime)
	for _, e := range h.Events {
		b.WriteString("  then " + e + "\n")
	}
	for _, s := range h.Storages {
		fmt.Fprintf(&b, "  %s %s is %s: %s\n", s.Type, s.ID, s.Truth, s.Why)
		if s.backing != nil {
			fmt.Fprintf(&b, "    %s at %s on %s\n", s.What, s.Point, s.backing)
		}
		if s.group != nil {
			for _, pv := range s.group.pvs {
				fmt.Fprintf(&b, "    group %s on %s\n", s.group.name, pv)
			}
		}
		if s.pool != nil {
			for _, v := range s.pool.vdevs {
				fmt.Fprintf(&b, "    pool %s on %s\n", s.pool.name, v)
			}
		}
	}
	b.WriteString("  other devices:\n")
	for _, d := range h.devices {
		if len(d.Lower) == 0 && d.Attached {
			fmt.Fprintf(&b, "    %s\n", d)
		}
	}
	for _, l := range h.fstab {
		b.WriteString("  fstab: " + l + "\n")
	}
	for _, m := range h.mounts {
		fmt.Fprintf(&b, "  mounted: %s %s %s\n", m.source, m.point, m.fsType)
	}
	return b.String()
}
