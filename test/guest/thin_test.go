package guest

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apiv1 "labd/api/v1"
	"labd/test/guest/wire"
	"labd/test/lab"
)

// Two storages as PVE's panels make them, on one volume group.
const thinStorages = "lvm: fast\n\tvgname vglab\n\tcontent images\n\nlvmthin: thin\n\tvgname vglab\n\tthinpool data\n\tcontent images,rootdir\n\n"

// There is no udev in the guest, and no thin_check: LVM makes its device nodes itself.
const (
	lvmConf = "devices { use_devicesfile=0 obtain_device_list_from_udev=0 }\nactivation { udev_sync=0 udev_rules=0 monitoring=0 }\n" +
		"global { use_lvmpolld=0 thin_check_executable=\"\" }\n"
	// lvmHides is lvmConf of a host whose filter hides all disks.
	lvmHides = "devices { use_devicesfile=0 obtain_device_list_from_udev=0 global_filter=[\"r|.*|\"] }\n"
)

// A real thin pool on two disks: whole, not active, hidden by LVM's filter, then with a disk pulled, which is damage and
// not death, then with none left. A mere loss of one disk must never lead to a plan.
func TestThinPool(t *testing.T) {
	lab.Require(t, "lvm", "ldd")
	lvm, err := exec.LookPath("lvm")
	if err != nil {
		t.Fatal(err)
	}
	links := map[string]string{"etc/pve/local": "nodes/pve1"}
	for _, name := range []string{"pvs", "vgs", "lvs", "pvcreate", "vgcreate", "lvcreate", "vgchange"} {
		links["bin/"+name] = "lvm"
	}
	m := bootWith(t, "trixie", Config{
		Programs: []string{lvm}, Links: links,
		Files: map[string]string{
			"etc/lvm/lvm.conf": lvmConf, "etc/labd/labd.toml": "[pve]\nnode = \"pve1\"\n", "etc/pve/storage.cfg": thinStorages,
			"etc/pve/nodes/pve1/lrm_status": "{}", "usr/share/perl5/PVE/pvecfg.pm": "{ 'version' => '9.0.3', 'release' => '9.0' }\n",
		},
		Disks: map[string]int64{"one": diskSize, "two": diskSize}, Devices: append(onPort(1, "one"), onPort(2, "two")...),
	})
	m.load("")
	for _, module := range m.kernel.Thin {
		m.do(wire.Request{Do: wire.Load, Args: []string{filepath.Join("/modules", filepath.Base(module))}})
	}
	m.until("both drives work", ok("one", "two"))
	m.succeed("/bin/pvcreate", "-q", "/dev/nvme0n1", "/dev/nvme1n1")
	m.succeed("/bin/vgcreate", "-q", "vglab", "/dev/nvme0n1", "/dev/nvme1n1")
	m.succeed("/bin/lvcreate", "-q", "--type", "thin-pool", "--stripes", "2", "-L", "32M", "-n", "data", "vglab")
	m.succeed("/bin/lvcreate", "-q", "--thin", "-V", "64M", "-n", "vm-100-disk-0", "vglab/data")
	m.expectStorages(0, "ok", "", "ok", "")

	m.succeed("/bin/vgchange", "-q", "-an", "vglab")
	m.expectStorages(4, "ok", "", "down", "thin pool vglab/data is there and not active")
	m.succeed("/bin/vgchange", "-q", "-ay", "vglab")
	m.expectStorages(0, "ok", "", "ok", "")
	conf := func(text string) {
		m.do(wire.Request{Do: wire.Write, Path: "/etc/lvm/lvm.conf", Data: []byte(text), Create: true})
	}
	conf(lvmHides)
	const hidden = "LVM's filter or devices file keeps it from view"
	m.expectStorages(3, "down", hidden, "down", hidden)
	conf(lvmConf)

	m.pull("two", "down")
	if attr := m.succeed("/bin/vgs", "--noheadings", "-o", "vg_attr", "vglab"); strings.TrimSpace(attr) != "wz-pn-" {
		t.Errorf("%s: the group without a disk has the attributes %q", m.kernel.Release, attr)
	}
	if health := m.succeed("/bin/lvs", "--noheadings", "-o", "lv_health_status", "vglab/data"); strings.TrimSpace(health) != "partial" {
		t.Errorf("%s: the pool without a disk is %q", m.kernel.Release, health)
	}
	m.expectStorages(4, "down", "lacks a disk", "down", "lacks a disk")
	for _, id := range []string{"fast", "thin"} {
		answer := m.do(wire.Request{Do: wire.Run, Args: []string{"/bin/labctl", "--local", "fix-storage", id, "--yes"}})
		if answer.Exit != 5 || !strings.Contains(string(answer.Stderr), "it is down, not gone") {
			t.Errorf("%s: fix-storage %s of a partial group: exit %d: %s%s", m.kernel.Release, id, answer.Exit, answer.Output, answer.Stderr)
		}
	}

	m.pull("one", "gone")
	items, exit := m.storages()
	if exit != 4 {
		t.Errorf("%s: both gone: exit %d", m.kernel.Release, exit)
	}
	// Named together they have one plan, which stands at the first of them.
	plans := 0
	for _, item := range items {
		if !slices.Equal(item.Findings, []string{"storage.vg-gone"}) || item.Refusal != "" {
			t.Errorf("%s: %s without its disks: %+v", m.kernel.Release, item.Storage, item)
		}
		if item.Plan != nil {
			plans++
		}
	}
	if plans != 1 {
		t.Errorf("%s: %d plans for both", m.kernel.Release, plans)
	}
}

