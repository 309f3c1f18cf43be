package storage

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"labd/internal/finding"
)

// proof is what is known of whether a device is there.
type proof struct {
	// state is DeviceGone only where everything that could bring the name back is accounted for.
	state Device
	// down says of a device whose name is missing that what it lies in is known, and not up now.
	down bool
	// reason is why it cannot be told, or what keeps it from being seen; of a device that is gone, what its name is worth.
	reason string
	// moves says that the name may be another device's by now, so that nothing about it is certain.
	moves bool
	// evidence is what was looked at.
	evidence []finding.Evidence
	// ways are commands that may bring it back.
	ways []finding.Remedy
}

// obstacle is something in which a name that is missing may lie.
type obstacle struct {
	// device is the kernel's name, text what it is: "sdb1 is an encrypted disk (LUKS) that is not unlocked".
	device, text, source string
	way                  string
}

func unknownBecause(reason string, args ...any) proof {
	return proof{state: DeviceUnknown, reason: fmt.Sprintf(reason, args...)}
}

func downBecause(way, reason string, args ...any) proof {
	p := proof{state: DeviceUnknown, down: true, reason: fmt.Sprintf(reason, args...)}
	if way != "" {
		p.ways = append(p.ways, finding.Remedy{Title: "bring it up, then look again", Risk: finding.RiskLow, Commands: []string{way}})
	}
	return p
}

// prove returns whether the device of a source is there. That its name is missing is where it begins: the disk may be there
// and locked, its array or group not assembled, its target not attached, its name another one now.
func (f *Facts) prove(s Source) proof {
	state := f.Devices[s.What]
	switch {
	case state == DevicePresent:
		return proof{state: DevicePresent}
	case networkWord(s) != "":
		return downBecause("", "it is on the network (%s), and not attached", networkWord(s))
	case state == DeviceUnknown:
		return unknownBecause("the directory that its name would be in cannot be read, does not exist, or has the name in other letters")
	case strings.HasPrefix(s.What, "/dev/zvol/"):
		return unknownBecause("it is a volume of a ZFS pool, which is not judged by its name")
	}
	if group, volume, ok := f.lvmName(s.What); ok {
		return f.proveVolume(group, volume)
	}
	if p, ok := f.proveAssembled(s.What); ok {
		return p
	}
	if disk, missing := f.partitionOfPresentDisk(s.What); missing {
		return unknownBecause("its disk %s is there, and lacks the partition", disk)
	}
	if other := f.sameSerial(s.What); other != "" {
		return unknownBecause("a disk of the same serial number is there as %s", other)
	}
	if where := f.Blocks.find(s.What); where != "" {
		return unknownBecause("%s has it, and udev has made no link", where)
	}
	p := f.accounted(s.What)
	if p.state != DeviceGone {
		return p
	}
	if isKernelName(s.What) {
		p.moves = true
		if free := f.Blocks.unusedFileSystems(s.Type); len(free) > 0 {
			return unknownBecause("such names are given in the order of discovery, and %s, which nothing uses, may be it", strings.Join(free, ", "))
		}
	}
	return p
}

// accounted says that a name which is missing is gone, or what it may lie in.
func (f *Facts) accounted(what string) proof {
	switch {
	case !f.Blocks.Asked:
		return unknownBecause("the disks were not looked at")
	case f.Blocks.Err != nil:
		return unknownBecause("the disks cannot be looked at: %v", f.Blocks.Err)
	}
	if obstacles := f.Blocks.obstacles(); len(obstacles) > 0 {
		return behind(obstacles)
	}
	if r := f.Blocks.Remote; len(r) > 0 {
		p := downBecause("", "%s is set up and not attached, and it may lie there", r[0].What)
		for _, remote := range r[:min(len(r), 5)] {
			p.evidence = append(p.evidence, finding.Evidence{Source: remote.Where, Text: remote.What + " is not attached"})
		}
		return p
	}
	p := proof{state: DeviceGone}
	if what != "" {
		p.evidence = append(p.evidence, finding.Evidence{Source: "/dev", Text: what + " does not exist"})
	}
	return f.withCensus(p)
}

// withCensus adds what was looked at, so that what is said to be certain is shown.
func (f *Facts) withCensus(p proof) proof {
	if text := f.Blocks.String(); text != "" {
		p.evidence = append(p.evidence, finding.Evidence{Source: "block devices", Text: text})
	}
	return p
}

