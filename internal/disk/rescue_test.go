package disk

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"labd/internal/host"
	"labd/internal/plan"
	"labd/test/fixture"
)

const (
	silentFunction  = "sys/devices/pci0000:00/0000:00:1b.0/0000:02:00.0"
	healthyFunction = "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0"
	rejectedLog     = "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 9.0] nvme nvme0: ignoring nsid 1 because of duplicate IDs\n"
)

// withoutDisk takes the namespace of the healthy drive away, as the kernel does that rejects it.
func withoutDisk(t *testing.T, dir string) {
	t.Helper()
	tweak(t, dir, map[string]string{"dmesg": rejectedLog})
	if err := os.RemoveAll(filepath.Join(dir, healthyFunction, "nvme/nvme0/nvme0n1")); err != nil {
		t.Fatal(err)
	}
}

func TestPlanRescue(t *testing.T) {
	for _, tt := range []struct {
		name, address, method string
		change                func(t *testing.T, dir string)
		step, refused         string
	}{
		{"never ready", "0000:02:00.0", "", nil, opReprobe, ""},
		{"no word in the log", "0000:02:00.0", "", func(t *testing.T, dir string) { tweak(t, dir, map[string]string{"dmesg": ""}) }, opBind, ""},
		{"by wish", "0000:02:00.0", MethodBind, nil, opBind, ""},
		{"rejected for its ids", "0000:01:00.0", "", withoutDisk, opNewID, ""},
		{"a drive that works", "0000:01:00.0", "", nil, "", "in use"},
		{"a drive that works, by force", "0000:01:00.0", MethodReprobe, nil, "", "in use"},
		{"no such function", "0000:09:00.0", "", nil, "", "no NVMe function"},
		{"a path", "../../../etc", "", nil, "", "no NVMe function"},
		{"no such method", "0000:02:00.0", "hammer", nil, "", "no method"},
		{"passed through", "0000:02:00.0", "", func(t *testing.T, dir string) {
			tweak(t, dir, map[string]string{silentFunction + "/driver_override": "vfio-pci\n"})
		}, "", "reserved"},
		{"reserved for another driver", "0000:02:00.0", "", func(t *testing.T, dir string) {
			tweak(t, dir, map[string]string{silentFunction + "/driver_override": "other\n"})
		}, "", "reserved"},
		{"registers gone", "0000:02:00.0", "", func(t *testing.T, dir string) {
			tweak(t, dir, map[string]string{silentFunction + "/vendor": "0xffff\n"})
		}, "", "cannot be read"},
		{"new id for a drive that never got ready", "0000:02:00.0", MethodNewID, nil, "", "rejects a namespace"},
		{"reprobe of a bound one", "0000:01:00.0", MethodReprobe, withoutDisk, "", "driver is bound"},
		{"new id while another of its kind has no driver", "0000:01:00.0", "", func(t *testing.T, dir string) {
			withoutDisk(t, dir)
			tweak(t, dir, map[string]string{silentFunction + "/vendor": "0x1e4b\n"})
		}, "", "0000:02:00.0"},
		{"new id where the parameter exists", "0000:01:00.0", "", func(t *testing.T, dir string) {
			withoutDisk(t, dir)
			tweak(t, dir, map[string]string{"sys/module/nvme/parameters/quirks": "(null)\n"})
		}, "", "nvme.quirks"},
		{"dead with a mounted disk", "0000:01:00.0", "", func(t *testing.T, dir string) {
			tweak(t, dir, map[string]string{healthyFunction + "/nvme/nvme0/state": "dead\n", "proc/1/mountinfo": "36 35 259:8 / / rw - ext4 /dev/nvme0n1p1 rw\n"})
		}, "", "mount /"},
		{"dead with LVM on it", "0000:01:00.0", "", func(t *testing.T, dir string) {
			tweak(t, dir, map[string]string{
				healthyFunction + "/nvme/nvme0/state": "dead\n", healthyFunction + "/nvme/nvme0/nvme0n1/nvme0n1p1/holders/dm-0/x": "",
				"sys/block/dm-0/dm/name": "pve-root\n", "sys/block/dm-0/dm/uuid": "LVM-x\n",
			})
		}, "", "lvm pve"},
		{"dead with swap on it", "0000:01:00.0", "", func(t *testing.T, dir string) {
			tweak(t, dir, map[string]string{healthyFunction + "/nvme/nvme0/state": "dead\n", "proc/swaps": "Filename Type\n/dev/nvme0n1p1 partition 1 0 -2\n"})
		}, "", "swap"},
		{"dead with md on it", "0000:01:00.0", MethodReprobe, func(t *testing.T, dir string) {
			tweak(t, dir, map[string]string{healthyFunction + "/nvme/nvme0/state": "dead\n", healthyFunction + "/nvme/nvme0/nvme0n1/holders/md0/x": ""})
		}, "", "md md0"},
		{"dead and unused", "0000:01:00.0", "", func(t *testing.T, dir string) {
			tweak(t, dir, map[string]string{healthyFunction + "/nvme/nvme0/state": "dead\n"})
		}, "", "driver nvme is in use"},
		{"bound to another driver", "0000:02:00.0", "", func(t *testing.T, dir string) {
			if err := os.Symlink("../../../../bus/pci/drivers/uio_pci_generic", filepath.Join(dir, silentFunction, "driver")); err != nil {
				t.Fatal(err)
			}
		}, "", "uio_pci_generic"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, o := tree(t, fixture.P7000Z, "6.2.16-3-pve")
			if tt.change != nil {
				tt.change(t, dir)
			}
			p, err := PlanRescue(look(t, o), tt.address, tt.method)
			var refused *plan.RefusedError
			switch {
			case tt.refused != "":
				if !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("not refused for %q: %v", tt.refused, err)
				}
			case err != nil:
				t.Error(err)
			case len(p.Steps) != 1 || p.Steps[0].Op != tt.step || p.Digest == "":
				t.Errorf("plan %+v", p)
			}
		})
	}
}

