package storage

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"labd/internal/host"
	"labd/internal/plan"
	"labd/internal/pve"
)

// truth is what is so about a generated storage.
type truth struct {
	id, kind string
	// state is live, dead, down, masked, undecided, malformed, unsupported or orphan.
	state  string
	shared bool
	// blocked says that something that cannot be taken away hangs on it here, soft that something that can.
	blocked, soft bool
	// elsewhere says that other members have the entry, too.
	elsewhere bool
	removable bool
}

// generate makes the facts of a random host, and what is so.
func generate(random *rand.Rand) (*Facts, []truth) {
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	one := func(in int) bool { return random.IntN(in) == 0 }
	f := &Facts{
		At: noon, Node: "pve1", Sources: map[string]Source{}, Devices: map[string]Device{}, Directories: map[string]Directory{}, References: map[string][]pve.Reference{},
		LVM: LVM{Asked: true, Groups: map[string]VolumeGroup{}}, ZFS: ZFS{Asked: true, Pools: map[string]string{}, Importable: map[string]string{}, Missing: map[string]bool{}},
		Servers: map[string]Server{}, Mounts: []host.Mount{{Point: "/", Type: "ext4", Source: "/dev/sda1"}}, Seen: map[string]Seen{}, Removable: map[string]bool{},
		Uptime: time.Duration(random.IntN(60)) * time.Minute, UptimeKnown: !one(5), Importers: map[string][]string{}, Effects: Effects{Jobs: map[string]map[string]string{}},
	}
	f.Cluster = pve.Cluster{Mounted: !one(40), Quorate: !one(40), Node: "pve1"}
	members := 1 + random.IntN(3)
	for i := range members {
		f.Cluster.Members = append(f.Cluster.Members, pve.Member{Name: fmt.Sprintf("pve%d", i+1), Online: i == 0 || one(2)})
	}
	f.Blocks.Asked = true
	if one(40) {
		f.Blocks.Locked = []string{"a disk is not unlocked"}
	}
	var text strings.Builder
	text.WriteString("dir: local\n\tpath /var/lib/vz\n\tcontent iso\n\n")
	var all []truth
	for i := range 1 + random.IntN(6) {
		x := truth{id: fmt.Sprintf("s%d", i), kind: pick("dir", "btrfs", "lvm", "lvmthin", "zfspool", "nfs", "pbs", "truenas", "broken")}
		nodes := pick("", "pve1", "pve1,pve2", "old", "pve1,old", "")
		here := nodes != "old"
		x.elsewhere = members > 1 && (nodes == "" || nodes == "pve1,pve2")
		x.state = pick("live", "dead", "dead", "down", "undecided")
		body := describe(f, &x, random)
		if nodes != "" {
			body += "\tnodes " + nodes + "\n"
		}
		if one(6) && (x.kind == "dir" || x.kind == "lvm") {
			x.shared = true
			body += "\tshared 1\n"
		}
		if one(6) {
			body += "\tdisable\n"
		}
		if !here && x.kind != "truenas" && x.kind != "broken" {
			x.state = "orphan"
		}
		text.WriteString(body + "\n")
		for range random.IntN(3) {
			refer(f, &x, random)
		}
		if one(3) {
			f.Seen[x.id] = Seen{Dead: noon.Add(-time.Duration(random.IntN(200)) * time.Hour), Removable: one(3)}
			x.removable = f.Seen[x.id].Removable
		}
		all = append(all, x)
	}
	f.Text = []byte(text.String())
	f.Config = pve.ParseStorageConfig(f.Text, pve.StorageConfigOptions{})
	return f, all
}

