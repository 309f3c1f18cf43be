package cli

import (
	"testing"

	apiv1 "labd/api/v1"
)

// The exit code of every check command for every verdict and every severity: what is unknown is never well.
func TestCheckExitCodes(t *testing.T) {
	exits := map[apiv1.Health]int{
		apiv1.HealthOK: ExitOK, apiv1.HealthInfo: ExitOK, apiv1.HealthUnknown: ExitWarn, apiv1.HealthWarn: ExitWarn, apiv1.HealthFail: ExitFail,
	}
	check := func(what string, want int, answer any, request string, args ...string) {
		t.Helper()
		socket := answers{request: answer, "GET /v1/history": envelopeOf(apiv1.KindHistoryReport, []apiv1.HistoryItem{})}.start(t)
		if code, _, stderr := labctl(t, socket, append(args, "-o", "json")...); code != want || stderr != "" {
			t.Errorf("%v, %s: exit %d, want %d; %s", args, what, code, want, stderr)
		}
	}
	// The findings of each command decide, whatever the items say.
	for _, severity := range apiv1.Severity("").Values() {
		f := apiv1.Finding{Code: "nvme.dead", Severity: severity, Subject: "x"}
		want := exits[severity.Health()]
		check(string(severity), want, envelopeOf(apiv1.KindStatusReport, []apiv1.StatusItem{{ID: "nvme", Verdict: apiv1.HealthOK}}, f), "GET /v1/status", "status")
		check(string(severity), want, envelopeOf(apiv1.KindNVMeReport, []apiv1.NVMeItem{{ID: "nvme/x", Verdict: apiv1.HealthOK}}, f), "GET /v1/nvme?fresh=1", "check-nvme")
		check(string(severity), want, envelopeOf(apiv1.KindStorageReport, []apiv1.StorageItem{{Storage: "x", Verdict: apiv1.StorageOK}}, f), "GET /v1/storage?fresh=1", "fix-storage", "--dry-run")
		check(string(severity), want, envelopeOf(apiv1.KindNetworkReport, []apiv1.NetworkItem{{ID: "x", Verdict: apiv1.NetworkOK}}, f), "GET /v1/networks?fresh=1", "net", "list")
		check(string(severity), want, envelopeOf(apiv1.KindProbeReport, []apiv1.ProbeItem{{ID: "x", Verdict: apiv1.ProbeOK}}, f), "POST /v1/probes", "net", "probe", "172.18.0.2")
		hazard := apiv1.StorageConfig{Hazards: []apiv1.StorageHazard{{Severity: severity, Effect: apiv1.EffectHarmless}}}
		check(string(severity), want, envelopeOf(apiv1.KindStorageConfig, []apiv1.StorageConfig{hazard}), "GET /v1/storage-config", "lint-storage")
	}
	// Without a finding, what cannot be told is a warning.
	for _, h := range apiv1.Health("").Values() {
		check(string(h), exits[h], envelopeOf(apiv1.KindStatusReport, []apiv1.StatusItem{{ID: "nvme", Verdict: h}}), "GET /v1/status", "status")
	}
	check("unknown", ExitWarn, envelopeOf(apiv1.KindNVMeReport, []apiv1.NVMeItem{{ID: "nvme/x", Verdict: apiv1.HealthUnknown}}), "GET /v1/nvme?fresh=1", "check-nvme")
	check("unknown", ExitWarn, envelopeOf(apiv1.KindNetworkReport, []apiv1.NetworkItem{{ID: "x", Verdict: apiv1.NetworkUnknown}}), "GET /v1/networks?fresh=1", "net", "list")
	for _, v := range apiv1.ProbeVerdict("").Values() {
		check(string(v), exits[v.Health()], envelopeOf(apiv1.KindProbeReport, []apiv1.ProbeItem{{ID: "x", Verdict: v}}), "POST /v1/probes", "net", "probe", "172.18.0.2")
	}
	for _, o := range apiv1.Outcome("").Values() {
		item := apiv1.NVMeItem{ID: "nvme/x", Verdict: apiv1.HealthOK, Prediction: &apiv1.NVMePrediction{Outcome: o}}
		check(string(o), exits[o.Health()], envelopeOf(apiv1.KindNVMeReport, []apiv1.NVMeItem{item}), "GET /v1/nvme?fresh=1&kernel=6.8", "check-nvme", "--kernel", "6.8")
	}
}
