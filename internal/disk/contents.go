package disk

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"labd/internal/host"
	"labd/internal/layer"
)

// signatureSize is how much of a block device is read: ZFS has its first uberblock at 128 KiB.
const signatureSize = 132 << 10

// signature returns what a block device's first bytes say that is on it; the zero value when it is nothing known. LUKS, md and
// LVM have no name there (lvmGroup has the group's). The places are those of util-linux' libblkid.
func signature(head []byte) layer.Layer {
	at := func(offset int, magic string) bool {
		return len(head) >= offset+len(magic) && string(head[offset:offset+len(magic)]) == magic
	}
	named := func(kind layer.Kind, offset int) layer.Layer {
		if len(head) < offset+16 {
			return layer.Layer{Kind: kind}
		}
		return layer.Layer{Kind: kind, Name: uuid(head[offset : offset+16])}
	}
	switch {
	case at(512, "LABELONE") && at(512+24, "LVM2 001"):
		return layer.Layer{Kind: layer.VolumeGroup}
	case at(0, "LUKS\xba\xbe"):
		return layer.Layer{Kind: layer.LUKS}
	case len(head) >= signatureSize && (binary.LittleEndian.Uint64(head[128<<10:]) == 0x00bab10c || binary.BigEndian.Uint64(head[128<<10:]) == 0x00bab10c):
		return layer.Layer{Kind: layer.Pool, Name: zfsPool(head[16<<10 : 128<<10])}
	case at(4096, "\xfc\x4e\x2b\xa9"):
		return layer.Layer{Kind: layer.MD}
	case at(0, "XFSB"):
		return named(layer.XFS, 32)
	case at(65536+64, "_BHRfS_M"):
		return named(layer.Btrfs, 65536+32)
	case at(4086, "SWAPSPACE2"):
		return named(layer.Swap, 1024+12)
	case at(1080, "\x53\xef"):
		return named(layer.Ext, 1024+104)
	case at(510, "\x55\xaa") && at(82, "FAT32   "):
		return vfat(head[67:71])
	case at(510, "\x55\xaa") && at(54, "FAT16   "):
		return vfat(head[39:43])
	}
	return layer.Layer{}
}

// vfat writes the volume's serial number as blkid does.
func vfat(serial []byte) layer.Layer {
	n := binary.LittleEndian.Uint32(serial)
	return layer.Layer{Kind: layer.VFAT, Name: fmt.Sprintf("%04X-%04X", n>>16, n&0xffff)}
}

// uuid writes 16 bytes as UUIDs are written.
func uuid(b []byte) string {
	text := hex.EncodeToString(b)
	return strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-")
}

// zfsPool finds the pool's name in the XDR-encoded name-value list of a ZFS label: the name "name", then the type of a
// string (9), one element, its length and its bytes.
func zfsPool(list []byte) string {
	i := strings.Index(string(list), "\x00\x00\x00\x04name\x00\x00\x00\x09\x00\x00\x00\x01")
	if i < 0 {
		return ""
	}
	rest := list[i+16:]
	if len(rest) < 4 {
		return ""
	}
	n := int(binary.BigEndian.Uint32(rest))
	if n < 1 || n > 255 || len(rest) < 4+n {
		return ""
	}
	return string(rest[4 : 4+n])
}

// reread is how long a signature counts.
const reread = time.Hour

// contents remembers signatures, so that a disk is not read at every look.
type contents struct {
	mu   sync.Mutex
	seen map[string]signed
}

type signed struct {
	content layer.Layer
	at      time.Time
}

// of reads what is on a disk or partition. key is the kernel's number for this disk in this place.
func (s *contents) of(a *attributes, path, key string, now time.Time) layer.Layer {
	s.mu.Lock()
	known, ok := s.seen[key]
	s.mu.Unlock()
	if ok && now.Sub(known.at) < reread && !now.Before(known.at) {
		return known.content
	}
	head, err := a.head(path, signatureSize)
	if err != nil {
		return known.content
	}
	known = signed{signature(head), now}
	if known.content.Kind == layer.VolumeGroup {
		if head, err = a.head(path, lvmSize); err == nil {
			known.content.Name = lvmGroup(head)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) > 4096 {
		clear(s.seen)
	}
	s.seen[key] = known
	return known.content
}

// head reads the first bytes of a device, within the time that the drive's attributes have.
func (a *attributes) head(path string, size int) (head []byte, err error) {
	if _, err := os.Lstat(path); err != nil {
		return nil, err
	}
	err = fmt.Errorf("read %s: %w", path, errGivenUp)
	a.do(path, func(r *host.Reader) error {
		head, err = r.Head(path, size)
		return err
	})
	return head, err
}
