package hostmodel

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Tree is where a host was written down.
type Tree struct {
	Root string
	err  error
	made map[string]bool
}

// Write writes the host down below root, which must be empty or absent: dev, sys, proc, etc, pve, run, usr.
func (h *Host) Write(root string) error {
	t := &Tree{Root: root, made: map[string]bool{}}
	t.fail(os.MkdirAll(root, 0o755))
	for _, d := range h.devices {
		if d.Name != "" && d.visible() {
			h.writeDevice(t, d)
		}
	}
	for _, dir := range []string{"dev/mapper", "dev/disk", "sys/class/block", "etc/systemd/system", "pve/nodes/pve1/qemu-server", "pve/nodes/pve1/lxc", "pve/priv", "lxc", "mnt"} {
		t.dir(dir)
	}
	if h.noUdev {
		t.fail(os.RemoveAll(filepath.Join(root, "dev/disk")))
	}
	h.writeProc(t)
	h.writeEtc(t)
	h.writePVE(t)
	for name, text := range h.files {
		if target, ok := strings.CutPrefix(text, "->"); ok {
			t.link(name, target)
		} else {
			t.file(name, text)
		}
	}
	for _, s := range h.Storages {
		if s.Type == "plain" {
			t.dir(s.Path[1:])
		}
	}
	return t.err
}

func (t *Tree) fail(err error) {
	if t.err == nil && err != nil {
		t.err = err
	}
}

// dir makes a directory and those above it, each once.
func (t *Tree) dir(name string) {
	if t.made[name] {
		return
	}
	t.made[name] = true
	if parent := filepath.Dir(name); parent != "." {
		t.dir(parent)
	}
	if err := os.Mkdir(filepath.Join(t.Root, name), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		t.fail(err)
	}
}

func (t *Tree) file(name, text string) {
	t.dir(filepath.Dir(name))
	t.fail(os.WriteFile(filepath.Join(t.Root, name), []byte(text), 0o644))
}

func (t *Tree) link(name, target string) {
	t.dir(filepath.Dir(name))
	if err := os.Symlink(target, filepath.Join(t.Root, name)); err != nil && !errors.Is(err, os.ErrExist) {
		t.fail(err)
	}
}

// writeDevice writes a device's node with what stands on it, its entry of sysfs, its record in udev's database and its
// links.
func (h *Host) writeDevice(t *Tree, d *Device) {
	t.dir("dev")
	file := filepath.Join(t.Root, "dev", d.Name)
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	t.fail(err)
	if err != nil {
		return
	}
	t.fail(writeSignature(f, d.Sig))
	t.fail(f.Close())
	sys := d.sysPath()
	t.file(sys+"/dev", d.number()+"\n")
	t.file(sys+"/size", fmt.Sprintln(d.size()))
	t.file(sys+"/ro", "0\n")
	t.dir(sys + "/slaves")
	t.dir(sys + "/holders")
	t.link("sys/class/block/"+d.Name, "../.."+strings.TrimPrefix(sys, "sys"))
	switch d.Kind {
	case KindDisk:
		removable := "0\n"
		if d.Bus == USB && len(d.Serial)%2 == 1 {
			removable = "1\n"
		}
		t.file(sys+"/removable", removable)
	case KindPartition:
		t.file(sys+"/partition", fmt.Sprintln(d.PartNumber))
	case KindMD:
		t.file(sys+"/md/array_state", "clean\n")
		t.file(sys+"/md/level", "raid1\n")
	case KindLV:
		t.file(sys+"/dm/name", d.mapper()+"\n")
		t.file(sys+"/dm/uuid", "LVM-"+strings.ReplaceAll(d.Lower[0].Sig.UUID, "-", "")+"\n")
	case KindLUKS:
		t.file(sys+"/dm/name", d.DMName+"\n")
		t.file(sys+"/dm/uuid", "CRYPT-LUKS2-"+strings.ReplaceAll(d.Lower[0].Sig.UUID, "-", "")+"-"+d.DMName+"\n")
	case KindMultipath:
		t.file(sys+"/dm/name", d.DMName+"\n")
		t.file(sys+"/dm/uuid", "mpath-36001405"+d.Lower[0].Serial+"\n")
	case KindIntegrity:
		t.file(sys+"/dm/name", d.DMName+"\n")
		t.file(sys+"/dm/uuid", "CRYPT-INTEGRITY-"+d.DMName+"\n")
	case KindVDO:
		t.file(sys+"/dm/name", d.DMName+"\n")
		t.file(sys+"/dm/uuid", "VDO-"+strings.ReplaceAll(d.Lower[0].Sig.UUID, "-", "")+"\n")
	}
	if d.Kind != KindPartition && d.Kind != KindZvol {
		for _, l := range d.Lower {
			if l.Name != "" && l.visible() {
				t.link(sys+"/slaves/"+l.Name, "../../../"+l.Name)
				t.link(l.sysPath()+"/holders/"+d.Name, "../../../"+d.Name)
			}
		}
	}
	if h.noUdev {
		return
	}
	if d.Sig.Type != "" && d.Sig.Type != "unknown" && d.Sig.Type != "gpt" {
		record := "E:ID_FS_TYPE=" + d.Sig.Type + "\n"
		if d.Sig.UUID != "" {
			record += "E:ID_FS_UUID=" + d.Sig.UUID + "\n"
		}
		t.file("run/udev/data/b"+d.number(), record)
	}
	for _, l := range d.links() {
		up := strings.Repeat("../", strings.Count(l, "/"))
		t.link("dev/"+l, up+d.Name)
	}
}

