package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	apiv1 "labd/api/v1"
)

// A disk of fstab, without a unit file. The line is commented out and comes back with an undo.
func TestStorageInFstab(t *testing.T) {
	l, d, _ := storageHost(t, "e2e-fstab")
	fstab, err := os.ReadFile(l.Path("/etc/fstab"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	run(t, l, "systemctl", "disable", "--now", d.Unit())
	run(t, l, "rm", "/etc/systemd/system/"+d.Unit())
	text := string(fstab) + "# the big one\nUUID=" + d.UUID + " " + d.MountPoint() + " ext4 defaults 0 2\n"
	if err := l.WriteFile("/etc/fstab", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, l, "systemctl", "daemon-reload")
	// In a container systemd makes no units of fstab's devices, only of what is mounted.
	run(t, l, "mount", d.Loop, d.MountPoint())
	startLabd(t, l, fixtureConfig)
	must(t, l, 0, "fix-storage", "--dry-run", d.Name)
	if err := d.PullAndReboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := stateOf(t, l, d)
	must(t, l, 0, "fix-storage", d.Name, "--yes")
	after := run(t, l, "cat", "/etc/fstab")
	if want := strings.Replace(text, "UUID="+d.UUID, "# labd: storage gone: UUID="+d.UUID, 1); after != want {
		t.Errorf("fstab, -want +got:\n%s", cmp.Diff(want, after))
	}
	if known, _ := l.Run(t.Context(), "systemctl", "show", "--property=LoadState", "--value", d.Unit()); strings.TrimSpace(known) == "loaded" {
		t.Error("systemd still has the mount")
	}
	must(t, l, 0, "undo", "1", "--yes")
	if diff := cmp.Diff(before, stateOf(t, l, d)); diff != "" {
		t.Errorf("after undo, -want +got:\n%s", diff)
	}
	if restored := run(t, l, "cat", "/etc/fstab"); restored != text {
		t.Errorf("fstab after undo, -want +got:\n%s", cmp.Diff(text, restored))
	}
}

// Sections that PVE rejects: one that labd can repair through PVE, and one that it takes out of the file. While they are
// there nothing else can be removed.
func TestStorageMalformed(t *testing.T) {
	l, d, _ := storageHost(t, "e2e-malf")
	config := "/etc/pve/storage.cfg"
	original, err := os.ReadFile(l.Path(config))
	if err != nil {
		t.Fatal(err)
	}
	broken := string(original) + "dir: data\n\tpath /srv/data # on the big disk\n\tcontent iso\n\nlvmthin: lost\n\tvgname nowhere\n\tcontent images\n\n"
	if err := l.WriteFile(config, []byte(broken), 0o640); err != nil {
		t.Fatal(err)
	}
	startLabd(t, l, fixtureConfig)
	if err := d.PullAndReboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := labctl(t, l, "fix-storage", d.Name, "--yes"); code != 5 || !strings.Contains(stderr, "malformed") {
		t.Errorf("beside a malformed section: exit %d: %s", code, stderr)
	}
	// With two of them PVE takes neither, so the first goes out of the file; the other is mended by PVE.
	must(t, l, 0, "fix-storage", "lost", "--yes")
	if now := run(t, l, "cat", config); now != strings.Replace(broken, "lvmthin: lost\n\tvgname nowhere\n\tcontent images\n\n", "", 1) {
		t.Errorf("other bytes were changed:\n%s", now)
	}
	must(t, l, 0, "fix-storage", "data", "--yes")
	found := report[apiv1.StorageItem](t, l, 3, "fix-storage", "--dry-run", "data")
	if item := found.Items[0]; item.Path != "/srv/data" || item.Verdict != "down" {
		t.Errorf("after the repair: %+v", item)
	}
	must(t, l, 0, "fix-storage", d.Name, "--yes")
}
