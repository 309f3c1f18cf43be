package storage

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/plan"
	"labd/test/fixture"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// base is a PVE node with a directory storage on a disk of its own.
const base = `
-- dev/sda --
-- dev/sdb --
-- dev/disk/by-uuid/ROOT --
-- dev/disk/by-uuid/USB1 --
-- etc/fstab --
UUID=ROOT / ext4 errors=remount-ro 0 1
-- etc/systemd/system/mnt-pve-usb1.mount --
[Install]
WantedBy=multi-user.target

[Mount]
Options=defaults
Type=ext4
What=/dev/disk/by-uuid/USB1
Where=/mnt/pve/usb1

[Unit]
Description=Mount storage 'usb1' under /mnt/pve

-- etc/systemd/system/multi-user.target.wants/mnt-pve-usb1.mount -> /etc/systemd/system/mnt-pve-usb1.mount --
-- etc/pve/local -> nodes/pve1 --
-- etc/pve/nodes/pve1/lrm_status --
-- etc/pve/storage.cfg --
dir: local
	path /var/lib/vz
	content backup,iso,vztmpl

dir: usb1
	path /mnt/pve/usb1
	content backup,images
	is_mountpoint 1
	nodes pve1

-- proc/1/mountinfo --
20 1 8:1 / / rw - ext4 /dev/sda1 rw
30 20 8:16 / /mnt/pve/usb1 rw - ext4 /dev/sdb rw
`

// unmounted and gone are what befalls the disk.
const unmounted = "\n-- proc/1/mountinfo --\n20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"

