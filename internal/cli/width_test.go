package cli

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	apiv1 "labd/api/v1"
)

// TestMain keeps the width of whoever runs the tests out of them.
func TestMain(m *testing.M) {
	_ = os.Unsetenv("COLUMNS")
	os.Exit(m.Run())
}

// ages are what differs from run to run.
var ages = regexp.MustCompile(`(\d+ (s|min|days)|\d+ h \d+ min) ago`)

func TestWrapText(t *testing.T) {
	for _, tt := range []struct {
		text  string
		width int
		want  string
	}{
		{"short", 10, "short"},
		{"no limit at all", 0, "no limit at all"},
		{"one two three", 7, "one two|three"},
		{"one two three", 3, "one|two|thr|ee"},
		{"/dev/disk/by-uuid/4d5e1f7e-0000", 20, "/dev/disk/by-uuid/|4d5e1f7e-0000"},
		{"größe größe", 5, "größe|größe"},
		{"磁盘磁盘 磁盘", 8, "磁盘磁盘|磁盘"},
		{"磁盘磁盘", 5, "磁盘|磁盘"},
		{"磁盘", 1, "磁|盘"},
		{"a" + noBreak + "b c", 3, "a" + noBreak + "b|c"},
	} {
		if got := strings.Join(wrapText(tt.text, tt.width), "|"); got != tt.want {
			t.Errorf("%q in %d: %q, want %q", tt.text, tt.width, got, tt.want)
		}
	}
}

func TestWrapCommand(t *testing.T) {
	for _, tt := range []struct {
		command string
		width   int
		want    string
	}{
		{"apt update && apt install x", 20, "apt update && apt \\|  install x"},
		{"echo 'a b c d e f g h' | wc -l", 20, "echo \\|  'a b c d e f g h' \\|  | wc -l"},
		{"# say it in a comment", 12, "# say it in|# a comment"},
		{"printf 'a\\n' >/etc/x and more", 10, "printf 'a\\n' >/etc/x and more"},
		{"cat <<EOF and some more", 10, "cat <<EOF and some more"},
		{"echo 'open and more", 10, "echo 'open and more"},
	} {
		if got := strings.Join(wrapCommand(tt.command, tt.width), "|"); got != tt.want {
			t.Errorf("%q in %d: %q, want %q", tt.command, tt.width, got, tt.want)
		}
	}
}

func FuzzWrapText(f *testing.F) {
	f.Add("/dev/disk 磁盘\u0301 x", 7)
	f.Fuzz(func(t *testing.T, text string, width int) {
		text = escape(text)
		got := wrapText(text, width)
		if width > 1 && displayWidth(text) > width {
			for _, line := range got {
				if displayWidth(line) > width {
					t.Errorf("%q in %d: %q", text, width, got)
				}
			}
		}
		if strip(strings.Join(got, "")) != strip(text) {
			t.Errorf("%q in %d lost something: %q", text, width, got)
		}
	})
}

func strip(text string) string { return strings.Join(words(text), "") }

// many are twenty networks without a route, one with another fault, and a drive.
func many() []apiv1.Finding {
	since := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	remedies := []apiv1.Remedy{
		{Title: "make the route and the rules", Risk: "low", Commands: []string{"labctl net plan", "labctl net apply"}},
		{Title: "make them and keep them so", Risk: "low", Commands: []string{"labctl net on"}},
	}
	var out []apiv1.Finding
	for i := range 20 {
		out = append(out, apiv1.Finding{
			Code: "net.no-route", Severity: "warn", Subject: fmt.Sprintf("network/%d/web_default", 101+i), Title: fmt.Sprintf("the host has no route to 172.%d.0.0/16", 17+i),
			Cause: fmt.Sprintf("Docker's networks are known only inside container %d", 101+i), Confidence: "certain", Since: &since, Remedies: remedies,
			Evidence: []apiv1.Evidence{{Source: "routing tables", Text: fmt.Sprintf("no route to 172.%d.0.0/16 via 10.77.0.%d", 17+i, 101+i)}},
		})
	}
	return append(out, apiv1.Finding{
		Code: "net.forward-drop", Severity: "warn", Subject: "network/101/web_default", Title: "the container drops what comes for unpublished ports from outside", Confidence: "certain",
		Cause: "Docker set the FORWARD policy to DROP when it turned forwarding on", Since: &since, Remedies: remedies,
	}, apiv1.Finding{
		Code: "nvme.not-ready", Severity: "fail", Subject: "nvme/0000:02:00.0", Title: "the drive never became ready, so the kernel gave it up: it is in lspci and nowhere else", Confidence: "certain", Since: &since,
		Cause:    "this kernel waits as long as the drive's CRTO register says, and the firmware of these drives says 0: it gives up after half a second",
		Evidence: []apiv1.Evidence{{Source: "/sys/bus/pci/devices/0000:02:00.0", Text: "no driver link, enable 0, power_state D0"}},
		Remedies: []apiv1.Remedy{{Title: "boot a Proxmox kernel with the fix: 6.5.11-1 or later", Risk: "low", Commands: []string{"apt update && apt install proxmox-kernel-6.8 && proxmox-boot-tool kernel list && reboot"}}},
	})
}

