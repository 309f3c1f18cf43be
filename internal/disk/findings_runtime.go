package disk

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"labd/internal/finding"
)

// recently is how long an incident that is over keeps its severity; an older one is information.
const recently = 24 * time.Hour

// fresh gives an incident its severity by its age, and says the age where it is known.
func (c *diagnosis) fresh(e Event, severity finding.Severity) (finding.Severity, string) {
	up := c.facts.System.Uptime
	if up == 0 || up < e.Time {
		return severity, "" // a fixture, or a log of another boot
	}
	age := up - e.Time
	text := fmt.Sprintf(", last %s ago", age.Round(time.Minute))
	if age > recently {
		return finding.Info, text
	}
	return severity, text
}

func (c *diagnosis) dead() finding.Finding {
	return c.withDrop(finding.Finding{
		Code: finding.NVMeDead, Severity: finding.Fail, Title: "the kernel gave the drive up while it was in use", Confidence: finding.Unknown,
		Evidence: []finding.Evidence{{Source: sysfsDir(c.d), Text: c.d.Controllers[0].Name + " state dead"}},
	})
}

// firstProbe reports whether the drive's first probe is under way: the kernel found it and nothing has happened since.
func (c *diagnosis) firstProbe() bool {
	_, found := c.last(EventFound)
	_, ready := c.last(EventReady)
	return found && !ready && len(c.telling(nil)) == 0
}

// probeLimit is the longest that a drive may say that it needs to get ready: 255 times half a second (NVM Express Base
// Specification, CAP.TO).
const probeLimit = 128 * time.Second

// probing returns the finding of a controller that is not ready yet.
func (c *diagnosis) probing() finding.Finding {
	ctrl := c.d.Controllers[0]
	out := finding.Finding{
		Code: finding.NVMeProbing, Severity: finding.Warn, Title: "the drive is being started (probed) and offers no disk yet", Confidence: finding.Unknown,
		Evidence: []finding.Evidence{{Source: filepath.Join("/sys/class/nvme", ctrl.Name), Text: "state " + ctrl.State}},
		Remedies: []finding.Remedy{{Title: "look again in two minutes; a drive may take so long to start", Risk: finding.RiskNone, Commands: []string{"labctl check-nvme " + c.d.Address}}},
	}
	e, ok := c.last(EventFound)
	if up := c.facts.System.Uptime; ok && up > e.Time {
		age := up - e.Time
		out.Title = fmt.Sprintf("the drive has been probed for %s and offers no disk yet", age.Round(time.Second))
		if age < probeLimit && c.firstProbe() {
			out.Severity = finding.Info
			because(&out, finding.Likely, "the driver waits for the drive to get ready, which may take up to two minutes")
		}
	}
	if len(c.telling(nil)) > 0 {
		c.explain(atProbe, &out)
	} else if ok {
		out.Evidence = append(out.Evidence, logEvidence(e))
	}
	return out
}

// leaving returns the finding of a controller in a state between others, as deleting.
func (c *diagnosis) leaving() finding.Finding {
	ctrl := c.d.Controllers[0]
	out := finding.Finding{
		Code: finding.NVMeDropped, Severity: finding.Warn, Title: fmt.Sprintf("the controller is in state %s: the kernel is letting go of the drive", ctrl.State), Confidence: finding.Unknown,
		Evidence: []finding.Evidence{{Source: filepath.Join("/sys/class/nvme", ctrl.Name), Text: "state " + ctrl.State}},
		Remedies: []finding.Remedy{{Title: "look again in a minute", Risk: finding.RiskNone, Commands: []string{"labctl check-nvme " + c.d.Address}}},
	}
	c.explain(atRun, &out)
	return out
}

// resetLimit is how long a reset may take: the kernel's own limit for its commands (nvme_core.admin_timeout).
const resetLimit = time.Minute