// sysPath is where sysfs has a device.
func (d *Device) sysPath() string {
	switch {
	case d.Kind == KindPartition:
		return d.Lower[0].sysPath() + "/" + d.Name
	case d.Kind != KindDisk:
		return "sys/devices/virtual/block/" + d.Name
	}
	switch d.Bus {
	case USB:
		return "sys/devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/block/" + d.Name
	case NVMe, NVMeoF:
		return "sys/devices/pci0000:00/0000:00:1d.0/nvme/" + strings.TrimSuffix(d.Name, "n1") + "/" + d.Name
	case ISCSI:
		return "sys/devices/platform/host7/session1/target7:0:0/7:0:0:0/block/" + d.Name
	case FC:
		return "sys/devices/pci0000:00/0000:05:00.0/host8/rport-8:0-1/target8:0:0/8:0:0:0/block/" + d.Name
	case NBD, RBD:
		return "sys/devices/virtual/block/" + d.Name
	}
	return "sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/" + d.Name
}

// number is the device's number, "8:17".
func (d *Device) number() string {
	n := 0
	for _, c := range d.Name {
		n = (n*31 + int(c)) & 0xfffff
	}
	major := 8
	switch {
	case strings.HasPrefix(d.Name, "dm-"):
		major = 252
	case strings.HasPrefix(d.Name, "md"):
		major = 9
	case strings.HasPrefix(d.Name, "nvme"):
		major = 259
	}
	return fmt.Sprintf("%d:%d", major, n)
}

// size is in sectors of 512 bytes.
func (d *Device) size() int { return 976773168 }

