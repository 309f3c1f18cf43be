package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"labd/internal/host"
)

// Blocks are the block devices of the host, and what is known to be elsewhere: all that a name which is missing may lie in.
type Blocks struct {
	// Asked is false where no entry needed it. Err is why the devices cannot be told.
	Asked bool
	Err   error
	List  []Block
	// Arrays are the md arrays that /proc/mdstat lists; NoArrays says that it could not be read.
	Arrays   []Array
	NoArrays bool
	// Pools are the imported ZFS pools, by the kernel's word.
	Pools []string
	// Locked are disks of crypttab that are there, or may be, and not unlocked.
	Locked []string
	// Remote are disks of other machines that this host is set up to attach, and has not.
	Remote []Remote
	// LVM is what LVM says of all its groups, also without its filters; asked where a device or a name is LVM's.
	LVM LVM
}

// Block is one block device.
type Block struct {
	// Name is the kernel's, sdb1; Mapper what device-mapper calls it. Size is in bytes.
	Name, Mapper string
	Size         int64
	// Partitions says that the kernel shows partitions of it.
	Partitions bool
	// Holders are the devices that are put together from it and work.
	Holders []string
	// Stopped is the array that it belongs to and that does not work.
	Stopped string
	// Use is what uses it: "mounted at /srv", "swap", "a disk of guest 100"; "" for nothing.
	Use string
	// Signatures are what its content says, Blank that there is nothing. Unread is why it is not known.
	Signatures []signature
	Blank      bool
	Unread     string
	// System is what a partition is for that holds no storage.
	System string
	// Entry is its line of the partition table.
	Entry partition
}

// Array is an md array by /proc/mdstat.
type Array struct {
	Name   string
	Active bool
}

// Remote is a disk of another machine.
type Remote struct {
	// What names it: "iSCSI target iqn…"; Where is the file that says so.
	What, Where string
}

// minStorage is the least size of a device that may hold a storage or a part of one, in bytes: a LUKS2 header alone takes
// 16 MiB.
const minStorage = 16 << 20

// dm is what sysfs says of a device-mapper device.
type dm struct{ name, uuid string }

// blockReader reads the block devices of a host.
type blockReader struct {
	host   *host.Host
	reader *host.Reader
	mounts []host.Mount
	guests guestDisks
	swaps  map[string]bool
	zvols  map[string]string
	tools  map[string][]blockInfo
}

// readBlocks looks at all block devices: sysfs lists them, /dev where there is no sysfs. The first and last bytes are read of
// those that nothing uses; what lsblk says counts besides.
func readBlocks(ctx context.Context, h *host.Host, node string) Blocks {
	reader := h.NewReader(deviceTimeout)
	defer reader.Close()
	out := Blocks{Asked: true}
	r := &blockReader{host: h, reader: reader, swaps: map[string]bool{}}
	var err error
	if r.mounts, err = h.Mounts(ctx); err != nil {
		out.Err = err
		return out
	}
	names, err := r.names()
	if err != nil {
		out.Err = fmt.Errorf("list the block devices: %w", err)
		return out
	}
	r.readSwaps()
	r.zvols = r.readZvols()
	r.guests = readGuestDisks(reader, h, node)
	r.tools = r.askLsblk(ctx)
	mdstat, err := reader.File(filepath.Join(h.Procfs, "mdstat"))
	out.Arrays, out.NoArrays = parseMdstat(mdstat), err != nil
	out.Pools, _ = reader.Names(filepath.Join(h.Procfs, "spl/kstat/zfs"))
	out.Locked = lockedDisks(reader, h.Paths)
	out.Remote = readRemote(reader, h.Paths)
	for _, name := range names {
		if b, ok := r.block(name, out.Arrays); ok {
			out.List = append(out.List, b)
		}
	}
	r.readContents(ctx, out.List)
	return out
}

// Of reading devices: how long one may take, which may sleep, and how many are read at once.
const (
	deviceTimeout = 12 * time.Second
	readsAtOnce   = 8
)

// notDisks are the kernel's names of devices that hold no storage: RAM, compressed swap, optical and floppy drives.
var notDisks = regexp.MustCompile(`^(ram|zram|sr|fd|scd)[0-9]+$`)

// diskName is the names of disks in a /dev without sysfs.
var diskName = regexp.MustCompile(`^([hsv]d[a-z]+[0-9]*|xvd[a-z]+[0-9]*|nvme[0-9]+n[0-9]+(p[0-9]+)?|mmcblk[0-9]+(p[0-9]+)?|md[0-9]+(p[0-9]+)?|dm-[0-9]+|bcache[0-9]+(p[0-9]+)?|loop[0-9]+(p[0-9]+)?|zd[0-9]+(p[0-9]+)?|nbd[0-9]+(p[0-9]+)?|drbd[0-9]+|rbd[0-9]+(p[0-9]+)?|pmem[0-9]+)$`)

