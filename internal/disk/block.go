package disk

import (
	"errors"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"labd/internal/host"
	"labd/internal/layer"
)

// surroundings are what all drives are looked at with.
type surroundings struct {
	a      *attributes
	mounts []host.Mount
	swaps  []string // names of block devices
	pools  []string // ZFS pools that are imported
	// states are those of these pools that are not well: DEGRADED, FAULTED, SUSPENDED, …
	states map[string]string
	at     time.Time
	// slow says that the link of the function is slower than both ends can do, so that it matters whether it works.
	slow bool
}

// surroundings reads what the host does with disks. Without the mount table only the users of drives are unknown.
func (o *Observer) surroundings(a *attributes, mounts []host.Mount, at time.Time) surroundings {
	l := surroundings{a: a, mounts: mounts, swaps: swaps(a.get(o.host.Procfs, "swaps")), at: at, states: map[string]string{}}
	for _, name := range a.names(o.host.Procfs, "spl/kstat/zfs") {
		if _, err := a.reader.Stat(filepath.Join(o.host.Procfs, "spl/kstat/zfs", name, "state")); err == nil { // others are counters of ZFS itself
			l.pools = append(l.pools, name)
			if state := a.get(o.host.Procfs, "spl/kstat/zfs", name, "state"); state != "" && state != "ONLINE" {
				l.states[name] = state
			}
		}
	}
	return l
}

// swaps reads /proc/swaps: the block devices' names.
func swaps(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if name, _, _ := strings.Cut(line, " "); strings.HasPrefix(name, "/dev/") {
			out = append(out, filepath.Base(strings.TrimSpace(name)))
		}
	}
	return out
}

var nvmeDisk = regexp.MustCompile(`^(?:/dev/)?(nvme\d+n\d+)(?:p\d+)?$`)

// stale are the mounts and swaps of NVMe disks that are gone: whoever uses them meets errors, and they stay until somebody
// lets go of them.
func (o *Observer) stale(l surroundings) []layer.Layer {
	gone := func(device string) bool {
		m := nvmeDisk.FindStringSubmatch(device)
		if m == nil {
			return false
		}
		_, err := l.a.reader.Stat(filepath.Join(o.host.Sysfs, "block", m[1]))
		return errors.Is(err, fs.ErrNotExist)
	}
	var out []layer.Layer
	for _, m := range l.mounts {
		if gone(m.Source) {
			out = append(out, layer.Layer{Kind: layer.Mount, Name: m.Point})
		}
	}
	if slices.ContainsFunc(l.swaps, gone) {
		out = append(out, layer.Layer{Kind: layer.Swap})
	}
	return out
}

// namespace reads one namespace. A hidden path node (nvme0c1n2) stands for the head nvme0n2, which lies below the
// subsystem and not below the controller (drivers/nvme/host/multipath.c).
func (o *Observer) namespace(l surroundings, controllerDir, name string) Namespace {
	a := l.a
	dir := filepath.Join(controllerDir, name)
	ns := Namespace{Device: name}
	if m := pathName.FindStringSubmatch(name); m != nil {
		ns.Paths, ns.Device = []string{name}, "nvme"+m[1]+"n"+m[2]
		dir = filepath.Join(o.host.Sysfs, "block", ns.Device)
	}
	ns.NSID, ns.WWID, ns.ReadOnly = int(a.number(dir, "nsid")), a.get(dir, "wwid"), a.number(dir, "ro") == 1
	ns.SizeBytes = a.number(dir, "size") * 512 // sysfs counts in 512 bytes whatever the block size
	ns.LogicalBlockSize = int(a.number(dir, "queue/logical_block_size"))
	ns.EUI, ns.NGUID, ns.UUID = a.get(dir, "eui"), a.get(dir, "nguid"), a.get(dir, "uuid")
	if l.slow {
		for text := range strings.FieldsSeq(a.get(dir, "inflight")) {
			n, _ := strconv.ParseInt(text, 10, 64)
			ns.InFlight += n
		}
	}
	children := a.names(dir)
	if slices.Contains(children, "diag") {
		if n := a.number(dir, "diag/command_error_count"); n >= 0 {
			count := uint64(n)
			ns.CommandErrors = &count
		}
	}
	seq := a.get(dir, "diskseq")
	note := func(device, dir string) {
		ns.Users = append(ns.Users, o.users(l, device, dir)...)
		if o.onDisk == nil || ns.SizeBytes == 0 {
			return
		}
		content := o.onDisk.of(a, filepath.Join(o.host.Dev, device), device+" "+seq, l.at)
		if content == (layer.Layer{}) {
			return
		}
		ns.Contents = append(ns.Contents, content)
		if content.Kind == layer.Pool && content.Name != "" {
			ns.Users = append(ns.Users, l.poolUsers(content.Name)...)
		}
	}
	note(ns.Device, dir)
	for _, child := range children {
		if partitionName.MatchString(child) {
			note(child, filepath.Join(dir, child))
		}
	}
	ns.Users, ns.Contents = distinct(ns.Users), distinct(ns.Contents)
	return ns
}

