package storage

import "strings"

// container is a kind of content that has something else in it, which cannot be seen before it is opened.
type container struct {
	// what says what a device with that signature is while nothing holds it, way how it is opened; DEVICE stands for the
	// device.
	what, way string
}

// containers are the signatures behind which a storage may lie, in libblkid's words. Whatever is neither here nor among the
// file systems is not known, and may hide anything.
var containers = map[string]container{
	"crypto_LUKS":       {"an encrypted disk (LUKS) that is not unlocked", "cryptsetup open DEVICE NAME"},
	"BitLocker":         {"an encrypted disk (BitLocker) that is not unlocked", "cryptsetup bitlkOpen DEVICE NAME"},
	"linux_raid_member": {"a disk of an md array that does not run", "mdadm --assemble --scan"},
	"LVM2_member":       {"a physical volume that LVM does not show", "pvs -a"},
	"LVM1_member":       {"a physical volume of LVM1", ""},
	"bcache":            {"a bcache disk that is not registered", "echo DEVICE > /sys/fs/bcache/register"},
	"vdo":               {"a VDO volume that is not started", "vdo start --all"},
	"DM_integrity":      {"a dm-integrity disk that is not opened", "integritysetup open DEVICE NAME"},
	"DM_verity_hash":    {"a dm-verity disk that is not opened", ""},
	"DM_snapshot_cow":   {"the store of a snapshot that is not active", ""},
	"drbd":              {"a disk of a DRBD resource that is not up", "drbdadm up all"},
	"mpath_member":      {"a path of a multipath disk that is not set up", "multipath -v2"},
	"stratis":           {"a disk of a Stratis pool that is not started", "stratis pool start --name NAME"},
	"ceph_bluestore":    {"a disk of a Ceph OSD", "ceph-volume lvm list"},
	"zfs_member":        {"a disk of a ZFS pool that is not imported", "zpool import"},
	"VMFS_volume":       {"a VMware disk", ""},
	"partitions":        {"a disk whose partitions the kernel does not show", "partprobe DEVICE"},
}

// containerOf returns what a signature's content is while it is not opened; ok is false for a file system, swap, or what is
// not known.
func containerOf(signature string) (c container, ok bool) {
	if c, ok = containers[signature]; ok {
		return c, true
	}
	if strings.HasSuffix(signature, "_raid_member") {
		return container{"a disk of a RAID of the firmware that does not run", "mdadm --assemble --scan"}, true
	}
	return container{}, false
}

// plainContents are the signatures that hide nothing: what they hold is seen by their own UUID and label.
var plainContents = map[string]bool{
	"ext2": true, "ext3": true, "ext4": true, "ext4dev": true, "jbd": true, "xfs": true, "btrfs": true, "vfat": true, "exfat": true, "ntfs": true, "f2fs": true,
	"reiserfs": true, "reiser4": true, "jfs": true, "nilfs2": true, "ocfs2": true, "gfs": true, "gfs2": true, "hfs": true, "hfsplus": true, "apfs": true,
	"iso9660": true, "udf": true, "squashfs": true, "erofs": true, "minix": true, "romfs": true, "cramfs": true, "bcachefs": true, "ufs": true, "xfs_external_log": true,
	"swap": true, "swsuspend": true,
}

// systemPartitions are the types of partitions that boot code and the like lie in, and no storage: of GPT and of MBR.
// Source: UEFI 2.10, 5.3.3; systemd, gpt.h.
var systemPartitions = map[string]string{
	"21686148-6449-6e6f-744e-656564454649": "the BIOS's boot code",
	"9e1a2d38-c612-4316-aa26-8b49521e5a8b": "the PowerPC's boot code",
	"e3c9e316-0b5c-4db8-817d-f92df00215ae": "reserved by Windows",
	"6a945a3b-1dd2-11b2-99a6-080020736631": "reserved by ZFS",
	"0x41":                                 "the PowerPC's boot code",
	"0x05":                                 "an extended partition",
	"0x0f":                                 "an extended partition",
	"0x5":                                  "an extended partition",
	"0xf":                                  "an extended partition",
	"0x85":                                 "an extended partition",
}
