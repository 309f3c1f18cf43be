package finding

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSortWorstFirst(t *testing.T) {
	fs := []Finding{
		{Code: "b", Severity: Info, Subject: "nvme/2"},
		{Code: "a", Severity: Warn, Subject: "storage/n/x"},
		{Code: "c", Severity: Fail, Subject: "nvme/9"},
		{Code: "a", Severity: Fail, Subject: "nvme/1"},
	}
	Sort(fs)
	var got []Ref
	for _, f := range fs {
		got = append(got, f.Ref())
	}
	want := []Ref{{"a", "nvme/1"}, {"c", "nvme/9"}, {"a", "storage/n/x"}, {"b", "nvme/2"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if Worst(fs) != Fail || Worst(nil) != 0 {
		t.Errorf("Worst = %v, of none %v", Worst(fs), Worst(nil))
	}
	if diff := cmp.Diff([]string{"a"}, Codes(fs, "nvme/1")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if Codes(fs, "lxc/1") == nil {
		t.Error("Codes of a subject without findings is nil; its JSON must be []")
	}
}

func TestTrackerRemembersUntilGone(t *testing.T) {
	start := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	tracker := NewTracker()
	drive := func() []Finding { return []Finding{{Code: NVMeNotReady, Subject: NVMe("0000:01:00.0")}} }
	see := func(at time.Time, fs []Finding, kinds ...string) time.Time {
		tracker.Update(at, fs, kinds...)
		if len(fs) == 0 {
			return time.Time{}
		}
		return fs[0].Since
	}
	if got := see(start, drive(), "nvme"); got != start {
		t.Errorf("first seen: since %v", got)
	}
	if got := see(start.Add(time.Hour), drive(), "nvme"); got != start {
		t.Errorf("seen again: since %v, want %v", got, start)
	}
	see(start.Add(2*time.Hour), nil, "storage") // speaks for storages only
	if got := see(start.Add(3*time.Hour), drive(), "nvme"); got != start {
		t.Errorf("after another job's update: since %v, want %v", got, start)
	}
	see(start.Add(4*time.Hour), nil, "nvme") // gone
	if got := see(start.Add(5*time.Hour), drive(), "nvme"); got != start.Add(5*time.Hour) {
		t.Errorf("came back: since %v", got)
	}
}
