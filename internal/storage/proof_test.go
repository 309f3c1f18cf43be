package storage

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// disk is a block device of a made-up host: its files in sysfs and /dev.
type disk struct {
	name string
	// holders are the devices that hold it; mib its size.
	holders []string
	mib     int64
	// content is what lies at which place.
	content map[int]string
	// attrs are further files of sysfs.
	attrs map[string]string
}

// plug puts a disk into a host.
func plug(t *testing.T, root string, d disk) {
	t.Helper()
	if d.mib == 0 {
		d.mib = 1 << 20
	}
	files := map[string]string{"size": itoa(d.mib * 2048)}
	for name, text := range d.attrs {
		files[name] = text
	}
	for _, h := range d.holders {
		files["holders/"+h] = ""
	}
	for name, text := range files {
		file := filepath.Join(root, "sys/class/block", d.name, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(filepath.Join(root, "dev", d.name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at, text := range d.content {
		if _, err := f.WriteAt([]byte(text), int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(headSize); err != nil {
		t.Fatal(err)
	}
}

func itoa(n int64) string {
	data, _ := json.Marshal(n)
	return string(data)
}

// gpt is a partition table with one entry of a type, a GUID of which the first byte is id.
func gpt(partType string, id byte) map[int]string {
	header := make([]byte, 92)
	copy(header, "EFI PART")
	binary.LittleEndian.PutUint64(header[72:], 2)
	binary.LittleEndian.PutUint32(header[80:], 128)
	binary.LittleEndian.PutUint32(header[84:], 128)
	entry := make([]byte, 128)
	copy(entry, partType)
	entry[16] = id
	copy(entry[56:], "d\x00a\x00t\x00a\x00")
	return map[int]string{512: string(header), 1024: string(entry)}
}

const (
	linuxData = "\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4"
	biosBoot  = "Hah!IdontNeedEFI"
)

// Whatever a missing name may lie in keeps the storage from being gone, in whatever layers; and what is accounted for does not.
func TestWhatMayHoldAMissingName(t *testing.T) {
	system := disk{name: "sda1", content: map[int]string{0x438: "\x53\xef", 0x468: "0123456789abcdef"}}
	luks := map[int]string{0: "LUKS\xba\xbe\x00\x02"}
	md := map[int]string{4096: "\xfc\x4e\x2b\xa9"}
	mapped := func(name, mapper, uuid string) disk {
		return disk{name: name, attrs: map[string]string{"dm/name": mapper, "dm/uuid": uuid}}
	}
	dm := func(d disk, content map[int]string, holders ...string) disk {
		d.content, d.holders = content, holders
		return d
	}
	for _, tt := range []struct {
		name  string
		what  string // "" is a file system's UUID
		disks []disk
		files map[string]string
		want  string // verdict, and a word of the reason
	}{
		{name: "nothing but the system", want: "gone"},
		{name: "LUKS on a whole disk", disks: []disk{{name: "sdb", content: luks}}, want: "unknown LUKS"},
		{name: "LUKS whose first header is damaged", disks: []disk{{name: "nvme1n1p1", content: map[int]string{0x4000: "SKUL\xba\xbe"}}}, want: "unknown LUKS"},
		{name: "LUKS that is open, with another file system", disks: []disk{{name: "sdb", content: luks, holders: []string{"dm-0"}}, dm(mapped("dm-0", "vault", "CRYPT-LUKS2-1-vault"), map[int]string{0: "XFSB", 32: "fedcba9876543210"})}, want: "gone"},
		{name: "LUKS in LUKS, the inner one closed", disks: []disk{{name: "sdb", content: luks, holders: []string{"dm-0"}}, dm(mapped("dm-0", "outer", "CRYPT-LUKS2-1-outer"), luks)}, want: "unknown dm-0"},
		{name: "md on LUKS, which is open and not assembled", disks: []disk{{name: "sdb", content: luks, holders: []string{"dm-0"}}, dm(mapped("dm-0", "a", "CRYPT-LUKS2-1-a"), md)}, want: "unknown dm-0"},
		{name: "LUKS on md that runs", disks: []disk{{name: "sdb", content: md, holders: []string{"md5"}}, {name: "md5", content: luks}}, files: map[string]string{"proc/mdstat": "md5 : active raid1 sdb[0]\n"}, want: "unknown md5"},
		{name: "md whose array is inactive", disks: []disk{{name: "sdb", content: md, holders: []string{"md9"}}, {name: "md9", attrs: map[string]string{"md/array_state": "inactive"}}}, files: map[string]string{"proc/mdstat": "md9 : inactive sdb[0](S)\n"}, want: "unknown md9"},
		{name: "bcache cache device", disks: []disk{{name: "nvme0n1", content: map[int]string{0x1018: "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"}}}, want: "unknown bcache"},
		{name: "VDO", disks: []disk{{name: "sdb", content: map[int]string{0: "dmvdo001"}}}, want: "unknown VDO"},
		{name: "dm-integrity below md", disks: []disk{{name: "sdb", content: map[int]string{0: "integrt\x00"}}}, want: "unknown integrity"},
		{name: "BitLocker", disks: []disk{{name: "sdb1", content: map[int]string{3: "-FVE-FS-"}}}, want: "unknown BitLocker"},
		{name: "Stratis", disks: []disk{{name: "sdb", content: map[int]string{512: "!Stra0tis\x86\xff\x02^\x41rh"}}}, want: "unknown Stratis"},
		{name: "encrypted without a header", disks: []disk{{name: "sdb", content: map[int]string{0: "\x9e\x11\x73\x05", 70000: "\x31"}}}, want: "unknown does not know"},
		{name: "BIOS boot partition", disks: []disk{{name: "sdb", content: gpt(biosBoot, 1), attrs: map[string]string{"sdb1/partition": "1"}}, {name: "sdb1", content: map[int]string{0: "\xeb\x63\x90 GRUB"}}}, want: "gone"},
		{name: "a data partition with something unknown", disks: []disk{{name: "sdb", content: gpt(linuxData, 1), attrs: map[string]string{"sdb1/partition": "1"}}, {name: "sdb1", content: map[int]string{0: "\xeb\x63\x90 GRUB"}}}, want: "unknown does not know"},
		{name: "partitions that the kernel does not show", disks: []disk{{name: "dm-3", content: gpt(linuxData, 1)}}, want: "unknown partitions"},
		{name: "an empty disk", disks: []disk{{name: "sdb"}}, want: "gone"},
		{name: "a small device", disks: []disk{{name: "sdb", mib: 8, content: map[int]string{0: "firmware"}}}, want: "gone"},
		{name: "a guest's volume", disks: []disk{dm(mapped("dm-7", "pve-vm--100--disk--0", "LVM-"+strings.Repeat("a", 64)), luks)}, want: "gone"},
		{name: "a part of a thin pool", disks: []disk{dm(mapped("dm-7", "pve-data_tmeta", "LVM-"+strings.Repeat("a", 64)+"-tmeta"), map[int]string{0: "rubbish"})}, want: "gone"},
		{name: "a disk that a guest has as a whole", disks: []disk{{name: "sdb", content: luks}}, files: map[string]string{"etc/pve/nodes/pve1/qemu-server/100.conf": "scsi1: /dev/sdb,size=1T\n"}, want: "gone"},
		{name: "a pool that is not imported", disks: []disk{{name: "sdb", content: map[int]string{zfsUberblocks: "\x0c\xb1\xba\x00\x00\x00\x00\x00"}}}, want: "unknown ZFS"},
		{name: "udev made no link", disks: []disk{{name: "sdb", content: map[int]string{0: "XFSB", 32: "\xaa\xaa\x11\x11\x22\x22\x43\x33\x84\x44\x55\x55\x55\x55\x55\x55"}}}, want: "unknown no link"},
		{name: "iSCSI, records elsewhere than in Debian", files: map[string]string{"var/lib/iscsi/nodes/iqn.2020-01.lan.nas:t1/10.0.0.5,3260,1/default": "node.startup = manual\n"}, want: "down iqn.2020-01.lan.nas:t1"},
		{name: "iSCSI with a session", files: map[string]string{"etc/iscsi/nodes/iqn.a/10.0.0.5,3260,1/default": "", "sys/class/iscsi_session/session1/targetname": "iqn.a\n", "sys/class/iscsi_session/session1/state": "LOGGED_IN\n"}, want: "gone"},
		{name: "iSCSI with a session that failed", files: map[string]string{"etc/iscsi/nodes/iqn.a/10.0.0.5,3260,1/default": "", "sys/class/iscsi_session/session1/targetname": "iqn.a\n", "sys/class/iscsi_session/session1/state": "FAILED\n"}, want: "down iqn.a"},
		{name: "NVMe over fabrics, discovery.conf", files: map[string]string{"etc/nvme/discovery.conf": "# c\n--transport=tcp --traddr=10.0.0.6 --trsvcid=8009\n"}, want: "down 10.0.0.6"},
		{name: "NVMe over fabrics, config.json", files: map[string]string{"etc/nvme/config.json": "[{\"subsystems\":[{\"ports\":[{\"transport\":\"tcp\", \"traddr\": \"10.0.0.7\"}]}]}]\n"}, want: "down 10.0.0.7"},
		{name: "NBD of Debian's former file", files: map[string]string{"etc/nbd-client": "NBD_DEVICE[0]=/dev/nbd3\n"}, want: "down nbd3"},
		{name: "a Ceph image", files: map[string]string{"etc/ceph/rbdmap": "rbd/data id=admin\n"}, want: "down rbd/data"},
		{name: "Fibre Channel", files: map[string]string{"sys/class/fc_host/host3/port_state": "Linkdown\n"}, want: "down Fibre"},
		{name: "crypttab with a PARTLABEL and options", files: map[string]string{"etc/crypttab": "# <name> <device> <key> <options>\nsafe\tPARTLABEL=safe\tnone\tplain,cipher=aes-xts-plain64\n", "dev/disk/by-partlabel/safe": ""}, want: "unknown safe"},
		{name: "crypttab whose disk is away", files: map[string]string{"etc/crypttab": "safe UUID=away none luks,noauto\n"}, want: "gone"},
		{name: "a name of Debian's LVM in fstab", what: "/dev/mapper/data-media", files: map[string]string{"bin/vgs": "#!/bin/sh\necho '{\"report\":[{\"vg\":[{\"vg_name\":\"data\",\"vg_attr\":\"wz--n-\"}]}]}'\n", "bin/pvs": "#!/bin/sh\necho '{\"report\":[{\"pv\":[]}]}'\n", "bin/lvs": "#!/bin/sh\necho '{\"report\":[{\"lv\":[{\"vg_name\":\"data\",\"lv_name\":\"media\",\"lv_attr\":\"Vwi---tz--\",\"pool_lv\":\"tp\"}]}]}'\n"}, want: "down thin pool data/tp"},
		{name: "the kernel's name, and a disk of that kind is free", what: "/dev/sdz1", disks: []disk{{name: "sdb1", content: map[int]string{0x438: "\x53\xef"}}}, want: "unknown sdb1"},
		{name: "a disk's id of which the partition is lost", what: "/dev/disk/by-id/ata-WD_Red_WX11A22-part1", files: map[string]string{"dev/disk/by-id/ata-WD_Red_WX11A22": ""}, want: "unknown lacks the partition"},
		{name: "a disk's id by another rule of udev", what: "/dev/disk/by-id/nvme-Samsung_970_S5H9NS0R12", files: map[string]string{"dev/disk/by-id/nvme-Samsung_970_S5H9NS0R12_1": ""}, want: "unknown serial number"},
		{name: "a disk's id that is away", what: "/dev/disk/by-id/ata-WD_Red_WX11A22", files: map[string]string{"dev/disk/by-id/ata-OTHER_1": ""}, want: "gone"},
		{name: "an array by name, and one is here under another", what: "/dev/md/backup", disks: []disk{{name: "md127", content: map[int]string{0: "XFSB"}}}, files: map[string]string{"proc/mdstat": "md127 : active raid1\n"}, want: "unknown another name"},
		{name: "DRBD", what: "/dev/drbd0", want: "down network"},
		{name: "a multipath alias", what: "/dev/mapper/mpatha", want: "unknown LVM cannot be asked"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			what := tt.what
			if what == "" {
				what = "UUID=aaaa1111-2222-4333-8444-555555555555"
			}
			h := world(t, pulled, "\n-- etc/systemd/system/mnt-pve-usb1.mount -> (gone) --\n-- dev/sda -> (gone) --\n-- etc/fstab --\n"+what+" /mnt/pve/usb1 auto nofail 0 2\n")
			root := filepath.Dir(h.Etc)
			for _, d := range append(slices.Clone(tt.disks), system) {
				plug(t, root, d)
			}
			if _, ok := tt.files["proc/mdstat"]; !ok {
				tt.files = mapWith(tt.files, "proc/mdstat", "Personalities :\nunused devices: <none>\n")
			}
			for name, text := range tt.files {
				file := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			h.Exec = filepath.Join(root, "bin")
			f, r := look(t, h)
			e, _ := r.Entry("usb1")
			verdict, word, _ := strings.Cut(tt.want, " ")
			if e.Verdict != verdict || !strings.Contains(e.Reason, word) {
				t.Errorf("%s: %s; want %s\n%s", e.Verdict, e.Reason, tt.want, f.Blocks.String())
			}
			if _, err := PlanRemoval(f, r, []string{"usb1"}, Options{FixRefs: true}); (err == nil) != (verdict == VerdictGone) {
				t.Errorf("plan: %v", err)
			}
		})
	}
}

func mapWith(m map[string]string, key, value string) map[string]string {
	out := map[string]string{key: value}
	for k, v := range m {
		out[k] = v
	}
	return out
}

// The signatures are read as the programs write them that make file systems and containers.
func TestSignaturesOfRealPrograms(t *testing.T) {
	const id = "aaaa1111-2222-4333-8444-555555555555"
	for _, tt := range []struct {
		want, uuid string
		make       []string
	}{
		{"ext4", id, []string{"mkfs.ext4", "-q", "-U", id, "-L", "data"}},
		{"xfs", id, []string{"mkfs.xfs", "-q", "-m", "uuid=" + id, "-L", "data"}},
		{"btrfs", id, []string{"mkfs.btrfs", "-q", "-U", id, "-L", "data"}},
		{"vfat", "ABCD-1234", []string{"mkfs.vfat", "-F", "32", "-i", "ABCD1234", "-n", "data"}},
		{"swap", id, []string{"mkswap", "-q", "-U", id, "-L", "data"}},
		{"crypto_LUKS", "", []string{"cryptsetup", "luksFormat", "-q", "--uuid", id, "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", "/dev/zero", "--keyfile-size", "32"}},
	} {
		t.Run(tt.want, func(t *testing.T) {
			program, err := exec.LookPath(tt.make[0])
			if err != nil {
				t.Skip(tt.make[0] + " is not installed")
			}
			file := filepath.Join(t.TempDir(), "disk")
			const size = 512 << 20
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(file, size); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.CommandContext(t.Context(), program, append(tt.make[1:], file)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			head := make([]byte, headSize)
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.ReadAt(head, 0); err != nil {
				t.Fatal(err)
			}
			got := signaturesOf(head, nil, size)
			if len(got) != 1 || got[0].Type != tt.want || got[0].UUID != tt.uuid {
				t.Errorf("got %+v, want %s %s", got, tt.want, tt.uuid)
			}
		})
	}
}

func FuzzSignatures(f *testing.F) {
	f.Add([]byte("LUKS\xba\xbe"), []byte{}, int64(1<<20))
	f.Add([]byte(gpt(linuxData, 1)[512]), []byte("x"), int64(0))
	f.Fuzz(func(_ *testing.T, head, tail []byte, size int64) {
		signaturesOf(head, tail, size)
		partitionsOf(head)
	})
}

func FuzzBlockLists(f *testing.F) {
	f.Add([]byte("md127 : inactive sdb1[0](S)\n"), []byte(`{"blockdevices":[{"kname":"sda"}]}`), []byte("a /dev/sdb none luks\n"))
	f.Fuzz(func(t *testing.T, mdstat, lsblk, crypttab []byte) {
		for _, a := range parseMdstat(mdstat) {
			if !strings.HasPrefix(a.Name, "md") {
				t.Errorf("array %q", a.Name)
			}
		}
		parseLsblk(lsblk)
		for _, c := range parseCrypttab(crypttab) {
			if c.Name == "" || strings.ContainsAny(c.Name, " \t\n") {
				t.Errorf("%+v", c)
			}
		}
	})
}