// writeSignature writes a magic number, UUID and label where blkid looks for them.
func writeSignature(f *os.File, s Signature) error {
	put := func(at int64, data []byte) error { _, err := f.WriteAt(data, at); return err }
	id, _ := hex.DecodeString(strings.ReplaceAll(s.UUID, "-", ""))
	id = append(id, make([]byte, 16)...)[:16]
	var err error
	switch s.Type {
	case "ext4":
		err = errors.Join(put(0x438, []byte{0x53, 0xef}), put(0x45c, []byte{0x3c, 0, 0, 0, 0xc2, 2, 0, 0, 0x6b, 4, 0, 0}), put(0x468, id), put(0x478, []byte(s.Label)))
	case "xfs":
		err = errors.Join(put(0, []byte("XFSB")), put(32, id), put(108, []byte(s.Label)))
	case "btrfs":
		err = errors.Join(put(0x10040, []byte("_BHRfS_M")), put(0x10020, id))
	case "ntfs":
		err = put(3, []byte("NTFS    "))
	case "vfat":
		err = errors.Join(put(82, []byte("FAT32   ")), put(510, []byte{0x55, 0xaa}))
	case "swap":
		err = put(4086, []byte("SWAPSPACE2"))
	case "crypto_LUKS":
		err = errors.Join(put(0, []byte{'L', 'U', 'K', 'S', 0xba, 0xbe, 0, 2}), put(168, []byte(s.UUID)))
	case "BitLocker":
		err = put(3, []byte("-FVE-FS-"))
	case "linux_raid_member":
		err = errors.Join(put(4096, []byte{0xfc, 0x4e, 0x2b, 0xa9, 1}), put(4096+16, id), put(4096+32, []byte(s.Label)))
	case "LVM2_member":
		err = errors.Join(put(512, []byte("LABELONE")), put(512+24, []byte("LVM2 001")), put(512+32, []byte(strings.ReplaceAll(s.UUID, "-", ""))))
	case "zfs_member":
		var magic [8]byte
		binary.LittleEndian.PutUint64(magic[:], 0x00bab10c)
		for i := int64(0); i < 4 && err == nil; i++ {
			err = put(128<<10+i*1024, magic[:])
		}
	case "bcache":
		magic, _ := hex.DecodeString("c68573f64e1a45ca8265f57f48ba6d81")
		err = errors.Join(put(4096+24, magic), put(4096+40, id))
	case "DM_integrity":
		err = put(0, []byte("integrt\x00"))
	case "vdo":
		err = put(0, []byte("dmvdo001"))
	case "gpt":
		err = errors.Join(put(510, []byte{0x55, 0xaa}), put(450, []byte{0xee}), put(512, []byte("EFI PART")))
	case "unknown":
		err = put(0, []byte("\x93\x17 what no tool knows \x88\x12\x01"))
	}
	// DRBD's metadata are at the device's end.
	size := int64(256 << 10)
	if err == nil {
		err = f.Truncate(size)
	}
	if s.Type == "drbd" && err == nil {
		err = put(size-4096+60, []byte{0x83, 0x74, 0x02, 0x6d})
	}
	return err
}

func (h *Host) writeProc(t *Tree) {
	var mounts, partitions strings.Builder
	for i, m := range h.mounts {
		number := "8:1"
		for _, d := range h.devices {
			if d.Name != "" && ("/dev/"+d.Name == m.source || d.Kind == KindLV && "/dev/mapper/"+d.mapper() == m.source || d.DMName != "" && "/dev/mapper/"+d.DMName == m.source) {
				number = d.number()
			}
		}
		fmt.Fprintf(&mounts, "%d 1 %s / %s rw,relatime shared:1 - %s %s rw\n", 20+i, number, strings.ReplaceAll(m.point, " ", `\040`), m.fsType, m.source)
	}
	t.file("proc/1/mountinfo", mounts.String())
	partitions.WriteString("major minor  #blocks  name\n\n")
	var arrays strings.Builder
	arrays.WriteString("Personalities : [raid1] [raid0]\n")
	for _, d := range h.devices {
		if d.Name == "" || !d.visible() {
			if d.Kind == KindMD && d.OldName != "" && len(d.OldName)%2 == 1 && len(d.Lower) > 0 {
				// An array that did not start may be listed or not.
				var members []string
				for i, l := range d.Lower {
					if l.Name != "" && l.visible() {
						members = append(members, fmt.Sprintf("%s[%d](S)", l.Name, i))
					}
				}
				if len(members) > 0 {
					fmt.Fprintf(&arrays, "%s : inactive %s\n      976630464 blocks super 1.2\n\n", d.OldName, strings.Join(members, " "))
				}
			}
			continue
		}
		major, minor, _ := strings.Cut(d.number(), ":")
		fmt.Fprintf(&partitions, "%4s %8s %10d %s\n", major, minor, d.size()/2, d.Name)
		if d.Kind == KindMD {
			var members []string
			for i, l := range d.Lower {
				if l.Name != "" {
					members = append(members, fmt.Sprintf("%s[%d]", l.Name, i))
				}
			}
			fmt.Fprintf(&arrays, "%s : active raid1 %s\n      976630464 blocks super 1.2 [2/2] [UU]\n\n", d.Name, strings.Join(members, " "))
		}
	}
	arrays.WriteString("unused devices: <none>\n")
	t.file("proc/partitions", partitions.String())
	if slices.ContainsFunc(h.devices, func(d *Device) bool { return d.Kind == KindMD }) {
		t.file("proc/mdstat", arrays.String())
	}
	t.file("proc/uptime", fmt.Sprintf("%d.00 100.0\n", h.Uptime))
	t.file("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n")
	t.file("proc/filesystems", "nodev\tproc\n\text4\n")
}

