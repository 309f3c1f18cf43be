package e2e

import (
	"os"
	"strings"
	"testing"

	apiv1 "labd/api/v1"
	"labd/test/lab"
)

// A section of a type that PVE does not know is taken out of storage.cfg itself and put back, by the labd in its sandbox, on
// a cluster file system with pmxcfs's rules: no chmod, no links, PVE's lock. All other bytes stay.
func TestSectionIsCutFromTheFile(t *testing.T) {
	lab.RequireFUSE(t)
	l := lab.New(t, "e2e-cut")
	if err := l.MountClusterFS(); err != nil {
		t.Fatal(err)
	}
	const foreign = "truenas: nas\n\tapi_host 192.0.2.9\n\tnodes gone1\n\n"
	server, err := l.StartPVE(t.Context(), "# by hand\n", foreign, "nfs: other\n    server 192.0.2.1\n\texport /e\n\tdisable\n\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	startLabd(t, l, fixtureConfig)
	read := func() string {
		data, err := os.ReadFile(l.Path("/etc/pve/storage.cfg"))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	before := read()
	if !strings.Contains(before, foreign) {
		t.Fatalf("storage.cfg:\n%s", before)
	}
	if code, _, stderr := labctl(t, l, "lint-storage"); code != 3 {
		t.Errorf("lint: exit %d, %s", code, stderr)
	}
	must(t, l, 0, "fix-storage", "nas", "--yes")
	if after := read(); after != strings.Replace(before, foreign, "", 1) {
		t.Errorf("storage.cfg after the removal:\n%s", after)
	}
	journal := report[apiv1.JournalItem](t, l, 0, "journal")
	must(t, l, 0, "undo", journal.Items[0].ID, "--yes")
	if after := read(); !strings.Contains(after, strings.TrimSpace(foreign)) || !strings.Contains(after, "# by hand\n") {
		t.Errorf("storage.cfg after undo:\n%s", after)
	}
	left, err := os.ReadDir(l.Path("/etc/pve/priv/lock"))
	if err != nil || len(left) != 0 {
		t.Errorf("locks left: %v %v", left, err)
	}
}