// world materialises base with files replaced, or removed where a patch says "-- name -> (gone) --".
func world(t testing.TB, patches ...string) *host.Host {
	t.Helper()
	dir := t.TempDir()
	files := map[string]txtar.File{}
	name := func(f txtar.File) string { n, _, _ := strings.Cut(f.Name, " -> "); return n }
	for _, text := range append([]string{base}, patches...) {
		for _, f := range txtar.Parse([]byte(text)).Files {
			if strings.HasSuffix(f.Name, " -> (gone)") {
				delete(files, name(f))
				continue
			}
			files[name(f)] = f
		}
	}
	var archive txtar.Archive
	for f := range maps.Values(files) {
		archive.Files = append(archive.Files, f)
	}
	if err := fixture.Materialise(dir, txtar.Format(&archive)); err != nil {
		t.Fatal(err)
	}
	paths := host.DefaultPaths()
	paths.Procfs, paths.Dev, paths.Etc, paths.PVE = filepath.Join(dir, "proc"), filepath.Join(dir, "dev"), filepath.Join(dir, "etc"), filepath.Join(dir, "etc/pve")
	paths.Sysfs, paths.State, paths.Usr = filepath.Join(dir, "sys"), filepath.Join(dir, "state"), filepath.Join(dir, "usr")
	paths.Run = filepath.Join(dir, "run/labd")
	if programs, err := filepath.Glob(filepath.Join(dir, "bin/*")); err == nil && len(programs) > 0 {
		paths.Exec = filepath.Join(dir, "bin")
		for _, program := range programs {
			if err := os.Chmod(program, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	return host.New(paths, "")
}

// pulledLive is a disk that was pulled while it was mounted.
const pulledLive = "\n-- dev/disk/by-uuid/USB1 -> (gone) --\n-- dev/sdb -> (gone) --\n"

// mountedFrom is a mount table with that type and source at the storage's mount point.
func mountedFrom(typeAndSource string) string {
	return unmounted + "30 20 8:16 / /mnt/pve/usb1 rw - " + typeAndSource + " rw\n"
}

// unitOf is the mount unit with another device.
func unitOf(what string) string {
	return "\n-- etc/systemd/system/mnt-pve-usb1.mount --\n[Mount]\nWhat=" + what + "\nWhere=/mnt/pve/usb1\n"
}

func look(t testing.TB, h *host.Host) (*Facts, *Report) {
	t.Helper()
	f, err := NewObserver(Inputs{Host: h, Node: "pve1", Memory: NewMemory(h.State, nil), Now: func() time.Time { return noon }}).Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return f, Diagnose(f, DefaultPolicy())
}

const pulled = "\n-- dev/disk/by-uuid/USB1 -> (gone) --\n-- dev/sdb -> (gone) --\n" + unmounted

func cfg(sections string) string {
	return "\n-- etc/pve/storage.cfg --\ndir: local\n\tpath /var/lib/vz\n\tcontent iso\n\n" + sections
}

const usb1 = "dir: usb1\n\tpath /mnt/pve/usb1\n\tcontent backup\n\tis_mountpoint 1\n\tnodes pve1\n\n"

func TestVerdicts(t *testing.T) {
	for _, tt := range []struct {
		name    string
		patches []string
		want    string
	}{
		{"mounted", nil, "ok"},
		{"there and not mounted", []string{unmounted}, "down storage.down"},
		{"pulled", []string{pulled}, "gone storage.device-gone"},
		{"pulled while mounted", []string{pulledLive}, "gone storage.device-gone"},
		{"its link is lost and the disk is mounted", []string{"\n-- dev/disk/by-uuid/USB1 -> (gone) --\n"}, "ok"},
		{"another disk is mounted by hand", []string{pulled, mountedFrom("ext4 /dev/sdc1"), "\n-- dev/sdc1 --\n"}, "ok"},
		{"a dataset is mounted by hand", []string{pulled, mountedFrom("zfs tank/usb1")}, "ok"},
		{"mounted from a volume that cannot be seen", []string{pulled, mountedFrom("ext4 /dev/mapper/vg-usb1")}, "unknown storage.unknown"},
		{"only an automount", []string{pulled, mountedFrom("autofs systemd-1")}, "gone storage.device-gone"},
		{"a locked disk may hold it", []string{pulled, "\n-- etc/crypttab --\ncryptusb /dev/disk/by-partuuid/P1 none luks\n-- dev/disk/by-partuuid/P1 --\n"}, "unknown storage.unknown"},
		{"the locked disk is gone too", []string{pulled, "\n-- etc/crypttab --\ncryptusb /dev/disk/by-partuuid/P1 none luks\n-- dev/disk/by-partuuid/P2 --\n"}, "gone storage.device-gone"},
		{"all disks are unlocked", []string{pulled, "\n-- etc/crypttab --\n# c\ncryptusb /dev/sda none\n-- dev/mapper/cryptusb --\n"}, "gone storage.device-gone"},
		{"a volume that is not active", []string{pulled, unitOf("/dev/mapper/vg-usb1"), "\n-- dev/mapper/control --\n"}, "unknown storage.unknown"},
		{"an array that is stopped", []string{pulled, unitOf("/dev/md0")}, "unknown storage.unknown"},
		{"a kernel name", []string{pulled, unitOf("/dev/sdb")}, "gone storage.device-gone"},
		{"a specifier", []string{pulled, unitOf("/dev/disk/by-uuid/%i")}, "unknown storage.unknown"},
		{"the same name in other letters", []string{pulled, "\n-- dev/disk/by-uuid/usb1 --\n"}, "unknown storage.unknown"},
		{"a label with a blank, there", []string{unmounted, unitOf("LABEL=my disk"), "\n-- dev/disk/by-label/my\\x20disk --\n"}, "down storage.down"},
		{"a label with a blank, gone", []string{unmounted, unitOf("LABEL=my disk"), "\n-- dev/disk/by-label/other --\n"}, "gone storage.device-gone"},
		{"a drop-in names another device", []string{unmounted, "\n-- dev/disk/by-uuid/USB1 -> (gone) --\n-- dev/disk/by-uuid/NEW --\n-- etc/systemd/system/mnt-pve-usb1.mount.d/new.conf --\n[Mount]\nWhat=/dev/disk/by-uuid/NEW\n"}, "down storage.down"},
		{"without is_mountpoint, switched off and gone", []string{pulled, cfg(strings.Replace(usb1, "is_mountpoint 1", "disable", 1))}, "disabled"},
		{"a directory on a disk that is gone", []string{pulled, cfg("dir: usb1\n\tpath /mnt/pve/usb1/dump\n\n")}, "masked storage.masked"},
		{"a directory on a disk that is not mounted", []string{unmounted, cfg("dir: usb1\n\tpath /mnt/pve/usb1/dump\n\n")}, "masked storage.masked"},
		{"is_mountpoint names a directory above", []string{pulled, cfg("dir: usb1\n\tpath /mnt/pve/usb1/dump\n\tis_mountpoint /mnt/pve/usb1\n\n")}, "gone storage.device-gone"},
		{"pulled and switched off", []string{pulled, cfg(usb1[:len(usb1)-1] + "\tdisable\n\n")}, "gone storage.device-gone"},
		{"switched off", []string{unmounted, cfg(usb1[:len(usb1)-1] + "\tdisable\n\n")}, "disabled"},
		{"no directory of links", []string{pulled, "\n-- dev/disk/by-uuid/ROOT -> (gone) --\n"}, "unknown storage.unknown"},
		{"a dangling link", []string{pulled, "\n-- dev/disk/by-uuid/USB1 -> ../../sdb --\n"}, "gone storage.device-gone"},
		{"named in fstab", []string{pulled, "\n-- etc/systemd/system/mnt-pve-usb1.mount -> (gone) --\n-- etc/fstab --\nUUID=USB1 /mnt/pve/usb1 ext4 nofail 0 2\n"}, "gone storage.device-gone"},
		{"named nowhere", []string{unmounted, "\n-- etc/systemd/system/mnt-pve-usb1.mount -> (gone) --\n"}, "down storage.down"},
		{"unit of another mount point", []string{pulled, "\n-- etc/systemd/system/mnt-pve-usb1.mount --\n[Mount]\nWhat=/dev/disk/by-uuid/USB1\nWhere=/mnt/other\n"}, "down storage.down"},
		{"without is_mountpoint and gone", []string{pulled, cfg(strings.Replace(usb1, "\tis_mountpoint 1\n", "", 1))}, "masked storage.masked"},
		{"without is_mountpoint and not mounted", []string{unmounted, cfg(strings.Replace(usb1, "\tis_mountpoint 1\n", "", 1))}, "masked storage.masked"},
		{"without is_mountpoint and mounted", []string{cfg(strings.Replace(usb1, "\tis_mountpoint 1\n", "", 1))}, "ok"},
		{"malformed", []string{cfg("dir: usb1\n\tcontent backup\n\n")}, "malformed storage.malformed"},
		{"a type PVE does not know", []string{cfg("truenas: usb1\n\tserver a\n\n")}, "unsupported storage.unsupported"},
		{"a share that is not mounted", []string{cfg("nfs: usb1\n\tserver a\n\texport /x\n\n"), unmounted}, "down storage.down"},
		{"another node's", []string{"\n-- etc/pve/.members --\n" + members("pve1", "pve2"), cfg(strings.Replace(usb1, "nodes pve1", "nodes pve2", 1))}, "absent"},
		{"nobody's, and its disk is mounted here", []string{"\n-- etc/pve/.members --\n" + members("pve1", "pve2"), cfg(strings.Replace(usb1, "nodes pve1", "nodes old", 1))}, "misplaced storage.misplaced"},
		{"nobody's, and its disk is here", []string{unmounted, "\n-- etc/pve/.members --\n" + members("pve1", "pve2"), cfg(strings.Replace(usb1, "nodes pve1", "nodes old", 1))}, "misplaced storage.misplaced"},
		{"nobody's, below a disk that is mounted here", []string{"\n-- etc/systemd/system/mnt-pve-usb1.mount -> (gone) --\n-- etc/pve/.members --\n" + members("pve1", "pve2"), cfg("dir: usb1\n\tpath /mnt/pve/usb1/dump\n\tcontent iso\n\tnodes old\n\n")}, "misplaced storage.misplaced"},
		{"nobody's", []string{pulled, "\n-- etc/pve/.members --\n" + members("pve1", "pve2"), cfg(strings.Replace(usb1, "nodes pve1", "nodes old", 1))}, "orphan-node storage.orphan-node"},
		{"mount table unreadable", []string{"\n-- proc/1/mountinfo -> (gone) --\n"}, "unknown storage.unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, r := look(t, world(t, tt.patches...))
			got := "absent"
			if e, ok := r.Entry("usb1"); ok {
				got = strings.TrimSpace(e.Verdict + " " + strings.Join(finding.Codes(r.Findings, r.Subject(e)), ","))
				if e.Reason == "" {
					t.Error("no reason is given")
				}
			}
			if got != tt.want {
				t.Errorf("got %q, want %q; entries %+v", got, tt.want, r.Entries)
			}
		})
	}
}

func members(names ...string) string {
	var list []string
	for i, n := range names {
		list = append(list, fmt.Sprintf(`"%s": { "id": %d, "online": %d, "ip": "10.0.0.%d"}`, n, i+1, 1-i%2, i+1))
	}
	return fmt.Sprintf(`{"nodename": %q, "version": 4, "cluster": { "name": "lab", "version": 2, "nodes": %d, "quorate": 1 }, "nodelist": { %s } }`+"\n", names[0], len(names), strings.Join(list, ", "))
}

// Every guard refuses, and says why.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name, patch, want string
	}{
		{"live", base, "not gone"},
		{"merely down", unmounted, "not gone"},
		{"storage.cfg missing", pulled + "\n-- etc/pve/storage.cfg -> (gone) --\n", "missing or empty"},
		{"storage.cfg empty", pulled + "\n-- etc/pve/storage.cfg --\n", "missing or empty"},
		{"no quorum", pulled + "\n-- etc/pve/.members --\n" + strings.Replace(members("pve1", "pve2"), `"quorate": 1`, `"quorate": 0`, 1), "quorum"},
		{"malformed neighbour", pulled + cfg(usb1+"dir: broken\n\tcontent iso\n\n"), "malformed"},
		{"unknown neighbour", pulled + cfg(usb1+"truenas: x1\n\tserver a\n\n"), "does not know the type"},
		{"shared", pulled + cfg(strings.Replace(usb1, "is_mountpoint 1\n", "is_mountpoint 1\n\tshared 1\n", 1)), "shared"},
		{"a storage below it", pulled + cfg(usb1+"dir: inner\n\tpath /mnt/pve/usb1/inner\n\n"), "below"},
		{"a guest's disk", pulled + "\n-- etc/pve/nodes/pve9/qemu-server/100.conf --\nscsi0: usb1:100/vm-100-disk-0.qcow2\n", "100.conf"},
		{"a backup job", pulled + "\n-- etc/pve/jobs.cfg --\nvzdump: backup-1\n\tschedule 02:00\n\tstorage usb1\n\n", "jobs.cfg"},
		{"vzdump.conf", pulled + "\n-- etc/vzdump.conf --\nstorage: usb1\n", "vzdump.conf"},
		{"a section that PVE skips", pulled + cfg(usb1+"dir: 1bad\n\tpath /x\n\n"), "skips the section"},
		{"a storage on the same live mount point", pulledLive + cfg(strings.Replace(strings.Replace(usb1, "path /mnt/pve/usb1", "path /mnt/pve/usb1/a", 1), "is_mountpoint 1", "is_mountpoint /mnt/pve/usb1", 1)+"dir: b1\n\tpath /mnt/pve/usb1/b\n\n"), "b1 is on the same mount point"},
		{"a container's bind mount", pulled + "\n-- etc/pve/nodes/pve1/lxc/101.conf --\nmp0: /mnt/pve/usb1/data,mp=/data\n", "101.conf"},
		{"a directory on a mount that lives on", pulledLive + cfg("dir: usb1\n\tpath /mnt/pve/usb1/dump\n\n"), "differ"},
		{"another disk is mounted", pulled + mountedFrom("ext4 /dev/sdc1") + "\n-- dev/sdc1 --\n", "not gone"},
		{"an automount", pulled + mountedFrom("autofs systemd-1"), "automount"},
		{"a unit, and fstab names a disk that is there", pulled + "\n-- etc/fstab --\nUUID=ROOT /mnt/pve/usb1 ext4 nofail 0 2\n", "fstab names UUID=ROOT"},
		{"a guest is locked", pulled + "\n-- etc/pve/nodes/pve1/qemu-server/100.conf --\nlock: backup\nunused0: usb1:100/vm-100-disk-0.raw\n", "locked (backup)"},
		{"what could be fixed", pulled + "\n-- etc/pve/nodes/pve1/qemu-server/100.conf --\nide2: usb1:iso/a.iso,media=cdrom\n", "--fix-refs takes that away"},
		{"a system path", pulled + cfg("dir: usb1\n\tpath /home\n\tcontent iso\n\tis_mountpoint 1\n\n") + "\n-- etc/fstab --\nUUID=USB1 /home ext4 nofail 0 2\n", "part of the system"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, r := look(t, world(t, tt.patch))
			p, err := PlanRemoval(f, r, []string{"usb1"}, Options{})
			var refused *plan.RefusedError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("plan %v, error %v; want a refusal that says %q", p, err, tt.want)
			}
			if e, ok := r.Entry("usb1"); ok && !e.CandidateAt.IsZero() {
				t.Error("it is a candidate")
			}
		})
	}
	// Without the link that pmxcfs makes, /etc/pve is not the cluster's.
	f, _ := look(t, world(t, pulled))
	f.Cluster.Mounted = false
	if _, err := PlanRemoval(f, Diagnose(f, DefaultPolicy()), []string{"usb1"}, Options{}); err == nil || !strings.Contains(err.Error(), "not mounted") {
		t.Errorf("cluster file system down: %v", err)
	}
	f, r := look(t, world(t))
	for _, id := range []string{"local", "nope", "../x"} {
		if _, err := PlanRemoval(f, r, []string{id}, Options{}); err == nil {
			t.Errorf("a plan to remove %q", id)
		}
	}
}

