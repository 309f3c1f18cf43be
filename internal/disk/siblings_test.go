package disk

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"labd/internal/host"
	"labd/internal/smart"
)

// situation is one drive with a log, as people report them.
type situation struct {
	release, log string
	change       func(*Facts, *Function)
	uptime       time.Duration
}

// judged are the ladder of the drive and all its findings as text, the way labctl prints them.
func judged(t *testing.T, s situation) (string, *Report) {
	t.Helper()
	fn := Function{Address: "0000:41:00.0", Vendor: 0x15b7, Device: 0x5030, Port: Port{Address: "0000:40:01.1"}}
	f := &Facts{At: time.Unix(1.7e9, 0), Release: s.release, System: System{Uptime: s.uptime, CommandLine: "BOOT_IMAGE=/boot/vmlinuz root=/dev/sda1 quiet"}}
	if s.change != nil {
		s.change(f, &fn)
	}
	if fn.Address != "" {
		f.Functions = []Function{fn}
	}
	records, unread, err := host.ParseDmesg(strings.NewReader(s.log))
	if err != nil || unread > 0 {
		t.Fatalf("%d lines not read, %v", unread, err)
	}
	parser := newLogParser(map[string]bool{"0000:41:00.0": true, "0000:40:01.1": true})
	for _, rec := range records {
		parser.add(rec)
	}
	f.Log = attribute(parser.events, f.Functions)
	f.Named, f.Ports = (&logReader{parser: parser}).namings(f.Functions), parser.ports
	r := Diagnose(f, DefaultPolicy())
	var b strings.Builder
	for _, d := range r.Drives {
		fmt.Fprintf(&b, "%s %s %s\n", d.Address, d.Rung, d.Verdict)
	}
	for _, x := range r.Findings {
		fmt.Fprintf(&b, "%s %s %s\ncause: %s (%s)\n", x.Severity, x.Code, x.Title, x.Cause, x.Confidence)
		for _, e := range x.Evidence {
			fmt.Fprintf(&b, "evidence: %s: %s\n", e.Source, e.Text)
		}
		for i, remedy := range x.Remedies {
			fmt.Fprintf(&b, "remedy %d: %s\n  %s\n", i+1, remedy.Title, strings.Join(remedy.Commands, "\n  "))
		}
	}
	return b.String() + strings.Join(r.Notes, "\n"), r
}

// live gives the function a live controller with disks.
func live(disks ...Namespace) func(*Facts, *Function) {
	return func(_ *Facts, fn *Function) {
		fn.Driver, fn.Controllers = "nvme", []Controller{{Name: "nvme12", State: "live", Model: "WD_BLACK SN850X 2000GB", Serial: "S12", Firmware: "620361WD", Transport: "pcie", Queues: 17, Namespaces: disks}}
	}
}

func disk12(size int64) Namespace { return Namespace{Device: "nvme12n1", NSID: 1, SizeBytes: size} }

// and does one change after another.
func and(changes ...func(*Facts, *Function)) func(*Facts, *Function) {
	return func(f *Facts, fn *Function) {
		for _, change := range changes {
			change(f, fn)
		}
	}
}

// says answers with a health page.
func says(set func(*smart.Health)) func(*Facts, *Function) {
	return func(_ *Facts, fn *Function) {
		h := &smart.Health{Celsius: new(40), SparePercent: 100, SpareThreshold: 10, PowerOn: 9000 * time.Hour}
		set(h)
		fn.Controllers[0].Health = smart.Reading{Data: &smart.Data{Health: h, Identity: &smart.Identity{Serial: "S12"}}}
	}
}

const (
	found12 = "[    1.100000] nvme nvme12: pci function 0000:41:00.0\n"
	ready12 = "[    1.200000] nvme nvme12: 16/0/0 default/read/poll queues\n"
)

