package disk

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"labd/internal/layer"
)

// What the system's own tools write is recognised.
func TestSignatureOfRealFileSystems(t *testing.T) {
	const id = "4d5e1f7e-11aa-4c1d-9a51-3b1c7e1f2a3b"
	for _, tt := range []struct {
		tool []string
		want string
	}{
		{[]string{"mke2fs", "-q", "-t", "ext4", "-U", id}, "ext " + id},
		{[]string{"mke2fs", "-q", "-t", "ext2", "-U", id}, "ext " + id},
		{[]string{"mkswap", "-U", id}, "swap " + id},
	} {
		file := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(file, make([]byte, 16<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(tt.tool[0], append(tt.tool[1:], file)...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", tt.tool[0], err, out)
		}
		head, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := signature(head[:signatureSize]).String(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.tool[0], got, tt.want)
		}
	}
}

func TestSignatures(t *testing.T) {
	head := func(set func(b []byte)) []byte {
		b := make([]byte, signatureSize)
		if set != nil {
			set(b)
		}
		return b
	}
	for _, tt := range []struct {
		name string
		head []byte
		want string
	}{
		{"empty", head(nil), ""},
		{"nothing", nil, ""},
		{"short", make([]byte, 100), ""},
		{"LVM", head(func(b []byte) { copy(b[512:], "LABELONE"); copy(b[536:], "LVM2 001") }), "lvm"},
		{"LUKS", head(func(b []byte) { copy(b, "LUKS\xba\xbe") }), "luks"},
		{"md", head(func(b []byte) { copy(b[4096:], "\xfc\x4e\x2b\xa9") }), "md"},
		{"XFS", head(func(b []byte) { copy(b, "XFSB"); copy(b[32:], "0123456789abcdef") }), "xfs 30313233-3435-3637-3839-616263646566"},
		{"FAT32", head(func(b []byte) { copy(b[510:], "\x55\xaa"); copy(b[82:], "FAT32   "); copy(b[67:], "\x01\x02\xab\xcd") }), "vfat CDAB-0201"},
		{"FAT16", head(func(b []byte) { copy(b[510:], "\x55\xaa"); copy(b[54:], "FAT16   "); copy(b[39:], "\x01\x02\xab\xcd") }), "vfat CDAB-0201"},
		{"btrfs", head(func(b []byte) { copy(b[65600:], "_BHRfS_M") }), "btrfs 00000000-0000-0000-0000-000000000000"},
		{"ZFS without name", head(func(b []byte) { binary.LittleEndian.PutUint64(b[128<<10:], 0x00bab10c) }), "zfs"},
		{"ZFS", head(func(b []byte) {
			binary.BigEndian.PutUint64(b[128<<10:], 0x00bab10c)
			copy(b[16<<10+100:], "\x00\x00\x00\x04name\x00\x00\x00\x09\x00\x00\x00\x01\x00\x00\x00\x04tank")
		}), "zfs tank"},
		{"ZFS whose name runs out of the label", head(func(b []byte) {
			binary.LittleEndian.PutUint64(b[128<<10:], 0x00bab10c)
			copy(b[128<<10-20:], "\x00\x00\x00\x04name\x00\x00\x00\x09\x00\x00\x00\x01\x00\x00\x00\xff")
		}), "zfs"},
	} {
		if got := signature(tt.head).String(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func FuzzSignature(f *testing.F) {
	f.Add([]byte("XFSB"), 0)
	f.Add([]byte("\x00\x00\x00\x04name\x00\x00\x00\x09\x00\x00\x00\x01\x00\x00\x00\xff"), 128<<10-20)
	f.Fuzz(func(t *testing.T, piece []byte, at int) {
		head := make([]byte, signatureSize)
		binary.LittleEndian.PutUint64(head[128<<10:], 0x00bab10c)
		if at >= 0 && at < len(head) {
			copy(head[at:], piece)
		}
		if got := signature(head); len(got.Name) > 255 {
			t.Errorf("name of %d bytes", len(got.Name))
		}
		_ = signature(piece)
	})
}

// A disk is not read at every look, and what is on it is joined with the drive.
func TestContents(t *testing.T) {
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	dir, o := speaking(t, nil, func() time.Time { return now })
	tweak(t, dir, map[string]string{"dev/nvme0n1p1": "LUKS\xba\xbe", "proc/swaps": "Filename Type Size Used Priority\n/dev/nvme0n1p1 partition 1 0 -2\n"})
	ns := look(t, o).Drives[0].Controller().Namespaces[0]
	if layer.Join(ns.Contents) != "luks" || layer.Join(ns.Users) != "swap" {
		t.Fatalf("contents %q, users %q", ns.Contents, ns.Users)
	}
	tweak(t, dir, map[string]string{"dev/nvme0n1p1": ""})
	if ns := look(t, o).Drives[0].Controller().Namespaces[0]; len(ns.Contents) != 1 {
		t.Error("read again at once")
	}
	now = now.Add(2 * time.Hour)
	if ns := look(t, o).Drives[0].Controller().Namespaces[0]; len(ns.Contents) != 0 {
		t.Errorf("not read again after two hours: %q", ns.Contents)
	}
}
