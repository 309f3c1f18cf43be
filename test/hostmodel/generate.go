package hostmodel

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
)

// Generate makes up the host of a seed, with its failures.
func Generate(seed uint64) *Host {
	g := build(seed)
	for range g.IntN(4) {
		g.fail()
	}
	g.settle()
	for _, s := range g.h.Storages {
		g.refer(s)
	}
	return g.h
}

// Healthy is the host of a seed before anything failed.
func Healthy(seed uint64) *Host {
	g := build(seed)
	g.settle()
	return g.h
}

type generator struct {
	*rand.Rand
	h       *Host
	root    *Device
	serials int
	// rebooted says that what is seen now was found by a boot after the failures.
	rebooted bool
	// away are the points that were unmounted, other what was mounted at a point by hand, stale the mounts that live on.
	away, stale map[string]bool
	other       map[string]*Device
}

func build(seed uint64) *generator {
	g := &generator{
		Rand: rand.New(rand.NewPCG(seed, 0x1abd)), away: map[string]bool{}, stale: map[string]bool{}, other: map[string]*Device{},
		h: &Host{Seed: seed, Node: "pve1", Quorate: true, Uptime: 864000, files: map[string]string{}},
	}
	for i := range pick(g, 1, 1, 1, 2, 3) {
		g.h.Members = append(g.h.Members, fmt.Sprintf("pve%d", i+1))
	}
	g.system()
	for i := range 1 + g.IntN(4) {
		g.storage(fmt.Sprintf("s%d", i))
	}
	for range pick(g, 0, 0, 1, 1, 2) {
		g.stranger()
	}
	g.name(true)
	for _, s := range g.h.Storages {
		g.configure(s)
	}
	return g
}

func (g *generator) one(in int) bool { return g.IntN(in) == 0 }

