package daemon

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"labd/internal/disk"
	"labd/internal/finding"
	"labd/internal/layer"
	"labd/internal/pve"
	"labd/internal/storage"
)

// A storage that was on an NVMe drive depends on what ails the drive; one that was on another disk does not.
func TestRootCauses(t *testing.T) {
	config := pve.ParseStorageConfig([]byte("lvmthin: fast\n\tvgname nvme\n\tthinpool data\n\tcontent images\n\n"+
		"zfspool: tank\n\tpool tank/vm\n\tcontent images\n\n"+
		"dir: backup\n\tpath /mnt/pve/backup\n\tcontent backup\n\tis_mountpoint 1\n\n"+
		"dir: other\n\tpath /mnt/pve/other\n\tcontent backup\n\tis_mountpoint 1\n\n"), pve.StorageConfigOptions{})
	f := &storage.Facts{
		Node: "pve1", Config: config, Devices: map[string]storage.Device{},
		Sources: map[string]storage.Source{
			"/mnt/pve/backup": {What: "UUID=AAAA-1", Point: "/mnt/pve/backup"},
			"/mnt/pve/other":  {What: "/dev/disk/by-uuid/BBBB-2", Point: "/mnt/pve/other"},
		},
		LVM: storage.LVM{Asked: true}, ZFS: storage.ZFS{Asked: true},
	}
	for _, s := range f.Sources {
		f.Devices[s.What] = storage.DeviceGone
	}
	r := storage.Diagnose(f, storage.DefaultPolicy())
	drive := disk.Drive{Function: disk.Function{Address: "0000:01:00.0"}, Missing: true, Known: &disk.Known{
		Model: "P7000Z", Serial: "S1", Contents: []layer.Layer{{Kind: layer.Ext, Name: "aaaa-1"}, {Kind: layer.VolumeGroup, Name: "nvme"}, {Kind: layer.Pool, Name: "tank"}, {Kind: layer.Mount, Name: "/elsewhere"}},
	}}
	missing := finding.Finding{Code: finding.NVMeMissing, Severity: finding.Fail, Subject: drive.Subject()}
	link := finding.Finding{Code: finding.NVMeLinkDegraded, Severity: finding.Warn, Subject: drive.Subject()}
	got := map[finding.Subject][]finding.Ref{}
	for _, f := range rootCauses(r, &disk.Report{Drives: []disk.Drive{drive}, Findings: []finding.Finding{missing, link}}) {
		if f.Severity == finding.Fail {
			got[f.Subject] = f.DependsOn
		}
	}
	because := []finding.Ref{missing.Ref()}
	want := map[finding.Subject][]finding.Ref{"storage/pve1/fast": because, "storage/pve1/tank": because, "storage/pve1/backup": because, "storage/pve1/other": nil}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, f := range rootCauses(r, nil) {
		if f.DependsOn != nil {
			t.Errorf("without drives %s depends on %v", f.Subject, f.DependsOn)
		}
	}
}

// What is on the drive by its name in /dev/disk/by-id is told by the serial number.
func TestRootCauseByID(t *testing.T) {
	d := disk.Drive{Known: &disk.Known{Model: "P7000Z", Serial: "S1"}}
	for name, want := range map[string]bool{
		"by-id nvme-P7000Z_S1-part1": true, "by-id nvme-P7000Z_S1": true, "by-id ata-WD_S1": false, "by-id nvme-other_X9": false,
	} {
		if got := holds(d, []layer.Layer{layer.Parse(name)}); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