func (r *blockReader) names() ([]string, error) {
	names, err := r.reader.Names(filepath.Join(r.host.Sysfs, "class/block"))
	if errors.Is(err, fs.ErrNotExist) {
		names, err = r.reader.Names(r.host.Dev)
		names = slices.DeleteFunc(names, func(n string) bool { return !diskName.MatchString(n) })
	}
	return slices.DeleteFunc(names, notDisks.MatchString), err
}

func (r *blockReader) dir(name string) string {
	return filepath.Join(r.host.Sysfs, "class/block", name)
}

// block reads what sysfs says of a device; ok is false for one without a size, as a loop device that is not set up.
func (r *blockReader) block(name string, arrays []Array) (b Block, ok bool) {
	dir := r.dir(name)
	b.Name = name
	sectors, err := r.reader.Attr(filepath.Join(dir, "size"))
	if err == nil {
		n, err := strconv.ParseInt(sectors, 10, 64)
		if err != nil || n == 0 {
			return b, false
		}
		b.Size = n * 512 // sysfs counts in sectors of 512 bytes whatever the device's are
	}
	if entries, err := r.reader.Names(dir); err == nil {
		b.Partitions = slices.ContainsFunc(entries, func(e string) bool {
			_, err := r.reader.Stat(filepath.Join(dir, e, "partition"))
			return strings.HasPrefix(e, name) && err == nil
		})
	} else if all, err := r.reader.Names(r.host.Dev); err == nil {
		b.Partitions = slices.ContainsFunc(all, func(e string) bool { return isPartitionOf(e, name) })
	}
	holders, _ := r.reader.Names(filepath.Join(dir, "holders"))
	for _, h := range holders {
		if r.works(h, arrays) {
			b.Holders = append(b.Holders, h)
		} else {
			b.Stopped = h
		}
	}
	mapper := r.dm(name)
	b.Mapper = mapper.name
	number, _ := r.reader.Attr(filepath.Join(dir, "dev"))
	switch m, mounted := r.mountOf(name, number, mapper); {
	case mounted:
		b.Use = "mounted at " + m.Point
	case r.swaps[name] || mapper.name != "" && r.swaps[mapper.name]:
		b.Use = "swap"
	case isInternalLV(mapper.uuid):
		b.Use = "a part of an LVM volume"
	case isGuestVolume(lvOf(mapper.name)), isGuestVolume(path.Base(r.zvols[name])), strings.HasPrefix(name, "rbd"):
		b.Use = "a guest's disk"
	default:
		b.Use = r.guests.user(name, mapper.name)
	}
	return b, true
}

// isPartitionOf reports whether one kernel name is that of a partition of another: sdb1 of sdb, nvme0n1p1 of nvme0n1.
func isPartitionOf(part, disk string) bool {
	rest, ok := strings.CutPrefix(part, disk)
	if !ok || rest == "" {
		return false
	}
	if last := disk[len(disk)-1]; last >= '0' && last <= '9' {
		if rest, ok = strings.CutPrefix(rest, "p"); !ok {
			return false
		}
	}
	_, err := strconv.Atoi(rest)
	return err == nil
}

// works reports whether a device that holds others is put together: an md array that is inactive is not.
func (r *blockReader) works(name string, arrays []Array) bool {
	if i := slices.IndexFunc(arrays, func(a Array) bool { return a.Name == name }); i >= 0 && !arrays[i].Active {
		return false
	}
	if state, err := r.reader.Attr(filepath.Join(r.dir(name), "md/array_state")); err == nil && (state == "inactive" || state == "clear") {
		return false
	}
	size, err := r.reader.Attr(filepath.Join(r.dir(name), "size"))
	return err == nil && size != "0"
}

func (r *blockReader) dm(name string) dm {
	mapper, _ := r.reader.Attr(filepath.Join(r.dir(name), "dm/name"))
	uuid, _ := r.reader.Attr(filepath.Join(r.dir(name), "dm/uuid"))
	return dm{mapper, uuid}
}

// mountOf finds what is mounted from a device: by its number, or by the name that the mount table has, since some file
// systems have numbers of their own.
func (r *blockReader) mountOf(name, number string, mapper dm) (host.Mount, bool) {
	for _, m := range r.mounts {
		base := strings.TrimPrefix(m.Source, "/dev/")
		if number != "" && m.Device == number || m.Source != base && (base == name || mapper.name != "" && base == "mapper/"+mapper.name) {
			return m, true
		}
	}
	return host.Mount{}, false
}

