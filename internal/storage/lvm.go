package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"labd/internal/host"
)

// LVM is what LVM says of its volume groups. Asked is false where no entry needs it; Err is why it cannot be told.
type LVM struct {
	Asked  bool
	Err    error
	Groups map[string]VolumeGroup
	// Hidden are groups that LVM's filters or its devices file keep from view: their disks are there.
	Hidden []string
	// Devices are the disks that LVM shows with their group, "" for one that is in none; AllDevices are those without its
	// filters. Both are by the name that LVM has for them, "/dev/sdb1".
	Devices, AllDevices map[string]string
}

// knows reports whether LVM shows a device, so that what lies on it is in its lists.
func (l *LVM) knows(d *Block) bool {
	_, ok := l.Devices["/dev/"+d.Name]
	if _, mapped := l.Devices["/dev/mapper/"+d.Mapper]; mapped && d.Mapper != "" {
		ok = true
	}
	return ok && l.Asked && l.Err == nil
}

// resolve adds the kernel's names of the devices that LVM calls otherwise, as /dev/disk/by-id/… or /dev/md/….
func (l LVM) resolve(h *host.Host) LVM {
	reader := h.NewReader(0)
	defer reader.Close()
	for _, devices := range []map[string]string{l.Devices, l.AllDevices} {
		for _, name := range slices.Collect(maps.Keys(devices)) {
			rest, ok := strings.CutPrefix(name, "/dev/")
			if target, err := reader.Link(filepath.Join(h.Dev, rest)); ok && err == nil && !strings.HasPrefix(rest, "mapper/") {
				devices["/dev/"+path.Base(target)] = devices[name]
				delete(devices, name)
			}
		}
	}
	return l
}

// obstacles are what LVM has and does not show, or has not made active. Volumes of guests are made active when the guest
// starts, and hold what is the guest's.
func (l *LVM) obstacles() (out []obstacle) {
	if !l.Asked {
		return nil
	}
	if l.Err != nil {
		return []obstacle{{"the disks", fmt.Sprintf("LVM cannot be asked (%v)", l.Err), "vgs, pvs, lvs", ""}}
	}
	for _, device := range slices.Sorted(maps.Keys(l.AllDevices)) {
		if _, seen := l.Devices[device]; !seen {
			out = append(out, obstacle{device, fmt.Sprintf("LVM's filter or devices file keeps %s from view", device), "pvs", "lvmdevices --adddev " + device})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.Groups)) {
		g := l.Groups[name]
		for _, volume := range slices.Sorted(maps.Keys(g.Volumes)) {
			if v := g.Volumes[volume]; !v.Active() && v.holdsData() && !isGuestVolume(volume) {
				out = append(out, obstacle{name + "/" + volume, fmt.Sprintf("volume %s of group %s is not active%s", volume, name, lacking(g)), "lvs", "lvchange -ay " + name + "/" + volume})
			}
		}
	}
	return out
}

// VolumeGroup is one volume group.
type VolumeGroup struct {
	// Missing is how many of its physical volumes are not there. The volumes on the others may well be intact.
	Missing int
	// Devices are its physical volumes that are there, as "/dev/sdb1".
	Devices []string
	Volumes map[string]Volume
}

// Volume is one logical volume by its lv_attr (lvs(8)). Pool is the thin pool that it is in.
type Volume struct{ Attr, Pool string }

// holdsData reports whether a volume is one of its own, and no part of another: by the first letter of lv_attr.
func (v Volume) holdsData() bool { return !strings.ContainsRune("tTeiIldDC", rune(v.flag(0))) }

func (v Volume) flag(i int) byte {
	if i < len(v.Attr) {
		return v.Attr[i]
	}
	return '-'
}

// IsPool tells a thin pool, Active whether the kernel has it. Health is what ails it, "" when nothing does.
func (v Volume) IsPool() bool { return v.flag(0) == 't' }

// Active tells whether the kernel has the volume.
func (v Volume) Active() bool { return v.flag(4) == 'a' }

// Health is what ails the volume; "" when nothing does.
func (v Volume) Health() string {
	switch v.flag(8) {
	case 'p':
		return "parts of it lie on a disk that is missing"
	case 'F':
		return "it has failed"
	case 'D':
		return "it is out of space"
	case 'M':
		return "its metadata is read-only"
	case 'X':
		return "it is in an unknown state"
	}
	return ""
}

// lvmRow is one row of a report of LVM; every value is a string.
type lvmRow map[string]string

// parseLVM reads what vgs, pvs and lvs print with --reportformat json. kind is "vg", "pv" or "lv".
func parseLVM(kind string, data []byte) ([]lvmRow, error) {
	var out struct {
		Report []map[string][]lvmRow `json:"report"`
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("read LVM's report: %w", err)
	}
	if out.Report == nil {
		return nil, errors.New("read LVM's report: it has none")
	}
	var rows []lvmRow
	for _, r := range out.Report {
		rows = append(rows, r[kind]...)
	}
	return rows, nil
}

