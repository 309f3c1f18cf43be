package daemon

import (
	"testing"
	"time"

	"labd/internal/disk"
	"labd/internal/finding"
	"labd/internal/layer"
	"labd/internal/pve"
	"labd/internal/storage"
)

// A storage on a dead drive is a consequence of the drive for everyone who asks the registry, whichever report came first and
// whichever comes anew; when the drive is back, the storage stands alone.
func TestPlacementsInAnyOrder(t *testing.T) {
	config := pve.ParseStorageConfig([]byte("lvmthin: fast\n\tvgname nvme\n\tthinpool data\n\tcontent images\n"), pve.StorageConfigOptions{})
	onStorage := storage.Diagnose(&storage.Facts{Node: "pve1", Config: config, Blocks: storage.Blocks{Asked: true}, LVM: storage.LVM{Asked: true}, ZFS: storage.ZFS{Asked: true}}, storage.DefaultPolicy())
	drive := disk.Drive{Function: disk.Function{Address: "0000:01:00.0"}, Missing: true, Known: &disk.Known{Serial: "S1", Contents: []layer.Layer{{Kind: layer.VolumeGroup, Name: "nvme"}}}}
	missing := finding.Finding{Code: finding.NVMeMissing, Severity: finding.Fail, Subject: drive.Subject(), Title: "gone"}
	onDrives := &disk.Report{Drives: []disk.Drive{drive}, Findings: []finding.Finding{missing}}
	for name, order := range map[string][]any{
		"drives first": {onDrives, onStorage}, "storages first": {onStorage, onDrives}, "drives anew": {onDrives, onStorage, &disk.Report{}, onDrives},
	} {
		registry, err := finding.NewRegistry(time.Now(), finding.Options{Immediate: true})
		if err != nil {
			t.Fatal(err)
		}
		p := &placements{findings: registry}
		state := func() finding.State {
			for _, f := range registry.Current(time.Now()) {
				if f.Subject == "storage/pve1/fast" {
					return f.State
				}
			}
			return ""
		}
		for _, r := range order {
			switch r := r.(type) {
			case *disk.Report:
				p.drives(r)
			case *storage.Report:
				p.storages(r)
			}
		}
		if got := state(); got != finding.StateConsequence {
			t.Errorf("%s: the storage is %q", name, got)
		}
		p.drives(&disk.Report{})
		if got := state(); got != finding.StateActive {
			t.Errorf("%s, the drive is no longer missing: the storage is %q", name, got)
		}
	}
}