// readSwaps reads /proc/swaps (proc(5)): the first column is the device.
func (r *blockReader) readSwaps() {
	data, err := r.reader.File(filepath.Join(r.host.Procfs, "swaps"))
	if err != nil {
		return
	}
	for line := range strings.Lines(string(data)) {
		if device, _, _ := strings.Cut(strings.TrimSpace(line), " "); strings.HasPrefix(device, "/dev/") {
			r.swaps[strings.TrimPrefix(strings.TrimPrefix(device, "/dev/"), "mapper/")] = true
		}
	}
}

// readZvols finds the names of the volumes of pools, by kernel name: udev makes /dev/zvol/POOL/NAME.
func (r *blockReader) readZvols() map[string]string {
	out := map[string]string{}
	var walk func(dir string, depth int)
	walk = func(dir string, depth int) {
		names, err := r.reader.Names(dir)
		if err != nil || depth > 8 {
			return
		}
		for _, n := range names {
			file := filepath.Join(dir, n)
			if target, err := r.reader.Link(file); err == nil {
				out[path.Base(target)] = file
			} else {
				walk(file, depth+1)
			}
		}
	}
	walk(filepath.Join(r.host.Dev, "zvol"), 0)
	return out
}

// internalLV is the ids of device-mapper devices that are parts of LVM volumes: LVM-, the ids of group and volume, a name.
var internalLV = regexp.MustCompile(`^LVM-[A-Za-z0-9]{64}-`)

func isInternalLV(uuid string) bool { return internalLV.MatchString(uuid) }

// guestVolume is how PVE names the volumes of guests: vm-100-disk-0, base-9000-disk-1, subvol-101-disk-0, snapshots of them.
var guestVolume = regexp.MustCompile(`^(snap_)?(vm|base|subvol)-[0-9]+-`)

func isGuestVolume(name string) bool { return guestVolume.MatchString(name) }

// splitMapper takes the name that device-mapper gives a volume apart: a dash inside is doubled (libdm, dm_split_lvm_name).
func splitMapper(name string) (group, volume string, ok bool) {
	for i := 1; i < len(name)-1; i++ {
		if name[i] != '-' {
			continue
		}
		if name[i+1] == '-' {
			i++
			continue
		}
		undouble := strings.NewReplacer("--", "-")
		return undouble.Replace(name[:i]), undouble.Replace(name[i+1:]), true
	}
	return "", "", false
}

func lvOf(mapper string) string {
	_, volume, _ := splitMapper(mapper)
	return volume
}

// parseMdstat reads /proc/mdstat: "md127 : inactive sdb1[0](S)" (linux/drivers/md/md.c, md_seq_show).
func parseMdstat(data []byte) []Array {
	var out []Array
	for line := range strings.Lines(string(data)) {
		name, rest, ok := strings.Cut(line, " : ")
		if ok && strings.HasPrefix(name, "md") {
			out = append(out, Array{Name: name, Active: strings.HasPrefix(rest, "active")})
		}
	}
	return out
}