// groupsOf puts the rows of the three reports together.
func groupsOf(vgs, pvs, lvs []lvmRow) map[string]VolumeGroup {
	groups := map[string]VolumeGroup{}
	for _, row := range vgs {
		if row["vg_name"] == "" {
			continue
		}
		g := VolumeGroup{Volumes: map[string]Volume{}}
		// The fourth letter of vg_attr says that it is partial (vgs(8)).
		if attr := row["vg_attr"]; len(attr) > 3 && attr[3] == 'p' {
			g.Missing = 1
		}
		groups[row["vg_name"]] = g
	}
	missing := map[string]int{}
	for _, row := range pvs {
		name := row["vg_name"]
		if name == "" {
			continue
		}
		// A disk of a group that vgs does not show speaks for the group all the same.
		g, ok := groups[name]
		if !ok {
			g = VolumeGroup{Volumes: map[string]Volume{}}
		}
		if row["pv_missing"] != "" || strings.HasPrefix(row["pv_name"], "[") {
			missing[name]++
			g.Missing = missing[name]
		} else {
			g.Devices = append(g.Devices, row["pv_name"])
		}
		groups[name] = g
	}
	for _, row := range lvs {
		if g, ok := groups[row["vg_name"]]; ok && row["lv_name"] != "" {
			g.Volumes[strings.Trim(row["lv_name"], "[]")] = Volume{Attr: row["lv_attr"], Pool: row["pool_lv"]}
		}
	}
	return groups
}

// Deadlines of the programs that read disks.
const (
	lvmTimeout = 10 * time.Second
	zfsTimeout = 10 * time.Second
)

// readLVM asks LVM. wanted are the groups that entries name: where one is not seen, or all is wanted, LVM is asked once
// more without its filters and its devices file.
func readLVM(ctx context.Context, h *host.Host, wanted []string, all bool) LVM {
	out := LVM{Asked: true}
	report := func(kind string, args ...string) []lvmRow {
		if out.Err != nil {
			return nil
		}
		data, err := runTool(ctx, h, lvmTimeout, kind+"s", append([]string{"--reportformat", "json"}, args...)...)
		if err != nil {
			out.Err = err
			return nil
		}
		rows, err := parseLVM(kind, data)
		out.Err = err
		return rows
	}
	vgs := report("vg", "-o", "vg_name,vg_attr")
	pvs := report("pv", "-o", "pv_name,vg_name,pv_missing")
	lvs := report("lv", "-o", "vg_name,lv_name,lv_attr,pool_lv")
	if out.Err != nil {
		return out
	}
	out.Groups = groupsOf(vgs, pvs, lvs)
	out.Devices, out.AllDevices = map[string]string{}, map[string]string{}
	for _, row := range pvs {
		out.Devices[row["pv_name"]] = row["vg_name"]
	}
	if !all && !slices.ContainsFunc(wanted, func(name string) bool { _, seen := out.Groups[name]; return !seen }) {
		return out
	}
	for _, row := range report("pv", "-o", "pv_name,vg_name", "--config", `devices { filter=["a|.*|"] global_filter=["a|.*|"] use_devicesfile=0 }`) {
		out.AllDevices[row["pv_name"]] = row["vg_name"]
		if _, seen := out.Groups[row["vg_name"]]; !seen && row["vg_name"] != "" && !slices.Contains(out.Hidden, row["vg_name"]) {
			out.Hidden = append(out.Hidden, row["vg_name"])
		}
	}
	return out
}

// runTool runs a program that only looks.
func runTool(ctx context.Context, h *host.Host, timeout time.Duration, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return h.Run(ctx, host.Cmd{Name: name, Args: args})
}

// lvmKey changes with everything that can change LVM's answer: the kernel's list of block devices, the volumes that are
// active, and the copies of metadata that LVM keeps of each change made on this host.
func lvmKey(reader *host.Reader, paths host.Paths) string {
	var b strings.Builder
	data, _ := reader.File(filepath.Join(paths.Procfs, "partitions"))
	b.Write(data)
	for _, dir := range []string{filepath.Join(paths.Dev, "mapper"), filepath.Join(paths.Etc, "lvm/backup"), filepath.Join(paths.Etc, "lvm/archive"), filepath.Join(paths.Etc, "lvm")} {
		if info, err := reader.Stat(dir); err == nil {
			fmt.Fprintln(&b, dir, info.ModTime().UnixNano())
		}
	}
	return b.String()
}

// isVolumeName reports whether a name may be a logical volume's: /dev/mapper/NAME, /dev/GROUP/VOLUME.
func isVolumeName(what string) bool {
	dir, _, ok := strings.Cut(strings.TrimPrefix(what, "/dev/"), "/")
	return ok && strings.HasPrefix(what, "/dev/") && !slices.Contains([]string{"disk", "md", "zvol", "bcache", "drbd", "rbd", "nbd", "etherd", "block"}, dir)
}