// Kinds of faults with other drives, kernels, wordings and addresses than the reports that they were first seen in. Each says what
// must be there and what may never be.
func TestKindsOfFaults(t *testing.T) {
	for _, tt := range []struct {
		name  string
		s     situation
		is    []string
		never []string
	}{
		{
			"DMAR fault before the first command is late",
			situation{release: "6.8.12-9-pve", log: found12 +
				"[    1.400000] DMAR: DRHD: handling fault status reg 2\n[    1.400010] DMAR: [DMA Write NO_PASID] Request device [41:00.0] fault addr 0xff000000 [fault reason 0x05] PTE Write access is not set\n" +
				"[   62.000000] nvme nvme12: I/O tag 0 (0000) QID 0 timeout, disable controller\n[   62.010000] nvme nvme12: Identify Controller failed (-4)\n[   62.010100] nvme: probe of 0000:41:00.0 failed with error -5\n"},
			[]string{`41:00\.0 driver fail`, `nvme.iommu`, `evidence:.*DMAR`, `iommu=pt`, `QID 0 timeout`},
			[]string{"gave it up", "no line"},
		},
		{
			"old AMD-Vi wording with the device in it",
			situation{release: "5.15.158-2-pve", log: found12 +
				"[    1.400000] AMD-Vi: Event logged [IO_PAGE_FAULT device=41:00.0 domain=0x000f address=0xf4a8b000 flags=0x0020]\n[   62.000000] nvme nvme12: I/O 12 QID 0 timeout, disable controller\n[   62.010100] nvme nvme12: Removing after probe failure status: -5\n"},
			[]string{`nvme.iommu`, `IO_PAGE_FAULT`, `iommu=pt`},
			nil,
		},
		{
			"an IOMMU fault alone is harmless",
			situation{release: "6.14.11-4-pve", change: live(disk12(1e12)), log: found12 + ready12 +
				"[  500.000000] DMAR: [DMA Read NO_PASID] Request device [41:00.0] fault addr 0xf7936000 [fault reason 0x06] PTE Read access is not set\n"},
			[]string{`41:00\.0 ok ok`},
			[]string{"(warn|fail|info) nvme"},
		},
		{
			"no space, old wording",
			situation{release: "5.15.158-2-pve", log: "[    0.700000] pci 0000:41:00.0: BAR 0: no space for [mem size 0x00004000 64bit]\n[    0.700100] pci 0000:41:00.0: BAR 0: failed to assign [mem size 0x00004000 64bit]\n"},
			[]string{`nvme.address-space`, `evidence:.*no space for`, `cause:.*BAR.*\(certain\)`, "Above 4G"},
			[]string{"no line", "remedy 1: bind"},
		},
		{
			"cannot enable the device",
			situation{release: "6.11.11-2-pve", log: "[    3.100000] nvme 0000:41:00.0: can't enable device: BAR 0 [mem size 0x00004000 64bit] not assigned\n[    3.100100] nvme 0000:41:00.0: probe with driver nvme failed with error -12\n"},
			[]string{`nvme.address-space`, `\(certain\)`, "not assigned"},
			[]string{"gave it up"},
		},
		{
			"no space at first, and then one was found",
			situation{release: "6.8.12-4-pve", change: live(disk12(1e12)), log: "[    0.700000] pci 0000:41:00.0: BAR 0 [mem size 0x00004000 64bit]: can't assign; no space\n[    0.800000] pci 0000:41:00.0: BAR 0 [mem 0xd0000000-0xd0003fff 64bit]: assigned\n" + found12 + ready12},
			[]string{`41:00\.0 ok ok`},
			[]string{"nvme.address-space"},
		},
		{
			"ROM and I/O ports are not needed",
			situation{release: "6.8.12-4-pve", log: "[    0.700000] pci 0000:41:00.0: ROM [mem size 0x00010000 pref]: can't assign; no space\n[    0.700000] pci 0000:41:00.0: BAR 5 [io  size 0x0080]: failed to assign\n"},
			[]string{`41:00\.0 driver fail nvme|41:00\.0 driver fail`},
			[]string{"nvme.address-space", "no line"},
		},
		{
			"errno in the words of 7.x",
			situation{release: "7.0.14-15-pve", log: found12 + "[    2.000000] nvme 0000:41:00.0: error -ENOMEM: probe failed\n"},
			[]string{`nvme.address-space`, `cause:.*memory or .*address space.*ENOMEM.*\(likely\)`},
			[]string{"gave it up \\(certain"},
		},
		{
			"busy",
			situation{release: "6.17.2-1-pve", log: found12 + "[    2.000000] nvme 0000:41:00.0: probe with driver nvme failed with error -16\n"},
			[]string{`cause:.*EBUSY`, `evidence:.*error -16`},
			[]string{"gave it up"},
		},
		{
			"no queue count",
			situation{release: "6.8.12-4-pve", change: live(), log: found12 + "[    1.300000] nvme nvme12: Could not set queue count (16390)\n[    1.310000] nvme nvme12: IO queues not created\n"},
			[]string{`nvme.queues`, `evidence:.*Could not set queue count`, `evidence:.*IO queues not created`},
			[]string{"no line", "create-ns"},
		},
		{
			"one queue alone, and a log that is gone",
			situation{release: "6.8.12-4-pve", change: and(live(), func(f *Facts, fn *Function) { fn.Controllers[0].Queues, f.LogLost = 1, true })},
			[]string{`nvme.queues`, `queue_count: 1`},
			[]string{"attach"},
		},
		{
			"Identify answered with a status",
			situation{release: "5.15.158-2-pve", log: found12 + "[    1.300000] nvme nvme12: Identify Controller failed (6)\n[    1.310000] nvme nvme12: Removing after probe failure status: -5\n"},
			[]string{`cause:.*internal error.*\(certain\)`, `evidence:.*Identify Controller failed`},
			nil,
		},
		{
			"a line that nobody knows",
			situation{release: "6.8.12-4-pve", log: "[    1.300000] nvme 0000:41:00.0: frobnicated the doorbells\n"},
			[]string{`evidence:.*frobnicated`, `not known to labd.*\(unknown\)`},
			[]string{"no line"},
		},
		{
			"lines that only say that it is there",
			situation{release: "6.8.12-4-pve", log: "[    0.400000] pci 0000:41:00.0: [15b7:5030] type 00 class 0x010802 PCIe Endpoint\n[    0.900000] pci 0000:41:00.0: Adding to iommu group 21\n"},
			[]string{`2 lines name it`, `Adding to iommu group`},
			[]string{"no line"},
		},
		{
			"another 0.5 s, but the kernel is fixed",
			situation{release: "6.8.12-4-pve", log: found12 + "[    1.650000] nvme nvme12: Device not ready; aborting initialisation, CSTS=0x0\n"},
			[]string{`nvme.not-ready`, `\(unknown\)`},
			[]string{"remedy \\d: boot a", "apt install proxmox-kernel"},
		},
		{
			"slow, on a kernel with the bug",
			situation{release: "6.1.10-1-pve", log: found12 + "[   21.650000] nvme nvme12: Device not ready; aborting initialisation, CSTS=0x0\n"},
			[]string{`nvme.not-ready`, `did not start in the 21s`, "switch the machine off"},
			[]string{"half a second", "remedy \\d: boot a"},
		},
		{
			"the bug, by an unknown drive",
			situation{release: "6.2.16-4-pve", log: found12 + "[    1.650000] nvme nvme12: Device not ready; aborting initialisation, CSTS=0x0\n"},
			[]string{`half a second.*\(likely\)`, `boot a Proxmox kernel`},
			nil,
		},
		{
			"access denied with verbose wording",
			situation{release: "6.14.11-4-pve", change: and(live(disk12(1e12)), says(func(*smart.Health) {})), log: found12 + ready12 +
				"[    2.000000] nvme12n1: Read(0x2) @ LBA 0, 8 blocks, Access Denied (sct 0x2 / sc 0x86) DNR\n[    2.000010] critical medium error, dev nvme12n1, sector 0 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 0\n"},
			[]string{`nvme.access-denied`, "PSID", "locked"},
			[]string{"nvme.media-errors", "error correction", "replace the drive"},
		},
		{
			"write to a read-only range",
			situation{release: "6.8.12-4-pve", change: live(disk12(1e12)), log: found12 + ready12 +
				"[   50.000000] nvme12n1: I/O Cmd(0x1) @ LBA 64, 8 blocks, I/O Error (sct 0x1 / sc 0x82) DNR\n[   50.000010] critical medium error, dev nvme12n1, sector 64 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2\n"},
			[]string{`nvme.read-only`, "copy what is on it"},
			[]string{"could not read"},
		},
		{
			"data transfer error",
			situation{release: "6.8.12-4-pve", change: live(disk12(1e12)), log: found12 + ready12 + "[   50.000000] nvme12n1: Write(0x1) @ LBA 64, 8 blocks, Data Transfer Error (sct 0x0 / sc 0x4)\n[   50.000010] I/O error, dev nvme12n1, sector 64 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2\n"},
			[]string{`nvme.io-errors`, "IOMMU"},
			[]string{"nvme.media-errors"},
		},
		{
			"compare failure is no fault",
			situation{release: "6.8.12-4-pve", change: live(disk12(1e12)), log: found12 + ready12 + "[   50.000000] nvme12n1: Compare(0x5) @ LBA 64, 8 blocks, Compare Failure (sct 0x2 / sc 0x85) DNR\n[   50.000010] critical medium error, dev nvme12n1, sector 64 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 2\n"},
			[]string{`41:00\.0 ok info`},
			[]string{"nvme.media-errors", "replace"},
		},
		{
			"a write fault without status",
			situation{release: "5.15.158-2-pve", change: live(disk12(1e12)), log: found12 + ready12 + "[   50.000000] blk_update_request: critical medium error, dev nvme12n1, sector 64 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2\n"},
			[]string{`could not write`, `\(likely\)`},
			[]string{"\\(certain\\)", "could not read"},
		},
		{
			"a write that the drive does not know is no fault",
			situation{release: "6.8.12-4-pve", change: live(disk12(1e12)), log: found12 + ready12 + "[   50.000000] nvme12n1: Write Zeroes(0x8) @ LBA 64, 8 blocks, Invalid Field in Command (sct 0x0 / sc 0x2) DNR\n"},
			[]string{`41:00\.0 ok ok`},
			nil,
		},
		{
			"an admin command of a program",
			situation{release: "6.17.2-1-pve", change: live(disk12(1e12)), log: found12 + ready12 + "[   50.000000] nvme12: Get Log Page(0x2), Invalid Log Page (sct 0x1 / sc 0x9) DNR\n"},
			[]string{`41:00\.0 ok ok`},
			nil,
		},
		{
			"the slot lost power",
			situation{release: "6.17.2-1-pve", change: gone("6.17.2-1-pve"), log: found12 + ready12 + "[  700.000000] pcieport 0000:40:01.1: pciehp: Slot(12-1): Power fault\n[  700.100000] pcieport 0000:40:01.1: pciehp: Slot(12-1): Link Down\n"},
			[]string{`41:00\.0 pci fail`, `nvme.missing`, `evidence:.*Link Down`, `evidence:.*Power fault`, `cause:.*slot.*\(likely\)`},
			[]string{"no line"},
		},
		{
			"old pciehp wording",
			situation{release: "5.15.158-2-pve", change: gone("5.15.158-2-pve"), log: found12 + ready12 + "[  700.100000] pciehp 0000:40:01.1:pcie004: Slot(3): Card not present\n"},
			[]string{`nvme.missing`, `Card not present`},
			nil,
		},
		{
			"taken out and put in again",
			situation{release: "6.17.2-1-pve", change: live(disk12(1e12)), log: "[  700.100000] pcieport 0000:40:01.1: pciehp: Slot(3): Card not present\n[  800.100000] pcieport 0000:40:01.1: pciehp: Slot(3): Card present\n[  801.000000] nvme nvme12: pci function 0000:41:00.0\n[  801.200000] nvme nvme12: 16/0/0 default/read/poll queues\n"},
			[]string{`41:00\.0 ok ok`},
			[]string{"nvme.dropped"},
		},
		{
			"no memory of it, and its port known by the bus",
			situation{release: "6.14.11-4-pve", change: func(_ *Facts, fn *Function) { fn.Address = "" }, log: "[    0.400000] pci 0000:40:01.1: PCI bridge to [bus 41]\n" + found12 + ready12 + "[  700.100000] pcieport 0000:40:01.1: pciehp: Slot(3): Link Down\n"},
			[]string{`41:00\.0 pci fail`, `nvme.missing`, `Link Down`},
			nil,
		},
		{
			"gone since the kernel update",
			situation{release: "7.0.14-15-pve", change: gone("6.17.13-2-pve")},
			[]string{`nvme.missing`, `6\.17\.13-2-pve`, `kernel pin 6\.17\.13-2-pve`},
			[]string{"\\(certain\\)"},
		},
		{
			"internal error again and again",
			situation{release: "6.1.15-1-pve", change: live(disk12(0)), log: found12 + ready12 + "[    5.000000] nvme nvme12: resetting controller due to AER\n[    9.000000] nvme nvme12: resetting controller due to AER\n"},
			[]string{`block fail`, `persistent internal error.*2 times in 4s.*\(likely\)`, "maker for a replacement"},
			[]string{"ps_max_latency"},
		},
		{
			"formatted with protection information",
			situation{release: "6.8.12-4-pve", change: live(disk12(0)), log: found12 + ready12},
			[]string{`block fail`, "metadata", "nvme format", `\(likely\)`},
			[]string{"power saving"},
		},
		{
			"no namespace, no line",
			situation{release: "6.8.12-4-pve", change: live(), log: found12 + ready12},
			[]string{`namespace fail`, "attach-ns", "create-ns", "lost"},
			[]string{"bogus"},
		},
		{
			"the third namespace is empty",
			situation{release: "6.8.12-4-pve", change: live(disk12(1e12), Namespace{Device: "nvme12n3", NSID: 3}), log: found12 + ready12},
			[]string{`block fail`, "namespace 3 has a disk of size 0: nvme12n3"},
			nil,
		},
		{
			"being started",
			situation{release: "6.14.11-4-pve", uptime: 30 * time.Second, change: and(live(), func(_ *Facts, fn *Function) { fn.Controllers[0].State = "connecting" }), log: found12},
			[]string{`controller info`, `nvme.probing`, "29s"},
			[]string{"off and on", "being reset"},
		},
		{
			"started for too long",
			situation{release: "6.14.11-4-pve", uptime: 300 * time.Second, change: and(live(), func(_ *Facts, fn *Function) { fn.Controllers[0].State = "new" }), log: found12},
			[]string{`controller warn`, `nvme.probing`, "4m59s"},
			nil,
		},
		{
			"worn out and says so",
			situation{release: "6.8.12-4-pve", change: and(live(disk12(1e12)), says(func(h *smart.Health) { h.Warnings, h.UsedPercent = smart.WarnReliability, 104 })), log: found12 + ready12},
			[]string{`cause:.*written`, "104 %", "replace"},
			[]string{"nvme.wear", "remedy 1: copy"},
		},
		{
			"not reliable, with media errors",
			situation{release: "6.8.12-4-pve", change: and(live(disk12(1e12)), says(func(h *smart.Health) { h.Warnings, h.UsedPercent, h.MediaErrors = smart.WarnReliability, 104, 9 })), log: found12 + ready12},
			[]string{`nvme.critical-warning`, "remedy 1: copy"},
			[]string{"reliability.*\\(certain\\)"},
		},
		{
			"a page that cannot be right",
			situation{release: "6.8.12-4-pve", change: and(live(disk12(1e12)), says(func(h *smart.Health) {
				h.Warnings, h.MediaErrors, h.Doubts = 0xc0, 3, []string{"bits of the critical warning that mean nothing (0xc0)"}
			})), log: found12 + ready12},
			[]string{`nvme.health-doubtful`},
			[]string{"nvme.critical-warning", "nvme.media-errors", "nvme.wear"},
		},
		{
			"firmware with a known fault",
			situation{release: "6.8.12-4-pve", change: and(live(disk12(1e12)), func(_ *Facts, fn *Function) {
				fn.Controllers[0].Model, fn.Controllers[0].Firmware = "Micron_7450_MTFDKCC3T8TFR", "E2MU200"
			}), log: found12 + ready12},
			[]string{`warn nvme.firmware`, "E2MU300", "fwupdmgr"},
			nil,
		},
		{"the same model with a firmware that is well", situation{release: "6.8.12-4-pve", change: and(live(disk12(1e12)), func(_ *Facts, fn *Function) {
			fn.Controllers[0].Model, fn.Controllers[0].Firmware = "Samsung SSD 990 PRO 4TB", "4B2QJXD7"
		}), log: found12 + ready12}, []string{`ok ok`}, []string{"nvme.firmware"}},
		{
			"set aside by driver_override",
			situation{release: "6.8.12-4-pve", change: func(_ *Facts, fn *Function) { fn.Driver, fn.DriverOverride = "pci-stub", "pci-stub" }},
			[]string{`ok info`, "pci-stub"},
			[]string{"rescue-nvme", "unbind", "modprobe"},
		},
		{"caught by vfio ids that were meant for another", situation{release: "6.8.12-4-pve", change: func(f *Facts, fn *Function) {
			fn.Driver, f.System.VFIOIDs, f.Guests = "vfio-pci", []string{"15b7:5030"}, Guests{Addresses: []string{"0000:42:00"}}
		}}, []string{`ok info nvme|41:00\.0 ok`, `vfio-pci\.ids`}, []string{"rescue-nvme"}},
		{
			"the port contained a fatal error",
			situation{release: "6.14.11-4-pve", change: gone("6.14.11-4-pve"), log: found12 + ready12 + "[  700.000000] pcieport 0000:40:01.1: DPC: containment event, status:0x1f01 source:0x0000\n[  700.000100] pcieport 0000:40:01.1: DPC: unmasked uncorrectable error detected\n"},
			[]string{`nvme.missing`, `DPC: unmasked`, `cause:.*errors on the PCIe link`},
			nil,
		},
		{
			"a line about the port that nobody knows",
			situation{release: "6.14.11-4-pve", log: "[    1.000000] pcieport 0000:40:01.1: the hamster fell off\n"},
			[]string{`evidence:.*hamster`, `not known to labd`},
			[]string{"no line"},
		},
		{
			"a retrained link",
			situation{release: "6.12.96+deb13-amd64", change: gone("6.12.96+deb13-amd64"), log: "[    1.000000] pci 0000:40:01.1: broken device, retraining non-functional downstream link at 2.5GT/s\n[    1.100000] pci 0000:40:01.1: retraining failed\n"},
			[]string{`nvme.missing`, `retraining failed`, `link .*does not come up`},
			nil,
		},
		{"errors of its own that the drive does not have", situation{release: "6.14.11-4-pve", uptime: 40 * 24 * time.Hour, change: and(live(disk12(1e12)), func(_ *Facts, fn *Function) {
			fn.Port.Own = AER{Known: true, NonFatal: 2, Kinds: map[string]uint64{"ACSViol": 2}}
		}), log: found12 + ready12}, []string{`ok info`, "ACSViol"}, []string{"contacts and put", "clean its contacts"}},
		{"one old error of the drive", situation{release: "6.14.11-4-pve", uptime: 40 * 24 * time.Hour, change: and(live(disk12(1e12)), func(_ *Facts, fn *Function) {
			fn.AER = AER{Known: true, NonFatal: 1, Kinds: map[string]uint64{"CmpltTO": 1}}
		}), log: found12 + ready12}, []string{`ok info`, "CmpltTO 1"}, []string{"clean its contacts"}},
		{"many errors of the drive", situation{release: "6.14.11-4-pve", uptime: 40 * 24 * time.Hour, change: and(live(disk12(1e12)), func(_ *Facts, fn *Function) {
			fn.AER = AER{Known: true, NonFatal: 400, Kinds: map[string]uint64{"CmpltTO": 400}}
		}), log: found12 + ready12}, []string{`ok warn`, `nvme.aer`}, nil},
		{"few corrected errors", situation{release: "6.14.11-4-pve", uptime: 40 * 24 * time.Hour, change: and(live(disk12(1e12)), func(_ *Facts, fn *Function) {
			fn.AER = AER{Known: true, Correctable: 900, Kinds: map[string]uint64{"RxErr": 900}}
		}), log: found12 + ready12}, []string{`ok ok`}, []string{"nvme.aer"}},
		{"a flood of corrected errors", situation{release: "6.14.11-4-pve", uptime: 10 * time.Hour, change: and(live(disk12(1e12)), func(_ *Facts, fn *Function) {
			fn.AER = AER{Known: true, Correctable: 90000, Kinds: map[string]uint64{"BadTLP": 60000, "BadDLLP": 30000}}
		}), log: found12 + ready12}, []string{`ok warn`, "corrected 90000", "BadTLP 60000", "pcie_aspm=off"}, nil},
		{
			"AER in the words of 5.x",
			situation{release: "5.15.158-2-pve", change: live(disk12(1e12)), log: found12 + ready12 +
				"[  400.000000] pcieport 0000:40:01.1: AER: Uncorrected (Fatal) error received: 0000:41:00.0\n[  400.000100] nvme 0000:41:00.0: PCIe Bus Error: severity=Uncorrected (Fatal), type=Transaction Layer, (Receiver ID)\n" +
				"[  400.000200] nvme 0000:41:00.0:    [18] MalfTLP                (First)\n[  400.000300] nvme nvme12: frozen state error detected, reset controller\n[  401.000000] nvme nvme12: restart after slot reset\n"},
			[]string{`nvme.dropped`, "MalfTLP"},
			nil,
		},
		{
			"the queues of a network's drive are not this one's",
			situation{release: "6.14.11-4-pve", change: live(disk12(1e12)), log: found12 + ready12 + "[  100.300000] nvme nvme13: new ctrl: NQN \"nqn.x\", addr 192.0.2.1:4420\n[ 5000.100000] nvme nvme13: I/O tag 5 (1005) type 4 opcode 0x1 (I/O Cmd) QID 3 timeout\n"},
			[]string{`41:00\.0 ok ok`},
			[]string{"nvme.timeouts"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, _ := judged(t, tt.s)
			for _, want := range tt.is {
				if !regexp.MustCompile("(?im)" + want).MatchString(text) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
			for _, never := range tt.never {
				if m := regexp.MustCompile("(?im)" + never).FindString(text); m != "" {
					t.Errorf("%q in\n%s", m, text)
				}
			}
		})
	}
}

// gone has labd remember a drive that was last seen under a kernel, and is on the bus no more.
func gone(release string) func(*Facts, *Function) {
	return func(f *Facts, fn *Function) {
		fn.Address = ""
		f.Remembered.Drives = []Known{{Model: "WD_BLACK SN850X 2000GB", Serial: "S12", PCIID: "15b7:5030", Address: "0000:41:00.0", Port: "0000:40:01.1", Release: release}}
	}
}

// What another kernel would make of a drive that does not work for another reason is not known.
func TestPredictionOfOtherFaults(t *testing.T) {
	for name, s := range map[string]situation{
		"no queues":         {release: "6.12.117+deb13-amd64", change: live(), log: found12 + "[    1.300000] nvme nvme12: IO queues not created\n"},
		"no namespace":      {release: "6.14.11-4-pve", change: live(), log: found12 + ready12},
		"slow to start":     {release: "6.5.3-1-pve", log: found12 + "[   31.300000] nvme nvme12: Device not ready; aborting initialisation, CSTS=0x0\n"},
		"no address space":  {release: "6.8.12-4-pve", log: "[    0.700000] pci 0000:41:00.0: BAR 0 [mem size 0x00004000 64bit]: can't assign; no space\n"},
		"a probe under way": {release: "6.14.11-4-pve", change: and(live(), func(_ *Facts, fn *Function) { fn.Controllers[0].State = "connecting" }), log: found12},
		"size 0":            {release: "6.14.11-4-pve", change: live(disk12(0)), log: found12 + ready12},
		"gone":              {release: "6.14.11-4-pve", change: gone("6.14.11-4-pve")},
	} {
		_, r := judged(t, s)
		for _, to := range []string{"6.8.12-4-pve", "6.17.2-1-pve", "7.0.14-14-pve"} {
			release, _ := ParseRelease(to)
			if p := r.Predict(release)[0]; p.Outcome != OutcomeUnknown || strings.Contains(p.Reason, "no kernel brings") {
				t.Errorf("%s under %s: %s, %s", name, to, p.Outcome, p.Reason)
			}
		}
	}
	_, r := judged(t, situation{release: "6.17.2-1-pve", change: gone("6.14.11-4-pve")})
	for to, want := range map[string]string{"6.14.11-4-pve": "recognised", "6.8.12-4-pve": "unknown", "6.22.1": "unknown", "5.23.0-1-pve": "unknown"} {
		release, _ := ParseRelease(to)
		if p := r.Predict(release)[0]; p.Outcome != want {
			t.Errorf("gone, under %s: %s, %s", to, p.Outcome, p.Reason)
		}
	}
	_, r = judged(t, situation{release: "6.17.2-1-pve", change: live(disk12(1e12)), log: found12 + ready12})
	for to, want := range map[string]string{"6.19.3": "nothing known", "7.6.1-1-pve": "newer than those", "6.20.1": "knows no kernel", "4.21.0": "knows no kernel", "99.1": "knows no kernel"} {
		release, _ := ParseRelease(to)
		if p := r.Predict(release)[0]; !strings.Contains(p.Reason, want) {
			t.Errorf("well, under %s: %s", to, p.Reason)
		}
	}
}

// The table of faults has sources, and enough rows to be of use.
func TestFirmwareTable(t *testing.T) {
	if len(firmwareFaults) < 25 {
		t.Errorf("%d rows", len(firmwareFaults))
	}
	id := regexp.MustCompile(`^[0-9a-f]{4}:[0-9a-f]{4}$`)
	for _, f := range firmwareFaults {
		if f.source == "" || f.what == "" || f.fixed+f.advice == "" || len(f.models)+len(f.ids) == 0 || f.alarm && (len(f.firmware) == 0 || f.fixed == "") {
			t.Errorf("incomplete: %+v", f)
		}
		for _, x := range f.ids {
			if !id.MatchString(x) {
				t.Errorf("%q is no PCI id", x)
			}
		}
	}
}
