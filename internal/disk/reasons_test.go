package disk

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"labd/internal/finding"
	"labd/internal/host"
)

// broken are facts of one drive that does not work, at every rung, with a log.
func broken(log string, watched map[string]bool) []*Facts {
	records, _, _ := host.ParseDmesg(strings.NewReader(log))
	parser := newLogParser(watched)
	for _, rec := range records {
		parser.add(rec)
	}
	reader := &logReader{parser: parser}
	base := Function{Address: "0000:41:00.0", Vendor: 0x144d, Device: 0xa80a, Port: Port{Address: "0000:40:01.1"}}
	controller := func(state string, disks ...Namespace) Function {
		fn := base
		fn.Driver, fn.Controllers = "nvme", []Controller{{Name: "nvme7", State: state, Model: "M", Serial: "S", Queues: 9, Namespaces: disks}}
		return fn
	}
	bound := base
	bound.Driver = "nvme"
	gone := &Facts{Remembered: Remembered{Drives: []Known{{Model: "M", Serial: "S", PCIID: "144d:a80a", Address: base.Address, Port: base.Port.Address}}}}
	var out []*Facts
	for _, fn := range []Function{base, bound, controller("dead"), controller("resetting"), controller("connecting"), controller("new"), controller("deleting"), controller("live"), controller("live", Namespace{Device: "nvme7n1", NSID: 1})} {
		out = append(out, &Facts{Functions: []Function{fn}})
	}
	out = append(out, gone)
	for _, f := range out {
		f.At, f.Release, f.Log = time.Unix(1e9, 0), "6.8.12-4-pve", attribute(parser.events, f.Functions)
		f.Named, f.Ports = reader.namings(f.Functions), parser.ports
	}
	return out
}

// names reports whether a line of a log names the drive of broken, its controller, a disk of it, or its port.
func names(text string) bool {
	for _, word := range strings.FieldsFunc(text, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == ':' || r == '.')
	}) {
		switch strings.TrimRight(word, ":.") {
		case "0000:41:00.0", "0000:40:01.1", "nvme7", "nvme7n1", "nvme7n1p2", "41:00.0":
			return true
		}
	}
	return false
}

var watchedDrive = map[string]bool{"0000:41:00.0": true, "0000:40:01.1": true}

// checkDenial reports findings that deny a line that is there.
func checkDenial(t *testing.T, log string) {
	t.Helper()
	records, _, _ := host.ParseDmesg(strings.NewReader(log))
	named := false
	for _, rec := range records {
		named = named || names(rec.Text)
	}
	for _, f := range broken(log, watchedDrive) {
		r := Diagnose(f, DefaultPolicy())
		for _, x := range r.Findings {
			text := x.Cause
			for _, e := range x.Evidence {
				text += "\n" + e.Text
			}
			if named && strings.Contains(text, "no line") {
				t.Errorf("%s of %s denies a line of\n%s\nin\n%s", x.Code, x.Subject, log, text)
			}
			if x.Confidence == finding.Certain && len(x.Evidence) == 0 {
				t.Errorf("%s is certain without evidence", x.Code)
			}
		}
	}
}

// pieces are what lines are made of: prefixes that name the drive and texts of the kernel and of nobody.
var (
	prefixes = []string{
		"nvme nvme7: ", "nvme 0000:41:00.0: ", "pci 0000:41:00.0: ", "pcieport 0000:40:01.1: ", "pcieport 0000:40:01.1: pciehp: Slot(3-1): ", "nvme: probe of 0000:41:00.0 ",
		"vfio-pci 0000:41:00.0: ", "nvme7n1: ", "block nvme7n1: ", "AMD-Vi: Event logged [IO_PAGE_FAULT device=41:00.0 domain=0x000e ", "DMAR: [DMA Write NO_PASID] Request device [41:00.0] fault addr 0x0 ",
		"EXT4-fs error (device nvme7n1p2): ", "iommu: Adding device 0000:41:00.0 to group 7 ", "usb 1-1: ", "", "thunderbolt 0-1: path to 0000:41:00.0 ",
	}
	texts = []string{
		"something that no kernel says yet", "pci function 0000:41:00.0", "8/0/0 default/read/poll queues", "failed with error -12", "Link Down", "Card not present",
		"Device not ready; aborting initialisation, CSTS=0x0", "Identify Controller failed (-4)", "error -EIO: probe failed", "IO queues not created", "[144d:a80a] type 00 class 0x010802",
		"BAR 0 [mem size 0x00004000 64bit]: can't assign; no space", "Adding to iommu group 7", "missing or invalid SUBNQN field.", "address=0x0 flags=0x0000]",
		"controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0xffff", "AER: Multiple Uncorrectable (Fatal) error message received from 0000:41:00.0", "", "(sct 0x2 / sc 0x86)",
		"resetting controller due to persistent internal error", "I/O tag 1 (1001) QID 0 timeout, disable controller",
	}
)

// Whatever is in the log: a line that names the drive, its controller, its disk or its port is never denied.
func TestNoLineIsDenied(t *testing.T) {
	for _, prefix := range prefixes {
		for _, text := range texts {
			checkDenial(t, "[    1.000000] "+prefix+text+"\n")
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var log strings.Builder
		for i := range random.IntN(6) {
			fmt.Fprintf(&log, "[%5d.000000] %s%s\n", i*10, prefixes[random.IntN(len(prefixes))], texts[random.IntN(len(texts))])
		}
		checkDenial(t, log.String())
	}
}

func FuzzNoLineIsDenied(f *testing.F) {
	for i, prefix := range prefixes {
		f.Add(prefix, texts[i%len(texts)], texts[(i*7+3)%len(texts)])
	}
	f.Fuzz(func(t *testing.T, prefix, first, second string) {
		for _, s := range []string{prefix, first, second} {
			if strings.ContainsAny(s, "\n\r\x1b") {
				t.Skip()
			}
		}
		checkDenial(t, "[    1.000000] "+prefix+first+"\n[    2.000000] "+prefix+second+"\n")
	})
}
