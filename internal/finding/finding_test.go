package finding

import (
	"testing"

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
