package cli

import (
	"encoding/json"
	"strings"
	"testing"

	apiv1 "labd/api/v1"
)

// Nothing that tells this machine from another is left, wherever it stands, and the rest still reads.
func TestRedact(t *testing.T) {
	const serial, uuid, wwid = "FXS790234200311", "4d5e1f7e-0000-4c1d-9a51-3b1c7e1f2a3b", "eui.0025385b71b0a1c2"
	report := envelopeOf(apiv1.KindNVMeReport, []apiv1.NVMeItem{{
		ID: "nvme/0000:01:00.0", Serial: serial, Model: "Fanxiang S790 4TB", Subsystem: "nqn.2014.08.org.nvmexpress:1d97" + serial + " 4TB unit seven", Problems: []string{"read serial " + serial},
		Memory:     &apiv1.NVMeMemory{Serial: serial, Contents: []string{"vfat CDAB-0201", "ext " + uuid}},
		Health:     &apiv1.NVMeHealth{BytesRead: 1<<62 + 1, Problems: []string{"page of " + serial}},
		Namespaces: []apiv1.NVMeNamespace{{Device: "nvme0n1", WWID: wwid, EUI: "00 25 38 5b 71 b0 a1 c2", NGUID: uuid, Users: []string{"mount /mnt/" + uuid}, Storages: []string{"storage/pve1/fast"}}},
	}}, apiv1.Finding{
		Code: "nvme.dead", Title: "disk " + serial, Evidence: []apiv1.Evidence{{Source: "kernel log", Text: "Duplicate cntlid 0 with nvme0, subsys nqn.2014.08.org.nvmexpress:XYZ, rejecting " + wwid}},
		Remedies: []apiv1.Remedy{{Title: "look", Commands: []string{"ls /dev/disk/by-id/nvme-" + serial}}},
	})
	report.Notes = []string{"about " + uuid}
	redact(&report)
	out, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{serial, uuid, wwid, "pve1", "XYZ", "0025385b71b0a1c2", "5b 71", "org.nvmexpress", "CDAB", "unit seven"} {
		if strings.Contains(string(out), secret) {
			t.Errorf("%q is left in %s", secret, out)
		}
	}
	for _, kept := range []string{"nvme/0000:01:00.0", "Fanxiang S790 4TB", "SERIAL-1", "storage/NODE/fast", "Duplicate cntlid 0 with nvme0"} {
		if !strings.Contains(string(out), kept) {
			t.Errorf("no %q in %s", kept, out)
		}
	}
}

// Ids of every kind go, wherever they stand, and what only looks like one stays.
func TestRedactedIDs(t *testing.T) {
	clean := redactor(nil)
	for text, want := range map[string]string{
		"no /dev/disk/by-id/ata-WDC_WD40EFRX-68N32N0_WD-WCC7K0ABCDEF, so":  "no /dev/disk/by-id/ID, so",
		"disk nvme-Samsung_SSD_990_PRO_2TB_S73WNJ0T123456 is gone":         "disk ID is gone",
		"wwn-0x5002538e40a1b2c3-part1 of tank":                             "ID-part1 of tank",
		"by 0x5002538e40a1b2c3 and naa.5002538e40a1b2c3":                   "by ID and ID",
		"ata-ST4000VN008-2DR166_ZGY0ABCD is faulted":                       "ID is faulted",
		"usb-WD_My_Passport_25E1_575834314139393438363032-0:0":             "ID",
		"UUID CDAB-0201 is not there":                                      "UUID ID is not there",
		"LVM K3hFcs-1abc-2DEF-3ghi-4JKL-5mno-6PQRst":                       "LVM ID",
		"md 3aaa0122:29827cfa:5331ad66:ca767371":                           "md ID",
		"card bc:24:11:0a:0b:0c":                                           "card ID",
		"/dev/disk/by-uuid/4d5e1f7e-0000-4c1d-9a51-3b1c7e1f2a3b":           "/dev/disk/by-uuid/ID",
		"nvme-cli, usb-storage and scsi-generic on 0000:01:00.0":           "nvme-cli, usb-storage and scsi-generic on 0000:01:00.0",
		"6.5.11-1 at 2026-11-23 08:00:00, CSTS=0x0, 1d97:1602, nvme0n1":    "6.5.11-1 at 2026-11-23 08:00:00, CSTS=0x0, 1d97:1602, nvme0n1",
		"labctl check-nvme --kernel 6.2.16-3-pve of storage/pve1/usb-disk": "labctl check-nvme --kernel 6.2.16-3-pve of storage/pve1/usb-disk",
	} {
		if got := clean(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
