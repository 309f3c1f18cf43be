// Package layer has the things that lie between a disk and a storage: file systems, mounts, volume groups, pools, arrays.
// What a disk carries and what a storage rests on are both lists of layers, so that the two can be joined.
package layer

import "strings"

// Kind is what a layer is.
type Kind string

// Kinds of layers.
const (
	// Mount is a mounted file system; the name is its mount point.
	Mount Kind = "mount"
	// Swap is swap space: in use where it has no name, else the name is its UUID.
	Swap Kind = "swap"
	// VolumeGroup is an LVM volume group, Pool a ZFS pool; without name where only the kind is known.
	VolumeGroup Kind = "lvm"
	Pool        Kind = "zfs"
	// MD is a Linux software RAID array, md0; without name for a member whose array does not run.
	MD Kind = "md"
	// DM is a device-mapper device that is no LVM volume; LUKS an encrypted device that may be closed.
	DM   Kind = "dm"
	LUKS Kind = "luks"
	// Holder is another block device that holds the disk, as drbd0.
	Holder Kind = "holder"
	// Ext, XFS, Btrfs and VFAT are file systems; the name is the UUID, of VFAT the serial number. Ext is any of ext2 to ext4.
	Ext   Kind = "ext"
	XFS   Kind = "xfs"
	Btrfs Kind = "btrfs"
	VFAT  Kind = "vfat"
	// UUID is a file system of any kind, or swap, by its UUID.
	UUID Kind = "uuid"
	// ByID is a disk by its name in /dev/disk/by-id.
	ByID Kind = "by-id"
)

// Layer is one thing that lies between a disk and a storage.
type Layer struct {
	Kind Kind
	// Name is what the layer is called; "" where it has no name.
	Name string
}

// String returns the layer as reports and the drive memory write it: "lvm pve", "mount /tank", "swap".
func (l Layer) String() string {
	if l.Name == "" {
		return string(l.Kind)
	}
	return string(l.Kind) + " " + l.Name
}

// Parse reads what String writes. Any text is a layer: a kind that is not known stays as it is.
func Parse(text string) Layer {
	kind, name, _ := strings.Cut(text, " ")
	return Layer{Kind(kind), name}
}

// MarshalText writes the layer as String does, so that JSON has it as a string.
func (l Layer) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (l *Layer) UnmarshalText(text []byte) error {
	*l = Parse(string(text))
	return nil
}

// Is reports whether the layer is the wanted one. A wanted UUID is met by a file system or swap of any kind with that UUID, in
// either case of its letters.
func (l Layer) Is(want Layer) bool {
	if want.Kind != UUID {
		return l == want
	}
	switch l.Kind {
	case Ext, XFS, Btrfs, VFAT, Swap, UUID:
		return want.Name != "" && strings.EqualFold(l.Name, want.Name)
	default:
		return false
	}
}

// Texts returns the layers as String writes them; nil for none.
func Texts(layers []Layer) []string {
	var out []string
	for _, l := range layers {
		out = append(out, l.String())
	}
	return out
}

// Join returns the layers as one text, for a sentence.
func Join(layers []Layer) string { return strings.Join(Texts(layers), ", ") }
