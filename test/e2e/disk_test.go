package e2e

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	apiv1 "labd/api/v1"
	"labd/test/fixture"
)

// On a state directory that is full or read-only labd starts, sees, answers and is scraped; it refuses what needs the
// disk and touches nothing; and it goes on by itself once there is room.
func TestFullAndReadOnlyDisk(t *testing.T) {
	l, d, _ := storageHost(t, "e2e-full")
	if err := d.PullAndReboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := fixture.Materialise(filepath.Join(l.Dir(), "store/nvme"), fixture.P7000Z); err != nil {
		t.Fatal(err)
	}
	if err := l.InstallLabd(bin, unitFile, fixtureConfig); err != nil {
		t.Fatal(err)
	}
	run(t, l, "mkdir", "-p", "/var/lib/labd")
	run(t, l, "mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", "/var/lib/labd")
	const fill, empty = "dd if=/dev/zero of=/var/lib/labd/filler bs=4k 2>/dev/null; true", "rm /var/lib/labd/filler"
	const lock, unlock = "mount -o remount,ro /var/lib/labd", "mount -o remount,rw /var/lib/labd"
	for _, tt := range []struct{ name, want, before, after, mend string }{
		{"full", "no space left on device", fill, "true", empty},
		{"full under labd", "no space left on device", "true", fill, empty},
		// A labd that was started on a read-only mount keeps it so in its own mount namespace, until it is restarted.
		{"read-only", "read-only file system", lock, "true", unlock + " && systemctl restart labd"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, l, "sh", "-c", tt.before)
			if _, err := l.StartLabd(t.Context()); err != nil {
				t.Fatal(err)
			}
			run(t, l, "sh", "-c", tt.after)
			before := stateOf(t, l, d)
			status := report[apiv1.StatusItem](t, l, 4, "status")
			if got := codes(status.Findings, "storage/pve1/usb1"); got != "storage.device-gone" {
				t.Errorf("findings of usb1: %s", got)
			}
			if code, _, stderr := labctl(t, l, "fix-storage", "usb1", "--yes"); code == 0 || !strings.Contains(stderr, tt.want) {
				t.Errorf("a removal without a journal: exit %d, %s", code, stderr)
			}
			if diff := cmp.Diff(before, stateOf(t, l, d)); diff != "" {
				t.Errorf("something was touched, -want +got:\n%s", diff)
			}
			if code, _, stderr := labctl(t, l, "silence", "storage.device-gone", "--for", "1h", "--reason", "x"); code == 0 || !strings.Contains(stderr, tt.want) {
				t.Errorf("a silence that is not kept: exit %d, %s", code, stderr)
			}
			metrics, err := l.Relay(t.Context(), "127.0.0.1:9717")
			if err != nil {
				t.Fatal(err)
			}
			wait(t, l, "the failed writes are counted", func() bool {
				value := metricValue(t, metrics, "labd_state_write_errors_total")
				return value != "" && value != "0"
			})

			run(t, l, "sh", "-c", tt.mend)
			must(t, l, 0, "silence", "storage.device-gone", "--for", "1h", "--reason", "x")
			must(t, l, 0, "silence", "remove", "1")
			wait(t, l, "the history is on disk again", func() bool {
				_, err := l.Run(t.Context(), "test", "-s", "/var/lib/labd/findings.json")
				return err == nil
			})
			run(t, l, "systemctl", "stop", "labd")
			run(t, l, "sh", "-c", "rm -rf /var/lib/labd/*")
		})
	}
}

// metricValue is the value of a series of labd's metrics, as it is written; "" where there is none.
func metricValue(t *testing.T, address, series string) string {
	t.Helper()
	resp, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