func wideAnswers() answers {
	networks := envelopeOf(apiv1.KindNetworkReport, []apiv1.NetworkItem{}, many()...)
	for i := range 20 {
		networks.Items = append(networks.Items, apiv1.NetworkItem{ID: fmt.Sprintf("network/%d/web_default", 101+i), Subnets: []string{fmt.Sprintf("172.%d.0.0/16", 17+i)}, Mode: "direct", Verdict: "planned", Reason: "labctl net apply makes its route and rules"})
	}
	storages := envelopeOf(apiv1.KindStorageReport, []apiv1.StorageItem{
		{Storage: "local", ID: "storage/pve1/local", Type: "dir", Verdict: "ok", Reason: "the directory is there"},
		{
			Storage: "usb1", ID: "storage/pve1/usb1", Type: "dir", Verdict: "gone",
			Reason: "/dev/disk/by-uuid/e2b8b213-07fc-439d-81c2-6234d798bd77, which unit mnt-pve-usb1.mount names for /mnt/pve/usb1, does not exist",
			Plan: &apiv1.Plan{Title: "Remove storage usb1, whose device is gone", Steps: []apiv1.PlanStep{
				{Title: "Disable and remove its mount unit, so that no boot waits for it", How: "systemctl disable mnt-pve-usb1.mount; remove /etc/systemd/system/mnt-pve-usb1.mount; daemon-reload; reset-failed", Verify: "systemd no longer knows the unit", Undo: "write the unit file and its links again; daemon-reload", Risk: "low"},
			}},
			References: []apiv1.Reference{{File: "nodes/pve1/qemu-server/100.conf", Key: "ide2", Value: "usb1:iso/debian-13.iso,media=cdrom", Grade: "fixable", Reason: "CD image"}},
		},
	})
	old := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return answers{
		"GET /v1/status":           envelopeOf(apiv1.KindStatusReport, []apiv1.StatusItem{{ID: "nvme", Verdict: "fail", Summary: "3 NVMe functions, 2 ok"}, {ID: "network", Verdict: "warn", Summary: "20 Docker networks in 20 containers, none of them reachable from the LAN"}}),
		"GET /v1/history":          envelopeOf(apiv1.KindHistoryReport, []apiv1.HistoryItem{{Subject: "storage/pve1/usb1", Title: "its device is gone and so on", Severity: "fail", Since: old}}),
		"GET /v1/nvme?fresh=1":     drives,
		"GET /v1/networks?fresh=1": networks,
		"GET /v1/storage?fresh=1":  storages,
		"POST /v1/probes":          blocked,
		"GET /v1/tree?fresh=1": envelopeOf(apiv1.KindTreeReport, []apiv1.TreeItem{
			{ID: "node/pve1", Kind: "node", Name: "pve1", Health: "warn", State: "2 containers run, and some more is to be said of it than fits into a line"},
			{ID: "lxc/101", Kind: "lxc", Name: "docker", Parent: "node/pve1", Depth: 1, Health: "warn", State: "running"},
			{ID: "network/101/web", Kind: "network", Name: "web", Parent: "lxc/101", Depth: 2, Health: "ok", State: "direct, ok, 172.18.0.2"},
		}),
		"GET /v1/journal": envelopeOf(apiv1.KindJournalReport, []apiv1.JournalItem{{ID: "1", Time: old, Actor: "root@pam", State: "applied", Steps: 5, StepsDone: 5, Undoable: true, Title: "Remove storage usb1, whose device is gone"}}),
	}
}

// Output fits the terminal at 80 and at 40 columns, and no word that fits a line is torn.
func TestOutputFitsTheTerminal(t *testing.T) {
	a := wideAnswers()
	status := a["GET /v1/status"].(apiv1.Envelope[apiv1.StatusItem])
	status.Findings = many()
	a["GET /v1/status"] = status
	socket := a.start(t)
	for _, args := range [][]string{
		{"status"},
		{"check-nvme"},
		{"check-nvme", "-o", "wide"},
		{"net", "list"},
		{"fix-storage", "--dry-run"},
		{"net", "probe", "172.18.0.2:80"},
		{"tree"},
		{"journal"},
		{"fix-storage", "--help"},
		{"--help"},
		{"explain", "nvme.not-ready"},
	} {
		name := "fit-" + strings.NewReplacer("---", "-", "--", "-", ":", "-").Replace(strings.TrimLeft(strings.Join(args, "-"), "-"))
		_, whole, _ := labctl(t, socket, args...)
		for _, columns := range []int{80, 40} {
			t.Run(fmt.Sprintf("%s-%d", name, columns), func(t *testing.T) {
				t.Setenv("COLUMNS", itoa(columns))
				_, stdout, _ := labctl(t, socket, args...)
				for line := range strings.Lines(stdout) {
					line = strings.TrimSuffix(line, "\n")
					if forPasting := strings.HasPrefix(line, "      ") && len(words(line)) <= 2 || strings.Contains(line, "IN ACCEPT"); displayWidth(line) > columns && !forPasting {
						t.Errorf("%d columns: %q", displayWidth(line), line)
					}
				}
				found := map[string]bool{}
				for _, w := range words(stdout) {
					found[w] = true
				}
				for _, w := range words(whole) {
					if displayWidth(w) <= columns/3 && w != strings.ToUpper(w) && // a paragraph needs no header
						!found[w] && !strings.Contains(strings.ToLower(stdout), strings.ToLower(w)) {
						t.Errorf("the word %q is torn or lost", w)
					}
				}
				golden(t, strings.Trim(fmt.Sprintf("%s-%d", name, columns), "-"), ages.ReplaceAllString(stdout, "AGE ago"))
			})
		}
	}
}
