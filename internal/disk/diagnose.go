package disk

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"labd/internal/finding"
	"labd/internal/health"
	"labd/internal/layer"
)

// Rung is a rung of the ladder from the PCI bus to the block device.
type Rung string

// Rungs of the ladder, from the bottom, and RungOK for a drive that has all of them.
const (
	RungPCI        Rung = "pci"
	RungDriver     Rung = "driver"
	RungController Rung = "controller"
	RungNamespace  Rung = "namespace"
	RungBlock      Rung = "block"
	RungOK         Rung = "ok"
)

// Verdict is how a drive is.
type Verdict string

// Verdicts of a Drive, the best first; unknown stands beside them.
const (
	VerdictOK      Verdict = "ok"
	VerdictInfo    Verdict = "info"
	VerdictWarn    Verdict = "warn"
	VerdictFail    Verdict = "fail"
	VerdictUnknown Verdict = "unknown"
)

// Report is what the facts mean.
type Report struct {
	At       time.Time
	Release  string
	Drives   []Drive
	Findings []finding.Finding
	Notes    []string

	running         Release
	machine         DMI
	boot            string
	quirksParameter bool
	healthAsked     bool
}

// Drive is one PCI function with its first broken rung.
type Drive struct {
	Function
	Rung    Rung
	Verdict Verdict
	// Chip is the controller chip, where it is known by its ids or its model.
	Chip string
	// Quirks are what the running kernel does differently for the drive: by its own word, or at least likely by its tables.
	Quirks []string

	// Known is the drive as labd remembers it: the wear of its last days, and what it is where it does not speak itself.
	Known *Known
	// Missing says that the drive was here and is gone; Address is then where it was last.
	Missing bool
	// Incidents are what happened in this slot, oldest first.
	Incidents []Incident

	stale    []layer.Layer // what still uses disks of it that are gone
	history  []Event       // of this boot
	logWhole bool          // nothing of this boot's log is lost
	twin     bool          // another drive's disk has the same wwid
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

// Diagnose returns what the facts mean: each drive with its first broken rung, and the findings. It does no I/O and has no clock.
func Diagnose(f *Facts, p Policy) *Report {
	r := &Report{At: f.At, Release: f.Release}
	r.Notes = append(r.Notes, f.elsewhere()...)
	if f.LogErr != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("the kernel log cannot be read, so causes stay unknown: %v", f.LogErr))
	}
	if f.MemoryErr != nil {
		r.Notes = append(r.Notes, f.MemoryErr.Error())
	}
	if f.JournalErr != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("what happened in earlier boots is not known: %v", f.JournalErr))
	}
	for _, problem := range f.Problems {
		r.Notes = append(r.Notes, "a PCI function that may be a drive: "+problem)
	}
	r.running, r.machine, r.boot, r.quirksParameter = f.release(), f.System.DMI, f.Boot, f.System.QuirksParameter
	r.healthAsked = f.HealthAsked
	twins := sameWWID(f.Functions)
	here, missing := recognise(f.Functions, f.Remembered.Drives)
	for _, fn := range f.Functions {
		d := Drive{
			Function: fn, Chip: chip(fn), history: about(f.Log, fn.Address), Known: f.known(fn, here), logWhole: f.LogErr == nil && !f.LogLost,
		}
		d.Incidents, d.stale = f.incidents(fn.Address, d.serial()), d.usersLeft(f.Stale)
		c := &diagnosis{facts: f, d: &d, events: lastProbe(d.history), portEvents: about(f.Log, fn.Port.Address), release: r.running}
		d.Quirks = c.quirks()
		found := c.climb()
		c.addFirmware(found)
		if len(found) > 0 {
			c.addMemory(&found[0])
		}
		beside := c.beside()
		c.addFirmware(beside)
		found = append(found, beside...)
		found = append(found, c.checkHealth(p)...)
		if other, ok := twins[d.Address]; ok {
			d.twin = true
			found = append(found, c.sameIDs(other))
		}
		r.Notes = append(r.Notes, c.addPools(found)...)
		c.onlyAllowed(found)
		if p.ignored(d.Address) {
			found = nil
		}
		for _, x := range found {
			x.Subject = d.Subject()
			r.Findings = append(r.Findings, x)
			d.worsen(x.Severity)
		}
		r.Drives = append(r.Drives, d)
	}
	for _, k := range missing {
		d, found := f.missing(k, r.running)
		if !p.ignored(k.Address) {
			r.Findings = append(r.Findings, found)
		}
		r.Drives = append(r.Drives, d)
	}
	for _, fn := range f.lostInThisBoot(here, missing) {
		d, found := f.lost(fn, r.running)
		if !p.ignored(fn.Address) {
			r.Findings = append(r.Findings, found)
		}
		r.Drives = append(r.Drives, d)
	}
	slices.SortFunc(r.Drives, func(a, b Drive) int { return strings.Compare(a.Address, b.Address) })
	finding.Sort(r.Findings)
	return r
}

