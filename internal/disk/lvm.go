package disk

import (
	"encoding/binary"
	"regexp"
)

// lvmSize is how much of an LVM physical volume is read to find its volume group: the metadata area ends at 1 MiB, where
// pvcreate's default has it.
const lvmSize = 1 << 20

// LVM's sizes on disk (lib/format_text/layout.h and lib/label/label.h of lvm2).
const (
	lvmLabel      = 512  // the label is in the second sector, where pvcreate writes it
	lvmMDAHeader  = 512  // bytes of a metadata area's header
	lvmLocations  = 40   // offset of the first raw_locn in it
	lvmPVHeader   = 32   // offset of the pv_header in the label, for which the label has a field
	lvmPVHeaderID = 40   // bytes of id and size before the lists of areas
	lvmMaxLists   = 1024 // bytes of the lists of areas that are looked at
)

// groupName is how the metadata of a volume group begins.
var groupName = regexp.MustCompile(`^([a-zA-Z0-9+_.][a-zA-Z0-9+_.-]{0,126}) \{`)

// lvmGroup finds the volume group's name in the first lvmSize bytes of a physical volume; "" where there is none, or
// it lies elsewhere.
func lvmGroup(head []byte) string {
	u64 := func(at uint64) (uint64, bool) {
		if at > uint64(len(head)) || uint64(len(head))-at < 8 {
			return 0, false
		}
		return binary.LittleEndian.Uint64(head[at:]), true
	}
	if len(head) < 2*lvmLabel {
		return ""
	}
	offset := binary.LittleEndian.Uint32(head[lvmLabel+20:])
	at := uint64(lvmLabel) + uint64(offset)
	if offset < lvmPVHeader || offset > lvmLabel {
		return ""
	}
	at += lvmPVHeaderID
	// Two lists of pairs of offset and size follow, each ended by a pair of zeros: data areas, then metadata areas.
	for end, lists := at+lvmMaxLists, 0; at < end; at += 16 {
		start, ok := u64(at)
		size, okSize := u64(at + 8)
		switch {
		case !ok || !okSize:
			return ""
		case start == 0 && lists == 1:
			return ""
		case start == 0:
			lists++
		case lists == 1:
			return groupOfArea(head, u64, start, size)
		}
	}
	return ""
}

// groupOfArea reads the name from the metadata that is in force in an area, which is a ring behind its header.
func groupOfArea(head []byte, u64 func(uint64) (uint64, bool), start, size uint64) string {
	if start > uint64(len(head)) || size > uint64(len(head)) {
		return ""
	}
	offset, ok := u64(start + lvmLocations)
	if !ok || offset < lvmMDAHeader || offset >= size || start+offset >= uint64(len(head)) {
		return ""
	}
	text := head[start+offset:]
	if m := groupName.FindSubmatch(text[:min(len(text), 160)]); m != nil {
		return string(m[1])
	}
	return ""
}