func TestPlan(t *testing.T) {
	ops := func(patches ...string) (out []string, p *plan.Plan) {
		f, r := look(t, world(t, patches...))
		p, err := PlanRemoval(f, r, []string{"usb1"}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range p.Steps {
			out = append(out, s.Op)
		}
		return out, p
	}
	single, p := ops(pulled)
	want := []string{opDisable, opStopUnit, opDelete, opRemoveUnit, opRemoveDir}
	if diff := cmp.Diff(want, single); diff != "" || len(p.Digest) != 64 {
		t.Errorf("digest %q, -want +got:\n%s", p.Digest, diff)
	}
	// In a cluster an entry for several nodes, or for all, loses this node only; the offline member stays.
	cluster := "\n-- etc/pve/.members --\n" + members("pve1", "pve2", "pve3")
	for name, section := range map[string]string{
		"pve2,pve3": strings.Replace(usb1, "\tnodes pve1\n", "", 1),
		"pve2":      strings.Replace(usb1, "nodes pve1", "nodes pve1,pve2,old", 1),
	} {
		got, p := ops(pulled, cluster, cfg(section))
		// It is never switched off: the others may well use it.
		if diff := cmp.Diff([]string{opDropNode, opStopUnit, opRemoveUnit, opRemoveDir}, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
		if how := p.Steps[0].How; !strings.Contains(how, "nodes="+name+",") || strings.Contains(how, "delete") {
			t.Errorf("%s: %s", name, how)
		}
	}
	// The digest follows the facts, and nothing else: not the order of a set, not a comment, not a file's time.
	h := world(t, pulled)
	digest := func(section string) string {
		t.Helper()
		file := filepath.Join(h.PVE, "storage.cfg")
		if err := os.WriteFile(file, []byte("dir: local\n\tpath /var/lib/vz\n\tcontent iso\n\n"+section), 0o640); err != nil {
			t.Fatal(err)
		}
		f, r := look(t, h)
		p, err := PlanRemoval(f, r, []string{"usb1"}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return p.Digest
	}
	a := digest(strings.Replace(usb1, "content backup", "content images,backup", 1))
	b := digest("# a comment\n" + strings.Replace(usb1, "content backup", "content backup,images", 1))
	c := digest(strings.Replace(usb1, "nodes pve1", "nodes pve1\n\tshared 0", 1))
	if a != b || a == c {
		t.Errorf("digests %s %s %s", a, b, c)
	}
}

// uptime is a host that has been up for so long, in its boot of that id.
func uptime(t *testing.T, h *host.Host, boot string, up time.Duration) {
	t.Helper()
	file := filepath.Join(h.Procfs, "sys/kernel/random/boot_id")
	if err := errors.Join(
		os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(boot+"\n"), 0o600),
		os.WriteFile(filepath.Join(h.Procfs, "uptime"), []byte(fmt.Sprintf("%.2f 1.00\n", up.Seconds())), 0o600),
	); err != nil {
		t.Fatal(err)
	}
}

// Grace is counted by the time since the boot, in looks that found the storage dead, and not by the clock.
func TestGrace(t *testing.T) {
	h := world(t)
	at := noon
	observer := func() *Observer {
		return NewObserver(Inputs{Host: h, Node: "pve1", Memory: NewMemory(h.State, nil), Now: func() time.Time { return at }})
	}
	o := observer()
	see := func() Entry {
		t.Helper()
		f, err := o.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r := Diagnose(f, DefaultPolicy())
		if err := o.Memory.Note(r); err != nil {
			t.Fatal(err)
		}
		e, _ := r.Entry("usb1")
		return e
	}
	link := filepath.Join(h.Dev, "disk/by-uuid/USB1")
	plug := func(in bool) {
		t.Helper()
		table := strings.TrimPrefix(unmounted, "\n-- proc/1/mountinfo --\n")
		err := os.WriteFile(filepath.Join(h.Procfs, "1/mountinfo"), []byte(table), 0o600)
		if in {
			err = errors.Join(err, os.WriteFile(link, nil, 0o600))
		} else {
			err = errors.Join(err, os.Remove(link))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	uptime(t, h, "a", time.Hour)
	see() // it is here, and remembered to be
	plug(false)
	if e := see(); !e.CandidateAt.Equal(noon.Add(72 * time.Hour)) {
		t.Errorf("candidate at %v (%s)", e.CandidateAt, e.Waits)
	}
	// The clock jumps, as with a battery that is empty: nothing is due.
	at = noon.Add(1000 * time.Hour)
	uptime(t, h, "a", time.Hour+time.Minute)
	if e := see(); !e.CandidateAt.Equal(at.Add(72*time.Hour - time.Minute)) {
		t.Errorf("after the clock jumped: candidate at %v", e.CandidateAt)
	}
	// The time goes on over restarts of labd, and over a boot, of which only the time since counts.
	o = observer()
	uptime(t, h, "a", 41*time.Hour)
	if e := see(); !e.GoneSince.Equal(noon) || !e.CandidateAt.Equal(at.Add(32*time.Hour)) {
		t.Errorf("after a restart: gone since %v, candidate at %v", e.GoneSince, e.CandidateAt)
	}
	uptime(t, h, "b", 20*time.Hour)
	if e := see(); !e.CandidateAt.Equal(at.Add(12 * time.Hour)) {
		t.Errorf("after a boot: candidate at %v", e.CandidateAt)
	}
	uptime(t, h, "b", 33*time.Hour)
	if e := see(); e.CandidateAt.IsZero() || e.CandidateAt.After(at) {
		t.Errorf("after 72 h: candidate at %v", e.CandidateAt)
	}
	// It comes back for a moment: the grace begins anew.
	plug(true)
	see()
	plug(false)
	if e := see(); !e.GoneSince.Equal(at) || !e.CandidateAt.Equal(at.Add(72*time.Hour)) {
		t.Errorf("after it came back: gone since %v, candidate at %v", e.GoneSince, e.CandidateAt)
	}
	// A torn state file begins the grace anew, and never ends it early, as the copy before it would. What was seen here is
	// not known any more, so the storage has to be named.
	at = at.Add(time.Hour)
	file := filepath.Join(h.State, "storage-seen.json")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(file, whole[:len(whole)/2], 0o600), os.WriteFile(file+".old", whole, 0o600)); err != nil {
		t.Fatal(err)
	}
	o = observer()
	if e := see(); !e.GoneSince.Equal(at) || !e.CandidateAt.IsZero() {
		t.Errorf("after a torn file: gone since %v, candidate at %v", e.GoneSince, e.CandidateAt)
	}
}

// A memory of the version before counted by the clock: its time is not taken over, and what it remembers stays readable.
func TestMemoryOfTheVersionBefore(t *testing.T) {
	h := world(t, pulled)
	uptime(t, h, "a", time.Hour)
	memory := NewMemory(h.State, nil)
	if err := memory.file.Save(map[string]any{"usb1": map[string]any{"dead": noon.Add(-500 * time.Hour), "of": "dir /mnt/pve/usb1 /dev/disk/by-uuid/USB1  gone", "removable": true}}); err != nil {
		t.Fatal(err)
	}
	f, r := look(t, h)
	e, _ := r.Entry("usb1")
	if !f.Seen["usb1"].Removable || !e.GoneSince.Equal(noon.Add(-500*time.Hour)) || e.watch.Waited != 0 || e.watch.Checks != 1 {
		t.Errorf("seen %+v, gone since %v, watch %+v", f.Seen["usb1"], e.GoneSince, e.watch)
	}
}

func FuzzFstab(f *testing.F) {
	f.Add([]byte("UUID=x /mnt/a\\040b ext4 defaults 0 2\n# c\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, line := range parseFstab(data) {
			if line.what == "" || line.point == "" {
				t.Errorf("empty field in %+v", line)
			}
		}
	})
}