// addPools adds the ZFS pools on the drive that are not well to its findings as evidence; a drive without any gets notes.
func (c *diagnosis) addPools(found []finding.Finding) (notes []string) {
	for _, l := range distinct(c.d.Contents()) {
		state := c.facts.Pools[l.Name]
		if l.Kind != layer.Pool || state == "" {
			continue
		}
		text := fmt.Sprintf("the pool %s, which has a part on this drive, is %s", l.Name, state)
		told := false
		for i := range found {
			if found[i].Severity >= finding.Warn {
				found[i].Evidence = append(found[i].Evidence, finding.Evidence{Source: "ZFS", Text: text})
				told = true
			}
		}
		if !told {
			notes = append(notes, fmt.Sprintf("%s: %s; zpool status %s says which of its disks has errors", c.d.Address, text, l.Name))
		}
	}
	return notes
}

// onlyAllowed takes out the remedies that labd's own rescue would refuse.
func (c *diagnosis) onlyAllowed(found []finding.Finding) {
	var codes []string
	for _, f := range found {
		codes = append(codes, string(f.Code))
	}
	if rescuable(*c.d, codes) == nil {
		return
	}
	for i := range found {
		found[i].Remedies = slices.DeleteFunc(slices.Clone(found[i].Remedies), func(r finding.Remedy) bool {
			return slices.ContainsFunc(r.Commands, func(command string) bool { return strings.HasPrefix(command, "labctl rescue-nvme ") })
		})
	}
}

// known is a function's drive as it is remembered; nil where it is not.
func (f *Facts) known(fn Function, here map[string]Known) *Known {
	if k, ok := here[fn.Address]; ok {
		return &k
	}
	for _, c := range fn.Controllers {
		for _, k := range f.Remembered.Drives {
			if k.Model == c.Model && k.Serial == c.Serial {
				return &k
			}
		}
	}
	return nil
}

// incidents are those of a slot, and those of the drive that is in it wherever it was before.
func (f *Facts) incidents(address, serial string) []Incident {
	return slices.DeleteFunc(slices.Clone(f.Remembered.Incidents), func(i Incident) bool { return i.Address != address && (serial == "" || i.Serial != serial) })
}

// serial is the drive's serial number, also where only labd's memory has it.
func (d Drive) serial() string {
	if c := d.Controller(); c != nil && c.Serial != "" {
		return c.Serial
	}
	if d.Known != nil {
		return d.Known.Serial
	}
	return ""
}

// release is the running kernel's; the zero value, of which nothing is known, where its text is none.
func (f *Facts) release() Release {
	release, err := ParseRelease(f.Release)
	if err != nil {
		return Release{}
	}
	return release.Refine(f.System.ProcVersion)
}

// worsen makes the verdict at least as bad as a finding. What could not be read stays unknown.
func (d *Drive) worsen(severity finding.Severity) {
	if bad := severity.Health(); d.Verdict != VerdictUnknown && bad.Worse(health.Level(d.Verdict)) {
		d.Verdict = Verdict(bad)
	}
}

// diagnosis is one drive with all that is known about it, while it is judged.
type diagnosis struct {
	facts *Facts
	d     *Drive
	// events are what the kernel log says of the drive since it was last found, portEvents what it says of its port.
	events, portEvents []Event
	release            Release
}

func (c *diagnosis) last(kinds ...EventKind) (Event, bool) { return last(c.events, kinds...) }

func (c *diagnosis) quirks() []string {
	if ctrl := c.d.Controller(); ctrl != nil && ctrl.QuirksKnown {
		return ctrl.Quirks
	}
	return quirksOf(c.d.Function, c.facts.System.DMI, c.release)
}