// describe writes an entry and puts what it is on into the facts.
func describe(f *Facts, x *truth, random *rand.Rand) string {
	one := func(in int) bool { return random.IntN(in) == 0 }
	switch x.kind {
	case "dir", "btrfs":
		point, what := "/mnt/pve/"+x.id, "/dev/disk/by-uuid/"+x.id
		f.Sources[point] = Source{What: what, Point: point, Unit: "mnt-pve-" + x.id + ".mount", File: "/etc/systemd/system/mnt-pve-" + x.id + ".mount"}
		f.Directories[point] = Directory{Exists: true}
		f.Devices[what] = map[string]Device{"live": DevicePresent, "dead": DeviceGone, "down": DevicePresent, "undecided": DeviceUnknown}[x.state]
		if x.state == "live" {
			fsType := "ext4"
			if x.kind == "btrfs" {
				fsType = "btrfs"
			}
			f.Mounts = append(f.Mounts, host.Mount{Point: point, Type: fsType, Source: what})
		}
		body := x.kind + ": " + x.id + "\n\tpath " + point + "\n\tcontent images\n"
		if x.kind == "btrfs" || !one(4) {
			return body + "\tis_mountpoint 1\n"
		}
		if x.state == "dead" || x.state == "down" {
			x.state = "masked"
		}
		return body
	case "lvm", "lvmthin":
		group := VolumeGroup{Volumes: map[string]Volume{"thin": {Attr: "twi-aotz--"}}}
		switch x.state {
		case "down":
			group.Missing = 1
			fallthrough
		case "live":
			f.LVM.Groups["vg"+x.id] = group
		case "undecided":
			if one(2) {
				f.LVM.Hidden = append(f.LVM.Hidden, "vg"+x.id)
			} else {
				f.LVM.Groups["vg"+x.id] = VolumeGroup{Missing: 1, Volumes: map[string]Volume{}}
			}
		}
		body := x.kind + ": " + x.id + "\n\tvgname vg" + x.id + "\n\tcontent images\n"
		if x.kind == "lvmthin" {
			body += "\tthinpool thin\n"
		}
		return body
	case "zfspool":
		switch x.state {
		case "live":
			f.ZFS.Pools["pool"+x.id] = "DEGRADED"
		case "down":
			f.ZFS.Pools["pool"+x.id] = "SUSPENDED"
		case "undecided":
			f.ZFS.Importable["pool"+x.id] = "UNAVAIL"
		}
		return "zfspool: " + x.id + "\n\tpool pool" + x.id + "\n\tcontent images\n"
	case "nfs", "pbs":
		if x.state == "dead" {
			x.state = "down" // a server is never gone
		}
		f.Servers[x.id] = Server{Reach: map[string]Reach{"live": Answers, "down": Silent}[x.state]}
		if x.kind == "nfs" {
			if x.state == "live" {
				f.Mounts = append(f.Mounts, host.Mount{Point: "/mnt/pve/" + x.id, Type: "nfs4", Source: "nas:/x"})
			} else {
				x.state = "down"
			}
			return "nfs: " + x.id + "\n\tserver nas\n\texport /x\n"
		}
		return "pbs: " + x.id + "\n\tserver b\n\tdatastore d\n\tcontent backup\n"
	case "truenas":
		x.state = "unsupported"
		return "truenas: " + x.id + "\n\tserver a\n"
	default:
		x.state = "malformed"
		return "lvmthin: " + x.id + "\n\tvgname v\n\tcontent images\n"
	}
}

// refer adds a reference.
func refer(f *Facts, x *truth, random *rand.Rand) {
	r := pve.Reference{Line: 1}
	kept := false
	switch random.IntN(4) {
	case 0: // a disk of a guest here
		r.File, r.Key, r.Value, r.Grade = "nodes/pve1/qemu-server/100.conf", "scsi0", x.id+":vm-100-disk-0", pve.Block
	case 1: // a disk of a guest elsewhere
		r.File, r.Key, r.Value, r.Grade = "nodes/pve2/lxc/200.conf", "rootfs", x.id+":subvol-200", pve.Block
		kept = x.elsewhere && x.state == "dead"
	case 2:
		r.File, r.Key, r.Value, r.Grade = "nodes/pve1/qemu-server/101.conf", "ide2", x.id+":iso/a.iso,media=cdrom", pve.Fixable
	case 3:
		r.File, r.Section, r.Key, r.Value, r.Grade = "jobs.cfg", "b1", "storage", x.id, pve.Fixable
		kept = x.elsewhere && x.state == "dead"
	}
	f.References[x.id] = append(f.References[x.id], r)
	switch {
	case kept:
	case r.Grade == pve.Block:
		x.blocked = true
	default:
		x.soft = true
	}
}

