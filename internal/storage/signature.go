package storage

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf16"
)

// signature is what the first and last bytes of a block device say of its content, in the words of libblkid.
type signature struct {
	// Type is "ext4", "crypto_LUKS", "LVM2_member", "linux_raid_member"….
	Type string
	// UUID and Label are those of a file system; "" where it has none or its place is not known here. Pool is the Label of a
	// zfs_member.
	UUID, Label string
}

// Sizes of what is read of a device: all places that signatures are looked for in.
const (
	headSize = 256 << 10
	tailSize = 128 << 10
)

// magic is one signature: bytes at a place from the start, and where UUID and label are.
type magic struct {
	name string
	at   int
	is   string
	// uuid is where the 16 bytes of the UUID are, label where its text is and how long; 0 for none.
	uuid, label, labelLen int
}

// magics are the signatures that are told from bytes at the start alone. Containers come first: a disk that was formatted
// anew as one may keep the mark of the file system before.
// Source: util-linux, libblkid/src/superblocks.
var magics = []magic{
	{name: "crypto_LUKS", at: 0, is: "LUKS\xba\xbe"},
	{name: "crypto_LUKS", at: 0x4000, is: "SKUL\xba\xbe"}, // the second header of LUKS2; it may also lie further on
	{name: "linux_raid_member", at: 4096, is: "\xfc\x4e\x2b\xa9"},
	{name: "linux_raid_member", at: 0, is: "\xfc\x4e\x2b\xa9"},
	{name: "LVM2_member", at: 0, is: "LABELONE"},
	{name: "LVM2_member", at: 512, is: "LABELONE"},
	{name: "LVM2_member", at: 1024, is: "LABELONE"},
	{name: "LVM2_member", at: 1536, is: "LABELONE"},
	{name: "bcache", at: 0x1018, is: "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"},
	{name: "bcachefs", at: 0x1018, is: "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"},
	{name: "vdo", at: 0, is: "dmvdo001"},
	{name: "DM_integrity", at: 0, is: "integrt\x00"},
	{name: "DM_verity_hash", at: 0, is: "verity\x00\x00"},
	{name: "DM_snapshot_cow", at: 0, is: "SnAp"},
	{name: "stratis", at: 512, is: "!Stra0tis\x86\xff\x02^\x41rh"},
	{name: "ceph_bluestore", at: 0, is: "bluestore block device"},
	{name: "BitLocker", at: 3, is: "-FVE-FS-"},
	{name: "ext4", at: 0x438, is: "\x53\xef", uuid: 0x468, label: 0x478, labelLen: 16},
	{name: "xfs", at: 0, is: "XFSB", uuid: 32, label: 108, labelLen: 12},
	{name: "btrfs", at: 0x10040, is: "_BHRfS_M", uuid: 0x10020, label: 0x1012b, labelLen: 256},
	{name: "f2fs", at: 0x400, is: "\x10\x20\xf5\xf2", uuid: 0x46c},
	{name: "reiserfs", at: 0x10034, is: "ReIsEr", uuid: 0x10054, label: 0x10064, labelLen: 16},
	{name: "jfs", at: 0x8000, is: "JFS1", uuid: 0x8088, label: 0x8098, labelLen: 16},
	{name: "nilfs2", at: 0x406, is: "\x34\x34"},
	{name: "ocfs2", at: 0x800, is: "OCFSV2"},
	{name: "gfs2", at: 0x10000, is: "\x01\x16\x19\x70"},
	{name: "hfsplus", at: 0x400, is: "H+"},
	{name: "hfsplus", at: 0x400, is: "HX"},
	{name: "apfs", at: 32, is: "NXSB"},
	{name: "iso9660", at: 0x8001, is: "CD001", label: 0x8028, labelLen: 32},
	{name: "udf", at: 0x8001, is: "BEA01"},
	{name: "squashfs", at: 0, is: "hsqs"},
	{name: "erofs", at: 0x400, is: "\xe2\xe1\xf5\xe0", uuid: 0x430},
	{name: "swap", at: 4086, is: "SWAPSPACE2", uuid: 0x40c, label: 0x41c, labelLen: 16},
	{name: "swap", at: 4086, is: "SWAP-SPACE"},
	{name: "swsuspend", at: 4086, is: "S1SUSPEND"},
}