// climb finds the first broken rung. sysfs alone decides; the log only says why.
func (c *diagnosis) climb() []finding.Finding {
	d := c.d
	set := func(rung Rung, verdict Verdict) { d.Rung, d.Verdict = rung, verdict }
	ctrl := d.Controller()
	switch {
	case d.Unread:
		set(RungPCI, VerdictUnknown)
		return []finding.Finding{c.unreadable()}
	case d.hides():
		found := c.vmdHidden()
		set(RungPCI, Verdict(found.Severity.String()))
		return []finding.Finding{found}
	case d.passedThrough() || d.setAside() != "":
		set(RungOK, VerdictInfo)
		return []finding.Finding{c.passthrough()}
	case d.Driver == "" && ctrl == nil:
		set(RungDriver, VerdictFail)
		return []finding.Finding{c.noDriver()}
	case ctrl == nil:
		set(RungController, VerdictFail)
		return []finding.Finding{c.noController()}
	case ctrl.State == "new" || ctrl.State == "connecting" && c.firstProbe():
		found := c.probing()
		set(RungController, Verdict(found.Severity.String()))
		return []finding.Finding{found}
	case ctrl.State == "dead":
		set(RungController, VerdictFail)
		return []finding.Finding{c.dead()}
	case ctrl.State == "resetting" || ctrl.State == "connecting":
		found := c.resetting()
		set(RungController, Verdict(found.Severity.String()))
		return []finding.Finding{found}
	case ctrl.State != "live" && ctrl.State != "":
		set(RungController, VerdictWarn)
		return []finding.Finding{c.leaving()}
	case len(ctrl.Namespaces) == 0 && ctrl.Generic == 0:
		set(RungNamespace, VerdictFail)
		return []finding.Finding{c.noNamespace()}
	case len(ctrl.Namespaces) == 0 || ctrl.empty():
		set(RungBlock, VerdictFail)
		return []finding.Finding{c.noBlock()}
	}
	if found := c.rejected(); len(found) > 0 {
		set(RungNamespace, VerdictFail)
		return found
	}
	if found, ok := c.emptyDisks(); ok {
		set(RungBlock, VerdictFail)
		return []finding.Finding{found}
	}
	set(RungOK, VerdictOK)
	if found, ok := c.idsCleared(); ok {
		return []finding.Finding{found}
	}
	return nil
}

// beside are the findings that do not break a rung.
func (c *diagnosis) beside() []finding.Finding {
	d := c.d
	if d.Unread || d.passedThrough() || d.setAside() != "" || d.hides() {
		return nil // a guest's drive is the guest's to judge
	}
	var out []finding.Finding
	add := func(found finding.Finding, ok bool) {
		if ok {
			out = append(out, found)
		}
	}
	if ctrl := d.Controller(); ctrl != nil && ctrl.State == "live" {
		if d.Rung == RungOK { // else the finding about the rung tells it
			add(c.dropped())
		}
		add(c.timeouts())
		add(c.lostInterrupts())
		out = append(out, c.diskErrors()...)
		add(c.readOnly())
		add(c.noHostMemory())
		add(c.badFirmware())
	}
	if d.Hangs {
		out = append(out, c.unreadable())
	}
	add(checkLink(d))
	add(c.checkAER())
	return out
}

// passedThrough reports whether the function is meant for a guest.
func (d Drive) passedThrough() bool {
	return d.Driver == "vfio-pci" || d.Driver == "" && d.DriverOverride == "vfio-pci"
}

// setAside is the driver that keeps the function from others by intent, pci-stub or one that driver_override names; "" where there
// is none.
func (d Drive) setAside() string {
	switch {
	case d.Driver == "pci-stub":
		return d.Driver
	case d.DriverOverride != "" && d.DriverOverride != "nvme" && d.DriverOverride != "vfio-pci" && (d.Driver == d.DriverOverride || d.Driver == ""):
		return d.DriverOverride
	default:
		return ""
	}
}

// hides reports whether the function is no drive and keeps drives from the PCI bus.
func (d Drive) hides() bool { return d.Remapped > 0 || d.VMD || d.RAID }

// empty reports whether every block device of the controller has no size: the drive dropped out.
func (c *Controller) empty() bool {
	return !slices.ContainsFunc(c.Namespaces, func(n Namespace) bool { return n.SizeBytes > 0 })
}

// sameWWID finds drives that have a disk with the same wwid as another drive's: the other's address by address. Two
// controllers of one drive have the same serial number, and share its disks rightly.
func sameWWID(functions []Function) map[string]string {
	type disk struct{ address, device, serial string }
	seen, out := map[string]disk{}, map[string]string{}
	for _, fn := range functions {
		for _, ctrl := range fn.Controllers {
			for _, ns := range ctrl.Namespaces {
				if ns.WWID == "" {
					continue
				}
				other, ok := seen[ns.WWID]
				if !ok {
					seen[ns.WWID] = disk{fn.Address, ns.Device, ctrl.Serial}
				} else if other.address != fn.Address && other.device != ns.Device && other.serial != ctrl.Serial {
					out[fn.Address], out[other.address] = other.address, fn.Address
				}
			}
		}
	}
	return out
}
