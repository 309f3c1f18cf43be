package disk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/policy"
	"labd/test/fixture"
)

// tree puts an archive on disk and returns an Observer of it.
func tree(t testing.TB, archive []byte, release string) (dir string, o *Observer) {
	t.Helper()
	dir = t.TempDir()
	if err := fixture.Materialise(dir, archive); err != nil {
		t.Fatal(err)
	}
	paths := host.DefaultPaths()
	paths.Sysfs, paths.Kmsg, paths.Procfs = filepath.Join(dir, "sys"), filepath.Join(dir, "dmesg"), filepath.Join(dir, "proc")
	p := DefaultPolicy()
	p.ReadTimeout = policy.Duration(200 * time.Millisecond)
	return dir, NewObserver(host.New(paths, release), p, func() time.Time { return time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC) })
}

func archive(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func look(t testing.TB, o *Observer) *Report {
	t.Helper()
	facts, err := o.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return Diagnose(facts, DefaultPolicy())
}

// ladder is a drive in one line.
func ladder(d Drive) string {
	words := []string{d.Address, d.Rung, d.Verdict}
	if c := d.Controller(); c != nil {
		words = append(words, c.Name, c.Model)
		for _, ns := range c.Namespaces {
			words = append(words, ns.Device)
		}
	}
	return strings.Join(words, " ")
}

func codesOf(r *Report, d Drive) string {
	return strings.Join(finding.Codes(r.Findings, d.Subject()), ",")
}

func TestTrees(t *testing.T) {
	for _, tt := range []struct {
		name    string
		archive []byte
		release string
		want    []string
	}{
		{"two healthy drives", archive(t, "ok.txtar"), "6.1.0-56-amd64", []string{
			"0000:00:02.0 ok ok nvme0 QEMU NVMe Ctrl nvme0n1 []", "0000:00:03.0 ok ok nvme1 QEMU NVMe Ctrl nvme1n1 []",
		}},
		{"ids of one cleared", archive(t, "dup.txtar"), "6.1.0-56-amd64", []string{
			"0000:00:02.0 ok ok nvme0 QEMU NVMe Ctrl nvme0n1 []", "0000:00:03.0 ok info nvme1 QEMU NVMe Ctrl nvme1n1 [nvme.ids-cleared]",
		}},
		{"P7000Z not ready", fixture.P7000Z, fixture.P7000ZRelease, []string{
			"0000:01:00.0 ok ok nvme0 Fanxiang S790 4TB nvme0n1 []", "0000:02:00.0 driver fail [nvme.not-ready]", "0000:03:00.0 ok ok nvme2 HP SSD FX900 Plus M.2 4TB nvme2n1 []",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, o := tree(t, tt.archive, tt.release)
			r := look(t, o)
			var got []string
			for _, d := range r.Drives {
				got = append(got, ladder(d)+" ["+codesOf(r, d)+"]")
				if len(d.Problems) > 0 {
					t.Errorf("problems: %v", d.Problems)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// What is done to the P7000Z's host, and what labd must say of the drive then.
func TestOneDrive(t *testing.T) {
	const function = "sys/devices/pci0000:00/0000:00:1b.0/0000:02:00.0"
	const healthy = "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0"
	const controller = healthy + "/nvme/nvme0"
	write := func(path, text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name, release string
		drive         int
		change        func(t *testing.T, dir string)
		want          string
		confidence    finding.Confidence
		cause         string
	}{
		{"affected kernel", "6.2.16-3-pve", 1, nil, "driver fail nvme.not-ready", finding.Certain, "CRTO"},
		{"Proxmox kernel that may have the fix", "6.2.16-20-pve", 1, nil, "driver fail nvme.not-ready", finding.Likely, "CRTO"},
		{"fixed kernel", "6.8.12-4-pve", 1, nil, "driver fail nvme.not-ready", finding.Unknown, ""},
		{"kernel older than the bug", "5.15.158-2-pve", 1, nil, "driver fail nvme.not-ready", finding.Unknown, ""},
		{"release that does not tell", "6.1.0-28-amd64", 1, nil, "driver fail nvme.not-ready", finding.Likely, "CRTO"},
		{"another status", "6.2.16-3-pve", 1, write("dmesg", "<3>[ 1.0] nvme nvme1: pci function 0000:02:00.0\n<3>[    2.3] nvme nvme1: Device not ready; aborting initialisation, CSTS=0x3\n"), "driver fail nvme.not-ready", finding.Unknown, ""},
		{"log rotated away", "6.2.16-3-pve", 1, write("dmesg", ""), "driver fail nvme.no-driver", finding.Unknown, ""},
		{"probe failed otherwise", "6.8.12-4-pve", 1, write("dmesg", "<3>[ 1.0] nvme 0000:02:00.0: error -ENODEV: probe failed\n"), "driver fail nvme.no-driver", finding.Certain, "gave it up"},
		{"passed through", "6.8.12-4-pve", 1, func(t *testing.T, dir string) {
			if err := os.Symlink("../../../../bus/pci/drivers/vfio-pci", filepath.Join(dir, function, "driver")); err != nil {
				t.Fatal(err)
			}
		}, "ok info nvme.passthrough", finding.Certain, "vfio-pci"},
		{"reserved for vfio-pci", "6.8.12-4-pve", 1, write(function+"/driver_override", "vfio-pci\n"), "ok info nvme.passthrough", finding.Certain, "vfio-pci"},
		{"dead", "6.8.12-4-pve", 0, write(controller+"/state", "dead\n"), "controller fail nvme.dead", finding.Unknown, ""},
		{"resetting with a lost link", "6.8.12-4-pve", 0, func(t *testing.T, dir string) {
			write(controller+"/state", "resetting\n")(t, dir)
			write("dmesg", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 9.0] nvme nvme0: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0xffff\n")(t, dir)
		}, "controller fail nvme.resetting", finding.Likely, "link or power"},
		{"live without namespace", "6.8.12-4-pve", 0, func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, controller, "nvme0n1")); err != nil {
				t.Fatal(err)
			}
		}, "namespace fail nvme.no-namespace", finding.Unknown, ""},
		{"namespace rejected", "6.2.16-3-pve", 0, func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, controller, "nvme0n1")); err != nil {
				t.Fatal(err)
			}
			write("dmesg", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 9.0] nvme nvme0: globally duplicate IDs for nsid 1\n")(t, dir)
		}, "namespace fail nvme.duplicate-ids", finding.Certain, "same ids"},
		{"dropped to size 0", "6.8.12-4-pve", 0, write(controller+"/nvme0n1/size", "0\n"), "block fail nvme.no-namespace", finding.Unknown, ""},
		{"config space lost", "6.8.12-4-pve", 1, write(function+"/vendor", "0xffff\n"), "pci unknown ", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, o := tree(t, fixture.P7000Z, tt.release)
			if tt.change != nil {
				tt.change(t, dir)
			}
			r := look(t, o)
			d := r.Drives[tt.drive]
			if got := d.Rung + " " + d.Verdict + " " + codesOf(r, d); got != tt.want {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			for _, f := range r.Findings {
				if f.Subject == d.Subject() && (f.Confidence != tt.confidence || !strings.Contains(f.Cause, tt.cause) || tt.cause == "" && f.Cause != "") {
					t.Errorf("%s: %s: cause %q, want %s and %q", f.Code, f.Confidence, f.Cause, tt.confidence, tt.cause)
				}
			}
		})
	}
}

// The remedies for a P7000Z name this host's kernel family and this drive.
func TestRemedies(t *testing.T) {
	_, o := tree(t, fixture.P7000Z, fixture.P7000ZRelease)
	remedies := look(t, o).Findings[0].Remedies
	text := ""
	for _, r := range remedies {
		text += r.Title + "\n" + strings.Join(r.Commands, "\n") + "\n"
	}
	for _, want := range []string{"6.5.11-1", "apt install proxmox-kernel-", "echo 1 > /sys/bus/pci/devices/0000:02:00.0/remove", "echo 1 > /sys/bus/pci/rescan"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	for _, never := range []string{"delay_before_chk_rdy", "nvme.quirks"} {
		if strings.Contains(text, never) {
			t.Errorf("%s does not help here:\n%s", never, text)
		}
	}
}

// An attribute that hangs or cannot be read spoils only itself.
func TestBrokenAttributes(t *testing.T) {
	dir, o := tree(t, fixture.P7000Z, fixture.P7000ZRelease)
	model := filepath.Join(dir, "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/nvme/nvme0/model")
	serial := filepath.Join(filepath.Dir(model), "serial")
	for _, file := range []string{model, serial} {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(model, 0o600); err != nil { // a read that never returns
		t.Fatal(err)
	}
	if err := os.Mkdir(serial, 0o755); err != nil { // a read that fails
		t.Fatal(err)
	}
	start := time.Now()
	r := look(t, o)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("observed after %s", took)
	}
	d := r.Drives[0]
	if d.Rung != RungOK || d.Controller().Firmware != "SN14546" || len(d.Problems) != 2 {
		t.Errorf("got %s, firmware %q, problems %q", ladder(d), d.Controller().Firmware, d.Problems)
	}
	if r.Drives[2].Controller().Model == "" {
		t.Error("another drive suffers")
	}
	if w, err := os.OpenFile(model, os.O_WRONLY|unix.O_NONBLOCK, 0); err == nil {
		w.Close() // lets the blocked read go
	}
}

func TestMultipathHead(t *testing.T) {
	dir, o := tree(t, fixture.P7000Z, "6.8.12-4-pve")
	controller := filepath.Join(dir, "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/nvme/nvme0")
	head := filepath.Join(dir, "sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1")
	if err := os.MkdirAll(filepath.Dir(head), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, step := range []error{
		os.Rename(filepath.Join(controller, "nvme0n1"), head),
		os.MkdirAll(filepath.Join(controller, "nvme0c0n1"), 0o755),
		os.Remove(filepath.Join(dir, "sys/block/nvme0n1")),
		os.Symlink("../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1", filepath.Join(dir, "sys/block/nvme0n1")),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	d := look(t, o).Drives[0]
	if d.Rung != RungOK || len(d.Controller().Namespaces) != 1 || d.Controller().Namespaces[0].SizeBytes != 4000787030016 {
		t.Errorf("got %s %+v", ladder(d), d.Controller().Namespaces)
	}
}

func TestUsers(t *testing.T) {
	dir, o := tree(t, fixture.P7000Z, "6.8.12-4-pve")
	if err := os.MkdirAll(filepath.Join(dir, "proc/1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "proc/1/mountinfo"), []byte("36 35 259:8 / /mnt/pve/fast rw - ext4 /dev/nvme0n1p1 rw\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/nvme/nvme0/nvme0n1/holders/dm-0"), 0o755); err != nil {
		t.Fatal(err)
	}
	got := look(t, o).Drives[0].Controller().Namespaces[0].Users
	if diff := cmp.Diff([]string{"holder dm-0", "mount /mnt/pve/fast"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestNoDrives(t *testing.T) {
	_, o := tree(t, nil, "6.8.12-4-pve")
	r := look(t, o)
	if len(r.Drives) != 0 || len(r.Findings) != 0 || len(r.Notes) == 0 {
		t.Errorf("got %+v", r)
	}
}
