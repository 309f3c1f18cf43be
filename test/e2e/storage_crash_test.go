package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	apiv1 "labd/api/v1"
	"labd/test/lab"
)

// crashLab is storageLab with a labd that can be killed at any point of a plan, and that systemd starts again at once.
func crashLab(t *testing.T, name string) (*lab.Lab, *lab.Disk) {
	t.Helper()
	l, d, _ := storageLab(t, name)
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "labd_crash", "-o", dir, "labd/cmd/labd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build labd with crash points: %v: %s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, "labd"))
	if err != nil {
		t.Fatal(err)
	}
	run(t, l, "systemctl", "stop", "labd")
	for file, text := range map[string][]byte{
		"/usr/bin/labd": data,
		"/etc/systemd/system/labd.service.d/crash.conf": []byte("[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestartSec=50ms\n"),
	} {
		if err := l.WriteFile(file, text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.StartLabd(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l, d
}

// labd killed with SIGKILL before and after every step of a removal, with the intent on disk and with the change made:
// the journal says what was begun, and both ways out of it work: to take back what was begun, and to remove again.
func TestStorageCrashPoints(t *testing.T) {
	l, d := crashLab(t, "e2e-crash")
	if err := d.PullAndReboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := stateOf(t, l, d)
	after := state{Enabled: "not-found"}
	last := func() apiv1.JournalItem { return report[apiv1.JournalItem](t, l, 0, "journal").Items[0] }
	undo := func(id string) {
		t.Helper()
		must(t, l, 0, "undo", id, "--yes")
	}
	// mainPID is "0" unless labd is ready.
	mainPID := func() string {
		shown := strings.Fields(run(t, l, "systemctl", "show", "labd", "--property=MainPID", "--property=ActiveState", "--value"))
		if len(shown) == 2 && shown[1] == "active" {
			return shown[0]
		}
		return "0"
	}
	crash := func(step int, point string, args ...string) apiv1.JournalItem {
		t.Helper()
		if err := l.WriteFile("/run/labd/crash", []byte(fmt.Sprintf("%d %s", step, point)), 0o600); err != nil {
			t.Fatal(err)
		}
		pid := mainPID()
		if code, out, stderr := labctl(t, l, args...); code == 0 {
			t.Fatalf("step %d, %s: labd did not die: %s%s", step, point, out, stderr)
		}
		// Not by labctl, which would start a labd of its own meanwhile.
		wait(t, l, "labd is back", func() bool { return mainPID() != pid && mainPID() != "0" })
		return last()
	}
	steps := report[apiv1.StorageItem](t, l, 4, "fix-storage", "--dry-run", d.Name).Items[0].Plan.Steps
	for step := range steps {
		for _, point := range []string{"before", "intent", "changed", "done"} {
			t.Run(strconv.Itoa(step)+" "+point, func(t *testing.T) {
				e := crash(step, point, "fix-storage", d.Name, "--yes")
				want := step
				if point == "done" {
					want++
				}
				if e.State != "interrupted" || e.StepsDone != want {
					t.Fatalf("journal: %+v", e)
				}
				if e.Undoable {
					undo(e.ID)
				}
				if diff := cmp.Diff(before, stateOf(t, l, d)); diff != "" {
					t.Fatalf("after undo, -want +got:\n%s", diff)
				}

				// Once more, and remove what is left.
				e = crash(step, point, "fix-storage", d.Name, "--yes")
				code, out, stderr := labctl(t, l, "fix-storage", d.Name, "--yes")
				left := stateOf(t, l, d)
				left.Enabled = after.Enabled
				switch {
				case code == 0 && cmp.Equal(left, after):
				case strings.Contains(stderr, "has no storage") && left.Entry == nil && left.Unit == "" && left.Link == "":
					// All but the empty mount point was gone already.
				default:
					t.Fatalf("second removal: exit %d\n%s%s\n%+v", code, out, stderr, left)
				}
				for again := last(); again.ID != e.ID; again = last() {
					if again.Undoes != "" || again.UndoneBy != "" {
						break
					}
					undo(again.ID)
				}
				if e.Undoable {
					undo(e.ID)
				}
				if diff := cmp.Diff(before, stateOf(t, l, d)); diff != "" {
					t.Fatalf("after both are undone, -want +got:\n%s", diff)
				}
			})
		}
	}
	// An undo that is cut off is begun again and comes to the same end.
	for _, point := range []string{"before", "intent", "changed", "done"} {
		must(t, l, 0, "fix-storage", d.Name, "--yes")
		id := last().ID
		crash(2, point, "undo", id, "--yes")
		undo(id)
		if diff := cmp.Diff(before, stateOf(t, l, d)); diff != "" {
			t.Fatalf("undo cut off at %s, -want +got:\n%s", point, diff)
		}
	}
}
