package server

import (
	"testing"
	"time"

	apiv1 "labd/api/v1"
	"labd/internal/finding"
)

// What labd cannot tell, or not yet, is never well; what an operator silenced is told beside.
func TestJobStatus(t *testing.T) {
	with := func(severity finding.Severity, state finding.State) finding.Finding {
		return finding.Finding{Code: finding.StorageDown, Subject: finding.Storage("pve1", string(state)), Severity: severity, State: state}
	}
	for _, tt := range []struct {
		name    string
		job     jobStatus
		verdict apiv1.Health
		summary string
	}{
		{"not looked yet", jobStatus{at: time.Time{}}, apiv1.HealthUnknown, "not observed yet"},
		{"well", jobStatus{total: 3, well: 3}, apiv1.HealthOK, "3 storages, 3 ok"},
		{"none", jobStatus{}, apiv1.HealthOK, "no storages"},
		{"no PVE", jobStatus{absent: "no Proxmox VE on this host"}, apiv1.HealthOK, "no Proxmox VE on this host"},
		{"unread", jobStatus{unread: "storage.cfg cannot be read"}, apiv1.HealthUnknown, "storage.cfg cannot be read"},
		{"unread, and that is a failure", jobStatus{unread: "storage.cfg cannot be read", findings: []finding.Finding{with(finding.Fail, finding.StateActive)}}, apiv1.HealthFail, "storage.cfg cannot be read"},
		{"too young", jobStatus{total: 3, well: 1, findings: []finding.Finding{with(finding.Warn, finding.StatePending)}}, apiv1.HealthUnknown, "3 storages, 1 ok, 1 too new to be certain"},
		{"silenced", jobStatus{total: 2, well: 1, findings: []finding.Finding{with(finding.Fail, finding.StateSilenced)}}, apiv1.HealthInfo, "2 storages, 1 ok, 1 silenced"},
		{"a remark that is silenced", jobStatus{total: 1, well: 1, findings: []finding.Finding{with(finding.Info, finding.StateSilenced)}}, apiv1.HealthOK, "1 storage, 1 ok"},
		{"unknown", jobStatus{total: 2, well: 1, unknown: 1}, apiv1.HealthUnknown, "2 storages, 1 ok, 1 unknown"},
		{"unknown and a warning", jobStatus{total: 3, well: 1, unknown: 1, findings: []finding.Finding{with(finding.Warn, finding.StateActive)}}, apiv1.HealthWarn, "3 storages, 1 ok, 1 unknown"},
		{"young beside a failure", jobStatus{total: 2, findings: []finding.Finding{with(finding.Warn, finding.StatePending), with(finding.Fail, finding.StateActive)}}, apiv1.HealthFail, "2 storages, 0 ok, 1 too new to be certain"},
	} {
		tt.job.id, tt.job.one, tt.job.many = "storage", "storage", "storages"
		if tt.name != "not looked yet" {
			tt.job.at = at
		}
		if got := tt.job.item(); got.Verdict != tt.verdict || got.Summary != tt.summary {
			t.Errorf("%s: %s %q, want %s %q", tt.name, got.Verdict, got.Summary, tt.verdict, tt.summary)
		}
	}
}
