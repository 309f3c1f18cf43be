package cli

import (
	"strings"
	"testing"
	"time"

	apiv1 "labd/api/v1"
)

func TestStatus(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	finding := func(severity apiv1.Severity, subject string, state apiv1.State) apiv1.Finding {
		return apiv1.Finding{Code: "nvme.dead", Severity: severity, Subject: subject, Title: "it is dead", State: state, Since: ago(3 * time.Hour), Remedies: []apiv1.Remedy{{Title: "replace it"}}}
	}
	fail, silenced := finding("fail", "nvme/0000:01:00.0", apiv1.StateActive), finding("fail", "nvme/0000:02:00.0", apiv1.StateSilenced)
	silenced.Silence = &apiv1.SilenceItem{ID: "3", Reason: "ordered", Actor: "root", Until: now.Add(time.Hour)}
	consequence := finding("fail", "storage/n/usb1", apiv1.StateConsequence)
	consequence.Behind = &apiv1.FindingRef{Code: "nvme.dead", Subject: "nvme/0000:01:00.0"}
	young := finding("warn", "storage/n/nas", apiv1.StatePending)
	history := []apiv1.HistoryItem{
		{Subject: "nvme/0000:01:00.0", Title: "it is dead", Severity: "fail", Since: *ago(3 * time.Hour), Episodes: 2},
		{Subject: "nvme/0000:09:00.0", Title: "old news", Severity: "fail", Since: *ago(30 * time.Hour), Episodes: 1},
		{Subject: "storage/n/nas", Title: "nas is down", Severity: "warn", Since: *ago(5 * time.Hour), Cleared: ago(4 * time.Hour)},
		{Subject: "storage/n/old", Title: "long over", Severity: "warn", Since: *ago(50 * time.Hour), Cleared: ago(40 * time.Hour)},
	}
	jobs := func(verdict apiv1.Health) []apiv1.StatusItem {
		return []apiv1.StatusItem{{ID: "nvme", Verdict: verdict, Summary: "2 NVMe functions, 0 ok", ObservedAt: now}}
	}
	for _, tt := range []struct {
		name     string
		args     []string
		verdict  apiv1.Health
		findings []apiv1.Finding
		code     int
		want     []string
		not      []string
	}{
		{
			"table", nil, apiv1.HealthFail,
			[]apiv1.Finding{fail, silenced, consequence, young},
			ExitFail,
			[]string{
				"pve1: 1 failure, 1 too new to be certain, 1 silenced\n", "since: 3 h 0 min ago\n      do:    replace it", "Not shown: 1 consequence of these, 1 silenced, 1 too new to be certain",
				"nvme/0000:01:00.0: it is dead (it came 2 times so far)", "nas is down (it was there for 1 h 0 min)",
			},
			[]string{"nvme/0000:02:00.0", "usb1", "old news", "long over"},
		},
		{
			"wide",
			[]string{"-o", "wide"},
			apiv1.HealthFail,
			[]apiv1.Finding{fail, silenced, consequence, young},
			ExitFail,
			[]string{"by root: ordered (silence 3)", "behind nvme.dead of nvme/0000:01:00.0", "not there for long enough"},
			nil,
		},
		{"only silenced and young", nil, apiv1.HealthUnknown, []apiv1.Finding{silenced, young}, ExitWarn, []string{"pve1: nothing certain yet: 1 finding is too new"}, []string{"well", "Nothing is wrong."}},
		{"only silenced", nil, apiv1.HealthInfo, []apiv1.Finding{silenced}, ExitOK, []string{"pve1: nothing but what is silenced: 1 finding", "Not shown: 1 silenced"}, []string{"well", "Nothing is wrong."}},
		{"a job that cannot tell", nil, apiv1.HealthUnknown, nil, ExitWarn, []string{"pve1: not everything is known: nvme"}, []string{"well", "Nothing is wrong."}},
		{"well", nil, apiv1.HealthOK, nil, ExitOK, []string{"pve1: all is well", "Nothing is wrong."}, nil},
		{"name", []string{"-o", "name"}, apiv1.HealthOK, nil, ExitOK, []string{"nvme\n"}, []string{"Since yesterday"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			socket := answers{
				"GET /v1/status": envelopeOf(apiv1.KindStatusReport, jobs(tt.verdict), tt.findings...), "GET /v1/history": envelopeOf(apiv1.KindHistoryReport, history),
			}.start(t)
			code, stdout, stderr := labctl(t, socket, append([]string{"status"}, tt.args...)...)
			if code != tt.code || stderr != "" {
				t.Errorf("exit %d, want %d; %s", code, tt.code, stderr)
			}
			for _, want := range tt.want {
				if !strings.Contains(stdout, want) {
					t.Errorf("no %q in\n%s", want, stdout)
				}
			}
			for _, not := range tt.not {
				if strings.Contains(stdout, not) {
					t.Errorf("%q in\n%s", not, stdout)
				}
			}
		})
	}
}
