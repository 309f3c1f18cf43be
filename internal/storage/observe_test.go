package storage

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/pve"
)

// seenUSB1 is the memory of a labd that has seen the disk, on a host that is up for long.
const seenUSB1 = "\n-- proc/uptime --\n360000.00 100.00\n-- seen --\n{\"usb1\":{\"present\":\"/dev/disk/by-uuid/USB1\"}}\n"

// remember puts what a world says was seen into its state directory.
func remember(t *testing.T, h *host.Host) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(filepath.Dir(h.Etc), "seen"))
	if err != nil {
		return
	}
	if err := NewMemory(h.State, nil).file.Save(json.RawMessage(data)); err != nil {
		t.Fatal(err)
	}
}

// What delays a bare fix-storage beyond the grace time, or keeps it off for good.
func TestWaits(t *testing.T) {
	usb := "\n-- sys/class/block/sdb -> ../../devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host4/target4:0:0/4:0:0:0/block/sdb --\n-- dev/disk/by-uuid/USB1 -> ../../sdb --\n"
	for _, tt := range []struct {
		name    string
		patches []string
		want    string // what Waits says; "" for a candidate after 72 h, "uptime" for one that waits for the host
	}{
		{"a disk inside", []string{pulled, seenUSB1}, ""},
		{"a disk that was never seen here", []string{pulled, "\n-- proc/uptime --\n360000.00 100.00\n"}, "never seen"},
		{"another disk was seen here", []string{pulled, strings.Replace(seenUSB1, "USB1", "OTHER", 1)}, "never seen"},
		{"a name of the kernel", []string{pulled, strings.Replace(seenUSB1, "/dev/disk/by-uuid/USB1", "/dev/sdb", 1), unitOf("/dev/sdb")}, "order of discovery"},
		{"the time since the boot is not known", []string{pulled, seenUSB1, "\n-- proc/uptime -> (gone) --\n"}, "clock"},
		{"by its options", []string{pulled, strings.Replace(unitOf("/dev/disk/by-uuid/USB1"), "[Mount]\n", "[Mount]\nOptions=noauto,nofail\n", 1)}, "removable"},
		{"by its name", []string{pulled, unitOf("/dev/disk/by-id/usb-WD_1-part1"), "\n-- dev/disk/by-id/x --\n"}, "removable"},
		{"the host is just up", []string{pulled, seenUSB1, "\n-- proc/uptime --\n60.00 100.00\n"}, ""},
		{"a pool", []string{cfg("zfspool: usb1\n\tpool tank\n\tnodes pve1\n\n"), zfsTools("", "no pools available to import\n", "")}, "only by its name"},
		{"a backup server of a removed node", []string{cfg("pbs: usb1\n\tserver a\n\tdatastore d\n\tcontent backup\n\tnodes old\n\n"), "\n-- etc/pve/.members --\n" + members("pve1", "pve2")}, "only by its name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := world(t, tt.patches...)
			remember(t, h)
			_, r := look(t, h)
			e, _ := r.Entry("usb1")
			if !strings.Contains(e.Waits, tt.want) || (tt.want != "") != e.CandidateAt.IsZero() {
				t.Errorf("waits %q, candidate at %v; %s", e.Waits, e.CandidateAt, e.Refusal)
			}
		})
	}
	// That it is on USB is remembered from when it was here.
	h := world(t, usb)
	memory := NewMemory(h.State, nil)
	see := func() Entry {
		t.Helper()
		f, err := NewObserver(Inputs{Host: h, Node: "pve1", Memory: memory, Now: func() time.Time { return noon }}).Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r := Diagnose(f, DefaultPolicy())
		if err := memory.Note(r); err != nil {
			t.Fatal(err)
		}
		e, _ := r.Entry("usb1")
		return e
	}
	if e := see(); e.Verdict != VerdictOK {
		t.Fatalf("%s: %s", e.Verdict, e.Reason)
	}
	for _, name := range []string{"disk/by-uuid/USB1", "sdb"} {
		if err := os.Remove(filepath.Join(h.Dev, name)); err != nil {
			t.Fatal(err)
		}
	}
	memory = NewMemory(h.State, nil) // labd was restarted
	if e := see(); e.Verdict != VerdictGone || !strings.Contains(e.Waits, "removable") {
		t.Errorf("%s, waits %q", e.Verdict, e.Waits)
	}
	// A grace time that is over does not count while the host is just up.
	h = world(t, pulled, seenUSB1)
	remember(t, h)
	f, _ := look(t, h)
	f.Uptime, f.UptimeKnown = time.Minute, true
	p := DefaultPolicy()
	p.Grace = 0
	if e, _ := Diagnose(f, p).Entry("usb1"); !e.CandidateAt.Equal(noon.Add(minUptime - time.Minute)) {
		t.Errorf("candidate at %v", e.CandidateAt)
	}
}