// behind is the proof of a name that may lie in something that is not open.
func behind(obstacles []obstacle) proof {
	first := obstacles[0]
	p := unknownBecause("%s, and it may lie there", first.text)
	for _, o := range obstacles[:min(len(obstacles), 8)] {
		p.evidence = append(p.evidence, finding.Evidence{Source: o.source, Text: o.text})
		if o.way != "" {
			p.ways = append(p.ways, finding.Remedy{Title: "open what " + o.device + " holds, then look again", Risk: finding.RiskLow, Commands: []string{o.way}})
		}
	}
	return p
}

// obstacles are the things in which a name that is missing may lie. A device that something is put together from is none:
// what comes of it is in the list itself.
func (b *Blocks) obstacles() (out []obstacle) {
	for i := range b.List {
		if o, ok := b.obstacle(&b.List[i]); ok {
			out = append(out, o)
		}
	}
	for _, a := range b.Arrays {
		if !a.Active && !slices.ContainsFunc(b.List, func(d Block) bool { return d.Stopped == a.Name }) {
			out = append(out, obstacle{a.Name, "array " + a.Name + " does not run", "/proc/mdstat", "mdadm --run /dev/" + a.Name})
		}
	}
	for _, text := range b.Locked {
		out = append(out, obstacle{"the disk", text, "crypttab", ""})
	}
	return append(out, b.LVM.obstacles()...)
}

func (b *Blocks) obstacle(d *Block) (obstacle, bool) {
	say := func(text, way string) (obstacle, bool) {
		return obstacle{d.Name, d.Name + " " + text, "/dev/" + d.Name, strings.ReplaceAll(way, "DEVICE", "/dev/"+d.Name)}, true
	}
	held := func(s signature) bool { return slices.Contains(b.Pools, s.Label) && s.Label != "" }
	switch {
	case len(d.Holders) > 0 || d.Use != "" || d.Partitions:
		return obstacle{}, false
	case d.Stopped != "":
		return say("is a disk of "+d.Stopped+", which does not run", "mdadm --run /dev/"+d.Stopped)
	}
	for _, s := range d.Signatures {
		c, ok := containerOf(s.Type)
		switch {
		case plainContents[s.Type], s.Type == "zfs_member" && held(s), s.Type == "LVM2_member" && b.LVM.knows(d):
		case s.Type == "zfs_member" && s.Label != "":
			return say("is a disk of the ZFS pool "+s.Label+", which is not imported", c.way)
		case ok:
			return say("is "+c.what, c.way)
		default:
			return say("holds "+s.Type+", which labd does not know", "")
		}
	}
	switch {
	case len(d.Signatures) > 0, d.Blank, d.System != "", d.Size > 0 && d.Size < minStorage:
		return obstacle{}, false
	case d.Unread != "":
		return say("cannot be read: "+d.Unread, "")
	}
	return say("holds something that labd does not know, as an encrypted disk without header would", "")
}

// find returns the device whose content or partition has a name of the classes UUID, LABEL, PARTUUID and PARTLABEL.
func (b *Blocks) find(what string) string {
	class, name, ok := tagOf(what)
	if !ok {
		return ""
	}
	for _, d := range b.List {
		same := func(have string) bool { return have != "" && strings.EqualFold(linkName(have), name) }
		switch class {
		case "by-uuid", "by-label":
			for _, s := range d.Signatures {
				if class == "by-uuid" && same(s.UUID) || class == "by-label" && same(s.Label) && s.Type != "zfs_member" {
					return d.Name
				}
			}
		case "by-partuuid":
			if same(d.Entry.UUID) {
				return d.Name
			}
		case "by-partlabel":
			if same(d.Entry.Label) {
				return d.Name
			}
		}
	}
	return ""
}

// tagOf takes a name of udev's links apart: its class, and its name as udev writes it.
func tagOf(what string) (class, name string, ok bool) {
	file := devicePath("/dev", what)
	rest, ok := strings.CutPrefix(file, "/dev/disk/")
	if !ok {
		return "", "", false
	}
	class, name, ok = strings.Cut(rest, "/")
	return class, name, ok
}

// unusedFileSystems are the devices with a file system that nothing uses: a disk whose name moved is one of them.
func (b *Blocks) unusedFileSystems(fsType string) (out []string) {
	for _, d := range b.List {
		if d.Use != "" || len(d.Holders) > 0 || d.Partitions || d.System != "" {
			continue
		}
		for _, s := range d.Signatures {
			boots := s.Type == "vfat" && fsType != "vfat" // what computers boot from
			if plainContents[s.Type] && !boots && !strings.HasPrefix(s.Type, "sw") && (fsType == "" || fsType == "auto" || sameFileSystem(s.Type, fsType)) {
				out = append(out, d.Name)
				break
			}
		}
	}
	return out
}

