package disk

import (
	"slices"
	"strings"
	"testing"
	"time"

	"labd/internal/host"
)

// Whatever sysfs and the kernel log say, labd comes to a verdict: values of attributes are read as the parsers do, and
// all conclusions are drawn.
func FuzzSysfs(f *testing.F) {
	f.Add("live", "16.0 GT/s PCIe", "TOTAL_ERR_NONFATAL 3", "bogus_nid\nno_apst", "nvme", "(null)", "eui.01", "/dev/dm-1 partition", int64(1), "6.2.16-3-pve",
		"[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 2.0] nvme nvme0: Device not ready; aborting initialisation, CSTS=0x0\n")
	f.Add("dead", "Unknown", "x 18446744073709551616", "none", "vfio-pci", "vfio-pci", "", "", int64(-1), "7.0.14-14-pve",
		"[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 9.0] nvme nvme0: min host memory (99999999999999999999 MiB) above limit (1 MiB).\n[ 9.0] block nvme0n1: no usable path\n")
	f.Add("resetting", "2.5 GT/s PCIe", "", "", "", "", "nvme.x", "", int64(1)<<62, "6.1.0-12-amd64", "[ 1.0] nvme 0000:01:00.0: ignoring nsid 4294967296 because of duplicate IDs\n")
	f.Fuzz(func(t *testing.T, state, linkSpeed, counters, quirks, driver, override, wwid, swap string, number int64, release, log string) {
		total, kinds, known := parseAER(counters)
		errors := AER{Known: known, NonFatal: total, Kinds: kinds}
		link := Link{Current: LinkState{ParseSpeed(linkSpeed), lanes(number)}, Max: LinkState{16, 4}}
		namespace := Namespace{Device: "nvme0n1", NSID: int(number), SizeBytes: number, WWID: wwid, Users: layers(swaps(swap)...), Contents: layers("lvm " + volumeGroup(wwid))}
		function := Function{
			Address: "0000:01:00.0", Vendor: 0x1d97, Device: uint16(number), Driver: driver, DriverOverride: override, Link: link, AER: errors, Port: Port{Address: "0000:00:01.0", Link: link, AER: errors},
			Power: Power{State: state}, ASPM: quirkNames(quirks),
			Controllers: []Controller{{Name: "nvme0", State: state, Model: identified(wwid), Serial: identified(swap), Quirks: quirkNames(quirks), QuirksKnown: quirks != "", Namespaces: []Namespace{namespace}, HostMemory: HostMemoryOff}},
		}
		bare, silent := function, function
		bare.Controllers = []Controller{{Name: "nvme1", State: state, Serial: wwid}}
		bare.Address, silent.Address, silent.Controllers = "0000:02:00.0", "0000:03:00.0", nil
		records, _, _ := host.ParseDmesg(strings.NewReader(log))
		parser := newLogParser(nil)
		for _, rec := range records {
			parser.add(rec)
		}
		facts := &Facts{
			At: time.Unix(0, 0), Release: release, Functions: []Function{function, bare, silent}, Log: attribute(parser.events, []Function{function}), Stale: layers("mount "+wwid, "swap"),
			System: System{CommandLine: counters, Quirks: quirks, QuirksParameter: quirks != "", Uptime: time.Duration(number)},
			Remembered: Remembered{
				Drives:    []Known{{Model: wwid, Serial: "S", PCIID: pciID(silent), Address: silent.Address, Contents: layers("mount " + wwid)}, {Serial: "gone"}},
				Incidents: []Incident{{Address: silent.Address, Serial: "S", Kind: EventDown}},
			},
		}
		r := Diagnose(facts, DefaultPolicy())
		if len(r.Drives) != 4 {
			t.Fatalf("%d drives", len(r.Drives))
		}
		for _, d := range r.Drives {
			if !slices.Contains(Rungs(), d.Rung) || d.Verdict == "" {
				t.Errorf("%s: rung %q, verdict %q", d.Address, d.Rung, d.Verdict)
			}
			_, _ = PlanRescue(r, d.Address, "")
		}
		for _, x := range r.Findings {
			if len(x.Evidence) == 0 || x.Title == "" {
				t.Errorf("%s without evidence", x.Code)
			}
		}
		if to, err := ParseRelease(release); err == nil && len(r.Predict(to)) != len(r.Drives) {
			t.Error("a drive without prediction")
		}
	})
}
