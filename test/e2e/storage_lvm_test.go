package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	apiv1 "labd/api/v1"
	"labd/internal/pve"
	"labd/test/lab"
)

// Real metadata of LVM on two disks: whole, then partial, which is damage and not death, then gone.
func TestStorageVolumeGroup(t *testing.T) {
	lab.Require(t, "vgcreate")
	l := lab.New(t, "e2e-lvm")
	var disks []*lab.Disk
	for _, name := range []string{"pv1", "pv2"} {
		d, err := l.AddRawDisk(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		disks = append(disks, d)
	}
	// No disk of the machine is looked at, and no udev is waited for.
	configure := func() {
		t.Helper()
		conf := "devices { filter=[\"a|^" + disks[0].Loop + "$|\",\"a|^" + disks[1].Loop + "$|\",\"r|.*|\"] use_devicesfile=0 obtain_device_list_from_udev=0 }\n" +
			"activation { udev_sync=0 udev_rules=0 monitoring=0 }\nglobal { use_lvmpolld=0 }\n"
		if err := l.WriteFile("/etc/lvm/lvm.conf", []byte(conf), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	configure()
	run(t, l, "pvcreate", "-q", disks[0].Loop, disks[1].Loop)
	run(t, l, "vgcreate", "-q", "vglab", disks[0].Loop, disks[1].Loop)
	server, err := l.StartPVE(t.Context(), "lvm: fast\n\tvgname vglab\n\tcontent images\n\tnodes pve1\n\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	startLabd(t, l, fixtureConfig)
	see := func(code int, verdict apiv1.StorageVerdict) apiv1.StorageItem {
		t.Helper()
		found := report[apiv1.StorageItem](t, l, code, "fix-storage", "--dry-run", "fast")
		if found.Items[0].Verdict != verdict {
			t.Fatalf("%s, want %s: %s", found.Items[0].Verdict, verdict, found.Items[0].Reason)
		}
		return found.Items[0]
	}
	see(0, "ok")

	if err := disks[1].Pull(t.Context()); err != nil {
		t.Fatal(err)
	}
	see(4, "down")
	if code, _, stderr := labctl(t, l, "fix-storage", "fast", "--yes"); code != 5 || !strings.Contains(stderr, "lacks a disk") {
		t.Errorf("a partial group: exit %d: %s", code, stderr)
	}

	if err := disks[0].Pull(t.Context()); err != nil {
		t.Fatal(err)
	}
	item := see(4, "gone")
	if item.Plan == nil || len(item.Plan.Steps) != 2 || strings.Join(item.Findings, ",") != "storage.vg-gone" {
		t.Fatalf("got %+v", item)
	}
	entry := func() map[string]string {
		data, err := os.ReadFile(l.Path("/etc/pve/storage.cfg"))
		if err != nil {
			t.Fatal(err)
		}
		if s := pve.ParseStorageConfig(data, pve.StorageConfigOptions{}).Section("fast"); s != nil {
			return s.Properties
		}
		return nil
	}
	before := entry()
	must(t, l, 0, "fix-storage", "fast", "--yes")
	if entry() != nil {
		t.Error("the entry is still there")
	}
	must(t, l, 0, "undo", "1", "--yes")
	if diff := cmp.Diff(before, entry()); diff != "" {
		t.Errorf("after undo, -want +got:\n%s", diff)
	}
	for _, d := range disks {
		if err := d.Replug(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	configure() // they may be other loop devices now
	wait(t, l, "the group is back", func() bool {
		code, _, _ := labctl(t, l, "fix-storage", "--dry-run", "fast")
		return code == 0
	})
}
