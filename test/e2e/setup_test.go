package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	apiv1 "labd/api/v1"
)

// labd makes its own token by pveum under its own sandbox, and its few rights are enough to remove a dead storage and to
// bring it back.
func TestSetupPVE(t *testing.T) {
	l, d, server := storageHost(t, "e2e-setup")
	if err := l.InstallPVEPrograms(server, bin); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(l.Path("/etc/labd/token")); err != nil {
		t.Fatal(err)
	}
	startLabd(t, l, fixtureConfig)
	shown := must(t, l, 0, "setup", "pve", "--dry-run")
	if !strings.Contains(shown, "pveum role add LabdStorage") || !strings.Contains(shown, "/etc/labd/token") {
		t.Errorf("the plan:\n%s", shown)
	}
	if code, _, _ := labctl(t, l, "setup", "pve"); code != 5 {
		t.Errorf("without a terminal and --yes: exit %d", code)
	}
	if _, err := os.Stat(l.Path("/etc/labd/token")); !os.IsNotExist(err) {
		t.Errorf("a plan that was only shown made a token (%v)", err)
	}
	must(t, l, 0, "setup", "pve", "--yes")
	info, err := os.Stat(l.Path("/etc/labd/token"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("token file: %v %v", err, info)
	}
	if again := must(t, l, 0, "setup", "pve", "--yes"); !strings.Contains(again, "Nothing to do.") {
		t.Errorf("the second run:\n%s", again)
	}
	// What hangs on the storage: a CD image, a backup job, a permission. The token may touch none of them.
	run(t, l, "pveum", "acl", "modify", "/storage/"+d.Name, "--users", "root@pam", "--roles", "PVEDatastoreUser")
	files := map[string]string{
		"/etc/pve/nodes/pve1/qemu-server/100.conf": "ide2: " + d.Name + ":iso/debian.iso,media=cdrom\nname: web\n",
		"/etc/pve/jobs.cfg":                        "vzdump: backup-1\n\tschedule 02:00\n\tall 1\n\tenabled 1\n\tstorage " + d.Name + "\n\n",
	}
	for file, text := range files {
		if err := l.WriteFile(file, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	files["/etc/pve/user.cfg"] = ""
	read := func(file string) string {
		data, err := os.ReadFile(l.Path(file))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for file := range files {
		files[file] = read(file)
	}
	before := stateOf(t, l, d)
	if err := d.PullAndReboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	must(t, l, 0, "fix-storage", d.Name, "--fix-refs", "--yes")
	if after := stateOf(t, l, d); after.Entry != nil {
		t.Errorf("the entry is still there: %v", after.Entry)
	}
	for file := range files {
		// A job that has nowhere to write is switched off, and keeps what it says.
		if text := read(file); strings.Contains(text, d.Name) && !strings.Contains(text, "\tenabled 0\n") {
			t.Errorf("%s still names the storage:\n%s", file, text)
		}
	}
	journal := report[apiv1.JournalItem](t, l, 0, "journal")
	must(t, l, 0, "undo", journal.Items[0].ID, "--yes")
	if after := stateOf(t, l, d); after.Entry["path"] != before.Entry["path"] {
		t.Errorf("after undo: %v", after.Entry)
	}
	for file, text := range files {
		if diff := cmp.Diff(text, read(file)); diff != "" {
			t.Errorf("%s after undo:\n%s", file, diff)
		}
	}
	// A new secret is used at once, by the labd that runs.
	must(t, l, 0, "setup", "pve", "--rotate", "--yes")
	if again := must(t, l, 0, "setup", "pve", "--yes"); !strings.Contains(again, "Nothing to do.") {
		t.Errorf("after the rotation:\n%s", again)
	}
}

// Without a token all goes through pvesh.
func TestFixStorageThroughPvesh(t *testing.T) {
	l, d, server := storageHost(t, "e2e-pvesh")
	if err := l.InstallPVEPrograms(server, bin); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(l.Path("/etc/labd/token")); err != nil {
		t.Fatal(err)
	}
	startLabd(t, l, fixtureConfig)
	if err := d.PullAndReboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	must(t, l, 0, "fix-storage", d.Name, "--yes")
	if after := stateOf(t, l, d); after.Entry != nil {
		t.Errorf("the entry is still there: %v", after.Entry)
	}
}