// signaturesOf returns what the first and last bytes of a device say, all that they say: where there are several, none is
// taken for the right one. size is the device's, in bytes; tail ends at it, and is empty where it was not read.
func signaturesOf(head, tail []byte, size int64) []signature {
	var out []signature
	add := func(s signature) {
		for _, have := range out {
			if have.Type == s.Type {
				return
			}
		}
		out = append(out, s)
	}
	for _, m := range magics {
		if !hasAt(head, m.at, m.is) {
			continue
		}
		s := signature{Type: m.name, Label: textAt(head, m.label, m.labelLen)}
		if m.uuid > 0 {
			s.UUID = uuidAt(head, m.uuid)
		}
		add(s)
	}
	if s, ok := dosSignature(head); ok {
		add(s)
	}
	if s, ok := zfsSignature(head); ok {
		add(s)
	}
	for _, s := range tailSignatures(tail, size) {
		add(s)
	}
	return out
}

// dosSignature reads the boot sectors of FAT, exFAT and NTFS, whose UUID is a serial number.
func dosSignature(head []byte) (signature, bool) {
	serial := func(at int) string {
		if len(head) < at+4 {
			return ""
		}
		n := binary.LittleEndian.Uint32(head[at:])
		return fmt.Sprintf("%04X-%04X", n>>16, n&0xffff)
	}
	switch {
	case hasAt(head, 3, "EXFAT   "):
		return signature{Type: "exfat", UUID: serial(100)}, true
	case hasAt(head, 3, "NTFS    ") && len(head) >= 80:
		return signature{Type: "ntfs", UUID: fmt.Sprintf("%016X", binary.LittleEndian.Uint64(head[72:]))}, true
	case hasAt(head, 0x52, "FAT32   "):
		return signature{Type: "vfat", UUID: serial(67), Label: textAt(head, 71, 11)}, true
	case hasAt(head, 0x36, "FAT1"):
		return signature{Type: "vfat", UUID: serial(39), Label: textAt(head, 43, 11)}, true
	}
	return signature{}, false
}

// Of a ZFS label: where its uberblocks are, and the name of the pool in its list of properties.
// Source: OpenZFS, vdev_impl.h (vdev_label_t), uberblock_impl.h (UBERBLOCK_MAGIC); XDR of nvpair.
const (
	zfsUberblocks = 128 << 10
	zfsNameKey    = "\x00\x00\x00\x04name\x00\x00\x00\x09\x00\x00\x00\x01"
)

// zfsSignature finds the label of a disk of a pool; Label is the pool's name.
func zfsSignature(head []byte) (signature, bool) {
	found := false
	for at := zfsUberblocks; at+8 <= len(head) && at < headSize; at += 1024 {
		if n := binary.LittleEndian.Uint64(head[at:]); n == 0x00bab10c || n == 0x0cb1ba00_00000000 {
			found = true
			break
		}
	}
	name := ""
	if at := bytes.Index(head, []byte(zfsNameKey)); at >= 16<<10 {
		rest := head[at+len(zfsNameKey):]
		if len(rest) > 4 {
			if n := binary.BigEndian.Uint32(rest); n < 256 && int(n) <= len(rest)-4 {
				name, found = string(rest[4:4+n]), true
			}
		}
	}
	return signature{Type: "zfs_member", Label: name}, found
}

