package hostmodel

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Answer is what a program of the host prints, and its exit status.
type Answer struct {
	Stdout, Stderr string
	Code           int
	// Absent says that the host has no such program.
	Absent bool
}

// Run is what a program of the host would do.
func (h *Host) Run(name string, args []string) Answer {
	words := strings.Join(args, " ")
	switch name {
	case "vgs", "pvs", "lvs":
		if h.lvmBroken {
			return Answer{Stderr: "  /run/lock/lvm/P_global: Permission denied\n", Code: 5}
		}
		return h.lvm(name, strings.Contains(words, "global_filter"))
	case "zpool", "zfs":
		if h.zfsBroken {
			return Answer{Stderr: "The ZFS modules cannot be auto-loaded.\n", Code: 1}
		}
		return h.zfs(name, args)
	case "blkid":
		return h.blkid(args)
	case "lsblk":
		return h.lsblk()
	case "systemctl", "udevadm":
		return Answer{}
	}
	return Answer{Absent: true}
}

func report(kind string, rows []map[string]string) Answer {
	if rows == nil {
		rows = []map[string]string{}
	}
	text, err := json.Marshal(map[string]any{"report": []map[string]any{{kind: rows}}})
	if err != nil {
		return Answer{Stderr: err.Error(), Code: 1}
	}
	return Answer{Stdout: string(text)}
}

// lvm answers as vgs, pvs and lvs with --reportformat json; all says that filters and the devices file do not count.
func (h *Host) lvm(name string, all bool) Answer {
	var vgs, pvs, lvs []map[string]string
	for _, g := range h.groups {
		missing := 0
		var rows []map[string]string
		for _, pv := range g.pvs {
			if !pv.visible() || pv.Name == "" || pv.Sig.Type != "LVM2_member" {
				missing++
				rows = append(rows, map[string]string{"pv_name": "[unknown]", "vg_name": g.name, "pv_missing": "missing", "pv_uuid": pv.Sig.UUID})
			} else {
				rows = append(rows, map[string]string{"pv_name": "/dev/" + pv.Name, "vg_name": g.name, "pv_missing": "", "pv_uuid": pv.Sig.UUID})
			}
		}
		if missing == len(g.pvs) || g.hidden && !all {
			continue
		}
		attr, health := "wz--n-", "-"
		if missing > 0 {
			attr, health = "wz-pn-", "p"
		}
		vgs = append(vgs, map[string]string{"vg_name": g.name, "vg_attr": attr})
		pvs = append(pvs, rows...)
		for _, v := range g.volumes {
			if v.removed {
				continue
			}
			state := "-"
			if v.active && missing == 0 && h.activeVolume(g, v) {
				state = "a"
			}
			lv := "-wi-" + state + "---" + health + "-"
			if v.thinPool {
				lv = "twi-" + state + "otz" + health + "-"
			}
			lvs = append(lvs, map[string]string{"vg_name": g.name, "lv_name": v.name, "lv_attr": lv})
		}
	}
	switch name {
	case "vgs":
		return report("vg", vgs)
	case "pvs":
		return report("pv", pvs)
	}
	return report("lv", lvs)
}

// activeVolume reports whether the kernel has the device of a volume, where the model has one.
func (h *Host) activeVolume(g *group, v *volume) bool {
	for _, d := range h.devices {
		if d.Kind == KindLV && d.Group == g && d.Volume == v.name {
			return d.visible()
		}
	}
	return true
}

