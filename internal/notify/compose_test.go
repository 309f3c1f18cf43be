package notify

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labd/internal/finding"
)

var update = flag.Bool("update", false, "write the golden messages")

func TestCompose(t *testing.T) {
	full := finding.Finding{
		Code: finding.StorageDeviceGone, Subject: finding.Storage("pve1", "usb1"), Severity: finding.Fail, Title: "its disk is gone", Since: t0,
		Cause: "no device has the UUID that mnt-pve-usb1.mount names", Confidence: finding.Certain,
		Remedies: []finding.Remedy{{Title: "plug it in again", Risk: finding.RiskNone, Commands: []string{"labctl fix-storage usb1 --dry-run"}}},
	}
	hostile := finding.Finding{
		Code: finding.NetOutsidePool, Subject: finding.Network("101", "a\r\nBcc: all@example.org"), Severity: finding.Warn, Since: t0,
		Title: "\x1b[31mred\u202e", Cause: strings.Repeat("long ", 200), Confidence: finding.Likely,
	}
	over := finding.Finding{Code: finding.NVMeDead, Subject: finding.NVMe("0000:01:00.0"), Severity: finding.Fail, Title: "the drive is dead", Since: t0}
	var many []change
	for range 15 {
		many = append(many, change{isNew, full})
	}
	for _, tt := range []struct {
		name    string
		changes []change
	}{
		{"one", []change{{isNew, full}}},
		{"worse", []change{{isWorse, full}}},
		{"over", []change{{isOver, over}}},
		{"mixed", []change{{isNew, full}, {isNew, hostile}, {isOver, over}}},
		{"many", many},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := compose("pve1", tt.changes, t0)
			got := m.Title + "\n\n" + m.Body
			if strings.ContainsAny(m.Title, "\r\n") {
				t.Errorf("the title has a line end: %q", m.Title)
			}
			file := "testdata/" + tt.name + ".txt"
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
