package disk

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labd/internal/host"
	"labd/internal/layer"
	"labd/test/fixture"
)

// physicalVolume is the beginning of a real one, of group my-vg.
func physicalVolume(t testing.TB) []byte {
	t.Helper()
	out := make([]byte, lvmSize)
	for line := range strings.Lines(string(archive(t, "lvm.hex"))) {
		var at int
		var text string
		if n, _ := fmt.Sscanf(line, "%d %s", &at, &text); n != 2 {
			continue
		}
		data, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		copy(out[at:], data)
	}
	return out
}

func TestVolumeGroupOnDisk(t *testing.T) {
	change := func(at int, text string) []byte {
		b := physicalVolume(t)
		copy(b[at:], text)
		return b
	}
	const area = 4096
	for _, tt := range []struct {
		name string
		head []byte
		want string
	}{
		{"of a group", physicalVolume(t), "my-vg"},
		{"of no group", change(area+lvmLocations, strings.Repeat("\x00", 8)), ""},
		{"metadata beyond the area", change(area+lvmLocations, "\xff\xff\xff\xff\xff\xff\xff\x7f"), ""},
		{"area beyond the disk", change(lvmLabel+lvmPVHeader+lvmPVHeaderID+32, "\xff\xff\xff\xff\xff\xff\xff\xff"), ""},
		{"header beyond the label", change(lvmLabel+20, "\xff\xff\xff\x00"), ""},
		{"a name that is none", change(area+0x600, "\x1b[2J {"), ""},
		{"cut off", physicalVolume(t)[:area], ""},
		{"nothing", nil, ""},
	} {
		if got := lvmGroup(tt.head); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func FuzzLVM(f *testing.F) {
	f.Add(physicalVolume(f)[:8192], uint16(4096), uint64(0x600))
	f.Fuzz(func(t *testing.T, head []byte, at uint16, value uint64) {
		head = bytes.Clone(head)
		for i := range 8 {
			if int(at)+i < len(head) {
				head[int(at)+i] = byte(value >> (8 * i))
			}
		}
		if name := lvmGroup(head); strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("a name of %q", name)
		}
	})
}

func TestVolumeGroup(t *testing.T) {
	for dm, want := range map[string]string{
		"pve-root": "pve", "my--vg-root": "my-vg", "a--b--c-d--e": "a-b-c", "alone": "alone", "pve-vm--100--disk--0": "pve", "": "", "-x": "", "x--": "x-",
	} {
		if got := volumeGroup(dm); got != want {
			t.Errorf("%q: %q, want %q", dm, got, want)
		}
	}
}

// Everything that lies upon a disk is found, whatever is in between: partition, LVM, LUKS, md, swap, ZFS.
func TestUsers(t *testing.T) {
	dir, o := tree(t, fixture.P7000Z, "6.8.12-4-pve")
	const disk = "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/nvme/nvme0/nvme0n1"
	for _, empty := range []string{disk + "/nvme0n1p3/holders/dm-0", disk + "/nvme0n1p3/holders/dm-1", disk + "/nvme0n1p4/holders/md127", "sys/block/md127/holders/dm-2", disk + "/holders/drbd0"} {
		if err := os.MkdirAll(filepath.Join(dir, empty), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tweak(t, dir, map[string]string{
		"proc/1/mountinfo":      "30 1 253:0 / / rw - ext4 /dev/mapper/pve-root rw\n36 35 259:8 / /mnt/pve/fast rw - ext4 /dev/nvme0n1p1 rw\n37 35 253:2 / /mnt/safe rw - ext4 /dev/mapper/safe rw\n",
		"proc/swaps":            "Filename\tType\tSize\tUsed\tPriority\n/dev/dm-1 partition 8388604 0 -2\n",
		disk + "/nvme0n1p3/dev": "259:10\n", disk + "/nvme0n1p4/dev": "259:11\n",
		"sys/block/dm-0/dm/name": "pve-root\n", "sys/block/dm-0/dm/uuid": "LVM-abc\n", "sys/block/dm-0/dev": "253:0\n",
		"sys/block/dm-1/dm/name": "pve-swap\n", "sys/block/dm-1/dm/uuid": "LVM-abd\n", "sys/block/dm-1/dev": "253:1\n",
		"sys/block/dm-2/dm/name": "safe\n", "sys/block/dm-2/dm/uuid": "CRYPT-LUKS2-x\n", "sys/block/dm-2/dev": "253:2\n",
		"sys/block/md127/dev": "9:127\n",
	})
	got := look(t, o).Drives[0].Controller().Namespaces[0].Users
	if diff := cmp.Diff([]string{"holder drbd0", "mount /mnt/pve/fast", "lvm pve", "mount /", "swap", "md md127", "dm safe", "mount /mnt/safe"}, layer.Texts(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A device that holds itself, as no kernel makes it, ends.
func TestUsersInACircle(t *testing.T) {
	dir, o := tree(t, fixture.P7000Z, "6.8.12-4-pve")
	for _, empty := range []string{"sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/nvme/nvme0/nvme0n1/holders/dm-0", "sys/block/dm-0/holders/dm-0"} {
		if err := os.MkdirAll(filepath.Join(dir, empty), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if got := look(t, o).Drives[0].Controller().Namespaces[0].Users; len(got) != 1 {
		t.Errorf("got %q", got)
	}
}

func TestPoolUsers(t *testing.T) {
	l := surroundings{pools: []string{"rpool"}, mounts: []host.Mount{
		{Type: "zfs", Source: "rpool/ROOT/pve-1", Point: "/"}, {Type: "zfs", Source: "rpool", Point: "/rpool"}, {Type: "zfs", Source: "rpool2", Point: "/other"}, {Type: "ext4", Source: "rpool", Point: "/no"},
	}}
	if diff := cmp.Diff([]string{"zfs rpool", "mount /", "mount /rpool"}, layer.Texts(l.poolUsers("rpool"))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := l.poolUsers("tank"); len(got) != 0 {
		t.Errorf("a pool that is not imported: %q", got)
	}
}

// layers are layers by their texts.
func layers(texts ...string) []layer.Layer {
	var out []layer.Layer
	for _, text := range texts {
		out = append(out, layer.Parse(text))
	}
	return out
}
