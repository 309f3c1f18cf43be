package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"labd/internal/finding"
	"labd/internal/host"
	"labd/test/fixture"
)

// observerOf is an Observer of a tree that holds sys, proc, dev and dmesg.
func observerOf(dir, release string) *Observer {
	paths := host.DefaultPaths()
	paths.Sysfs, paths.Procfs, paths.Dev = filepath.Join(dir, "sys"), filepath.Join(dir, "proc"), filepath.Join(dir, "dev")
	paths.Kmsg, paths.State = filepath.Join(dir, "dmesg"), filepath.Join(dir, "state")
	o := NewObserver(host.New(paths, release), DefaultPolicy(), NewMemory(paths.State, nil), func() time.Time { return today })
	o.names.loading = true
	return o
}

// The trees of testdata/lab are of real kernels in virtual machines, which test/guest captured, and of drives that no virtual
// machine has. Each says what labd must make of it.
func TestTreesOfRealKernels(t *testing.T) {
	files, err := filepath.Glob("testdata/lab/*.txtar")
	if err != nil || len(files) < 14 {
		t.Fatalf("%d trees: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := fixture.Materialise(dir, archive); err != nil {
				t.Fatal(err)
			}
			release, _ := os.ReadFile(filepath.Join(dir, "release"))
			want, err := os.ReadFile(filepath.Join(dir, "want"))
			if err != nil {
				t.Fatal(err)
			}
			r := look(t, observerOf(dir, strings.TrimSpace(string(release))))
			var got strings.Builder
			for _, d := range r.Drives {
				codes := finding.Codes(r.Findings, d.Subject())
				slices.Sort(codes)
				fmt.Fprintf(&got, "%s %s %s %v\n", d.Subject(), d.Rung, d.Verdict, codes)
				if len(d.Problems) > 0 {
					t.Errorf("%s: %q", d.Address, d.Problems)
				}
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			for _, f := range r.Findings {
				if len(f.Evidence) == 0 || f.Title == "" || f.Confidence == "" {
					t.Errorf("%s of %s has no evidence", f.Code, f.Subject)
				}
			}
		})
	}
}

// lookAt is the report on one of the trees.
func lookAt(t *testing.T, name string) *Report {
	t.Helper()
	dir := t.TempDir()
	if err := fixture.Materialise(dir, archive(t, "lab/"+name+".txtar")); err != nil {
		t.Fatal(err)
	}
	release, err := os.ReadFile(filepath.Join(dir, "release"))
	if err != nil {
		t.Fatal(err)
	}
	return look(t, observerOf(dir, strings.TrimSpace(string(release))))
}

