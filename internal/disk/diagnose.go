package disk

import (
	"fmt"
	"slices"
	"time"

	"labd/internal/finding"
)

// Rungs of the ladder, from the bottom, and RungOK for a drive that has all of them.
const (
	RungPCI        = "pci"
	RungDriver     = "driver"
	RungController = "controller"
	RungNamespace  = "namespace"
	RungBlock      = "block"
	RungOK         = "ok"
)

// Verdicts of a Drive.
const (
	VerdictOK      = "ok"
	VerdictInfo    = "info"
	VerdictWarn    = "warn"
	VerdictFail    = "fail"
	VerdictUnknown = "unknown"
)

// Report is what the facts mean.
type Report struct {
	At       time.Time
	Release  string
	Drives   []Drive
	Findings []finding.Finding
	Notes    []string
}

// Drive is one PCI function with its first broken rung.
type Drive struct {
	Function
	Rung, Verdict string
	// Chip is the controller chip, where it is known by its ids or its model.
	Chip string
}

// Subject is nvme/<PCI address>.
func (d Drive) Subject() finding.Subject { return finding.NVMe(d.Address) }

// PCIID is vendor:device, as lspci -n prints it.
func (d Drive) PCIID() string { return pciID(d.Function) }

// Controller is the drive's controller; nil when it has none.
func (d Drive) Controller() *Controller {
	if len(d.Controllers) == 0 {
		return nil
	}
	return &d.Controllers[0]
}

// Diagnose is pure.
func Diagnose(f *Facts, p Policy) *Report {
	r := &Report{At: f.At, Release: f.Release}
	if len(f.Functions) == 0 {
		r.Notes = append(r.Notes, "no NVMe function is on this machine's PCI bus")
	}
	if f.LogErr != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("the kernel log cannot be read, so causes stay unknown: %v", f.LogErr))
	}
	for _, problem := range f.Problems {
		r.Notes = append(r.Notes, "a PCI function that may be a drive: "+problem)
	}
	for _, fn := range f.Functions {
		d := Drive{Function: fn, Chip: chip(fn)}
		found := climb(f, &d)
		if p.ignored(d.Address) {
			found = nil
		}
		for _, x := range found {
			x.Subject = d.Subject()
			r.Findings = append(r.Findings, x)
		}
		r.Drives = append(r.Drives, d)
	}
	slices.SortFunc(r.Drives, func(a, b Drive) int { return compare(a.Address, b.Address) })
	finding.Sort(r.Findings)
	return r
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// climb finds the first broken rung. sysfs alone decides; the log only says why.
func climb(f *Facts, d *Drive) []finding.Finding {
	set := func(rung, verdict string) { d.Rung, d.Verdict = rung, verdict }
	c := d.Controller()
	switch {
	case d.Unread:
		set(RungPCI, VerdictUnknown)
		return nil
	case d.passedThrough():
		set(RungOK, VerdictInfo)
		return []finding.Finding{passthrough(d)}
	case d.Driver == "" && c == nil:
		set(RungDriver, VerdictFail)
		return []finding.Finding{noDriver(f, d)}
	case c == nil:
		set(RungController, VerdictFail)
		return []finding.Finding{noController(f, d)}
	case c.State == "dead":
		set(RungController, VerdictFail)
		return []finding.Finding{dead(f, d)}
	case c.State == "resetting" || c.State == "connecting":
		set(RungController, VerdictFail)
		return []finding.Finding{resetting(f, d)}
	case c.State != "live" && c.State != "":
		// new, deleting: the controller is just coming or going
		set(RungController, VerdictWarn)
		return nil
	case len(c.Namespaces) == 0 && c.Generic == 0:
		set(RungNamespace, VerdictFail)
		return []finding.Finding{noNamespace(f, d)}
	case len(c.Namespaces) == 0 || c.empty():
		set(RungBlock, VerdictFail)
		return []finding.Finding{noBlock(f, d)}
	}
	set(RungOK, VerdictOK)
	if found, ok := idsCleared(f, d); ok {
		d.Verdict = VerdictInfo
		return []finding.Finding{found}
	}
	return nil
}

// passedThrough tells a function that is bound elsewhere on purpose.
func (d Drive) passedThrough() bool {
	return d.Driver == "vfio-pci" || d.Driver == "" && d.DriverOverride == "vfio-pci"
}

// empty tells whether every block device of the controller has no size: the drive dropped out.
func (c *Controller) empty() bool {
	return !slices.ContainsFunc(c.Namespaces, func(n Namespace) bool { return n.SizeBytes > 0 })
}

// Chips that are known by PCI ids.
const chipMAP1602 = "MAP1602"

// chip names the controller chip. Maxio's MAP1602 comes under its own id and, rebadged by Longsys, under 1d97:1602,
// which no kernel's quirk table has.
func chip(fn Function) string {
	switch [2]uint16{fn.Vendor, fn.Device} {
	case [2]uint16{0x1e4b, 0x1602}, [2]uint16{0x1d97, 0x1602}:
		return chipMAP1602
	}
	return ""
}

// lastEvent is the newest event of these kinds about the function, since it was found last.
func lastEvent(f *Facts, address string, kinds ...EventKind) (Event, bool) {
	for _, e := range slices.Backward(f.Log) {
		if e.Address == address && slices.Contains(kinds, e.Kind) {
			return e, true
		}
	}
	return Event{}, false
}
