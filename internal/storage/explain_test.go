package storage

import (
	"strings"
	"testing"

	"labd/internal/finding"
	"labd/internal/pve"
)

// What no entry of storage.cfg carries is found too: a mount that waits for a disk that is gone, and what PVE reads otherwise
// than it is written.
func TestFindingsBesideEntries(t *testing.T) {
	text := "dir: local\n\tpath /var/lib/vz\n\tcontent iso\n\tcontent backup\n"
	f := &Facts{
		Node: "pve1", Text: []byte(text), Config: pve.ParseStorageConfig([]byte(text), pve.StorageConfigOptions{}),
		Stray:   []Source{{What: "UUID=AAAA-1", Point: "/mnt/pve/usb1"}},
		Devices: map[string]Device{"UUID=AAAA-1": DeviceGone}, Blocks: Blocks{Asked: true},
	}
	found := map[finding.Code]finding.Finding{}
	for _, x := range Diagnose(f, DefaultPolicy()).Findings {
		found[x.Code] = x
	}
	left := found[finding.StorageUnitLeft]
	if left.Subject != finding.Storage("pve1", "usb1") || left.Severity != finding.Warn {
		t.Errorf("the mount that is left: %+v", left)
	}
	hazard := found[finding.StorageConfigHazard]
	if hazard.Subject != finding.Storage("pve1", "local") || len(hazard.Evidence) == 0 || !strings.Contains(hazard.Evidence[0].Source, "line 4") {
		t.Errorf("the key that is there twice: %+v", hazard)
	}
}