func sameFileSystem(a, b string) bool {
	family := func(t string) string {
		switch {
		case strings.HasPrefix(t, "ext"):
			return "ext"
		case strings.HasPrefix(t, "ntfs"):
			return "ntfs"
		}
		return t
	}
	return family(a) == family(b)
}

// blank are the devices that nothing uses and that hold nothing: a disk whose file system is damaged, or whose LUKS header
// lies elsewhere, looks like that.
func (b *Blocks) blank() (out []string) {
	for _, d := range b.List {
		if d.Blank && d.Use == "" && len(d.Holders) == 0 && !d.Partitions && d.System == "" && d.Size >= minStorage {
			out = append(out, d.Name)
		}
	}
	return out
}

// spare are the devices that nothing uses and that may be a disk which was formatted anew, or whose file system is damaged.
// FAT is left out: it is what computers boot from, and no storage is on it.
func (b *Blocks) spare() (out []string) {
	for _, d := range b.List {
		plain := d.Blank || len(d.Signatures) > 0
		for _, s := range d.Signatures {
			plain = plain && s.Type != "vfat" && s.Type != "swap"
		}
		if plain && d.Use == "" && len(d.Holders) == 0 && !d.Partitions && d.System == "" && d.Size >= minStorage {
			out = append(out, d.Name)
		}
	}
	return out
}

// maxListed bounds what evidence lists of block devices.
const maxListed = 24

// String lists the devices with what each is, as evidence.
func (b *Blocks) String() string {
	var out []string
	for _, d := range b.List {
		if len(out) == maxListed {
			out = append(out, fmt.Sprintf("and %d more", len(b.List)-maxListed))
			break
		}
		out = append(out, d.Name+": "+d.describe())
	}
	return strings.Join(out, "; ")
}

func (d *Block) describe() string {
	var types []string
	for _, s := range d.Signatures {
		types = append(types, s.Type)
	}
	text := strings.Join(types, " and ")
	switch {
	case d.Partitions:
		return "partitions"
	case len(d.Holders) > 0:
		return strings.TrimSpace(text + " in use by " + strings.Join(d.Holders, ", "))
	case d.Use != "":
		return strings.TrimSpace(text + " " + d.Use)
	case d.System != "":
		return d.System
	case text != "":
		return text
	case d.Size > 0 && d.Size < minStorage:
		return "too small for a storage"
	case d.Blank:
		return "empty"
	default:
		return "not known"
	}
}

// lvmName takes the name of a logical volume apart: /dev/GROUP/VOLUME, or /dev/mapper/GROUP-VOLUME where LVM has that group
// or crypttab has no such name.
func (f *Facts) lvmName(what string) (group, volume string, ok bool) {
	dir, name, _ := strings.Cut(strings.TrimPrefix(what, "/dev/"), "/")
	if !isVolumeName(what) || strings.Contains(name, "/") {
		return "", "", false
	}
	if dir == "mapper" {
		if group, volume, ok = splitMapper(name); !ok {
			return "", "", false
		}
		_, known := f.Blocks.LVM.Groups[group]
		return group, volume, known
	}
	return dir, name, true
}

// proveVolume says whether a logical volume is there, by LVM's own word.
func (f *Facts) proveVolume(group, volume string) proof {
	lvm := &f.Blocks.LVM
	switch {
	case !f.Blocks.Asked || f.Blocks.Err != nil:
		return f.accounted("")
	case !lvm.Asked:
		return unknownBecause("LVM was not asked")
	case lvm.Err != nil:
		return unknownBecause("LVM cannot be asked: %v", lvm.Err)
	}
	g, ok := lvm.Groups[group]
	if !ok {
		if slices.Contains(lvm.Hidden, group) {
			return downBecause("lvmdevices", "volume group %s is there, and LVM's filter or devices file keeps it from view", group)
		}
		p := f.accounted("/dev/" + group + "/" + volume)
		p.evidence = append(p.evidence, finding.Evidence{Source: "vgs, pvs", Text: "no volume group and no physical volume of " + group + ", also without LVM's filters"})
		return p
	}
	v, there := g.Volumes[volume]
	way := "lvchange -ay " + group + "/" + volume
	switch {
	case there && !v.Active() && v.Pool != "":
		return downBecause(way, "volume %s of thin pool %s/%s is there and not active", volume, group, v.Pool)
	case there && !v.Active():
		return downBecause(way, "volume %s of group %s is there and not active%s", volume, group, lacking(g))
	case there:
		return unknownBecause("LVM has volume %s of group %s as active, and its device is missing", volume, group)
	case g.Missing > 0:
		return downBecause("vgs -o +vg_missing_pv_count "+group, "volume group %s lacks %s", group, disks(g.Missing))
	}
	return f.withCensus(proof{state: DeviceGone, evidence: []finding.Evidence{{Source: "lvs", Text: fmt.Sprintf("group %s is whole and has no volume %s", group, volume)}}})
}