func (h *Host) zfs(name string, args []string) Answer {
	imported := func(of string) *pool {
		for _, p := range h.pools {
			if p.name == of && p.imported {
				return p
			}
		}
		return nil
	}
	if name == "zfs" {
		var out, complaints strings.Builder
		for _, a := range args[1:] {
			if strings.HasPrefix(a, "-") || a == "name" || strings.Contains(a, ",") {
				continue
			}
			p := imported(strings.SplitN(a, "/", 2)[0])
			if p != nil && (p.name == a || slices.Contains(p.datasets, a)) {
				out.WriteString(a + "\n")
			} else {
				complaints.WriteString("cannot open '" + a + "': dataset does not exist\n")
			}
		}
		if complaints.Len() > 0 {
			return Answer{Stdout: out.String(), Stderr: complaints.String(), Code: 1}
		}
		return Answer{Stdout: out.String()}
	}
	var list, scan strings.Builder
	for _, p := range h.pools {
		seen := 0
		for _, v := range p.vdevs {
			if v.visible() && v.Name != "" && v.Sig.Type == "zfs_member" {
				seen++
			}
		}
		state := "ONLINE"
		if seen < len(p.vdevs) {
			state = "UNAVAIL"
		}
		switch {
		case p.destroyed:
		case p.imported && p.suspended:
			list.WriteString(p.name + "\tSUSPENDED\n")
		case p.imported && seen > 0:
			if state == "UNAVAIL" {
				state = "DEGRADED"
			}
			list.WriteString(p.name + "\t" + state + "\n")
		case seen > 0:
			fmt.Fprintf(&scan, "   pool: %s\n     id: 1234567890\n  state: %s\n action: The pool can be imported using its name or numeric identifier.\n config:\n\n\t%s  %s\n\n", p.name, state, p.name, state)
		}
	}
	for _, d := range h.devices {
		if d.Sig.Type == "zfs_member" && d.Sig.Label == "" && d.Name != "" && d.visible() {
			scan.WriteString("   pool: other\n     id: 99\n  state: ONLINE\n config:\n\n\tother  ONLINE\n\n")
		}
	}
	switch {
	case len(args) > 0 && args[0] == "list":
		return Answer{Stdout: list.String()}
	case len(args) > 0 && args[0] == "import":
		if scan.Len() == 0 {
			return Answer{Stderr: "no pools available to import\n", Code: 1}
		}
		return Answer{Stdout: scan.String()}
	}
	return Answer{}
}

// blkid answers as "blkid -o export" and "blkid -o udev" do, for all devices or those named.
func (h *Host) blkid(args []string) Answer {
	var out strings.Builder
	prefix := ""
	if slices.Contains(args, "udev") {
		prefix = "ID_FS_"
	}
	export := slices.Contains(args, "export") || slices.Contains(args, "udev")
	for _, d := range h.devices {
		if d.Name == "" || !d.visible() || d.Sig.Type == "" || d.Sig.Type == "unknown" || d.Sig.Type == "gpt" {
			continue
		}
		named := slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "/") })
		if named && !slices.ContainsFunc(args, func(a string) bool { return strings.HasSuffix(a, "/dev/"+d.Name) }) {
			continue
		}
		if export {
			fmt.Fprintf(&out, "DEVNAME=/dev/%s\n", d.Name)
			if d.Sig.UUID != "" {
				fmt.Fprintf(&out, "%sUUID=%s\n", prefix, d.Sig.UUID)
			}
			fmt.Fprintf(&out, "%sTYPE=%s\n\n", prefix, d.Sig.Type)
			continue
		}
		fmt.Fprintf(&out, "/dev/%s: UUID=\"%s\" TYPE=\"%s\"\n", d.Name, d.Sig.UUID, d.Sig.Type)
	}
	if out.Len() == 0 {
		return Answer{Code: 2}
	}
	return Answer{Stdout: out.String()}
}

// lsblk answers as "lsblk --json --list" does.
func (h *Host) lsblk() Answer {
	var rows []map[string]any
	for _, d := range h.devices {
		if d.Name == "" || !d.visible() {
			continue
		}
		row := map[string]any{"name": d.Name, "kname": d.Name, "path": "/dev/" + d.Name, "maj:min": d.number(), "type": "disk", "fstype": nil, "uuid": nil, "label": nil}
		if d.Kind == KindPartition {
			row["type"] = "part"
		}
		if d.Sig.Type != "" && d.Sig.Type != "unknown" && d.Sig.Type != "gpt" {
			row["fstype"], row["uuid"] = d.Sig.Type, d.Sig.UUID
		}
		rows = append(rows, row)
	}
	text, err := json.Marshal(map[string]any{"blockdevices": rows})
	if err != nil {
		return Answer{Stderr: err.Error(), Code: 1}
	}
	return Answer{Stdout: string(text)}
}