// resetting returns the finding of a controller in a reset: a moment ago it is only on its way, later it is stuck.
func (c *diagnosis) resetting() finding.Finding {
	ctrl := c.d.Controllers[0]
	out := finding.Finding{
		Code: finding.NVMeResetting, Severity: finding.Fail, Title: "the controller is being reset and offers no disk meanwhile", Confidence: finding.Unknown,
		Evidence: []finding.Evidence{{Source: sysfsDir(c.d), Text: fmt.Sprintf("%s state %s", ctrl.Name, ctrl.State)}},
	}
	e, ok := c.last(EventDown, EventInaccessible, EventPowerRefused, EventBusError, EventInternalError, EventTimeout)
	if up := c.facts.System.Uptime; ok && up > e.Time {
		age := up - e.Time
		if age < resetLimit {
			out.Severity = finding.Warn
		}
		out.Title = fmt.Sprintf("the controller has been in a reset for %s and offers no disk meanwhile", age.Round(time.Second))
	}
	return c.withDrop(out)
}

// dropped returns the finding of a drive that was down since it was found, and came back.
func (c *diagnosis) dropped() (finding.Finding, bool) {
	e, ok := c.last(EventDown, EventInaccessible, EventPowerRefused, EventBusError, EventInternalError)
	if !ok {
		return finding.Finding{}, false
	}
	severity, age := c.fresh(e, finding.Warn)
	return c.withDrop(finding.Finding{
		Code: finding.NVMeDropped, Severity: severity, Title: "the drive dropped out and came back" + age, Confidence: finding.Unknown,
	}), true
}

// withDrop adds why a drive dropped out at run time, as far as the log tells it, and what helps.
func (c *diagnosis) withDrop(out finding.Finding) finding.Finding {
	c.explain(atRun, &out)
	if drives := slotDrives(c.d.Incidents, c.d.Address); len(drives) > 1 {
		out.Cause, out.Confidence = fmt.Sprintf("%d drives in turn had such incidents in this slot: it is the slot, the board or the power supply", len(drives)), finding.Likely
		out.Evidence = append(out.Evidence, finding.Evidence{Source: "labd's memory", Text: "incidents of the drives with serial numbers " + strings.Join(drives, ", ")})
		out.Remedies = append(out.Remedies, finding.Remedy{Title: "put the drive into another slot before you replace it", Risk: finding.RiskHigh})
	} else if n := drops(c.d.Incidents, c.d.Address); n > 1 {
		out.Evidence = append(out.Evidence, finding.Evidence{Source: "labd's memory", Text: fmt.Sprintf("%d drop-outs in this slot in the last 90 days", n)})
	}
	if out.Severity == finding.Fail && !slices.ContainsFunc(out.Remedies, func(r finding.Remedy) bool { return r.Title == powerCycle.Title }) {
		out.Remedies = append(out.Remedies, powerCycle)
	}
	if c.again(Event{}) { // what comes from inside the drive does not come from saving power
		return out
	}
	if remedy, ok := powerNow(c.d); ok {
		out.Remedies = append(out.Remedies, remedy)
	}
	if remedy, ok := c.facts.System.powerOff(); ok {
		out.Remedies = append(out.Remedies, remedy)
	} else {
		out.Remedies = append(out.Remedies, finding.Remedy{
			Title: "power saving is switched off on the command line already, so look at the slot, its contacts and the power supply; another drive in this slot tells", Risk: finding.RiskHigh,
		})
	}
	return out
}

// timeouts returns the finding of a drive that answers late or not at all.
func (c *diagnosis) timeouts() (finding.Finding, bool) {
	var hits []Event
	for _, e := range c.events {
		if e.Kind == EventTimeout && e.Operation != "completion polled" {
			hits = append(hits, e)
		}
	}
	if len(hits) == 0 {
		return finding.Finding{}, false
	}
	newest := hits[len(hits)-1]
	severity, age := c.fresh(newest, finding.Warn)
	out := finding.Finding{
		Code: finding.NVMeTimeouts, Severity: severity, Title: "commands to the drive timed out in this boot" + age, Confidence: finding.Unknown,
		Evidence: []finding.Evidence{logEvidence(newest)},
		Remedies: []finding.Remedy{{Title: "read the drive's own health and error log", Risk: finding.RiskNone, Commands: []string{"labctl check-nvme -o wide " + c.d.Address}}, firmware(c.d)},
	}
	if len(hits) > 1 {
		out.Evidence = append(out.Evidence, finding.Evidence{Source: "kernel log", Text: fmt.Sprintf("%s times since the drive was found", atLeast(len(hits)))})
	}
	if remedy, ok := c.facts.System.powerOff(); ok {
		out.Remedies = append(out.Remedies, remedy)
	}
	return out, true
}