// storages is labctl fix-storage --dry-run -o json of both storages, with its exit code.
func (m *machine) storages() ([]apiv1.StorageItem, int) {
	m.t.Helper()
	out, exit := m.labctl("fix-storage", "--dry-run", "-o", "json", "fast", "thin")
	var report apiv1.Envelope[apiv1.StorageItem]
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		m.t.Fatalf("%v: %s", err, out)
	}
	if len(report.Items) != 2 {
		m.t.Fatalf("%s: exit %d, %d storages: %s", m.kernel.Release, exit, len(report.Items), out)
	}
	return report.Items, exit
}

// expectStorages compares the verdicts about the storage on the group and that on its pool; of the reasons, a part. None of
// them may have a plan.
func (m *machine) expectStorages(exit int, group, groupReason, pool, poolReason string) {
	m.t.Helper()
	want := map[string][2]string{"fast": {group, groupReason}, "thin": {pool, poolReason}}
	items, code := m.storages()
	// An emulated machine may be slower than what labd gives LVM; that is then unknown, and asked again.
	for range 20 {
		if !slices.ContainsFunc(items, func(i apiv1.StorageItem) bool { return strings.Contains(i.Reason, "does not answer in time") }) {
			break
		}
		items, code = m.storages()
	}
	if code != exit {
		m.t.Errorf("%s: exit %d, want %d", m.kernel.Release, code, exit)
	}
	for _, item := range items {
		if w := want[item.Storage]; string(item.Verdict) != w[0] || !strings.Contains(item.Reason, w[1]) || item.Plan != nil {
			m.t.Errorf("%s: storage %s is %s (%s), want %s (%s); plan %+v", m.kernel.Release, item.Storage, item.Verdict, item.Reason, w[0], w[1], item.Plan)
		}
	}
}

// pull unplugs a drive and waits until both storages are judged anew. While the kernel lets go of the drive, none of them
// may be taken for dead before it is.
func (m *machine) pull(drive, verdict string) {
	m.t.Helper()
	if err := m.QMP("device_del", map[string]any{"id": drive}); err != nil {
		m.t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		items, _ := m.storages()
		done := true
		for _, item := range items {
			if item.Verdict == "gone" && verdict != "gone" {
				m.t.Fatalf("%s: without drive %s, %s is taken for dead: %s", m.kernel.Release, drive, item.Storage, item.Reason)
			}
			done = done && string(item.Verdict) == verdict
		}
		if done {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("%s: without drive %s not %s within a minute: %+v", m.kernel.Release, drive, verdict, items)
		}
	}
}