// Whatever the configuration, no plan touches a storage that is live, shared, local, referenced or undecided; nor does a
// bare fix-storage take one without its name that it must be named for.
func TestNoPlanTouchesALiveStorage(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	planned, disabled, bare := map[string]int{}, 0, 0
	for n := range 10_000 {
		f, all := generate(random)
		r := Diagnose(f, DefaultPolicy())
		for _, e := range r.Entries {
			if seen, ok := f.Seen[e.ID]; ok {
				seen.Of, seen.Present = e.fingerprint(), e.name()
				seen.watch = watch{Waited: noon.Sub(seen.Dead), Checks: minChecks, Uptime: f.Uptime}
				f.Seen[e.ID] = seen
			}
		}
		r = Diagnose(f, DefaultPolicy())
		for _, x := range all {
			for _, fixRefs := range []bool{false, true} {
				p, err := PlanRemoval(f, r, []string{x.id}, Options{FixRefs: fixRefs})
				if err != nil {
					continue
				}
				planned[x.state+" "+x.kind]++
				if reason := forbidden(f, x, fixRefs); reason != "" {
					t.Fatalf("%d: %s\n%s\n%+v\n%+v", n, reason, f.Text, x, p)
				}
				checkSteps(t, f, x, p)
			}
			if p, err := PlanDisable(f, r, []string{x.id}); err == nil {
				disabled++
				if x.state == "live" || x.state == "undecided" && x.kind != "lvm" && x.kind != "lvmthin" && x.kind != "zfspool" || !f.Cluster.Quorate {
					t.Fatalf("%d: %s is switched off\n%s\n%+v", n, x.state, f.Text, p)
				}
			}
		}
		if _, err := PlanRemoval(f, r, []string{"local"}, Options{FixRefs: true}); err == nil {
			t.Fatal("a plan to remove local")
		}
		for _, id := range r.Candidates() {
			bare++
			x := all[slices.IndexFunc(all, func(x truth) bool { return x.id == id })]
			if reason := forbidden(f, x, false); reason != "" || x.kind == "zfspool" || x.kind == "nfs" || x.kind == "pbs" || x.removable || f.UptimeKnown && f.Uptime < minUptime {
				t.Fatalf("%d: a bare fix-storage takes %s\n%s\n%+v", n, reason, f.Text, x)
			}
		}
	}
	for _, want := range []string{"dead dir", "dead btrfs", "dead lvm", "dead lvmthin", "dead zfspool", "orphan nfs", "orphan pbs", "malformed broken", "unsupported truenas"} {
		if planned[want] == 0 {
			t.Errorf("no configuration led to a plan for %s: this test does not see it; %v", want, planned)
		}
	}
	if disabled == 0 || bare == 0 {
		t.Errorf("%d were switched off, %d taken without a name", disabled, bare)
	}
}

// forbidden says why there must be no plan to remove a storage.
func forbidden(f *Facts, x truth, fixRefs bool) string {
	switch {
	case !f.Cluster.Mounted || !f.Cluster.Quorate:
		return "the cluster is not well"
	case x.state == "masked" && f.Devices["/dev/disk/by-uuid/"+x.id] == DeviceGone && f.Blocks.Locked == nil: // by its name
	case x.state != "dead" && x.state != "orphan" && x.state != "malformed" && x.state != "unsupported":
		return "it is " + x.state
	case x.shared && x.state == "dead":
		return "it is shared"
	case x.blocked:
		return "something hangs on it"
	case x.soft && !fixRefs:
		return "something names it"
	case x.state == "dead" && len(f.Blocks.Locked) > 0 && x.kind != "dir" && x.kind != "btrfs":
		return "it may lie in a locked disk"
	}
	return ""
}

// checkSteps checks that a plan touches only what it is for: an entry that others have is never removed nor switched off,
// and never widened.
func checkSteps(t *testing.T, f *Facts, x truth, p *plan.Plan) {
	t.Helper()
	for _, s := range p.Steps {
		if x.elsewhere && x.state == "dead" && (s.Op == opDelete || s.Op == opDisable) {
			t.Fatalf("others have it, and the plan says %s\n%s", s.How, f.Text)
		}
		if strings.Contains(s.How, "delete=nodes") {
			t.Fatalf("the plan widens it: %s", s.How)
		}
		for _, other := range f.Config.Sections {
			if other.ID != x.id && (strings.Contains(s.How, "/storage/"+other.ID+" ") || strings.Contains(s.How, "mnt-pve-"+other.ID+".mount")) {
				t.Fatalf("the plan for %s touches %s: %s", x.id, other.ID, s.How)
			}
		}
	}
}