// What is read of each rung.
func TestFactsOfTrees(t *testing.T) {
	facts := func(d Drive) string {
		c := d.Controller()
		var disks []string
		for _, ns := range c.Namespaces {
			disks = append(disks, fmt.Sprintf("%s %d bytes in %d, eui %q nguid %q, paths %v", ns.Device, ns.SizeBytes, ns.LogicalBlockSize, ns.EUI, ns.NGUID, ns.Paths))
		}
		return fmt.Sprintf("%s %s %s port %s, link %s x%d of %s x%d, port %s x%d, aspm %v, %s d3cold %t, aer %t/%t, %s %s/%s/%s cntlid %d queues %d hmb %q, subsystem %s, %s", d.Address, d.PCIID(), d.Driver, d.Port.Address,
			d.Link.Current.Speed, d.Link.Current.Lanes, d.Link.Max.Speed, d.Link.Max.Lanes, d.Port.Link.Max.Speed, d.Port.Link.Max.Lanes, d.ASPM, d.Power.State, d.Power.D3ColdAllowed, d.AER.Known, d.Port.AER.Known,
			c.Name, c.Model, c.Serial, c.Firmware, c.ID, c.Queues, c.HostMemory, c.Subsystem, strings.Join(disks, "; "))
	}
	for _, tt := range []struct {
		tree  string
		drive int
		want  string
	}{
		{"nm790", 0, `0000:01:00.0 1d97:1602 nvme port 0000:00:06.0, link 16.0 GT/s PCIe x4 of 16.0 GT/s PCIe x4, port 16.0 GT/s PCIe x4, aspm [], D0 d3cold true, aer true/true, ` +
			`nvme0 Lexar SSD NM790 4TB/NKY236R000311P110C/12237 cntlid 0 queues 9 hmb "on", subsystem nqn.2014.08.org.nvmexpress:1d971d97NKY236R000311P110C Lexar SSD NM790 4TB, ` +
			`nvme0n1 4096805658624 bytes in 512, eui "64 79 a7 92 30 00 00 2f" nguid "", paths []`},
		{"vmd", 0, `10000:e1:00.0 15b7:5011 nvme port 10000:e0:06.0, link 16.0 GT/s PCIe x4 of 16.0 GT/s PCIe x4, port 16.0 GT/s PCIe x4, aspm [], D0 d3cold true, aer true/true, ` +
			`nvme0 WD_BLACK SN850X 1000GB/22454X802211/620331WD cntlid 0 queues 13 hmb "", subsystem nqn.2018-01.com.wdc:nguid:E8238FA6BF53-0001-001B448B4A2F11C0, ` +
			`nvme0n1 1000204886016 bytes in 512, eui "00 1b 44 8b 4a 2f 11 c0" nguid "e8238fa6-bf53-0001-001b-448b4a2f11c0", paths []`},
		{"x2-slot", 1, `0000:02:00.0 144d:a80c nvme port 0000:00:1d.0, link 8.0 GT/s PCIe x2 of 16.0 GT/s PCIe x4, port 8.0 GT/s PCIe x2, aspm [clkpm l1_aspm], D0 d3cold true, aer true/true, ` +
			`nvme0 Samsung SSD 990 PRO 2TB/S7DNNJ0W811234A/4B2QJXD7 cntlid 0 queues 5 hmb "", subsystem nqn.1994-11.com.samsung:nvme:990PRO:M.2:S7DNNJ0W811234A, ` +
			`nvme0n1 2000398934016 bytes in 512, eui "00 25 38 4b 41 a0 f2 c1" nguid "", paths []`},
	} {
		if diff := cmp.Diff(tt.want, facts(lookAt(t, tt.tree).Drives[tt.drive])); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.tree, diff)
		}
	}
	for _, tree := range []string{"same-ids-bookworm", "same-ids-trixie"} { // one drive, two controllers
		drives := lookAt(t, tree).Drives
		one, two := drives[5].Controller(), drives[6].Controller()
		if one.Subsystem != two.Subsystem || one.ID == two.ID || one.Namespaces[0].Device != two.Namespaces[0].Device || len(one.Namespaces[0].Paths) != 1 || one.Namespaces[0].Paths[0] == two.Namespaces[0].Paths[0] {
			t.Errorf("%s: %+v\n%+v", tree, one, two)
		}
	}
}