func pick[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

func (g *generator) uuid() string {
	return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", g.Uint32(), g.Uint32()&0xffff, g.Uint32()&0xfff, g.Uint32()&0xfff, g.Uint64()&0xffffffffffff)
}

func (g *generator) event(format string, args ...any) {
	g.h.Events = append(g.h.Events, fmt.Sprintf(format, args...))
}

// add makes a device known to the host.
func (g *generator) add(d *Device) *Device {
	g.h.devices = append(g.h.devices, d)
	return d
}

func (g *generator) disk(bus Bus) *Device {
	g.serials++
	return g.add(&Device{Kind: KindDisk, Bus: bus, Attached: true, Active: true, Serial: fmt.Sprintf("S%04dX%04x", g.serials, g.Uint32()&0xffff)})
}

func (g *generator) partition(disk *Device, n int) *Device {
	disk.Sig = Signature{Type: "gpt"}
	p := &Device{Kind: KindPartition, Lower: []*Device{disk}, Need: 1, Active: true, PartNumber: n, PartUUID: g.uuid()}
	if g.one(3) {
		p.PartLabel = pick(g, "data", "Backup disk", "vault", "media") + fmt.Sprint(len(g.h.devices))
	}
	return g.add(p)
}

// system is the disk with the root file system, as PVE's installer makes it.
func (g *generator) system() {
	disk := g.disk(pick(g, SATA, NVMe, Virtio))
	g.partition(disk, 1)
	g.partition(disk, 2).Sig = Signature{Type: "vfat", UUID: fmt.Sprintf("%04X-%04X", g.Uint32()&0xffff, g.Uint32()&0xffff)}
	g.root = g.partition(disk, 3)
	if g.one(2) {
		g.root.Sig = Signature{Type: "ext4", UUID: g.uuid()}
		g.h.fstab = append(g.h.fstab, "UUID="+g.root.Sig.UUID+" / ext4 errors=remount-ro 0 1")
		return
	}
	vg := g.newGroup("pve", g.root)
	vg.volumes = []*volume{{name: "root", active: true}, {name: "data", thinPool: true, active: true}}
	g.root = g.lv(vg, "root")
	g.root.Sig = Signature{Type: "ext4", UUID: g.uuid()}
	g.h.fstab = append(g.h.fstab, "/dev/pve/root / ext4 errors=remount-ro 0 1")
}

// newGroup makes a volume group on devices.
func (g *generator) newGroup(name string, pvs ...*Device) *group {
	for _, pv := range pvs {
		pv.Sig = Signature{Type: "LVM2_member", UUID: g.uuid()}
	}
	vg := &group{name: name, was: name, pvs: pvs}
	g.h.groups = append(g.h.groups, vg)
	return vg
}

// lv makes the device of a logical volume of a group.
func (g *generator) lv(vg *group, name string) *Device {
	return g.add(&Device{Kind: KindLV, Lower: slices.Clone(vg.pvs), Need: len(vg.pvs), Active: true, Group: vg, Volume: name})
}

// stack makes a disk with what lies on it, without the topmost signature.
func (g *generator) stack() *Device {
	bus := pick(g, SATA, SATA, SATA, NVMe, NVMe, USB, USB, USB, Virtio, ISCSI, ISCSI, NBD, FC, NVMeoF, RBD)
	d := g.disk(bus)
	if (bus == ISCSI || bus == FC) && g.one(2) {
		d = g.over(KindMultipath, d)
	}
	if bus != RBD && g.IntN(10) < 7 && d.Kind == KindDisk {
		d = g.partition(d, 1)
	}
	for range pick(g, 0, 0, 0, 1, 1, 1, 2) {
		d = g.over(pick(g, KindLUKS, KindLUKS, KindLUKS, KindMD, KindMD, KindMD, KindLV, KindLV, KindLV, KindBcache, KindIntegrity, KindVDO, KindDRBD), d)
	}
	return d
}

// over puts a layer over a device.
func (g *generator) over(kind Kind, lower *Device) *Device {
	d := &Device{Kind: kind, Lower: []*Device{lower}, Need: 1, Active: true}
	n := len(g.h.devices)
	switch kind {
	case KindLUKS:
		lower.Sig = Signature{Type: "crypto_LUKS", UUID: g.uuid()}
		d.DMName = pick(g, "crypt", "luks-data", "vault") + fmt.Sprint(n)
		switch {
		case g.one(10):
			lower.Sig = Signature{} // the header lies elsewhere
			d.Detached = true
		case g.one(3):
			g.h.crypttab = append(g.h.crypttab, d.DMName+" UUID="+lower.Sig.UUID+" none luks,nofail")
		}
	case KindMD:
		for range g.IntN(3) {
			leg := g.disk(lower.disks()[0].Bus)
			if g.one(2) {
				leg = g.partition(leg, 1)
			}
			d.Lower = append(d.Lower, leg)
		}
		array := g.uuid()
		for _, l := range d.Lower {
			l.Sig = Signature{Type: "linux_raid_member", UUID: array, Label: "pve1:raid" + fmt.Sprint(n)}
		}
		d.ArrayUUID, d.MDName = array, "raid"+fmt.Sprint(n)
		d.Striped = g.one(4)
		d.Need = max(1, len(d.Lower)-1)
		if d.Striped {
			d.Need = len(d.Lower)
		}
	case KindLV:
		vg := g.newGroup(fmt.Sprintf("%s%d", pick(g, "vg", "nas", "big-vg"), n), lower)
		name := pick(g, "media", "data", "back-up")
		vg.volumes = []*volume{{name: name, active: true}}
		return g.lv(vg, name)
	case KindBcache:
		lower.Sig = Signature{Type: "bcache", UUID: g.uuid()}
	case KindMultipath:
		lower.Sig = Signature{}
		d.DMName = pick(g, "mpath", "san") + fmt.Sprint(n)
	case KindIntegrity:
		lower.Sig = Signature{Type: "DM_integrity"}
		d.DMName = "integ" + fmt.Sprint(n)
	case KindVDO:
		lower.Sig = Signature{Type: "vdo", UUID: g.uuid()}
		d.DMName = "vdo" + fmt.Sprint(n)
	case KindDRBD:
		lower.Sig = Signature{Type: "drbd", UUID: fmt.Sprintf("%016x", g.Uint64())}
		g.h.files[fmt.Sprintf("etc/drbd.d/r%d.res", n)] = fmt.Sprintf("resource r%d {\n on pve1 { device /dev/drbd%d; disk /dev/x; address 10.0.0.1:7789; }\n}\n", n, n%10)
	}
	return g.add(d)
}

// storage makes an entry with what it lies on.
func (g *generator) storage(id string) {
	s := &Storage{ID: id, Type: pick(g, "dir", "dir", "dir", "dir", "btrfs", "lvm", "lvm", "lvmthin", "lvmthin", "zfspool", "zfspool", "nfs", "pbs", "plain")}
	g.h.Storages = append(g.h.Storages, s)
	switch s.Type {
	case "dir":
		if vol := g.zvol(); vol != nil {
			s.backing = vol
		} else {
			s.backing = g.stack()
		}
		label := ""
		if g.one(3) {
			label = pick(g, "Backups", "My Book", "data", "Süd") + id
		}
		s.backing.Sig = Signature{Type: pick(g, "ext4", "ext4", "xfs", "ntfs"), UUID: g.uuid(), Label: label}
	case "btrfs":
		s.backing = g.stack()
		s.backing.Sig = Signature{Type: "btrfs", UUID: g.uuid()}
		if g.one(3) {
			second := g.stack()
			second.Sig = s.backing.Sig
			s.more = []*Device{second}
		}
	case "lvm", "lvmthin":
		s.group = g.groupFor(s)
	case "zfspool":
		var vdevs []*Device
		for range pick(g, 1, 1, 2, 3) {
			vdevs = append(vdevs, g.stack())
		}
		s.pool = &pool{name: pick(g, "tank", "rpool2-", "fast_") + id, vdevs: vdevs, imported: true}
		guid := fmt.Sprint(g.Uint64())
		for _, v := range vdevs {
			v.Sig = Signature{Type: "zfs_member", UUID: guid, Label: s.pool.name}
		}
		s.dataset = s.pool.name
		if g.one(2) {
			s.dataset += "/data"
			s.pool.datasets = []string{s.dataset}
		}
		g.h.pools = append(g.h.pools, s.pool)
	}
}

// zvol makes a volume of a pool, if there is a pool.
func (g *generator) zvol() *Device {
	if len(g.h.pools) == 0 || !g.one(3) {
		return nil
	}
	p := g.h.pools[0]
	return g.add(&Device{Kind: KindZvol, Lower: slices.Clone(p.vdevs), Need: len(p.vdevs), Active: true, pool: p, Volume: fmt.Sprintf("vol%d", len(g.h.devices))})
}

// groupFor makes a volume group, or takes one that is there.
func (g *generator) groupFor(s *Storage) *group {
	var vg *group
	for _, other := range g.h.Storages {
		if other.group != nil && other != s && g.one(2) {
			vg = other.group
		}
	}
	if vg == nil {
		var pvs []*Device
		for range pick(g, 1, 1, 1, 2, 3) {
			pvs = append(pvs, g.stack())
		}
		vg = g.newGroup(pick(g, "vmdata", "ssd-", "vg_")+s.ID, pvs...)
	}
	if s.Type == "lvmthin" {
		s.volume = &volume{name: pick(g, "data", "thin") + s.ID, thinPool: true, active: true}
		vg.volumes = append(vg.volumes, s.volume)
	}
	return vg
}

// stranger is a disk that no storage uses.
func (g *generator) stranger() {
	d := g.disk(pick(g, SATA, NVMe, USB, ISCSI))
	if g.one(2) {
		d = g.partition(d, 1)
	}
	d.Sig = Signature{Type: pick(g, "ext4", "", "ntfs", "swap", "crypto_LUKS", "linux_raid_member", "zfs_member", "LVM2_member", "unknown", "BitLocker", "bcache"), UUID: g.uuid()}
	if d.Sig.Type == "" || d.Sig.Type == "unknown" {
		d.Sig.UUID = ""
	}
	if d.Sig.Type == "LVM2_member" {
		g.newGroup("spare", d)
	}
}

// configure writes the entry, and what mounts it.
func (g *generator) configure(s *Storage) {
	s.Here, s.Others = true, false
	var lines []string
	set := func(key, value string) { lines = append(lines, "\t"+key+" "+value) }
	switch s.Type {
	case "plain":
		s.Path = pick(g, "/srv/", "/opt/", "/var/lib/") + s.ID
		set("path", s.Path)
		set("content", "iso")
	case "dir", "btrfs":
		g.configureDirectory(s, set)
	case "lvm", "lvmthin":
		set("vgname", s.group.was)
		if s.Type == "lvmthin" {
			set("thinpool", s.volume.name)
		}
		set("content", "images")
		if s.Type == "lvm" && slices.ContainsFunc(s.group.pvs, (*Device).network) && g.one(2) {
			set("shared", "1")
		}
	case "zfspool":
		set("pool", s.dataset)
		set("content", "images,rootdir")
		if g.one(2) {
			g.h.files["etc/systemd/system/zfs-import.target.wants/zfs-import@"+s.pool.name+".service"] = "->/lib/systemd/system/zfs-import@.service"
		}
	case "nfs":
		s.Path = "/mnt/pve/" + s.ID
		set("path", s.Path)
		set("server", "192.0.2.9")
		set("export", "/x")
		set("content", "backup")
	case "pbs":
		set("server", "192.0.2.8")
		set("datastore", "d")
		set("content", "backup")
	}
	s.Nodes = pick(g, nil, nil, []string{"pve1"}, []string{"pve1"}, []string{"pve1", "old"}, []string{"pve1", "pve2"}, []string{"old"})
	if s.Nodes != nil {
		set("nodes", strings.Join(s.Nodes, ","))
	}
	for _, m := range g.h.Members {
		if m != g.h.Node && (s.Nodes == nil || slices.Contains(s.Nodes, m)) {
			s.Others = true
		}
	}
	s.Orphan = slices.Equal(s.Nodes, []string{"old"})
	if g.one(12) {
		lines = append(lines, "\tdisable")
		s.Disabled = true
	}
	kind := s.Type
	if kind == "plain" {
		kind = "dir"
	}
	s.Config = kind + ": " + s.ID + "\n" + strings.Join(lines, "\n") + "\n\n"
}

// configureDirectory writes a directory's entry and its line of fstab or its unit.
func (g *generator) configureDirectory(s *Storage, set func(key, value string)) {
	s.Point = pick(g, "/mnt/pve/", "/mnt/", "/srv/disk-", "/media/") + s.ID
	s.Path = s.Point
	if g.one(6) {
		s.Path += "/pve"
	}
	s.What = g.nameFor(s.backing)
	set("path", s.Path)
	set("content", "images,backup")
	switch {
	case s.Path != s.Point && g.one(2):
		set("is_mountpoint", s.Point)
		s.Insists = true
	case s.Path == s.Point && g.IntN(4) < 3:
		set("is_mountpoint", pick(g, "1", "yes"))
		s.Insists = true
	}
	s.FSType = s.backing.Sig.Type
	options := []string{pick(g, "defaults", "noatime", "rw")}
	if g.one(2) {
		options = append(options, "nofail")
	}
	if s.backing.network() {
		s.Hinted = g.hint(s, &options)
	}
	switch g.IntN(10) {
	case 0:
		s.NoSource = true // mounted by hand, or by a script
	case 1, 2, 3:
		if strings.HasPrefix(s.What, "/dev/") {
			g.unit(s, s.What, strings.Join(options, ","))
			return
		}
		fallthrough
	default:
		if g.one(25) {
			options = append(options, pick(g, "noauto", "x-systemd.automount"))
		}
		line := fstabField(s.What) + " " + s.Point + " " + s.FSType + " " + strings.Join(options, ",") + " 0 2"
		if g.one(30) { // an older line for the same point, which systemd's generator takes
			first := g.h.devices[g.IntN(len(g.h.devices))]
			if first.Sig.Type == "ext4" && first != g.root {
				g.h.fstab = append(g.h.fstab, "UUID="+first.Sig.UUID+" "+s.Point+" ext4 defaults,nofail 0 2")
				s.first = first
			}
		}
		g.h.fstab = append(g.h.fstab, line)
	}
}

// hint is what the host says of a disk on the network, beside its name. One thing at the least says it.
func (g *generator) hint(s *Storage, options *[]string) bool {
	if g.one(2) {
		*options = append(*options, "_netdev")
		return true
	}
	return false
}

func fstabField(s string) string { return strings.ReplaceAll(s, " ", `\040`) }

// unit writes a mount unit as PVE's panel does.
func (g *generator) unit(s *Storage, what, options string) {
	name := UnitName(s.Point)
	s.Unit = name
	dir := "etc/systemd/system/"
	g.h.files[dir+name] = "[Install]\nWantedBy=multi-user.target\n\n[Mount]\nOptions=" + options + "\nType=" + s.FSType + "\nWhat=" + what + "\nWhere=" + s.Point +
		"\n\n[Unit]\nDescription=Mount storage '" + s.ID + "' under /mnt/pve\n\n"
	g.h.files[dir+"multi-user.target.wants/"+name] = "->/etc/systemd/system/" + name
}

// UnitName is the mount unit of a point (systemd-escape --path).
func UnitName(point string) string {
	var b strings.Builder
	for i, c := range []byte(strings.Trim(path.Clean(point), "/")) {
		switch {
		case c == '/':
			b.WriteByte('-')
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == ':' || c == '_' || c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String() + ".mount"
}

// nameFor is one of the names by which a device can be mounted.
func (g *generator) nameFor(d *Device) string {
	names := []string{"/dev/" + d.OldName}
	if u := d.Sig.UUID; u != "" {
		names = append(names, "UUID="+u, "UUID="+u, "/dev/disk/by-uuid/"+u, "/dev/disk/by-uuid/"+u, "UUID="+u)
	}
	if d.Sig.Label != "" {
		names = append(names, "LABEL="+d.Sig.Label, "LABEL="+d.Sig.Label)
	}
	if d.PartUUID != "" {
		names = append(names, "PARTUUID="+d.PartUUID)
	}
	if d.PartLabel != "" {
		names = append(names, "PARTLABEL="+d.PartLabel)
	}
	for _, l := range d.links() {
		if !strings.HasPrefix(l, "disk/by-uuid") && !strings.HasPrefix(l, "disk/by-label") && !strings.HasPrefix(l, "disk/by-part") {
			names = append(names, "/dev/"+l)
		}
	}
	return names[g.IntN(len(names))]
}

// refer has guests and jobs name a storage.
func (g *generator) refer(s *Storage) {
	switch g.IntN(8) {
	case 0:
		g.h.files["pve/nodes/pve1/qemu-server/1"+s.ID[1:]+"0.conf"] = "scsi0: " + s.ID + ":vm-100-disk-0,size=4G\n"
		s.Blocked = true
	case 1:
		g.h.files["pve/nodes/pve1/qemu-server/1"+s.ID[1:]+"1.conf"] = "ide2: " + s.ID + ":iso/debian.iso,media=cdrom\n"
		s.Soft = true
	}
}
