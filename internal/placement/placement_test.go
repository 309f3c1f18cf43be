package placement

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
		Blocks: storage.Blocks{Asked: true},
		Node:   "pve1", Config: config, Devices: map[string]storage.Device{},
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
	drives := &disk.Report{Drives: []disk.Drive{drive}, Findings: []finding.Finding{missing, link}}
	p := Join(drives, r)
	for _, f := range p.Findings {
		if f.Severity == finding.Fail && f.Subject.IsKind(finding.KindStorage) {
			got[f.Subject] = f.DependsOn
		}
	}
	because := []finding.Ref{missing.Ref()}
	want := map[finding.Subject][]finding.Ref{"storage/pve1/fast": because, "storage/pve1/tank": because, "storage/pve1/backup": because, "storage/pve1/other": nil}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// By file system, group and pool, although nothing of it is mounted any more.
	if diff := cmp.Diff([]finding.Subject{"storage/pve1/fast", "storage/pve1/tank", "storage/pve1/backup"}, p.OnDrive(drive)); diff != "" {
		t.Errorf("storages on the drive, -want +got:\n%s", diff)
	}
	for _, f := range r.Findings {
		if f.DependsOn != nil {
			t.Errorf("the report itself was changed: %s depends on %v", f.Subject, f.DependsOn)
		}
	}
	for _, f := range Join(nil, r).Findings {
		if f.DependsOn != nil {
			t.Errorf("without drives %s depends on %v", f.Subject, f.DependsOn)
		}
	}
}

// What is on the drive by its name in /dev/disk/by-id is told by the serial number, all of it.
func TestByID(t *testing.T) {
	for name, want := range map[string]bool{
		"nvme-P7000Z_S1-part1": true, "nvme-P7000Z_S1": true, "nvme-P7000Z_S1_1": true, "nvme-P7000Z_S1_1-part3": true,
		"ata-WD_S1": false, "nvme-other_X9": false, "nvme-P7000Z_S10": false, "nvme-P7000Z_S12-part1": false,
	} {
		for _, d := range []disk.Drive{
			{Known: &disk.Known{Model: "P7000Z", Serial: "S1"}},
			{Function: disk.Function{Controllers: []disk.Controller{{Serial: "S1"}}}},
		} {
			if got := carries(d, []layer.Layer{{Kind: layer.ByID, Name: name}}); got != want {
				t.Errorf("%s: %v", name, got)
			}
		}
	}
	if carries(disk.Drive{}, []layer.Layer{{Kind: layer.ByID, Name: "nvme-P7000Z_S1"}}) {
		t.Error("a drive without serial number is taken for any")
	}
}

// A drive that works and warns of its end takes no storage away: what ails the storage has another cause.
func TestWarningTakesNothingAway(t *testing.T) {
	fail := func(code finding.Code) []finding.Finding {
		return []finding.Finding{{Code: code, Severity: finding.Fail, Subject: finding.NVMe("0000:01:00.0")}}
	}
	works, broken := disk.Drive{Function: disk.Function{Address: "0000:01:00.0"}}, disk.Drive{Function: disk.Function{Address: "0000:01:00.0"}}
	works.Rung, broken.Rung = disk.RungOK, disk.RungController
	for _, tt := range []struct {
		d    disk.Drive
		code finding.Code
		want int
	}{
		{works, finding.NVMeCriticalWarning, 0}, {works, finding.NVMeSelfTest, 0}, {works, finding.NVMeReadOnly, 1}, {broken, finding.NVMeDead, 1},
	} {
		if got := lost(tt.d, fail(tt.code)); len(got) != tt.want {
			t.Errorf("%s on rung %s: %v", tt.code, tt.d.Rung, got)
		}
	}
}
