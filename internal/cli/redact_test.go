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
