package disk

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"labd/internal/finding"
	"labd/internal/host"
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
	o = NewObserver(host.New(paths, release), DefaultPolicy(), NewMemory(filepath.Join(dir, "state"), nil), func() time.Time { return time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC) })
	o.names.loading = true // as if somebody read the database, which takes longer than all else; TestPCINames has it read
	return dir, o
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
	words := []string{d.Address, string(d.Rung), string(d.Verdict)}
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
		{"two healthy drives", archive(t, "lab/ok.txtar"), "6.1.0-56-amd64", []string{
			"0000:00:02.0 ok ok nvme0 QEMU NVMe Ctrl nvme0n1 []", "0000:00:03.0 ok ok nvme1 QEMU NVMe Ctrl nvme1n1 []",
		}},
		{"ids of one cleared", archive(t, "lab/dup.txtar"), "6.1.0-56-amd64", []string{
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
		{"fixed kernel", "6.8.12-4-pve", 1, nil, "driver fail nvme.not-ready", finding.Unknown, "does not have the bug"},
		{"kernel older than the bug", "5.15.158-2-pve", 1, nil, "driver fail nvme.not-ready", finding.Unknown, "does not have the bug"},
		{"release that does not tell", "6.1.0-1036-oem", 1, nil, "driver fail nvme.not-ready", finding.Likely, "CRTO"},
		{"another status", "6.2.16-3-pve", 1, write("dmesg", "<3>[ 1.0] nvme nvme1: pci function 0000:02:00.0\n<3>[    2.3] nvme nvme1: Device not ready; aborting initialisation, CSTS=0x3\n"), "driver fail nvme.not-ready", finding.Likely, "fatal fault in itself"},
		{"log rotated away", "6.2.16-3-pve", 1, write("dmesg", ""), "driver fail nvme.no-driver", finding.Unknown, ""},
		{"probe failed otherwise", "6.8.12-4-pve", 1, write("dmesg", "<3>[ 1.0] nvme 0000:02:00.0: error -ENODEV: probe failed\n"), "driver fail nvme.no-driver", finding.Likely, "ENODEV"},
		{"registers not readable", "6.8.12-4-pve", 1, write("dmesg", "[ 1.0] nvme nvme1: pci function 0000:02:00.0\n[ 1.1] nvme nvme1: Reading CAP failed (-19)\n"), "driver fail nvme.no-driver", finding.Certain, "registers cannot be read"},
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
		}, "namespace fail nvme.no-namespace", finding.Likely, "no namespace that is attached"},
		{"namespace rejected", "6.2.16-3-pve", 0, func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, controller, "nvme0n1")); err != nil {
				t.Fatal(err)
			}
			write("dmesg", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 9.0] nvme nvme0: globally duplicate IDs for nsid 1\n")(t, dir)
		}, "namespace fail nvme.duplicate-ids", finding.Certain, "same ids"},
		{"dropped to size 0", "6.8.12-4-pve", 0, write(controller+"/nvme0n1/size", "0\n"), "block fail nvme.no-namespace", finding.Likely, "metadata"},
		{"worked, dropped out and has no driver", "6.8.12-4-pve", 1, write("dmesg", "[ 1.0] nvme nvme1: pci function 0000:02:00.0\n[ 1.1] nvme nvme1: 8/0/0 default/read/poll queues\n"+
			"[ 9.0] nvme nvme1: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0x10\n[ 9.1] nvme nvme1: Removing after probe failure status: -19\n"), "driver fail nvme.dropped", finding.Likely, "firmware crashed"},
		{"unbound by hand", "6.8.12-4-pve", 1, write("dmesg", "[ 1.0] nvme nvme1: pci function 0000:02:00.0\n[ 1.1] nvme nvme1: 8/0/0 default/read/poll queues\n"), "driver fail nvme.dropped", finding.Unknown, ""},
		{"not ready in an earlier probe, worked in the last", "6.8.12-4-pve", 1, write("dmesg", "[ 1.0] nvme nvme1: pci function 0000:02:00.0\n[ 1.1] nvme nvme1: Device not ready; aborting initialisation, CSTS=0x0\n"+
			"[ 5.0] nvme nvme1: pci function 0000:02:00.0\n[ 5.1] nvme nvme1: 8/0/0 default/read/poll queues\n"), "driver fail nvme.dropped", finding.Unknown, ""},
		{"taken for the second controller of another", "6.8.12-4-pve", 1, write("dmesg", "[ 1.0] nvme nvme1: pci function 0000:02:00.0\n[ 1.1] nvme nvme1: Duplicate cntlid 0 with nvme0, subsys nqn.x, rejecting\n"), "driver fail nvme.no-driver", finding.Certain, "subsystem name"},
		{"dropped out and came back", "6.8.12-4-pve", 0, write("dmesg", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 9.0] nvme nvme0: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0xffff\n"), "ok warn nvme.dropped", finding.Likely, "link or power"},
		{"dropped out days ago", "6.8.12-4-pve", 0, func(t *testing.T, dir string) {
			write("dmesg", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 9.0] nvme nvme0: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0xffff\n")(t, dir)
			if err := os.MkdirAll(filepath.Join(dir, "proc"), 0o755); err != nil {
				t.Fatal(err)
			}
			write("proc/uptime", "260000.5 1.0\n")(t, dir)
		}, "ok info nvme.dropped", finding.Likely, "link or power"},
		{"commands timed out", "6.8.12-4-pve", 0, write("dmesg", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 40.0] nvme nvme0: I/O tag 5 (1005) opcode 0x2 (Read) QID 2 timeout, aborting req_op:READ(0) size:4096\n"), "ok warn nvme.timeouts", finding.Unknown, ""},
		{"lost interrupts", "6.8.12-4-pve", 0, write("dmesg", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 40.0] nvme nvme0: I/O tag 5 (1005) QID 0 timeout, completion polled\n[ 80.0] nvme nvme0: I/O tag 6 (1006) QID 0 timeout, completion polled\n"), "ok warn nvme.lost-interrupts", finding.Unknown, ""},
		{"lost interrupts of an SN550", "6.5.11-4-pve", 0, func(t *testing.T, dir string) {
			write(healthy+"/vendor", "0x15b7\n")(t, dir)
			write(healthy+"/device", "0x5009\n")(t, dir)
			write("dmesg", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 40.0] nvme nvme0: I/O 5 QID 0 timeout, completion polled\n[ 80.0] nvme nvme0: I/O 5 QID 0 timeout, completion polled\n")(t, dir)
		}, "ok warn nvme.lost-interrupts", finding.Likely, "interrupts"},
		{"a sector that cannot be read", "6.8.12-4-pve", 0, write("dmesg", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 40.0] critical medium error, dev nvme0n1, sector 16384 op 0x0:(READ) flags 0x800 phys_seg 1 prio class 2\n"), "ok warn nvme.media-errors", finding.Likely, "a locked drive gives the same line"},
		{"an I/O error", "6.8.12-4-pve", 0, write("dmesg", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 40.0] blk_update_request: I/O error, dev nvme0n1, sector 16384 op 0x0:(READ) flags 0x0\n"), "ok warn nvme.io-errors", finding.Unknown, ""},
		{"an I/O error after a time-out", "6.8.12-4-pve", 0, write("dmesg", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 40.0] nvme nvme0: I/O 1 QID 1 timeout, aborting\n[ 40.0] I/O error, dev nvme0n1, sector 16384 op 0x0:(READ) flags 0x0\n"), "ok warn nvme.timeouts", finding.Unknown, ""},
		{"an I/O error of a disk whose number is another controller's", "6.8.12-4-pve", 0, write("dmesg", "[ 1.0] nvme nvme7: pci function 0000:01:00.0\n[ 1.0] nvme nvme0: pci function 0000:03:00.0\n[ 40.0] I/O error, dev nvme0n1, sector 16384 op 0x0:(READ) flags 0x0\n"), "ok warn nvme.io-errors", finding.Unknown, ""},
		{"who it is cannot be read", "6.8.12-4-pve", 0, write(controller+"/serial", "(efault)\n"), "ok ok ", "", ""},
		{"one polled completion is chance", "6.8.12-4-pve", 0, write("dmesg", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 40.0] nvme nvme0: I/O tag 5 (1005) QID 0 timeout, completion polled\n"), "ok ok ", "", ""},
		{"read-only", "6.8.12-4-pve", 0, write(controller+"/nvme0n1/ro", "1\n"), "ok fail nvme.read-only", finding.Unknown, "protects"},
		{"errors on the link", "6.8.12-4-pve", 0, write(healthy+"/aer_dev_nonfatal", "Undefined 0\nTOTAL_ERR_NONFATAL 3\n"), "ok warn nvme.aer", finding.Unknown, ""},
		{"corrected errors on the link", "6.8.12-4-pve", 0, write(healthy+"/aer_dev_correctable", "RxErr 7\nTOTAL_ERR_COR 7\n"), "ok ok ", "", ""},
		{"a second namespace rejected", "6.8.12-4-pve", 0, write("dmesg", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 9.0] nvme nvme0: duplicate IDs in subsystem for nsid 2\n"), "namespace fail nvme.duplicate-ids", finding.Certain, "two of its namespaces"},
		{"ids change", "6.8.12-4-pve", 0, func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, controller, "nvme0n1")); err != nil {
				t.Fatal(err)
			}
			write("dmesg", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 9.0] nvme nvme0: identifiers changed for nsid 1\n")(t, dir)
		}, "namespace fail nvme.no-namespace", finding.Certain, "other ids"},
		{"an error inside the drive", "6.8.12-4-pve", 0, write("dmesg", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 9.0] nvme nvme0: resetting controller due to persistent internal error\n"), "ok warn nvme.dropped", finding.Likely, "inside itself"},
		{"did not wake", "6.8.12-4-pve", 0, write("dmesg", "[ 9.0] nvme 0000:01:00.0: Refused to change power state from D3hot to D0\n"), "ok warn nvme.dropped", finding.Likely, "sleep state"},
		{"no host memory", "6.8.12-4-pve", 0, write("dmesg", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 1.1] nvme nvme0: min host memory (200 MiB) above limit (128 MiB).\n"), "ok info nvme.host-memory", finding.Certain, "200 MiB"},
		{"no memory to be had", "6.8.12-4-pve", 0, write("dmesg", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 1.1] nvme nvme0: failed to allocate host memory buffer.\n"), "ok info nvme.host-memory", finding.Likely, "no memory"},
		{"no path to the disk", "6.8.12-4-pve", 0, write("dmesg", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 9.0] block nvme0n1: no usable path - requeuing I/O\n"), "ok warn nvme.io-errors", finding.Unknown, ""},
		{"namespaces not told", "6.8.12-4-pve", 0, func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, controller, "nvme0n1")); err != nil {
				t.Fatal(err)
			}
			write("dmesg", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 9.0] nvme nvme0: Identify Descriptors failed (nsid=1, status=0x4002)\n")(t, dir)
		}, "namespace fail nvme.no-namespace", finding.Certain, "refused to say"},
		{"blocks of no use, said for another drive", "7.0.14-14-pve", 0, func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, controller, "nvme0n1")); err != nil {
				t.Fatal(err)
			}
			write("dmesg", "[ 1.0] nvme nvme2: pci function 0000:03:00.0\n[ 9.0] nvme nvme2: invalid LBA data size 3, skipping namespace\n")(t, dir)
		}, "namespace fail nvme.no-namespace", finding.Unknown, "once a boot"},
		{"resetting a moment ago", "6.8.12-4-pve", 0, func(t *testing.T, dir string) {
			write(controller+"/state", "resetting\n")(t, dir)
			write("dmesg", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 100.0] nvme nvme0: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0x10\n")(t, dir)
			tweak(t, dir, map[string]string{"proc/uptime": "110.5 1.0\n"})
		}, "controller warn nvme.resetting", finding.Likely, "firmware crashed"},
		{"stuck in a reset", "6.8.12-4-pve", 0, func(t *testing.T, dir string) {
			write(controller+"/state", "resetting\n")(t, dir)
			write("dmesg", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 100.0] nvme nvme0: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0x10\n")(t, dir)
			tweak(t, dir, map[string]string{"proc/uptime": "300.5 1.0\n"})
		}, "controller fail nvme.resetting", finding.Likely, "firmware crashed"},
		{"config space lost", "6.8.12-4-pve", 1, write(function+"/vendor", "0xffff\n"), "pci unknown nvme.unreadable", finding.Unknown, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, o := tree(t, fixture.P7000Z, tt.release)
			if tt.change != nil {
				tt.change(t, dir)
			}
			r := look(t, o)
			d := r.Drives[tt.drive]
			if got := string(d.Rung) + " " + string(d.Verdict) + " " + codesOf(r, d); got != tt.want {
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
	for _, want := range []string{"6.5.11-1", "apt install proxmox-kernel-", "labctl rescue-nvme 0000:02:00.0"} {
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

func TestNoDrives(t *testing.T) {
	_, o := tree(t, nil, "6.8.12-4-pve")
	r := look(t, o)
	if len(r.Drives) != 0 || len(r.Findings) != 0 || len(r.Notes) == 0 {
		t.Errorf("got %+v", r)
	}
}

// tweak writes files of a tree.
func tweak(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func remediesText(r *Report, d Drive) string {
	text := ""
	for _, f := range r.Findings {
		if f.Subject == d.Subject() {
			for _, remedy := range f.Remedies {
				text += remedy.Title + "\n" + strings.Join(remedy.Commands, "\n") + "\n"
			}
		}
	}
	return text
}

// A kernel that is pinned boots again, whatever is installed beside it.
func TestPinnedKernel(t *testing.T) {
	for pin, want := range map[string]bool{"6.2.16-3-pve\n": true, "": false} {
		dir, o := tree(t, fixture.P7000Z, fixture.P7000ZRelease)
		o.host.Etc = filepath.Join(dir, "etc")
		if pin != "" {
			tweak(t, dir, map[string]string{"etc/kernel/proxmox-boot-pin": pin})
		}
		r := look(t, o)
		text := remediesText(r, r.Drives[1])
		if strings.Contains(text, "proxmox-boot-tool kernel unpin") != want || strings.Contains(text, "has pinned 6.2.16-3-pve") != want {
			t.Errorf("pinned %q:\n%s", pin, text)
		}
	}
}

// The remedies fit the host: what its kernel can do, where its command line is kept and what is on it already.
func TestRemediesFitTheHost(t *testing.T) {
	const rejected = "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 9.0] nvme nvme0: ignoring nsid 1 because of duplicate IDs\n"
	const down = "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 9.0] nvme nvme0: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0x10\n"
	const grub, bootTool = "BOOT_IMAGE=/boot/vmlinuz-6.8.12-4-pve root=/dev/sda1 ro quiet", `initrd=\EFI\proxmox\6.8.12-4-pve\initrd.img-6.8.12-4-pve root=ZFS=rpool/ROOT/pve-1`
	for _, tt := range []struct {
		name, log   string
		files       map[string]string
		want, never []string
	}{
		{"no parameter quirks", rejected, nil, []string{"labctl rescue-nvme 0000:01:00.0", "newer firmware"}, []string{"nvme.quirks", "proxmox-kernel"}},
		{"parameter quirks, GRUB", rejected, map[string]string{"sys/module/nvme/parameters/quirks": "(null)\n", "proc/cmdline": grub}, []string{"nvme.quirks=1e4b:1602:bogus_nid", "update-grub"}, []string{"rescue-nvme", "/etc/kernel/cmdline"}},
		{"parameter quirks, proxmox-boot-tool", rejected, map[string]string{"sys/module/nvme/parameters/quirks": "(null)\n", "proc/cmdline": bootTool}, []string{"nvme.quirks=1e4b:1602:bogus_nid", "/etc/kernel/cmdline", "proxmox-boot-tool refresh"}, []string{"update-grub"}},
		{"other quirks set", rejected, map[string]string{"sys/module/nvme/parameters/quirks": "1cc1:8201:bogus_nid\n"}, []string{"1cc1:8201:bogus_nid-1e4b:1602:bogus_nid"}, nil},
		{"quirk set and no help", rejected, map[string]string{"sys/module/nvme/parameters/quirks": "1e4b:1602:bogus_nid\n"}, []string{"already"}, []string{"update-grub", "rescue-nvme"}},
		{"two namespaces alike, one in use", "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 9.0] nvme nvme0: duplicate IDs in subsystem for nsid 2\n", nil, []string{"kernels of 7.x have the parameter nvme.quirks"}, []string{"rescue-nvme", "proxmox-kernel"}},
		{"drop-out", down, map[string]string{"proc/cmdline": grub}, []string{"nvme_core.default_ps_max_latency_us=0 pcie_aspm=off pcie_port_pm=off", "update-grub"}, nil},
		{"drop-out, with what saves power", down, map[string]string{healthyFunction + "/d3cold_allowed": "1\n", healthyFunction + "/power/control": "auto\n", healthyFunction + "/link/l1_aspm": "1\n"}, []string{
			"echo 0 > /sys/bus/pci/devices/0000:01:00.0/d3cold_allowed", "echo on > /sys/bus/pci/devices/0000:01:00.0/power/control", "echo 0 > /sys/bus/pci/devices/0000:01:00.0/link/l1_aspm",
			"echo on > /sys/bus/pci/devices/0000:00:01.0/power/control", "echo 0 > /sys/class/nvme/nvme0/power/pm_qos_latency_tolerance_us",
		}, nil},
		{"drop-out, with nothing that saves power", down, map[string]string{healthyFunction + "/d3cold_allowed": "0\n"}, nil, []string{"pm_qos_latency_tolerance_us"}},
		{"drop-out, half of it set", down, map[string]string{"proc/cmdline": grub + " pcie_aspm=off"}, []string{"nvme_core.default_ps_max_latency_us=0 pcie_port_pm=off"}, []string{"pcie_aspm=off"}},
		{"drop-out, all set", down, map[string]string{"proc/cmdline": grub + " pcie_aspm=off nvme_core.default_ps_max_latency_us=0 pcie_port_pm=off"}, []string{"look at the slot"}, []string{"update-grub"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, o := tree(t, fixture.P7000Z, "6.8.12-4-pve")
			if tt.log == rejected {
				if err := os.RemoveAll(filepath.Join(dir, "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/nvme/nvme0/nvme0n1")); err != nil {
					t.Fatal(err)
				}
			}
			tweak(t, dir, map[string]string{"dmesg": tt.log})
			tweak(t, dir, tt.files)
			r := look(t, o)
			text := remediesText(r, r.Drives[0])
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in:\n%s", want, text)
				}
			}
			for _, never := range tt.never {
				if strings.Contains(text, never) {
					t.Errorf("%q in:\n%s", never, text)
				}
			}
		})
	}
}

// Functions that are no drives and hide some.
func TestHiddenDrives(t *testing.T) {
	const vmd = "sys/bus/pci/devices/0000:00:0e.0/"
	for _, tt := range []struct {
		name  string
		files map[string]string
		link  string
		want  string
	}{
		{"VMD without driver", map[string]string{vmd + "class": "0x010400\n", vmd + "vendor": "0x8086\n", vmd + "device": "0x467f\n"}, "", "0000:00:0e.0 pci warn [nvme.vmd-hidden]"},
		{"VMD with its driver", map[string]string{vmd + "class": "0x010400\n", vmd + "vendor": "0x8086\n", vmd + "device": "0x467f\n"}, "vmd", "0000:00:0e.0 pci info [nvme.vmd-hidden]"},
		{"SATA in RAID mode", map[string]string{vmd + "class": "0x010400\n", vmd + "vendor": "0x8086\n", vmd + "device": "0x282a\n", vmd + "remapped_nvme": "2\n"}, "ahci", "0000:00:0e.0 pci warn [nvme.vmd-hidden]"},
		{"SATA", map[string]string{vmd + "class": "0x010601\n", vmd + "vendor": "0x8086\n", vmd + "device": "0x43d2\n", vmd + "remapped_nvme": "0\n"}, "ahci", ""},
		{"a RAID controller of somebody else", map[string]string{vmd + "class": "0x010400\n", vmd + "vendor": "0x1000\n", vmd + "device": "0x467f\n"}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, o := tree(t, nil, "6.8.12-4-pve")
			tweak(t, dir, tt.files)
			if tt.link != "" {
				if err := os.Symlink("../../drivers/"+tt.link, filepath.Join(dir, vmd, "driver")); err != nil {
					t.Fatal(err)
				}
			}
			r, got := look(t, o), ""
			for _, d := range r.Drives {
				got += ladder(d) + " [" + codesOf(r, d) + "]"
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Two drives with one id that the kernel did not notice; two controllers of one drive are no such case.
func TestSameWWID(t *testing.T) {
	drive := func(address, controller, serial, device string) Function {
		return Function{Address: address, Vendor: 0x1e4b, Driver: "nvme", Controllers: []Controller{{
			Name: controller, State: "live", Serial: serial, Namespaces: []Namespace{{Device: device, NSID: 1, SizeBytes: 1, WWID: "eui.01", EUI: "01"}},
		}}}
	}
	for _, tt := range []struct {
		name      string
		functions []Function
		want      int
	}{
		{"two drives", []Function{drive("0000:01:00.0", "nvme0", "A", "nvme0n1"), drive("0000:02:00.0", "nvme1", "B", "nvme1n1")}, 2},
		{"two controllers with one head", []Function{drive("0000:01:00.0", "nvme0", "A", "nvme0n1"), drive("0000:02:00.0", "nvme1", "A", "nvme0n1")}, 0},
		{"two controllers without multipath", []Function{drive("0000:01:00.0", "nvme0", "A", "nvme0n1"), drive("0000:02:00.0", "nvme1", "A", "nvme1n1")}, 0},
	} {
		r := Diagnose(&Facts{Release: "5.15.1", Functions: tt.functions}, DefaultPolicy())
		if n := len(r.Findings); n != tt.want {
			t.Errorf("%s: %d findings, want %d: %+v", tt.name, n, tt.want, r.Findings)
		}
	}
}

// A drive that labd remembers and cannot read any more is not taken for one that is gone.
func TestHungDriveIsNotMissing(t *testing.T) {
	for _, hung := range [][]string{{"vendor", "nvme/nvme0/serial"}, {"nvme/nvme0/serial"}, {"class"}} {
		dir, o := tree(t, fixture.P7000Z, "6.8.12-4-pve")
		look(t, o)
		for _, name := range hung {
			pipe := filepath.Join(dir, healthyFunction, name)
			if err := errors.Join(os.Remove(pipe), unix.Mkfifo(pipe, 0o600)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if w, err := os.OpenFile(pipe, os.O_WRONLY|unix.O_NONBLOCK, 0); err == nil {
					w.Close() // lets the blocked read go
				}
			})
		}
		r := look(t, o)
		if len(r.Drives) != 3 {
			t.Errorf("%v: %d drives", hung, len(r.Drives))
			continue
		}
		d := r.Drives[0]
		if codesOf(r, d) != "nvme.unreadable" || d.Verdict == VerdictOK || d.Known == nil || d.Known.Serial != "FXS790234200311" {
			t.Errorf("%v: %s [%s] %+v", hung, ladder(d), codesOf(r, d), d.Known)
		}
	}
}

// A drive of which everything hangs is given up in less than the time that its attributes have together, and the others
// are all there.
func TestEverythingHangs(t *testing.T) {
	dir, o := tree(t, fixture.P7000Z, "6.8.12-4-pve")
	function := filepath.Join(dir, "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0")
	var pipes []string
	err := filepath.WalkDir(function, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || e.Name() == "class" || e.Name() == "vendor" {
			return err
		}
		pipes = append(pipes, path)
		return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, pipe := range pipes {
			if w, err := os.OpenFile(pipe, os.O_WRONLY|unix.O_NONBLOCK, 0); err == nil {
				w.Close() // lets the blocked read go
			}
		}
	})
	start := time.Now()
	r := look(t, o)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("observed after %s", took)
	}
	if d := r.Drives[0]; len(d.Problems) == 0 || len(d.Problems) > maxHangs+1 || !strings.Contains(codesOf(r, d), "nvme.unreadable") || d.Verdict == VerdictOK {
		t.Errorf("%s, %s, %d problems: %q", d.Verdict, codesOf(r, d), len(d.Problems), d.Problems)
	}
	if d := r.Drives[2]; d.Rung != RungOK || len(d.Problems) > 0 {
		t.Errorf("another drive suffers: %s %q", ladder(d), d.Problems)
	}
}

// A fault of labd that one drive brings out leaves the report of the others whole.
func TestPanicInOneDrive(t *testing.T) {
	_, o := tree(t, fixture.P7000Z, "6.8.12-4-pve")
	o.function = func(address string, l surroundings) *Function {
		if address == "0000:02:00.0" {
			panic("a fault")
		}
		return o.readFunction(address, l)
	}
	r := look(t, o)
	verdicts := map[string]Verdict{}
	for _, d := range r.Drives {
		verdicts[d.Address] = d.Verdict
		if d.Address == "0000:02:00.0" && (!d.Unread || codesOf(r, d) != "nvme.unreadable") {
			t.Errorf("the drive with the fault: %s", codesOf(r, d))
		}
	}
	if len(r.Drives) < 2 || verdicts["0000:02:00.0"] != VerdictUnknown || verdicts["0000:01:00.0"] != VerdictOK {
		t.Errorf("%v", verdicts)
	}
}

// The PCI id database is read when a pair of ids is new, and once.
func TestPCINames(t *testing.T) {
	dir, _ := tree(t, fixture.P7000Z, "6.8.12-4-pve")
	names := &pciNames{sysfs: filepath.Join(dir, "sys"), known: map[string][2]string{}}
	functions := []Function{{Address: "0000:01:00.0", Vendor: 0x144d, Device: 0xa80a}, {Address: "0000:7f:00.0", Vendor: 0xfffe, Device: 1}}
	names.fill(functions, time.Minute)
	if names.loading || len(names.known) != 2 || names.load(functions) != nil {
		t.Errorf("not read once: %v", names.known)
	}
}