// readContents reads the first and last bytes of the devices that may hide something.
func (r *blockReader) readContents(ctx context.Context, list []Block) {
	slots := make(chan struct{}, readsAtOnce)
	heads := make([][]byte, len(list))
	var wg sync.WaitGroup
	for i := range list {
		b := &list[i]
		for _, info := range r.tools[b.Name] {
			if info.FSType != "" {
				b.Signatures = append(b.Signatures, signature{Type: info.FSType, UUID: info.UUID, Label: info.Label})
			}
			b.Entry = partition{Type: info.PartType, UUID: info.PartUUID, Label: info.PartLabel}
			b.System = systemPartitions[strings.ToLower(info.PartType)]
		}
		if len(b.Holders) > 0 || b.Use == "a part of an LVM volume" || b.Use == "a guest's disk" || b.Stopped != "" {
			continue
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			heads[i] = r.readContent(b)
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return
	}
	for i := range list {
		parts, ok := partitionsOf(heads[i])
		if !ok {
			continue
		}
		for j := range list {
			number, err := strconv.Atoi(strings.TrimPrefix(strings.TrimPrefix(list[j].Name, list[i].Name), "p"))
			if p, known := parts[number]; err == nil && known && isPartitionOf(list[j].Name, list[i].Name) {
				if list[j].Entry.UUID == "" {
					list[j].Entry = p
				}
				if what := systemPartitions[p.Type]; what != "" {
					list[j].System = what
				}
			}
		}
	}
}

// readContent reads one device and returns its first bytes.
func (r *blockReader) readContent(b *Block) []byte {
	reader := r.host.NewReader(deviceTimeout)
	defer reader.Close()
	file := filepath.Join(r.host.Dev, b.Name)
	head, err := reader.Part(file, 0, headSize)
	var tail []byte
	if err == nil && !b.Partitions && b.Size > headSize {
		tail, err = reader.Part(file, b.Size-tailSize, tailSize)
	}
	if err != nil {
		if len(b.Signatures) == 0 {
			b.Unread = err.Error()
		}
		return nil
	}
	for _, s := range signaturesOf(head, tail, b.Size) {
		i := slices.IndexFunc(b.Signatures, func(have signature) bool { return have.Type == s.Type })
		switch {
		case i < 0:
			b.Signatures = append(b.Signatures, s)
		case b.Signatures[i].UUID == "" || b.Signatures[i].Label == "" && s.Label != "":
			b.Signatures[i] = s
		}
	}
	b.Blank = isBlank(head, tail)
	if parts, ok := partitionsOf(head); ok && len(parts) > 0 && !b.Partitions && len(b.Signatures) == 0 {
		b.Signatures = append(b.Signatures, signature{Type: "partitions"})
	} else if ok && len(parts) == 0 {
		b.Blank = true // an empty table
	}
	return head
}

// blockInfo is what lsblk says of a device.
type blockInfo struct {
	KName     string `json:"kname"`
	FSType    string `json:"fstype"`
	UUID      string `json:"uuid"`
	Label     string `json:"label"`
	PartType  string `json:"parttype"`
	PartUUID  string `json:"partuuid"`
	PartLabel string `json:"partlabel"`
}

// askLsblk asks lsblk, which reads udev's database. Where it cannot be run, what labd reads itself is all there is.
func (r *blockReader) askLsblk(ctx context.Context) map[string][]blockInfo {
	data, err := runTool(ctx, r.host, lvmTimeout, "lsblk", "--json", "--list", "-o", "KNAME,FSTYPE,UUID,LABEL,PARTTYPE,PARTUUID,PARTLABEL")
	if err != nil {
		return nil
	}
	return parseLsblk(data)
}

// parseLsblk reads what lsblk --json prints, by kernel name.
func parseLsblk(data []byte) map[string][]blockInfo {
	var report struct {
		BlockDevices []blockInfo `json:"blockdevices"`
	}
	if json.Unmarshal(data, &report) != nil {
		return nil
	}
	out := map[string][]blockInfo{}
	for _, b := range report.BlockDevices {
		out[b.KName] = append(out[b.KName], b)
	}
	return out
}

// guestDisks are the devices of the host that guests of this node are given as a whole, by path as written and by what that
// leads to.
type guestDisks map[string]string

// devicePathText is a path of a device in a guest's configuration.
var devicePathText = regexp.MustCompile(`/dev/[^\s,;"']+`)

func readGuestDisks(reader *host.Reader, h *host.Host, node string) guestDisks {
	out := guestDisks{}
	for _, kind := range []string{"qemu-server", "lxc"} {
		dir := filepath.Join(h.PVE, "nodes", node, kind)
		names, err := reader.Names(dir)
		if err != nil {
			continue
		}
		for _, name := range names {
			id, ok := strings.CutSuffix(name, ".conf")
			if !ok {
				continue
			}
			data, err := reader.File(filepath.Join(dir, name))
			if err != nil {
				continue
			}
			for _, device := range devicePathText.FindAllString(string(data), -1) {
				file := filepath.Join(h.Dev, strings.TrimPrefix(device, "/dev/"))
				if target, err := reader.Link(file); err == nil {
					file = target
				}
				out[path.Base(file)] = "a disk of guest " + id
			}
		}
	}
	return out
}

// user returns which guest has a device, or the disk that it is a partition of.
func (g guestDisks) user(name, mapper string) string {
	if use := g[name]; use != "" {
		return use
	}
	if use := g[mapper]; mapper != "" && use != "" {
		return use
	}
	for disk, use := range g {
		if isPartitionOf(name, disk) {
			return use
		}
	}
	return ""
}

// blocksKey changes when a device, an array or a mapping comes or goes.
func blocksKey(reader *host.Reader, paths host.Paths) string {
	var b strings.Builder
	for _, name := range []string{"partitions", "mdstat", "swaps"} {
		data, _ := reader.File(filepath.Join(paths.Procfs, name))
		b.Write(data)
	}
	for _, dir := range []string{filepath.Join(paths.Dev, "mapper"), filepath.Join(paths.Dev, "disk/by-uuid"), filepath.Join(paths.Etc, "iscsi"), filepath.Join(paths.Etc, "crypttab")} {
		if info, err := reader.Stat(dir); err == nil {
			fmt.Fprintln(&b, dir, info.ModTime().UnixNano())
		}
	}
	return b.String()
}

// has reports whether a device has a signature.
func (b *Blocks) has(signature string) bool {
	return slices.ContainsFunc(b.List, func(d Block) bool {
		for _, s := range d.Signatures {
			if s.Type == signature {
				return true
			}
		}
		return false
	})
}
