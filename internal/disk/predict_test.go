package disk

import (
	"strings"
	"testing"

	"labd/internal/finding"
	"labd/test/fixture"
)

// A P7000Z's host under other kernels, and what is done to it before.
func TestPredict(t *testing.T) {
	const healthy = "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0"
	const cleared = "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 1.2] nvme nvme0: 8/0/0 default/read/poll queues\n[ 9.0] nvme nvme0: clearing duplicate IDs for nsid 1\n"
	const shared = "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 9.0] nvme nvme0: ignoring nsid 1 because of duplicate IDs\n"
	const twice = "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 9.0] nvme nvme0: duplicate IDs in subsystem for nsid 2\n"
	samsung := map[string]string{healthy + "/vendor": "0x144d\n", healthy + "/device": "0xa80a\n", healthy + "/nvme/nvme0/model": "Samsung SSD 980 PRO 1TB\n", "dmesg": ""}
	with := func(base map[string]string, log string) map[string]string {
		out := map[string]string{"dmesg": log}
		for k, v := range base {
			if k != "dmesg" {
				out[k] = v
			}
		}
		return out
	}
	for _, tt := range []struct {
		name, running, to string
		drive             int
		files             map[string]string
		outcome           string
		confidence        finding.Confidence
		reason            string
	}{
		{"the drive that never became ready, fixed kernel", "6.2.16-3-pve", "6.8.12-4-pve", 1, nil, OutcomeRecognised, finding.Likely, "does not have the bug"},
		{"the same, older than the bug", "6.2.16-3-pve", "5.15.158-2-pve", 1, nil, OutcomeRecognised, finding.Likely, "does not have the bug"},
		{"the same, another affected kernel", "6.2.16-3-pve", "6.1.38", 1, nil, OutcomeNotReady, finding.Certain, "meets it"},
		{"the same, nobody knows", "6.2.16-3-pve", "6.1.0-1036-oem", 1, nil, OutcomeUnknown, finding.Unknown, "does not tell"},
		{"the same, taken for affected", "6.2.16-3-pve", "6.2.16-20-pve", 1, nil, OutcomeNotReady, finding.Likely, "no changelog"},
		{"its brother, taken for affected", "6.8.12-4-pve", "6.2.16-20-pve", 0, nil, OutcomeNotReady, finding.Likely, "no changelog"},
		{"its brother, which works with the bug, taken for affected", "6.2.16-3-pve", "6.2.16-20-pve", 0, nil, OutcomeRecognised, finding.Likely, "same bug"},
		{"its brother of the same ids as one that the kernel named", "6.8.12-4-pve", "6.2.16-3-pve", 0, map[string]string{
			healthy + "/vendor": "0x1234\n", healthy + "/device": "0x5678\n", healthy + "/nvme/nvme0/model": "Other\n",
			"sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.0/vendor": "0x1234\n", "sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.0/device": "0x5678\n",
			"dmesg": "[ 1.0] nvme nvme2: pci function 0000:03:00.0\n[ 1.1] nvme nvme2: bad crto:0 cap:f0130200100ff\n",
		}, OutcomeNotReady, finding.Likely, "says so once"},
		{"not ready on a fixed kernel", "6.8.12-4-pve", "6.14.11-9-pve", 1, nil, OutcomeUnknown, finding.Unknown, "does not come up"},
		{"its brother works with the same bug", "6.2.16-3-pve", "6.1.38", 0, nil, OutcomeRecognised, finding.Likely, "same bug"},
		{"its brother on a fixed kernel, going back", "6.8.12-4-pve", "6.2.16-3-pve", 0, nil, OutcomeNotReady, finding.Likely, "MAP1602"},
		{"its brother, whose firmware the kernel named", "6.8.12-4-pve", "6.2.16-3-pve", 0, map[string]string{"dmesg": "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 1.1] nvme nvme0: bad crto:0 cap:f0130200100ff\n"}, OutcomeNotReady, finding.Certain, "meets it"},
		{"a drive of another kind", "6.8.12-4-pve", "6.2.16-3-pve", 0, samsung, OutcomeRecognised, finding.Likely, "nothing known"},
		{"ids cleared now, going back", "6.8.12-4-pve", "6.2.16-3-pve", 0, with(samsung, cleared), OutcomeRefused, finding.Likely, "rejects the second"},
		{"ids cleared now, staying", "6.8.12-4-pve", "6.5.11-1-pve", 0, with(samsung, cleared), OutcomeIDsCleared, finding.Likely, "both work"},
		{"ids cleared now, before the check", "6.8.12-4-pve", "5.15.158-2-pve", 0, with(samsung, cleared), OutcomeRecognised, finding.Likely, "does not check"},
		{"ids cleared now, unknown kernel", "6.8.12-4-pve", "6.1.0-1036-oem", 0, with(samsung, cleared), OutcomeUnknown, finding.Unknown, "does not tell"},
		{"ids ignored by the quirk there", "6.2.16-3-pve", "6.8.12-4-pve", 0, map[string]string{"dmesg": cleared}, OutcomeRecognised, finding.Likely, "ignores the ids"},
		{"shared namespace", "6.8.12-4-pve", "6.14.11-9-pve", 0, with(samsung, shared), OutcomeRefused, finding.Certain, "may be shared"},
		{"two of one drive", "6.8.12-4-pve", "6.14.11-9-pve", 0, with(samsung, twice), OutcomeRefused, finding.Likely, "namespace 2"},
		{"passed through", "6.8.12-4-pve", "6.2.16-3-pve", 1, map[string]string{"sys/devices/pci0000:00/0000:00:1b.0/0000:02:00.0/driver_override": "vfio-pci\n"}, OutcomeUnknown, finding.Unknown, "guest"},
		{"an SN550", "6.8.12-4-pve", "6.8.9", 0, map[string]string{healthy + "/vendor": "0x15b7\n", healthy + "/device": "0x5009\n", healthy + "/nvme/nvme0/model": "WD Blue SN550\n", "dmesg": ""}, OutcomeRecognised, finding.Likely, "lose interrupts"},
		{"an SN530", "6.8.12-4-pve", "6.8.9", 0, map[string]string{healthy + "/vendor": "0x15b7\n", healthy + "/device": "0x5008\n", healthy + "/nvme/nvme0/model": "WD SN530\n", "dmesg": ""}, OutcomeRecognised, finding.Likely, "lose interrupts"},
		{"dead for another reason", "6.8.12-4-pve", "6.14.11-9-pve", 0, with(samsung, "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n"), OutcomeRecognised, finding.Likely, "nothing known"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, o := tree(t, fixture.P7000Z, tt.running)
			tweak(t, dir, tt.files)
			to, err := ParseRelease(tt.to)
			if err != nil {
				t.Fatal(err)
			}
			p := look(t, o).Predict(to)[tt.drive]
			if p.Outcome != tt.outcome || p.Confidence != tt.confidence || !strings.Contains(p.Reason, tt.reason) {
				t.Errorf("got %+v, want %s %s %q", p, tt.outcome, tt.confidence, tt.reason)
			}
		})
	}
}
