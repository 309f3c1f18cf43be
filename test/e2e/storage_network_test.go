package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	apiv1 "labd/api/v1"
	"labd/test/lab"
)

// scrapes is how often /metrics is asked for.
const scrapes = 50

// A share whose server is gone hangs everybody who touches it. labd does not: reports and scrapes come as if it were not
// there, no thread is lost, and what is down is left alone.
func TestStorageDeadShare(t *testing.T) {
	lab.Require(t, "curl")
	l := lab.New(t, "e2e-share")
	release, err := l.MountHung("/mnt/pve/nas")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	server, err := l.StartPVE(t.Context(), "nfs: nas\n\tserver 127.0.0.1\n\texport /backup\n\tpath /mnt/pve/nas\n\tcontent backup\n\n"+
		"dir: onnas\n\tpath /mnt/pve/nas/dump\n\tcontent iso\n\n"+
		"pbs: vault\n\tserver 127.0.0.1\n\tdatastore d\n\tcontent backup\n\n"+
		"pbs: here\n\tserver 127.0.0.1\n\tport 8006\n\tdatastore d\n\tcontent backup\n\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	startLabd(t, l, fixtureConfig)

	began := time.Now()
	found := report[apiv1.StorageItem](t, l, 3, "fix-storage", "--dry-run")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the report took %s", took)
	}
	got := map[string]string{}
	for _, item := range found.Items {
		got[item.Storage] = string(item.Verdict)
		if item.CandidateAt != nil || item.Plan != nil {
			t.Errorf("%s is to be removed: %+v", item.Storage, item)
		}
	}
	for id, want := range map[string]string{"nas": "down", "onnas": "down", "vault": "down", "here": "ok"} {
		if got[id] != want {
			t.Errorf("%s is %s, want %s", id, got[id], want)
		}
	}
	said := must(t, l, 0, "fix-storage", "--yes")
	for _, want := range []string{"No storage is dead.", "Only down", "vault: its server 127.0.0.1:8007 refuses the connection"} {
		if !strings.Contains(said, want) {
			t.Errorf("fix-storage does not say %q:\n%s", want, said)
		}
	}

	// The figures are taken on the host: what labd needs, not what a new process on a busy machine does.
	var took []time.Duration
	for range scrapes {
		out := run(t, l, "curl", "-fsS", "-o", "/dev/null", "-w", "%{time_total}", "http://127.0.0.1:9717/metrics")
		d, err := time.ParseDuration(strings.TrimSpace(out) + "s")
		if err != nil {
			t.Fatal(err)
		}
		took = append(took, d)
	}
	slices.Sort(took)
	t.Logf("/metrics beside a dead share: median %s, slowest %s of %d", took[scrapes/2], took[scrapes-1], scrapes)
	if took[scrapes/2] > 50*time.Millisecond {
		t.Errorf("/metrics takes %s beside a dead share", took[scrapes/2])
	}
	metrics := run(t, l, "curl", "-fsS", "http://127.0.0.1:9717/metrics")
	if !strings.Contains(metrics, "\nlabd_hung_reads 0\n") {
		t.Error("labd touched the dead share: a read hangs")
	}

	// Switched off, the entry keeps nobody waiting; and on again.
	must(t, l, 0, "fix-storage", "--disable", "vault", "--yes")
	if item := report[apiv1.StorageItem](t, l, 0, "fix-storage", "--dry-run", "vault").Items[0]; item.Verdict != "disabled" {
		t.Errorf("switched off: %+v", item)
	}
	must(t, l, 0, "undo", "1", "--yes")
	if item := report[apiv1.StorageItem](t, l, 3, "fix-storage", "--dry-run", "vault").Items[0]; item.Verdict != "down" {
		t.Errorf("switched on again: %+v", item)
	}
	if code, _, stderr := labctl(t, l, "fix-storage", "--disable", "here", "--yes"); code != 5 {
		t.Errorf("a live storage is switched off: exit %d: %s", code, stderr)
	}
}
