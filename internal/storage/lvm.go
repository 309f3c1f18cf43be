package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
}

// VolumeGroup is one volume group.
type VolumeGroup struct {
	// Missing is how many of its physical volumes are not there. The volumes on the others may well be intact.
	Missing int
	// Devices are its physical volumes that are there, as "/dev/sdb1".
	Devices []string
	Volumes map[string]Volume
}

// Volume is one logical volume by its lv_attr (lvs(8)).
type Volume struct{ Attr string }

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
			g.Volumes[strings.Trim(row["lv_name"], "[]")] = Volume{Attr: row["lv_attr"]}
		}
	}
	return groups
}

// Deadlines of the programs that read disks.
const (
	lvmTimeout = 10 * time.Second
	zfsTimeout = 10 * time.Second
)

// readLVM asks LVM. wanted are the groups that entries name: where one is not seen, LVM is asked once more without its
// filters and its devices file.
func readLVM(ctx context.Context, h *host.Host, wanted []string) LVM {
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
	lvs := report("lv", "-o", "vg_name,lv_name,lv_attr")
	if out.Err != nil {
		return out
	}
	out.Groups = groupsOf(vgs, pvs, lvs)
	if !slices.ContainsFunc(wanted, func(name string) bool { _, seen := out.Groups[name]; return !seen }) {
		return out
	}
	for _, row := range report("pv", "-o", "pv_name,vg_name", "--config", `devices { filter=["a|.*|"] global_filter=["a|.*|"] use_devicesfile=0 }`) {
		if _, seen := out.Groups[row["vg_name"]]; !seen && row["vg_name"] != "" {
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