// tailSignatures finds what lies at the end of a device: arrays with superblocks 0.90 and 1.0, firmware RAID, DRBD.
func tailSignatures(tail []byte, size int64) (out []signature) {
	// at returns the tail from a place of the device on.
	at := func(place int64) []byte {
		start := place - (size - int64(len(tail)))
		if start < 0 || start > int64(len(tail)) {
			return nil
		}
		return tail[start:]
	}
	const mdMagic = "\xfc\x4e\x2b\xa9"
	if hasAt(at((size&^0xffff)-0x10000), 0, mdMagic) || hasAt(at(((size/512-16)&^7)*512), 0, mdMagic) {
		out = append(out, signature{Type: "linux_raid_member"})
	}
	if hasAt(at(size-1024), 0, "Intel Raid ISM Cfg Sig. ") {
		out = append(out, signature{Type: "isw_raid_member"})
	}
	if hasAt(at(size-512), 0, "\xde\x11\xde\x11") || hasAt(at(size-512), 0, "\x11\xde\x11\xde") {
		out = append(out, signature{Type: "ddf_raid_member"})
	}
	for _, last := range []string{"\x83\x74\x02\x6b", "\x83\x74\x02\x6c", "\x83\x74\x02\x6d"} {
		if hasAt(at(size-4096), 60, last) {
			out = append(out, signature{Type: "drbd"})
		}
	}
	return out
}

// isBlank reports whether a device holds nothing in any place that is looked at.
func isBlank(parts ...[]byte) bool {
	for _, p := range parts {
		for _, b := range p {
			if b != 0 {
				return false
			}
		}
	}
	return true
}

func hasAt(data []byte, at int, want string) bool {
	return at >= 0 && at+len(want) <= len(data) && string(data[at:at+len(want)]) == want
}

func uuidAt(data []byte, at int) string {
	if at+16 > len(data) || isBlank(data[at:at+16]) {
		return ""
	}
	h := hex.EncodeToString(data[at : at+16])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

func textAt(data []byte, at, size int) string {
	if size == 0 || at+size > len(data) {
		return ""
	}
	text, _, _ := bytes.Cut(data[at:at+size], []byte{0})
	return strings.TrimRight(string(text), " ")
}

// partition is one line of a GUID partition table.
type partition struct {
	Type, UUID, Label string
}

// maxPartitions bounds what is read of a partition table; 128 is what tools make.
const maxPartitions = 256

// partitionsOf reads the partition table at the start of a disk, by number from 1. ok is false where there is none. Of an
// MBR, only that it has partitions is known.
// Source: UEFI 2.10, 5.3 (GPT).
func partitionsOf(head []byte) (parts map[int]partition, ok bool) {
	parts = map[int]partition{}
	for _, sector := range []int{512, 4096} {
		if !hasAt(head, sector, "EFI PART") || len(head) < sector+92 {
			continue
		}
		h := head[sector:]
		first, count, size := binary.LittleEndian.Uint64(h[72:]), binary.LittleEndian.Uint32(h[80:]), binary.LittleEndian.Uint32(h[84:])
		if size < 128 || size > 4096 || first > 1024 {
			return parts, true
		}
		for i := range int(min(count, maxPartitions)) {
			at := int(first)*sector + i*int(size)
			if at+128 > len(head) {
				break
			}
			e := head[at:]
			if isBlank(e[:16]) {
				continue
			}
			units := make([]uint16, 0, 36)
			for j := 56; j < 128; j += 2 {
				u := binary.LittleEndian.Uint16(e[j:])
				if u == 0 {
					break
				}
				units = append(units, u)
			}
			parts[i+1] = partition{Type: guid(e[:16]), UUID: guid(e[16:32]), Label: string(utf16.Decode(units))}
		}
		return parts, true
	}
	if hasAt(head, 510, "\x55\xaa") && len(head) >= 512 {
		for i := range 4 {
			if e := head[446+16*i:]; e[4] != 0 && e[4] != 0xee && (e[0] == 0 || e[0] == 0x80) {
				parts[i+1] = partition{Type: fmt.Sprintf("0x%02x", e[4])}
			}
		}
	}
	return parts, len(parts) > 0
}

// guid writes a GUID, whose first three parts are little-endian.
func guid(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:16])
}