// The types are those of the PVE that runs: glusterfs is a share on 8.
func TestMajor(t *testing.T) {
	h := world(t, cfg("glusterfs: usb1\n\tserver a\n\tvolume v\n\n"), unmounted)
	for major, want := range map[int]string{8: VerdictDown, 9: VerdictUnsupported, 0: VerdictUnsupported} {
		o := NewObserver(Inputs{Host: h, Node: "pve1", Memory: NewMemory(h.State, nil), Now: func() time.Time { return noon }})
		o.Major = func() int { return major }
		f, err := o.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if e, _ := Diagnose(f, DefaultPolicy()).Entry("usb1"); e.Verdict != want {
			t.Errorf("on PVE %d it is %s: %s", major, e.Verdict, e.Reason)
		}
	}
}

// In a cluster a node gives up what it lost itself; what others have, and what that means for HA and replication, is named.
func TestClusterEffects(t *testing.T) {
	cluster := "\n-- etc/pve/.members --\n" + members("pve1", "pve2", "pve3") +
		"-- etc/pve/nodes/pve2/qemu-server/200.conf --\nscsi0: usb1:200/vm-200-disk-0.raw\n" +
		"-- etc/pve/ha/resources.cfg --\nvm: 200\n\tstate started\n\nct: 999\n\n"
	everywhere := cfg(strings.Replace(usb1, "\tnodes pve1\n", "", 1))
	f, r := look(t, world(t, pulled, cluster, everywhere))
	p, err := PlanRemoval(f, r, []string{"usb1"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	notes := strings.Join(p.Notes, "\n")
	for _, want := range []string{"HA manages vm:200", "stays as it is for pve2,pve3", "Not seen from here"} {
		if !strings.Contains(notes, want) {
			t.Errorf("the plan does not say %q:\n%s", want, notes)
		}
	}
	// A guest that is copied to this node needs the storage here.
	f, r = look(t, world(t, pulled, cluster, everywhere, "\n-- etc/pve/replication.cfg --\nlocal: 200-0\n\ttarget pve1\n\n"))
	if _, err := PlanRemoval(f, r, []string{"usb1"}, Options{FixRefs: true}); err == nil || !strings.Contains(err.Error(), "replication.cfg [200-0]") {
		t.Errorf("a replication target: %v", err)
	}
	// So does a guest of this node.
	f, r = look(t, world(t, pulled, cluster, everywhere, "\n-- etc/pve/nodes/pve1/lxc/101.conf --\nrootfs: usb1:101/vm-101-disk-0.raw\n"))
	if _, err := PlanRemoval(f, r, []string{"usb1"}, Options{FixRefs: true}); err == nil || !strings.Contains(err.Error(), "101.conf") {
		t.Errorf("a guest here: %v", err)
	}
}

// Two entries on one mount: the first to go leaves the unit to the other.
func TestSharedMountPoint(t *testing.T) {
	both := strings.Replace(usb1, "path /mnt/pve/usb1\n", "path /mnt/pve/usb1/a\n", 1)
	both = strings.Replace(both, "is_mountpoint 1", "is_mountpoint /mnt/pve/usb1", 1)
	both += strings.NewReplacer("usb1/a", "usb1/b", "dir: usb1", "dir: usb2").Replace(both)
	f, r := look(t, world(t, pulled, cfg(both)))
	p, err := PlanRemoval(f, r, []string{"usb1"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := ops(p); got != "disable delete-entry" || !strings.Contains(strings.Join(p.Notes, "\n"), "storage usb2 is on the same mount point") {
		t.Errorf("steps %s, notes %v", got, p.Notes)
	}
}

func TestReach(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	open := l.Addr().String()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := reachServers(t.Context(), map[string][]string{"nas": {open}, "old": {refusing}, "ceph": {refusing, open}})
	want := map[string]Server{"nas": {open, Answers}, "old": {refusing, Refused}, "ceph": {open, Answers}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := dial(ctx, open); r != NotAsked {
		t.Errorf("without time: %v", r)
	}
}

func TestEndpoints(t *testing.T) {
	sections := "nfs: s1\n\tserver nas\n\texport /x\n\toptions vers=4.2,port=3049\n\nnfs: s2\n\tserver fd00::5\n\texport /x\n\n" +
		"cifs: s3\n\tserver nas\n\tshare s\n\npbs: s4\n\tserver b\n\tdatastore d\n\tport 9007\n\nesxi: s5\n\tserver e\n\tusername root\n\n" +
		"iscsi: s6\n\tportal 10.0.0.1:3261\n\ttarget t\n\nrbd: s7\n\tpool p\n\tmonhost 10.0.0.1 10.0.0.2:6789\n\nrbd: s8\n\tpool p\n\ndir: s9\n\tpath /x\n\n"
	want := map[string]string{
		"s1": "nas:3049", "s2": "[fd00::5]:2049", "s3": "nas:445", "s4": "b:9007", "s5": "e:443", "s6": "10.0.0.1:3261",
		"s7": "10.0.0.1:3300 10.0.0.2:6789 10.0.0.1:6789 10.0.0.2:6789", "s8": "10.1.0.1:3300 fd01::1:3300", "s9": "", "local": "",
	}
	monitors := monitorsOf([]byte("[global]\n\tfsid = x\n\tmon_host = [v2:10.1.0.1:3300/0,v1:10.1.0.1:6789/0] [fd01::1]\n"))
	for _, s := range pve.ParseStorageConfig([]byte(sections), pve.StorageConfigOptions{}).Sections {
		got := strings.Join(kindOf(s.Type).endpoints(s, monitors), " ")
		if s.ID == "s8" {
			if !strings.HasPrefix(got, "10.1.0.1:3300 [fd01::1]:3300 ") {
				t.Errorf("%s: %q of %q", s.ID, got, monitors)
			}
			continue
		}
		if got != want[s.ID] {
			t.Errorf("%s: %q, want %q", s.ID, got, want[s.ID])
		}
	}
}

// A program that hangs costs its answer, is not begun again, and serves the next caller when it has ended.
func TestAsyncCache(t *testing.T) {
	var s asyncCache[int]
	release, calls := make(chan struct{}), 0
	learn := func() int { calls++; <-release; return 7 }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		if v, ok := s.get(ctx, "k", time.Hour, learn); ok {
			t.Fatalf("got %d before it was known", v)
		}
	}
	close(release)
	v, ok := s.get(t.Context(), "k", time.Hour, learn)
	if v != 7 || !ok || calls != 1 {
		t.Errorf("got %d, %v after %d calls", v, ok, calls)
	}
	if _, ok := s.get(t.Context(), "other", time.Hour, learn); !ok || calls != 2 {
		t.Errorf("another key: %v after %d calls", ok, calls)
	}
}

func FuzzLVM(f *testing.F) {
	f.Add([]byte(vgPartial))
	f.Add([]byte(pvPartial))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, kind := range []string{"vg", "pv", "lv"} {
			rows, err := parseLVM(kind, data)
			if err != nil {
				continue
			}
			for name := range groupsOf(rows, rows, rows) {
				if name == "" {
					t.Error("a group without a name")
				}
			}
		}
	})
}

func FuzzZFS(f *testing.F) {
	f.Add([]byte(importScan))
	f.Add([]byte("tank\tONLINE\n"))
	f.Add([]byte("cannot open 'tank/x': dataset does not exist\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for name := range parseImport(data) {
			if name == "" {
				t.Error("a pool without a name")
			}
		}
		if pools, err := parsePools(data); err == nil {
			for name := range pools {
				if name == "" {
					t.Error("a pool without a name")
				}
			}
		}
		_, _ = missingDatasets(string(data))
		_ = monitorsOf(data)
	})
}

// Exactly one line is commented out, and put back; every other byte stays.
func TestCommentOut(t *testing.T) {
	text := "# fstab\nUUID=a / ext4 defaults 0 1\nUUID=b /mnt/pve/usb1 ext4 nofail 0 2\n/dev/x /y ext4"
	line := "UUID=b /mnt/pve/usb1 ext4 nofail 0 2"
	out, ok := commentOut([]byte(text), line)
	if want := strings.Replace(text, line, "# labd: storage gone: "+line, 1); !ok || string(out) != want {
		t.Errorf("%v %q", ok, out)
	}
	if back, ok := uncomment(out, line); !ok || string(back) != text {
		t.Errorf("%v %q", ok, back)
	}
	if _, ok := commentOut([]byte(text), "UUID=b"); ok {
		t.Error("a part of a line is taken for it")
	}
}

// A mount that outlived its storage is found, unless no boot waits for it, something is mounted, or an entry may mean it.
func TestLeftOverUnits(t *testing.T) {
	line := func(text string) string { return "\n-- etc/fstab --\nUUID=ROOT / ext4 defaults 0 1\n" + text + "\n" }
	for _, tt := range []struct {
		name    string
		patches []string
		want    bool
	}{
		{"a line of fstab elsewhere", []string{line("UUID=FAR /srv/far ext4 defaults 0 2")}, true},
		{"a line of fstab elsewhere, with nofail", []string{line("UUID=FAR /srv/far ext4 rw,nofail 0 2")}, false},
		{"a line of fstab elsewhere, noauto", []string{line("UUID=FAR /srv/far ext4 noauto 0 2")}, false},
		{"a line of the network", []string{line("UUID=FAR /srv/far ext4 _netdev 0 2")}, false},
		{"a share", []string{line("nas:/x /srv/far nfs defaults 0 0")}, false},
		{"swap", []string{line("UUID=FAR none swap sw 0 0")}, false},
		{"two lines for one point", []string{line("UUID=FAR /srv/far ext4 defaults 0 2\nUUID=ROOT /srv/far ext4 defaults 0 2")}, false},
		{"the disk may be a locked one", []string{line("UUID=FAR /srv/far ext4 defaults 0 2"), "\n-- etc/crypttab --\nc1 /dev/sdb none luks\n"}, false},
		{"a unit", []string{pulled, cfg("")}, true},
		{"its device is there", []string{unmounted, cfg("")}, false},
		{"mounted all the same", []string{"\n-- dev/disk/by-uuid/USB1 -> (gone) --\n", cfg("")}, false},
		{"nofail", []string{pulled, cfg(""), strings.Replace(unitOf("/dev/disk/by-uuid/USB1"), "[Mount]\n", "[Mount]\nOptions=nofail\n", 1)}, false},
		{"an entry of this node", []string{pulled}, false},
		{"an entry of another node alone", []string{pulled, cfg(strings.Replace(usb1, "nodes pve1", "nodes pve2", 1)), "\n-- etc/pve/.members --\n" + members("pve1", "pve2")}, true},
		{"an entry that PVE rejects", []string{pulled, cfg("dir: usb1\n\tcontent iso\n\n")}, false},
		{"an entry of a plug-in", []string{pulled, cfg("truenas: usb1\n\tserver a\n\n")}, false},
		{"a line of fstab", []string{pulled, cfg(""), "\n-- etc/systemd/system/mnt-pve-usb1.mount -> (gone) --\n-- etc/fstab --\nUUID=USB1 /mnt/pve/usb1 ext4 defaults 0 2\n"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, r := look(t, world(t, tt.patches...))
			found := false
			for _, e := range r.Entries {
				found = found || e.Type == TypeUnit
				if e.Type == TypeUnit && e.source.endsBoot() != slices.Contains(finding.Codes(r.Findings, r.Subject(e)), string(finding.StorageBootBlocked)) {
					t.Errorf("%s: findings %v", e.Reason, finding.Codes(r.Findings, r.Subject(e)))
				}
			}
			if found != tt.want {
				t.Errorf("found %v: %+v", found, r.Entries)
			}
		})
	}
}