// writeEtc writes what a host's configuration says of its layers.
func (h *Host) writeEtc(t *Tree) {
	t.file("etc/fstab", strings.Join(h.fstab, "\n")+"\n")
	if len(h.crypttab) > 0 {
		t.file("etc/crypttab", strings.Join(h.crypttab, "\n")+"\n")
	}
	for _, d := range h.devices {
		switch d.Bus {
		case ISCSI:
			t.file("etc/iscsi/nodes/iqn.2003-01.org.nas:"+d.Serial+"/192.0.2.7,3260,1/default", "node.name = iqn.2003-01.org.nas:"+d.Serial+"\nnode.startup = automatic\n")
		case NBD:
			t.file("etc/nbdtab", "nbd0 192.0.2.6 export\n")
		case NVMeoF:
			t.file("etc/nvme/discovery.conf", "--transport=tcp --traddr=192.0.2.5 --trsvcid=8009\n")
		case RBD:
			t.file("etc/ceph/rbdmap", "rbd/image id=admin,keyring=/etc/ceph/ceph.client.admin.keyring\n")
		case FC:
			t.file("sys/class/fc_host/host8/port_state", "Online\n")
		}
		if d.Kind == KindMultipath {
			t.file("etc/multipath/wwids", "# Valid WWIDs:\n/36001405"+d.Lower[0].Serial+"/\n")
		}
	}
	for _, g := range h.groups {
		if g.hidden {
			t.file("etc/lvm/devices/system.devices", "VERSION=1.1.1\nIDTYPE=devname IDNAME=/dev/sdz DEVNAME=/dev/sdz PVID=none\n")
		}
		if len(g.name)%2 == 0 {
			t.file("etc/lvm/backup/"+g.name, g.name+" {\n}\n")
		}
	}
}

func (h *Host) writePVE(t *Tree) {
	var cfg strings.Builder
	cfg.WriteString("dir: local\n\tpath /var/lib/vz\n\tcontent iso\n\n")
	for _, s := range h.Storages {
		cfg.WriteString(s.Config)
	}
	t.file("pve/storage.cfg", cfg.String())
	t.link("pve/local", "nodes/"+h.Node)
	for _, m := range h.Members {
		t.file("pve/nodes/"+m+"/lrm_status", "{}")
	}
	if len(h.Members) == 1 {
		t.file("pve/.members", `{"nodename":"pve1","version":0}`)
		return
	}
	var nodes []string
	for i, m := range h.Members {
		nodes = append(nodes, fmt.Sprintf(`%q:{"id":%d,"online":1,"ip":"192.0.2.%d"}`, m, i+1, i+1))
	}
	quorate := 0
	if h.Quorate {
		quorate = 1
	}
	t.file("pve/.members", fmt.Sprintf(`{"nodename":"pve1","version":2,"cluster":{"name":"lab","version":2,"nodes":%d,"quorate":%d},"nodelist":{%s}}`, len(h.Members), quorate, strings.Join(nodes, ",")))
}