// heads joins the paths of one controller to the same multipath head, and sorts by device.
func heads(list []Namespace) []Namespace {
	slices.SortFunc(list, func(x, y Namespace) int { return strings.Compare(x.Device, y.Device) })
	var out []Namespace
	for _, ns := range list {
		if n := len(out); n > 0 && out[n-1].Device == ns.Device {
			out[n-1].Paths = append(out[n-1].Paths, ns.Paths...)
			continue
		}
		out = append(out, ns)
	}
	return out
}

// distinct drops repetitions and keeps the order.
func distinct(list []layer.Layer) []layer.Layer {
	var out []layer.Layer
	for _, l := range list {
		if !slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	return out
}

// maxStack is how many block devices may lie upon each other: partition, md, LUKS, LVM, thin pool, volume.
const maxStack = 8

// users are what holds a block device: file systems by the mount table, swap, and what lies on the devices that hold it.
func (o *Observer) users(l surroundings, device, dir string) []layer.Layer {
	return o.usersAbove(l, device, dir, maxStack)
}

func (o *Observer) usersAbove(l surroundings, device, dir string, depth int) []layer.Layer {
	var out []layer.Layer
	number := l.a.get(dir, "dev")
	for _, m := range l.mounts {
		if number != "" && m.Device == number {
			out = append(out, layer.Layer{Kind: layer.Mount, Name: m.Point})
		}
	}
	if slices.Contains(l.swaps, device) {
		out = append(out, layer.Layer{Kind: layer.Swap})
	}
	if depth == 0 {
		return out
	}
	for _, holder := range l.a.names(dir, "holders") {
		above := filepath.Join(o.host.Sysfs, "block", holder)
		out = append(out, l.holder(holder, above))
		out = append(out, o.usersAbove(l, holder, above, depth-1)...)
	}
	return distinct(out)
}

// holder names a device that lies upon another: the volume group of an LVM volume, any other device-mapper device, md.
func (l surroundings) holder(name, dir string) layer.Layer {
	dm := l.a.get(dir, "dm/name")
	switch {
	case dm == "":
		if strings.HasPrefix(name, "md") {
			return layer.Layer{Kind: layer.MD, Name: name}
		}
		return layer.Layer{Kind: layer.Holder, Name: name}
	case strings.HasPrefix(l.a.get(dir, "dm/uuid"), "LVM-"):
		return layer.Layer{Kind: layer.VolumeGroup, Name: volumeGroup(dm)}
	default:
		return layer.Layer{Kind: layer.DM, Name: dm}
	}
}

// volumeGroup is the group in the name of an LVM volume, where a single hyphen separates group and volume and the hyphens
// of each are doubled (dmsetup(8)).
func volumeGroup(dm string) string {
	for i := 0; i < len(dm); i++ {
		if dm[i] != '-' {
			continue
		}
		if i+1 < len(dm) && dm[i+1] == '-' {
			i++
			continue
		}
		dm = dm[:i]
		break
	}
	return strings.ReplaceAll(dm, "--", "-")
}

// poolUsers are a ZFS pool that is imported and where its file systems are mounted: their device numbers are of no disk.
func (l surroundings) poolUsers(pool string) []layer.Layer {
	var out []layer.Layer
	if slices.Contains(l.pools, pool) {
		out = append(out, layer.Layer{Kind: layer.Pool, Name: pool})
	}
	for _, m := range l.mounts {
		if m.Type == "zfs" && (m.Source == pool || strings.HasPrefix(m.Source, pool+"/")) {
			out = append(out, layer.Layer{Kind: layer.Mount, Name: m.Point})
		}
	}
	return out
}
