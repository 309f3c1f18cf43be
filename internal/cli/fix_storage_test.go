package cli

import (
	"strings"
	"testing"
	"time"

	apiv1 "labd/api/v1"
)

// What fix-storage says of each storage that it leaves alone, and how references are listed.
func TestStorageLeftAlone(t *testing.T) {
	removal := &apiv1.Plan{Title: "Remove storage", Digest: "d", Steps: []apiv1.PlanStep{{Title: "Remove the entry", How: "DELETE", Verify: "gone", Risk: "low"}}}
	future := time.Now().Add(time.Hour)
	item := func(id, kind string, verdict apiv1.StorageVerdict, reason string) apiv1.StorageItem {
		return apiv1.StorageItem{ID: "storage/pve1/" + id, Storage: id, Type: kind, Verdict: verdict, Reason: reason, References: []apiv1.Reference{}, Findings: []string{}}
	}
	early := item("usb1", "dir", "gone", "/dev/disk/by-uuid/U does not exist")
	early.Plan, early.CandidateAt = removal, &future
	pool := item("tank", "zfspool", "gone", "there is no pool tank")
	pool.Plan, pool.Waits = removal, "a pool is taken only by its name: it may be exported, or wait for its key"
	held := item("fast", "lvmthin", "gone", "there is no volume group fast")
	held.Refusal = "nodes/pve1/qemu-server/100.conf still names it (scsi0: fast:vm-100-disk-0)"
	held.References = []apiv1.Reference{
		{File: "nodes/pve2/lxc/200.conf", Key: "rootfs", Value: "fast:vm-200-disk-0", Grade: "block", Reason: "attached volume", Kept: true},
		{File: "jobs.cfg", Section: "nightly", Key: "storage", Value: "fast", Grade: "fixable", Reason: "backup job"},
		{File: "nodes/pve1/qemu-server/100.conf", Key: "scsi0", Value: "fast:vm-100-disk-0", Grade: "block", Reason: "attached volume"},
	}
	items := []apiv1.StorageItem{
		item("local", "dir", "ok", "the directory is there"), early, pool, held, item("nas", "nfs", "down", "its server nas:2049 does not answer"),
		item("data", "dir", "masked", "/dev/sdb is there and not mounted"), item("off", "nfs", "disabled", "switched off in storage.cfg"),
	}
	socket := answers{"GET /v1/storage?fresh=1": envelopeOf(apiv1.KindStorageReport, items)}.start(t)
	code, stdout, _ := labctl(t, socket, "fix-storage", "--yes")
	if code != ExitOK {
		t.Errorf("exit %d", code)
	}
	golden(t, "fix-storage-nothing-due", stdout)
	_, stdout, _ = labctl(t, socket, "fix-storage", "--dry-run", "fast")
	golden(t, "fix-storage-references", stdout)

	socket = answers{"GET /v1/storage?fresh=1": envelopeOf(apiv1.KindStorageReport, []apiv1.StorageItem{items[0], items[4]})}.start(t)
	if _, stdout, _ = labctl(t, socket, "fix-storage"); !strings.Contains(stdout, "No storage is dead.") || !strings.Contains(stdout, "Only down") {
		t.Errorf("with nothing dead:\n%s", stdout)
	}
}

// Several storages are one plan, and the flags reach it.
func TestStorageSeveral(t *testing.T) {
	past := time.Now().Add(-time.Hour)
	var items []apiv1.StorageItem
	for _, id := range []string{"usb1", "usb2"} {
		items = append(items, apiv1.StorageItem{
			ID: "storage/pve1/" + id, Storage: id, Type: "dir", Verdict: "gone", Reason: "gone", CandidateAt: &past, Plan: &apiv1.Plan{}, References: []apiv1.Reference{}, Findings: []string{},
		})
	}
	shown := envelopeOf(apiv1.KindPlan, []apiv1.Plan{{Title: "Remove both", Digest: "d", Steps: []apiv1.PlanStep{{Title: "Remove the entry"}}}})
	socket := answers{
		"GET /v1/storage?fresh=1": envelopeOf(apiv1.KindStorageReport, items), "POST /v1/plans": shown,
		"POST /v1/plans/apply": envelopeOf(apiv1.KindJournalReport, []apiv1.JournalItem{{ID: "1", Steps: 1, StepsDone: 1}}),
	}.start(t)
	for _, args := range [][]string{{"--yes"}, {"usb1", "usb2", "--yes", "--fix-refs"}, {"usb1", "--disable", "--yes"}} {
		if code, stdout, stderr := labctl(t, socket, append([]string{"fix-storage"}, args...)...); code != ExitOK || strings.Count(stdout, "Done: ") != 1 {
			t.Errorf("%v: exit %d\n%s%s", args, code, stdout, stderr)
		}
	}
	if code, stdout, _ := labctl(t, socket, "fix-storage", "usb1", "--disable", "--dry-run"); code != ExitOK || strings.Contains(stdout, "Done") || !strings.Contains(stdout, "Remove both") {
		t.Errorf("dry run of --disable: exit %d\n%s", code, stdout)
	}
}
