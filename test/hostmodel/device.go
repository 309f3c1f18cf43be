package hostmodel

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is what sort of block device it is.
type Kind string

// Kinds of block devices.
const (
	KindDisk      Kind = "disk"
	KindPartition Kind = "partition"
	KindLUKS      Kind = "luks"
	KindMD        Kind = "md"
	KindLV        Kind = "lv"
	KindBcache    Kind = "bcache"
	KindMultipath Kind = "multipath"
	KindIntegrity Kind = "integrity"
	KindVDO       Kind = "vdo"
	KindDRBD      Kind = "drbd"
	KindZvol      Kind = "zvol"
)

// Bus is how a disk is attached.
type Bus string

// Buses. What comes over a network may come back at any time.
const (
	SATA   Bus = "sata"
	NVMe   Bus = "nvme"
	USB    Bus = "usb"
	Virtio Bus = "virtio"
	ISCSI  Bus = "iscsi"
	FC     Bus = "fc"
	NBD    Bus = "nbd"
	NVMeoF Bus = "nvmeof"
	RBD    Bus = "rbd"
)

func (b Bus) network() bool { return slices.Contains([]Bus{ISCSI, FC, NBD, NVMeoF, RBD}, b) }

// Signature is what blkid finds on a device.
type Signature struct {
	// Type is blkid's name: ext4, crypto_LUKS, linux_raid_member, LVM2_member, zfs_member…; "" is a blank device, and
	// "unknown" bytes that no tool knows.
	Type, UUID, Label string
}

// Device is a block device, or what would be one.
type Device struct {
	Kind Kind
	Bus  Bus
	// Name is the kernel's name now, OldName the one from before the failure; "" while the kernel does not have it.
	Name, OldName string
	Lower         []*Device
	// Need is how many of the lower ones must be there to have it.
	Need int
	// Attached says of a disk that it is in the host, Connected of one on the network that its server answers.
	Attached bool
	// Active says that somebody put it together: opened, assembled, registered.
	Active bool
	// Stale says that it was in use when what it lies on went away, so that the kernel still has it.
	Stale bool
	// Destroyed says that a person removed or overwrote it on purpose.
	Destroyed bool
	Sig       Signature
	// DMName is its name below /dev/mapper, MDName below /dev/md.
	DMName, MDName, ArrayUUID string
	// Striped says of an array that it needs all its members.
	Striped bool
	// Group and Volume name a logical volume, pool and Volume one of ZFS.
	Group  *group
	Volume string
	pool   *pool
	Serial string
	// Detached says that a LUKS header lies elsewhere, so that nothing on the disk tells of it.
	Detached   bool
	PartNumber int
	PartUUID   string
	PartLabel  string
}

// recoverable reports whether what is on the device is in the host in any form, or on the network.
func (d *Device) recoverable() bool {
	switch {
	case d.Destroyed:
		return false
	case len(d.Lower) == 0:
		return d.Attached || d.Bus.network()
	}
	return slices.ContainsFunc(d.Lower, (*Device).recoverable)
}

// visible reports whether the kernel has the device.
func (d *Device) visible() bool {
	if d.Stale {
		return true
	}
	if d.Destroyed && d.Kind != KindDisk {
		return false
	}
	if len(d.Lower) == 0 {
		return d.Attached
	}
	seen := 0
	for _, l := range d.Lower {
		if l.visible() {
			seen++
		}
	}
	switch {
	case !d.Active || seen < d.Need:
		return false
	case d.Kind == KindLV:
		return !d.Group.hidden
	case d.Kind == KindZvol:
		return d.pool.imported
	}
	return true
}

// network reports whether any of it comes over a network.
func (d *Device) network() bool {
	return d.Bus.network() || slices.ContainsFunc(d.Lower, (*Device).network)
}

// disks are the disks at its bottom.
func (d *Device) disks() []*Device {
	if len(d.Lower) == 0 {
		return []*Device{d}
	}
	var out []*Device
	for _, l := range d.Lower {
		out = append(out, l.disks()...)
	}
	return out
}

// walk calls do for the device and all below it.
func (d *Device) walk(do func(*Device)) {
	do(d)
	for _, l := range d.Lower {
		l.walk(do)
	}
}

// String says what it is made of, for a person who reads a failing host.
func (d *Device) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", d.Kind, d.label())
	switch {
	case d.Destroyed:
		b.WriteString(" DESTROYED")
	case len(d.Lower) == 0 && !d.Attached:
		b.WriteString(" AWAY")
	case !d.visible():
		b.WriteString(" not there")
	}
	if d.Sig.Type != "" {
		fmt.Fprintf(&b, " {%s %s}", d.Sig.Type, d.Sig.UUID)
	}
	if len(d.Lower) > 0 {
		var lower []string
		for _, l := range d.Lower {
			lower = append(lower, l.String())
		}
		b.WriteString(" on [" + strings.Join(lower, "; ") + "]")
	}
	return b.String()
}

func (d *Device) label() string {
	name := d.Name
	if name == "" {
		name = "(" + d.OldName + ")"
	}
	switch {
	case d.DMName != "":
		return name + "=" + d.DMName
	case d.Kind == KindLV:
		return name + "=" + d.Group.name + "/" + d.Volume
	case len(d.Lower) == 0:
		return name + " " + string(d.Bus)
	}
	return name
}