// The drive that the host boots from is left alone, also while nothing of it can be seen.
func TestNoRescueOfTheBootDrive(t *testing.T) {
	dir, o := tree(t, fixture.P7000Z, "6.2.16-3-pve")
	tweak(t, dir, map[string]string{"proc/1/mountinfo": "36 35 259:8 / /boot/efi rw - vfat /dev/nvme0n1p1 rw\n"})
	look(t, o)
	for _, err := range []error{os.RemoveAll(filepath.Join(dir, healthyFunction, "nvme")), os.Remove(filepath.Join(dir, healthyFunction, "driver"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := PlanRescue(look(t, o), "0000:01:00.0", ""); err == nil || !strings.Contains(err.Error(), "boots from it") {
		t.Errorf("got %v", err)
	}
}

// A pool's member is left alone, and so is a drive of which some namespace works.
func TestNoRescueOfDataOnDisk(t *testing.T) {
	for name, ns := range map[string]Namespace{
		"a pool's member": {Device: "nvme0n1", SizeBytes: 1, Contents: layers("zfs tank")},
		"LVM":             {Device: "nvme0n1", SizeBytes: 1, Contents: layers("lvm pve")},
		"an ext4":         {Device: "nvme0n1", SizeBytes: 1, Contents: layers("ext 1")},
		"an empty one":    {Device: "nvme0n1", SizeBytes: 1},
	} {
		r := Diagnose(&Facts{Release: "6.8.12-4-pve", Functions: []Function{{Address: "0000:01:00.0", Vendor: 1, Driver: "nvme", Controllers: []Controller{{Name: "nvme0", State: "live", Namespaces: []Namespace{ns}}}}}}, DefaultPolicy())
		if p, err := PlanRescue(r, "0000:01:00.0", MethodNewID); err == nil {
			t.Errorf("%s: a plan: %+v", name, p)
		}
	}
}

// What was mounted on a disk that is gone is told, and let go of before the drive is tried again.
func TestNoRescueBelowAMount(t *testing.T) {
	dir, o := tree(t, fixture.P7000Z, "6.8.12-4-pve")
	tweak(t, dir, map[string]string{"proc/1/mountinfo": "36 35 259:8 / /mnt/my\\040disk rw - ext4 /dev/nvme0n1p1 rw\n"})
	look(t, o)
	for _, err := range []error{os.RemoveAll(filepath.Join(dir, healthyFunction, "nvme")), os.Remove(filepath.Join(dir, healthyFunction, "driver")), os.Remove(filepath.Join(dir, "sys/block/nvme0n1"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	tweak(t, dir, map[string]string{"dmesg": "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 1.1] nvme nvme0: 8/0/0 default/read/poll queues\n[ 9.0] nvme nvme0: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0xffff\n"})
	r := look(t, o)
	var refused *plan.RefusedError
	if _, err := PlanRescue(r, "0000:01:00.0", ""); !errors.As(err, &refused) || !strings.Contains(err.Error(), "mount /mnt/my disk") || !strings.Contains(refused.Hint, "umount -l '/mnt/my disk'") {
		t.Errorf("got %v", err)
	}
	f := r.Findings[0]
	for _, x := range r.Findings {
		if x.Subject == r.Drives[0].Subject() {
			f = x
		}
	}
	if f.Code != "nvme.dropped" || !strings.Contains(f.Remedies[0].Commands[0], "umount -l") || !strings.Contains(f.Evidence[len(f.Evidence)-2].Text, "FXS790234200311") {
		t.Errorf("%+v", f)
	}
	tweak(t, dir, map[string]string{"proc/1/mountinfo": ""})
	if _, err := PlanRescue(look(t, o), "0000:01:00.0", ""); err != nil {
		t.Errorf("after it was unmounted: %v", err)
	}
}

// fakeKernel plays the kernel below a tree: what it does about a write to an attribute.
type fakeKernel struct {
	t      *testing.T
	dir    string
	writes []string
	do     func(path, text string) error
}

func (k *fakeKernel) write(_ context.Context, path, text string) error {
	path = strings.TrimPrefix(path, k.dir+"/")
	k.writes = append(k.writes, path+"="+text)
	if k.do == nil {
		return nil
	}
	return k.do(path, text)
}

// rescue makes the plan for the P7000Z and applies it with a kernel of one's own.
func rescue(t *testing.T, method string, prepare, do func(k *fakeKernel, path, text string) error) (*fakeKernel, *plan.Runner, *plan.Entry, error) {
	t.Helper()
	dir, o := tree(t, fixture.P7000Z, "6.2.16-3-pve")
	k := &fakeKernel{t: t, dir: dir}
	k.do = func(path, text string) error { return do(k, path, text) }
	p, err := PlanRescue(look(t, o), "0000:02:00.0", method)
	if err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		if err := prepare(k, "", ""); err != nil {
			t.Fatal(err)
		}
	}
	paths := host.DefaultPaths()
	paths.Sysfs = filepath.Join(dir, "sys")
	a := &Applier{host.New(paths, ""), k.write, 300 * time.Millisecond}
	runner := &plan.Runner{Journal: plan.NewJournal(t.TempDir(), time.Now), Ops: a.Ops()}
	entry, err := runner.Apply(t.Context(), p, "root")
	return k, runner, entry, err
}

// comesUp gives the function its driver, controller and disk.
func (k *fakeKernel) comesUp() error {
	function := filepath.Join(k.dir, silentFunction)
	tweak(k.t, k.dir, map[string]string{silentFunction + "/nvme/nvme1/state": "live\n", silentFunction + "/nvme/nvme1/nvme1n1/nsid": "1\n"})
	return os.Symlink("../../../../bus/pci/drivers/nvme", filepath.Join(function, "driver"))
}

func (k *fakeKernel) link() string { return filepath.Join(k.dir, "sys/bus/pci/devices/0000:02:00.0") }

func (k *fakeKernel) vanish() error { return os.Rename(k.link(), k.link()+".gone") }
func (k *fakeKernel) appear() error { return os.Rename(k.link()+".gone", k.link()) }

func TestRescueReprobe(t *testing.T) {
	k, _, entry, err := rescue(t, "", nil, func(k *fakeKernel, path, _ string) error {
		if strings.HasSuffix(path, "/remove") {
			return k.vanish()
		}
		return errors.Join(k.appear(), k.comesUp())
	})
	if err != nil || entry.State != plan.StateApplied {
		t.Fatalf("%v %+v", err, entry)
	}
	want := []string{"sys/bus/pci/devices/0000:02:00.0/remove=1", "sys/bus/pci/devices/0000:00:1b.0/rescan=1"}
	if !slices.Equal(k.writes, want) {
		t.Errorf("wrote %q, want %q", k.writes, want)
	}
}

func TestRescueBind(t *testing.T) {
	k, _, _, err := rescue(t, MethodBind, func(k *fakeKernel, _, _ string) error {
		return os.MkdirAll(filepath.Join(k.dir, "sys/bus/pci/drivers/nvme"), 0o755)
	}, func(k *fakeKernel, _, _ string) error { return k.comesUp() })
	if err != nil || !slices.Equal(k.writes, []string{"sys/bus/pci/drivers/nvme/bind=0000:02:00.0"}) {
		t.Errorf("%v, wrote %q", err, k.writes)
	}
}

// A drive that does not get ready this time either is a step that failed, and says how far it came.
func TestRescueInVain(t *testing.T) {
	_, runner, entry, err := rescue(t, "", nil, func(k *fakeKernel, path, _ string) error {
		if strings.HasSuffix(path, "/remove") {
			return k.vanish()
		}
		return k.appear()
	})
	if err == nil || !strings.Contains(err.Error(), "no driver is bound") || entry.State != plan.StateFailed {
		t.Fatalf("%v %+v", err, entry)
	}
	p, err := runner.UndoPlan(entry.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := runner.Undo(t.Context(), entry.ID, p.Digest, "root"); err != nil {
		t.Errorf("undo of a function that is there: %v", err)
	}
}

// A function that the rescan did not find again is looked for once more by the undo.
func TestRescueLosesTheFunction(t *testing.T) {
	scans := 0
	_, runner, entry, err := rescue(t, "", nil, func(k *fakeKernel, path, _ string) error {
		if strings.HasSuffix(path, "/remove") {
			return k.vanish()
		}
		if scans++; scans == 1 {
			return nil
		}
		return k.appear()
	})
	if err == nil || !strings.Contains(err.Error(), "not on the PCI bus") {
		t.Fatalf("%v", err)
	}
	p, err := runner.UndoPlan(entry.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := runner.Undo(t.Context(), entry.ID, p.Digest, "root"); err != nil || scans != 2 {
		t.Errorf("undo: %v after %d scans", err, scans)
	}
}

// What changed between plan and apply stops it before anything is touched.
func TestRescueChecksFirst(t *testing.T) {
	for name, change := range map[string]func(k *fakeKernel, _, _ string) error{
		"another device": func(k *fakeKernel, _, _ string) error {
			tweak(k.t, k.dir, map[string]string{silentFunction + "/device": "0xbeef\n"})
			return nil
		},
		"a driver":      func(k *fakeKernel, _, _ string) error { return k.comesUp() },
		"nothing there": func(k *fakeKernel, _, _ string) error { return k.vanish() },
	} {
		k, _, entry, err := rescue(t, "", change, func(*fakeKernel, string, string) error { return nil })
		var changed *plan.ChangedError
		if !errors.As(err, &changed) || len(k.writes) != 0 || entry.Steps[0].Begun {
			t.Errorf("%s: %v, wrote %q", name, err, k.writes)
		}
	}
}