// The worn drive's pages as labd reads them.
func TestWornDrive(t *testing.T) {
	data := lookAt(t, "worn").Drives[0].Controller().Health.Data
	if data == nil {
		t.Fatal("no health")
	}
	h, id := data.Health, data.Identity
	got := fmt.Sprintf("%v %d °C of %d and %d, spare %d of %d, used %d, %.1f TB read %.1f written, %.0f h on, %d cycles, %d unsafe, %d media errors, %d entries; %d errors, newest status 0x%x at %d; slot %d %v; tests %+v",
		h.Warnings.Names(), *h.Celsius, id.WarnCelsius, id.CriticalCelsius, h.SparePercent, h.SpareThreshold, h.UsedPercent, float64(h.BytesRead)/1e12, float64(h.BytesWritten)/1e12, h.PowerOn.Hours(), h.PowerCycles, h.UnsafeShutdowns,
		h.MediaErrors, h.ErrorLogEntries, len(data.Errors), data.Errors[0].Status, data.Errors[0].LBA, data.Firmware.Active, data.Firmware.Slots, data.Tests.Finished)
	want := "[spare] 48 °C of 70 and 85, spare 4 of 5, used 117, 158.9 TB read 470.2 written, 27904 h on, 88 cycles, 61 unsafe, 14 media errors, 233 entries; 2 errors, newest status 0x281 at 210763776; slot 1 map[1:P2CR048]; tests [{Kind:extended Result:failed At:27801h0m0s} {Kind:short Result:passed At:20011h0m0s}]"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A drive that vanishes while it is looked at spoils its own facts only.
func TestVanishesMidRead(t *testing.T) {
	dir, o := tree(t, fixture.P7000Z, "6.8.12-4-pve")
	controller := filepath.Join(dir, "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/nvme/nvme0")
	pipe := filepath.Join(controller, "model")
	if err := os.Remove(pipe); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() {
		w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // waits for labd to read the model
		if err == nil {
			err = os.RemoveAll(filepath.Join(dir, "sys/devices/pci0000:00/0000:00:01.0"))
			_, _ = w.WriteString("Half\n")
			w.Close()
		}
		gone <- err
	}()
	r := look(t, o)
	if err := <-gone; err != nil {
		t.Fatal(err)
	}
	if len(r.Drives) != 3 || r.Drives[2].Rung != RungOK || len(r.Drives[2].Problems) > 0 || codesOf(r, r.Drives[1]) != "nvme.not-ready" {
		t.Errorf("the others: %s, %s", ladder(r.Drives[1]), ladder(r.Drives[2]))
	}
	if d := r.Drives[0]; d.Rung == RungOK || d.Controller().Model != "Half" {
		t.Errorf("the one that vanished: %s", ladder(d))
	}
	// Its serial number was never read, so this boot's log alone knows it.
	if r = look(t, o); len(r.Drives) != 3 || !r.Drives[0].Missing || codesOf(r, r.Drives[0]) != "nvme.missing" {
		t.Errorf("afterwards %d drives", len(r.Drives))
	}
}

// What only newer kernels say: the quirks in force, and how many commands failed.
func TestAttributesOfNewerKernels(t *testing.T) {
	dir, o := tree(t, fixture.P7000Z, "7.0.14-14-pve")
	const controller = healthyFunction + "/nvme/nvme0"
	tweak(t, dir, map[string]string{
		controller + "/quirks": "no_apst\nbogus_nid\n", controller + "/hmb": "0\n", controller + "/nvme0n1/diag/command_error_count": "7\n", controller + "/nvme0n1/nguid": "00000000-0000-0000-0000-000000000001\n",
		"dmesg": "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 9.0] I/O error, dev nvme0n1, sector 1 op 0x0:(READ)\n[ 9.1] I/O error, dev nvme0n1, sector 2 op 0x0:(READ)\n[ 9.2] critical medium error, dev nvme0n1, sector 3 op 0x0:(READ)\n",
	})
	d := look(t, o).Drives[0]
	ns := d.Controller().Namespaces[0]
	if got := fmt.Sprintf("%v %s %s %d", d.Quirks, d.Controller().HostMemory, ns.NGUID, ns.LoggedErrors); got != "[no_apst bogus_nid] off 00000000-0000-0000-0000-000000000001 3" || ns.CommandErrors == nil || *ns.CommandErrors != 7 {
		t.Errorf("got %s, %v", got, ns.CommandErrors)
	}
	// The number is given to another drive, and its disks' names with it.
	tweak(t, dir, map[string]string{"dmesg": "[ 1.0] nvme nvme0: pci function 0000:02:00.0\n[ 9.0] I/O error, dev nvme0n1, sector 1 op 0x0:(READ)\n[ 60.0] nvme nvme0: pci function 0000:01:00.0\n"})
	if ns := look(t, o).Drives[0].Controller().Namespaces[0]; ns.LoggedErrors != 0 {
		t.Errorf("%d errors of a drive that had the number before", ns.LoggedErrors)
	}
}