func lacking(g VolumeGroup) string {
	if g.Missing == 0 {
		return ""
	}
	return ", and the group lacks " + disks(g.Missing)
}

// proveAssembled judges names of devices that are put together from others; ok is false for another name.
func (f *Facts) proveAssembled(what string) (p proof, ok bool) {
	name := strings.TrimPrefix(what, "/dev/")
	isArray := arrayName.MatchString(name)
	switch {
	case isArray && slices.ContainsFunc(f.Blocks.List, func(b Block) bool { return arrayDevice.MatchString(b.Name) && b.Use == "" && len(b.Holders) == 0 }):
		return unknownBecause("an array that nothing uses is there under another name, as arrays are renamed"), true
	case isArray && f.Blocks.NoArrays:
		return unknownBecause("the kernel's list of arrays cannot be read"), true
	case strings.HasPrefix(name, "bcache") && slices.ContainsFunc(f.Blocks.List, func(b Block) bool { return strings.HasPrefix(b.Name, "bcache") && b.Use == "" && len(b.Holders) == 0 }):
		return unknownBecause("a bcache device that nothing uses is there under another name, as such names are given in the order of discovery"), true
	case isArray, strings.HasPrefix(name, "bcache"):
		// Without a member that waits, nothing is there to make it from. Such names are given in the order of discovery, too.
		p = f.accounted(what)
		p.moves = p.moves || !strings.HasPrefix(name, "md/")
		return p, true
	case strings.HasPrefix(name, "mapper/"), strings.HasPrefix(name, "dm-"), strings.HasPrefix(name, "disk/by-id/dm-"), strings.HasPrefix(name, "disk/by-id/lvm-"):
		p = f.accounted(what)
		if p.state == DeviceGone {
			p = unknownBecause("something has to set up %s first, and what that is cannot be told", what)
		}
		return p, true
	}
	return proof{}, false
}

var (
	arrayName   = regexp.MustCompile(`^(md[0-9]+(p[0-9]+)?|md/.+|md_.+|disk/by-id/md-.+)$`)
	arrayDevice = regexp.MustCompile(`^md`)
	partSuffix  = regexp.MustCompile(`-part[0-9]+$`)
)

// partitionOfPresentDisk returns the disk of a name in /dev/disk/by-id or by-path that is there while the partition is not.
func (f *Facts) partitionOfPresentDisk(what string) (disk string, missing bool) {
	class, name, ok := tagOf(what)
	base := partSuffix.ReplaceAllString(name, "")
	if !ok || class != "by-id" && class != "by-path" || base == name {
		return "", false
	}
	return base, slices.Contains(f.Links[class], base)
}

// sameSerial returns another name in /dev/disk/by-id of a disk with the serial number that a name has: the rules by which
// udev makes these names change. The serial number is the last part of the name.
func (f *Facts) sameSerial(what string) string {
	class, name, ok := tagOf(what)
	if !ok || class != "by-id" {
		return ""
	}
	parts := strings.FieldsFunc(partSuffix.ReplaceAllString(name, ""), func(r rune) bool { return r == '_' })
	for _, serial := range parts[min(1, len(parts)):] {
		if len(serial) < 6 || !strings.ContainsAny(serial, "0123456789") || serial != parts[len(parts)-1] && len(serial) < 8 {
			continue
		}
		for _, other := range f.Links["by-id"] {
			if path.Base(other) != name && slices.Contains(strings.FieldsFunc(partSuffix.ReplaceAllString(other, ""), func(r rune) bool { return r == '_' || r == '-' }), serial) {
				return other
			}
		}
	}
	return ""
}

// memberOf returns a device with a label of a ZFS pool.
func (b *Blocks) memberOf(pool string) string {
	for _, d := range b.List {
		for _, s := range d.Signatures {
			if s.Type == "zfs_member" && s.Label == pool {
				return d.Name
			}
		}
	}
	return ""
}

// lost reports whether a thing that is not seen is gone; else it gives the verdict of what it may lie in.
func (e *Entry) lost(f *Facts, what string) bool {
	p := f.accounted("")
	e.proof = p
	e.evidence = append(e.evidence, p.evidence...)
	switch {
	case p.state == DeviceGone:
		return true
	case p.down:
		e.set(VerdictDown, "%s is not seen: %s", what, p.reason)
	default:
		e.set(VerdictUnknown, "%s is not seen: %s", what, p.reason)
	}
	return false
}
