package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	apiv1 "labd/api/v1"
	"labd/internal/pve"
	"labd/test/lab"
	"labd/test/pvesim"
)

// storageLab is a lab with a disk, PVE's API and labd.
func storageLab(t *testing.T, name string) (*lab.Lab, *lab.Disk, *pvesim.Server) {
	t.Helper()
	l, d, server := storageHost(t, name)
	startLabd(t, l, fixtureConfig)
	return l, d, server
}

// storageHost is a lab with a disk and PVE's API.
func storageHost(t *testing.T, name string) (*lab.Lab, *lab.Disk, *pvesim.Server) {
	t.Helper()
	l := lab.New(t, name)
	d, err := l.AddDisk(t.Context(), "usb1")
	if err != nil {
		t.Fatal(err)
	}
	lab.RequireFUSE(t)
	if err := l.MountClusterFS(); err != nil {
		t.Fatal(err)
	}
	server, err := l.StartPVE(t.Context(), d.StorageEntry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return l, d, server
}

// state is what removal changes and undo must bring back.
type state struct {
	Entry   map[string]string
	Unit    string
	Link    string
	Enabled string
	Dir     bool
}

func stateOf(t *testing.T, l *lab.Lab, d *lab.Disk) state {
	t.Helper()
	var s state
	data, err := os.ReadFile(l.Path("/etc/pve/storage.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	if section := pve.ParseStorageConfig(data, pve.StorageConfigOptions{}).Section(d.Name); section != nil {
		s.Entry = section.Properties
	}
	unit, _ := os.ReadFile(l.Path("/etc/systemd/system/" + d.Unit()))
	s.Unit = string(unit)
	s.Link, _ = os.Readlink(l.Path("/etc/systemd/system/multi-user.target.wants/" + d.Unit()))
	enabled, _ := l.Run(t.Context(), "systemctl", "is-enabled", d.Unit())
	s.Enabled = strings.TrimSpace(enabled)
	_, err = os.Stat(l.Path(d.MountPoint()))
	s.Dir = err == nil
	return s
}

func TestDeadStorage(t *testing.T) {
	l, d, server := storageLab(t, "e2e-stor")
	must(t, l, 0, "fix-storage", "--dry-run")
	// A live storage is never removed, whoever asks.
	if code, _, stderr := labctl(t, l, "fix-storage", d.Name, "--yes"); code != 5 || !strings.Contains(stderr, "not gone") {
		t.Errorf("live storage: exit %d, %s", code, stderr)
	}
	if err := d.PullAndReboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := panel(t, l, server, d.Name); got != "not a valid block device" {
		t.Errorf("PVE's panel ends with %q", got)
	}
	before := stateOf(t, l, d)

	found := report[apiv1.StorageItem](t, l, 4, "fix-storage", "--dry-run")
	item := found.Items[len(found.Items)-1]
	if item.ID != "storage/pve1/usb1" || item.Verdict != "gone" || item.Plan == nil || len(item.Plan.Steps) != 5 || codes(found.Findings, item.ID) != "storage.device-gone" {
		t.Fatalf("got %+v", item)
	}
	if code, _, _ := labctl(t, l, "fix-storage", d.Name); code != 5 {
		t.Errorf("without consent: exit %d, want 5", code)
	}
	if diff := cmp.Diff(before, stateOf(t, l, d)); diff != "" {
		t.Fatalf("changed without consent, -want +got:\n%s", diff)
	}
	for range 2 { // remove, undo, and once more
		must(t, l, 0, "fix-storage", d.Name, "--yes")
		if diff := cmp.Diff(state{Enabled: stateOf(t, l, d).Enabled}, stateOf(t, l, d)); diff != "" {
			t.Fatalf("left over, -want +got:\n%s", diff)
		}
		if failed := run(t, l, "systemctl", "--failed", "--no-legend"); failed != "" {
			t.Errorf("failed units after removal: %s", failed)
		}
		must(t, l, 0, "fix-storage", "--dry-run")
		journal := report[apiv1.JournalItem](t, l, 0, "journal")
		if entry := journal.Items[0]; entry.State != "applied" || !entry.Undoable || entry.StepsDone != 5 || entry.Actor != "root" {
			t.Fatalf("journal: %+v", entry)
		}
		must(t, l, 0, "undo", journal.Items[0].ID, "--yes")
		if diff := cmp.Diff(before, stateOf(t, l, d)); diff != "" {
			t.Fatalf("after undo, -want +got:\n%s", diff)
		}
	}
	// And the disk comes back to a storage that works.
	if err := d.Replug(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, l, "systemctl", "start", d.Unit())
	must(t, l, 0, "fix-storage", "--dry-run")
}

// panel makes the call of PVE's own panel and returns how its task ended.
func panel(t *testing.T, l *lab.Lab, server *pvesim.Server, name string) string {
	t.Helper()
	client := pveClient(t, l, server)
	upid, err := client.DeleteDirectory(t.Context(), name, true, true)
	if err != nil {
		t.Fatal(err)
	}
	task, err := client.WaitTask(t.Context(), upid, 20*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	return task.ExitStatus
}

func pveClient(t *testing.T, l *lab.Lab, server *pvesim.Server) *pve.Client {
	t.Helper()
	token, err := os.ReadFile(l.Path("/etc/labd/token"))
	if err != nil {
		t.Fatal(err)
	}
	address, err := l.Relay(t.Context(), "127.0.0.1:8006")
	if err != nil {
		t.Fatal(err)
	}
	client, err := pve.NewClient(pve.ClientConfig{BaseURL: "https://" + address, Token: strings.TrimSpace(string(token)), CA: server.CA(), Node: l.Node})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// A disk that is pulled while it is mounted: the mount lives on without it, until the removal stops its unit.
func TestStoragePulledLive(t *testing.T) {
	l, d, _ := storageLab(t, "e2e-live")
	if err := d.Pull(t.Context()); err != nil {
		t.Fatal(err)
	}
	found := report[apiv1.StorageItem](t, l, 4, "fix-storage", "--dry-run", d.Name)
	if len(found.Items) != 1 || found.Items[0].Verdict != "gone" || !strings.Contains(found.Items[0].Reason, "lives on") {
		t.Fatalf("got %+v", found.Items)
	}
	must(t, l, 0, "fix-storage", d.Name, "--yes")
	if mounts := run(t, l, "cat", "/proc/self/mounts"); strings.Contains(mounts, d.MountPoint()) {
		t.Errorf("still mounted:\n%s", mounts)
	}
}

// Guards that refuse although the device is gone, each lifted again afterwards.
func TestStorageGuards(t *testing.T) {
	l, d, server := storageLab(t, "e2e-guard")
	if err := d.PullAndReboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	config := "/etc/pve/storage.cfg"
	original, err := os.ReadFile(l.Path(config))
	if err != nil {
		t.Fatal(err)
	}
	set := func(text string) func() {
		return func() {
			if err := l.WriteFile(config, []byte(text), 0o640); err != nil {
				t.Fatal(err)
			}
		}
	}
	restore := set(string(original))
	guest := "/etc/pve/nodes/pve1/qemu-server/100.conf"
	for _, tt := range []struct {
		name, want string
		begin, end func()
	}{
		{
			"a guest has a disk on it", "100.conf",
			func() {
				if err := l.WriteFile(guest, []byte("scsi0: usb1:100/vm-100-disk-0.qcow2,size=32G\n"), 0o640); err != nil {
					t.Fatal(err)
				}
			},
			func() { os.Remove(l.Path(guest)) },
		},
		{"another section is malformed", "malformed", set(string(original) + "dir: broken\n\tcontent iso\n\n"), restore},
		{"a type that PVE does not know", "does not know the type", set(string(original) + "truenas: x1\n\tserver a\n\n"), restore},
		{"shared", "shared", set(strings.Replace(string(original), "\tis_mountpoint 1\n", "\tis_mountpoint 1\n\tshared 1\n", 1)), restore},
		{"another storage lies below", "below", set(string(original) + "dir: inner\n\tpath /mnt/pve/usb1/inner\n\n"), restore},
		{"storage.cfg is empty", "storage.cfg is missing or empty", set(""), restore},
		{"a task works on it", "task", func() { startTask(t, server) }, func() { endTask(t) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.begin()
			defer tt.end()
			code, stdout, stderr := labctl(t, l, "fix-storage", d.Name, "--yes")
			if code != 5 && code != 1 || !strings.Contains(stdout+stderr, tt.want) {
				t.Errorf("exit %d, want a refusal that says %q\n%s%s", code, tt.want, stdout, stderr)
			}
			if s := stateOf(t, l, d); s.Unit == "" || s.Link == "" || !s.Dir {
				t.Errorf("something was touched: %+v", s)
			}
		})
	}
	must(t, l, 0, "fix-storage", d.Name, "--yes")
}

var endOfTask func(error)

func startTask(t *testing.T, server *pvesim.Server) {
	t.Helper()
	_, endOfTask = server.StartTask("root@pam", "imgcopy", "usb1")
}

func endTask(t *testing.T) {
	t.Helper()
	endOfTask(nil)
}

// PVE fails in the middle: what is done is in the journal and can be taken back.
func TestStorageRemovalFailsHalfWay(t *testing.T) {
	l, d, server := storageLab(t, "e2e-half")
	if err := d.PullAndReboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := stateOf(t, l, d)
	server.Inject(pvesim.Fault{Method: "DELETE", Path: "/storage/usb1", Times: 1, Status: 500, Reason: "delete storage failed: something"})
	code, _, stderr := labctl(t, l, "fix-storage", d.Name, "--yes")
	if code != 1 || !strings.Contains(stderr, "delete storage failed") || !strings.Contains(stderr, "labctl undo 1") {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	must(t, l, 0, "undo", "1", "--yes")
	if diff := cmp.Diff(before, stateOf(t, l, d)); diff != "" {
		t.Fatalf("after undo, -want +got:\n%s", diff)
	}
	// The connection is cut after the change was made: labd reads what became of it instead of trying again.
	server.Inject(pvesim.Fault{Method: "DELETE", Path: "/storage/usb1", Times: 1, After: true, Cut: true})
	must(t, l, 0, "fix-storage", d.Name, "--yes")
}

// kill -9 in the middle of a removal, while PVE does not answer the second change: the journal says what was done.
func TestStorageDaemonKilledHalfWay(t *testing.T) {
	l, d, server := storageLab(t, "e2e-kill")
	if err := d.PullAndReboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := stateOf(t, l, d)
	reached := make(chan struct{})
	server.Inject(pvesim.Fault{Method: "DELETE", Path: "/storage/usb1", Times: 1, Delay: time.Minute, Do: func() { close(reached) }})
	done := make(chan struct{})
	cmd := l.Command(t.Context(), "labctl", "fix-storage", d.Name, "--yes")
	go func() { _ = cmd.Run(); close(done) }()
	select {
	case <-reached:
	case <-time.After(20 * time.Second):
		t.Fatal("the removal did not come to its third step")
	}
	run(t, l, "systemctl", "kill", "-s", "KILL", "labd")
	<-done
	server.ClearFaults()
	wait(t, l, "labd is back", func() bool { code, _, _ := labctl(t, l, "journal"); return code == 0 })
	journal := report[apiv1.JournalItem](t, l, 0, "journal")
	if e := journal.Items[0]; e.State != "interrupted" || !e.Undoable || e.StepsDone != 2 {
		t.Fatalf("journal after kill -9: %+v", e)
	}
	must(t, l, 0, "undo", "1", "--yes")
	if diff := cmp.Diff(before, stateOf(t, l, d)); diff != "" {
		t.Fatalf("after undo, -want +got:\n%s", diff)
	}
	must(t, l, 0, "fix-storage", d.Name, "--yes")
}

// Ctrl-C stops the plan between two steps: the one that runs is finished, the next is not begun.
func TestStorageInterrupted(t *testing.T) {
	l, d, server := storageLab(t, "e2e-int")
	if err := d.PullAndReboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := stateOf(t, l, d)
	server.Inject(pvesim.Fault{Method: "DELETE", Path: "/storage/usb1", Times: 1, Delay: 500 * time.Millisecond, Do: func() {
		_, _ = l.Run(background(), "pkill", "-INT", "labctl")
	}})
	if code, _, stderr := labctl(t, l, "fix-storage", d.Name, "--yes"); code != 130 {
		t.Errorf("exit %d, want 130: %s", code, stderr)
	}
	wait(t, l, "the entry ends", func() bool {
		return report[apiv1.JournalItem](t, l, 0, "journal").Items[0].EndedAt != nil
	})
	if e := report[apiv1.JournalItem](t, l, 0, "journal").Items[0]; e.State != "interrupted" || e.StepsDone != 3 || e.Steps != 5 {
		t.Fatalf("journal: %+v", e)
	}
	must(t, l, 0, "undo", "1", "--yes")
	if diff := cmp.Diff(before, stateOf(t, l, d)); diff != "" {
		t.Fatalf("after undo, -want +got:\n%s", diff)
	}
}

// The fixture's drive and the exit codes of check-nvme.
func TestMissingDrive(t *testing.T) {
	l := lab.New(t, "e2e-nvme")
	startLabd(t, l, fixtureConfig)
	drives := report[apiv1.NVMeItem](t, l, 4, "check-nvme")
	if len(drives.Items) != 3 {
		t.Fatalf("%d drives, want 3", len(drives.Items))
	}
	missing := drives.Items[1]
	if missing.ID != "nvme/0000:02:00.0" || missing.Rung != "driver" || missing.Verdict != "fail" || codes(drives.Findings, missing.ID) != "nvme.not-ready" || missing.Chip != "MAP1602" {
		t.Errorf("got %+v", missing)
	}
	if f := drives.Findings[0]; f.Confidence != "certain" || len(f.Remedies) == 0 || !strings.Contains(f.Evidence[0].Text, "CSTS=0x0") {
		t.Errorf("got %+v", f)
	}
	must(t, l, 0, "check-nvme", "nvme0")
	must(t, l, 4, "check-nvme", "02:00.0")
	// A driver appears: the same drive bound to vfio-pci is a guest's, and no fault.
	function := filepath.Join(l.Dir(), "store/nvme/sys/devices/pci0000:00/0000:00:1b.0/0000:02:00.0")
	if err := os.Symlink("../../../../bus/pci/drivers/vfio-pci", filepath.Join(function, "driver")); err != nil {
		t.Fatal(err)
	}
	drives = report[apiv1.NVMeItem](t, l, 0, "check-nvme")
	if item := drives.Items[1]; item.Rung != "ok" || item.Verdict != "info" || codes(drives.Findings, item.ID) != "nvme.passthrough" {
		t.Errorf("passed through: %+v", item)
	}
}