// atLeast is a count of events, of which only so many are kept.
func atLeast(n int) string {
	if n >= maxEvents {
		return fmt.Sprintf("at least %d", n)
	}
	return fmt.Sprint(n)
}

// lostInterrupts returns the finding of a drive whose commands are done and whose interrupts do not arrive. One such line may be chance.
func (c *diagnosis) lostInterrupts() (finding.Finding, bool) {
	var hits []Event
	for _, e := range c.events {
		if e.Kind == EventTimeout && e.Operation == "completion polled" {
			hits = append(hits, e)
		}
	}
	if len(hits) < 2 {
		return finding.Finding{}, false
	}
	newest := hits[len(hits)-1]
	severity, age := c.fresh(newest, finding.Warn)
	out := finding.Finding{
		Code: finding.NVMeLostIRQ, Severity: severity, Title: "the drive finishes commands, and its interrupts do not arrive" + age, Confidence: finding.Unknown,
		Evidence: []finding.Evidence{logEvidence(newest), {Source: "kernel log", Text: fmt.Sprintf("%s such lines since the drive was found", atLeast(len(hits)))}},
	}
	id := [2]uint16{c.d.Vendor, c.d.Device}
	switch {
	case id == [2]uint16{0x15b7, 0x5008} || id == [2]uint16{0x15b7, 0x5009}: // SanDisk SN530 and SN550
		out.Cause, out.Confidence = "drives of this kind lose interrupts of more than one vector; kernels from 6.8.10 on use one", finding.Likely
		if hasQuirk(c.d.Function, c.facts.System.DMI, c.release, quirkBrokenMSI) < PresenceLikely {
			out.Remedies = append(out.Remedies, c.kernel("boot a kernel that knows them: 6.8.10 or later"))
		}
	case c.facts.System.has("pci=nomsi"):
		out.Cause, out.Confidence = "pci=nomsi is on the kernel's command line", finding.Likely
		out.Remedies = append(out.Remedies, finding.Remedy{Title: "take pci=nomsi off the kernel's command line", Risk: finding.RiskLow})
	default:
		out.Remedies = append(out.Remedies, finding.Remedy{Title: "look for newer firmware of the board; interrupt remapping may be at fault", Risk: finding.RiskLow, Commands: []string{"grep nvme /proc/interrupts", "dmesg | grep -i -e 'remapping' -e DMAR"}})
	}
	return out, true
}

// readOnly returns the finding of disks that the kernel takes for read-only.
func (c *diagnosis) readOnly() (finding.Finding, bool) {
	var disks []string
	for _, ns := range c.d.Controllers[0].Namespaces {
		if ns.ReadOnly {
			disks = append(disks, ns.Device)
		}
	}
	if len(disks) == 0 {
		return finding.Finding{}, false
	}
	return finding.Finding{
		Code: finding.NVMeReadOnly, Severity: finding.Fail, Title: "the disk is read-only: " + strings.Join(disks, ", "),
		Cause: "the drive protects itself or its namespace against writing, or somebody set the disk read-only", Confidence: finding.Unknown,
		Evidence: []finding.Evidence{{Source: filepath.Join("/sys/block", disks[0], "ro"), Text: "1"}},
		Remedies: []finding.Remedy{
			{Title: "copy what is on it to another drive first", Risk: finding.RiskNone},
			{Title: "see whether the drive says why", Risk: finding.RiskNone, Commands: []string{"labctl check-nvme -o wide " + c.d.Address, "blockdev --getro /dev/" + disks[0]}},
		},
	}, true
}
