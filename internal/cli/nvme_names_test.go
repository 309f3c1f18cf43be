package cli

import (
	"testing"

	apiv1 "labd/api/v1"
)

func TestDriveNames(t *testing.T) {
	item := apiv1.NVMeItem{
		ID: "nvme/0000:0a:00.0", Controller: "nvme3", Model: "Samsung SSD 990 PRO 2TB", Serial: "S7DNNX0W1",
		Namespaces: []apiv1.NVMeNamespace{{Device: "nvme3n1", WWID: "eui.0025384331b0a1c2", EUI: "00 25 38 43 31 b0 a1 c2", NGUID: "36344730-5441-0000-0025-384500000001", UUID: "12345678-1234-1234-1234-123456789abc"}},
	}
	for name, want := range map[string]bool{
		"0000:0a:00.0": true, "0a:00.0": true, "0A:00.0": true, "nvme/0000:0a:00.0": true, "0001:0a:00.0": false,
		"nvme3": true, "/dev/nvme3": true, "nvme3n1": true, "/dev/nvme3n1": true, "nvme3n1p1": true, "/dev/nvme3n1p12": true, "nvme3n12": false, "nvme33n1": false, "nvme": false,
		"S7DNNX0W1": true, "S7DNNX0W": false, "": false, "/dev/": false,
		"/dev/disk/by-id/nvme-Samsung_SSD_990_PRO_2TB_S7DNNX0W1": true, "/dev/disk/by-id/nvme-Samsung_SSD_990_PRO_2TB_S7DNNX0W1-part3": true,
		"/dev/disk/by-id/nvme-Samsung_SSD_990_PRO_2TB_S7DNNX0W1_1": true, "nvme-Samsung_SSD_990_PRO_2TB_S7DNNX0W1": true, "nvme-Samsung_SSD_990_PRO_2TB_S7DNNX0W12": false,
		"/dev/disk/by-id/nvme-eui.0025384331b0a1c2-part1": true, "/dev/disk/by-id/nvme-eui.36344730544100000025384500000001": true, "/dev/disk/by-id/nvme-uuid.12345678-1234-1234-1234-123456789abc": true,
		"/dev/disk/by-id/nvme-eui.": false, "/dev/disk/by-id/ata-Samsung_S7DNNX0W1": false, "/dev/disk/by-id/nvme-_": false,
	} {
		if got := driveMatches(item, name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
	silent := apiv1.NVMeItem{ID: "nvme/0000:0b:00.0"}
	for _, name := range []string{"", "nvme-_", "/dev/disk/by-id/nvme-_", "/dev/disk/by-id/nvme-eui.", "/dev/disk/by-id/nvme-"} {
		if driveMatches(silent, name) {
			t.Errorf("a drive that says nothing answers to %q", name)
		}
	}
}
