package disk

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"labd/internal/finding"
	"labd/internal/layer"
)

// sysfsDir is the function's directory as a person finds it.
func sysfsDir(d *Drive) string { return filepath.Join("/sys/bus/pci/devices", d.Address) }

func logEvidence(e Event) finding.Evidence {
	return finding.Evidence{Source: "kernel log", Text: fmt.Sprintf("[%12.6f] %s", e.Time.Seconds(), e.Text)}
}

// unreadable returns the finding of a function of which labd cannot read what it needs, so that the rest of its verdict may be wrong.
func (c *diagnosis) unreadable() finding.Finding {
	out := finding.Finding{
		Code: finding.NVMeUnreadable, Severity: finding.Warn, Title: "what the kernel says of the drive cannot be read", Confidence: finding.Unknown,
		Remedies: []finding.Remedy{{Title: "see what the kernel is waiting for; switch the machine off and on if it does not end", Risk: finding.RiskHigh, Commands: []string{"dmesg | tail -50", "ps -eo pid,stat,wchan:30,cmd | awk '$2 ~ /D/'"}}},
	}
	if c.d.Hangs {
		out.Title = "reading what the kernel says of the drive hangs"
		out.Cause, out.Confidence = "the kernel waits for the drive, or for a lock that somebody holds who waits for it", finding.Likely
	}
	for _, problem := range c.d.Problems {
		out.Evidence = append(out.Evidence, finding.Evidence{Source: sysfsDir(c.d), Text: problem})
	}
	if len(out.Evidence) == 0 {
		out.Evidence = []finding.Evidence{{Source: sysfsDir(c.d), Text: fmt.Sprintf("vendor and device read %s", c.d.PCIID())}}
	}
	return out
}

// addMemory adds what labd knows of a drive that does not say itself who it is, and what still uses it.
func (c *diagnosis) addMemory(out *finding.Finding) {
	k, ctrl := c.d.Known, c.d.Controller()
	if k == nil || ctrl != nil && ctrl.Serial != "" {
		return
	}
	text := fmt.Sprintf("by its PCI ids and slot most likely the %s with serial number %s, last seen %s", orDash(k.Model), k.Serial, k.Last.Format(time.DateTime))
	if len(k.Contents) > 0 {
		text += "; it held " + layer.Join(k.Contents)
	}
	out.Evidence = append(out.Evidence, finding.Evidence{Source: "labd's memory", Text: text})
	if len(c.d.stale) > 0 {
		out.Evidence = append(out.Evidence, finding.Evidence{Source: "mount table and swaps", Text: "still in use, though the disk is gone: " + layer.Join(c.d.stale)})
		out.Remedies = append([]finding.Remedy{{Title: "stop what uses it and let go of it; it does not come back under its old name", Risk: finding.RiskLow, Commands: letGo(c.d.stale)}}, out.Remedies...)
	}
}

// noDriver explains a function without driver: a drive that dropped out, a probe that failed, or none at all.
func (c *diagnosis) noDriver() finding.Finding {
	d := c.d
	state := finding.Evidence{Source: sysfsDir(d), Text: fmt.Sprintf("no driver link, enable %s, power_state %s", digit(d.Enabled), orDash(d.Power.State))}
	if e, ok := c.last(EventNotReady); ok && e.Operation == "initialisation" {
		return c.notReady(e, state)
	}
	if ready, ok := c.last(EventReady); ok {
		return c.lost(ready, state)
	}
	out := finding.Finding{
		Code: finding.NVMeNoDriver, Severity: finding.Fail, Title: "the drive is on the PCI bus and no driver is bound to it",
		Confidence: finding.Unknown, Evidence: []finding.Evidence{state},
	}
	if e, ok := c.last(EventSameSubsystem); ok {
		out.Cause, out.Confidence = "another drive has the same subsystem name or serial number, so the kernel takes this one for its second controller", finding.Certain
		out.Evidence = append(out.Evidence, logEvidence(e))
		out.Remedies = []finding.Remedy{firmware(d), retry(d)}
		return out
	}
	if e, ok := c.last(EventProbeFailed); ok {
		out.Cause, out.Confidence = "the driver tried it and gave it up"+whyGivenUp(e.Text), finding.Certain
		out.Evidence = append(out.Evidence, logEvidence(e))
		out.Remedies = []finding.Remedy{retry(d)}
		return out
	}
	if e, ok := c.last(EventFound); ok {
		out.Cause, out.Confidence = "the driver tried it and did not say why it let go of it", finding.Likely
		out.Evidence = append(out.Evidence, logEvidence(e))
		out.Remedies = []finding.Remedy{retry(d)}
		return out
	}
	out.Evidence = append(out.Evidence, finding.Evidence{Source: "kernel log", Text: silence(c.facts)})
	if d.DriverOverride != "" {
		out.Cause, out.Confidence = fmt.Sprintf("driver_override reserves it for %s, which is not bound", d.DriverOverride), finding.Certain
	}
	out.Remedies = []finding.Remedy{bind(d), retry(d)}
	return out
}

// givenUp are the driver's words for why a probe failed, and what they mean.
var givenUp = []struct{ words, meaning string }{
	{"Identify Controller failed", "it did not say what it is"},
	{"Reading CAP failed", "its registers cannot be read"},
	{"Reading CRTO failed", "its registers cannot be read"},
	{"Reading VS failed", "its registers cannot be read"},
	{"Minimum device page size", "it wants larger pages of memory than this host has"},
	{"Could not set queue count", "it gave the driver no queues"},
	{"IO queues", "it gave the driver no queues"},
}

func whyGivenUp(text string) string {
	for _, g := range givenUp {
		if strings.HasPrefix(afterColon(text), g.words) {
			return ": " + g.meaning
		}
	}
	return ""
}

// lost explains a drive that came up in this probe and has no driver any more.
func (c *diagnosis) lost(ready Event, state finding.Evidence) finding.Finding {
	out := c.withDrop(finding.Finding{
		Code: finding.NVMeDropped, Severity: finding.Fail, Title: "the drive worked in this boot, dropped out and lost its driver",
		Confidence: finding.Unknown, Evidence: []finding.Evidence{state, logEvidence(ready)},
	})
	if len(out.Evidence) == 2 { // nothing about a failure: somebody may have unbound it
		out.Remedies = []finding.Remedy{bind(c.d), retry(c.d)}
		return out
	}
	out.Remedies = append([]finding.Remedy{retry(c.d)}, out.Remedies...)
	return out
}

// silence says what the log does not say.
func silence(f *Facts) string {
	switch {
	case f.LogErr != nil:
		return "it cannot be read"
	case f.LogLost:
		return "no line about it; the oldest lines of this boot are gone"
	default:
		return "no line about it in this boot"
	}
}

// notReady explains a controller that never became ready. For the MAP1602 on a kernel with the CRTO bug that is the
// cause; for other drives the same bug is only likely, since others have such firmware too.
func (c *diagnosis) notReady(e Event, state finding.Evidence) finding.Finding {
	d := c.d
	out := finding.Finding{
		Code: finding.NVMeNotReady, Severity: finding.Fail, Title: "the drive never became ready, so the kernel gave it up: it is in lspci and nowhere else",
		Confidence: finding.Unknown, Evidence: []finding.Evidence{logEvidence(e), state},
	}
	fix := c.release.CRTO()
	asBug := strings.HasSuffix(strings.TrimSpace(e.Text), "CSTS=0x0") // the drive said nothing at all, as it does while it starts
	affected := fix == Affected || fix == AffectedLikely
	if d.Chip != "" {
		out.Evidence = append(out.Evidence, finding.Evidence{Source: sysfsDir(d), Text: fmt.Sprintf("vendor:device %s is a Maxio %s", d.PCIID(), d.Chip)})
	}
	out.Evidence = append(out.Evidence, finding.Evidence{Source: "uname -r", Text: c.facts.Release + crtoText(fix)})
	bug := "this kernel waits as long as the drive's CRTO register says, and the firmware of these drives says 0: it gives up after half a second"
	switch {
	case asBug && affected && d.Chip == chipMAP1602:
		out.Cause, out.Confidence = bug, finding.Certain
		if fix == AffectedLikely {
			out.Confidence = finding.Likely
		}
	case asBug && affected:
		out.Cause, out.Confidence = "perhaps the kernel's bug with ready times: "+bug, finding.Likely
	case asBug && d.Chip == chipMAP1602 && fix == FixUnknown:
		out.Cause, out.Confidence = "likely the kernel's bug with ready times: "+bug+"; this release does not tell whether it has the fix", finding.Likely
	}
	if asBug && (affected || d.Chip == chipMAP1602 && fix == FixUnknown) {
		out.Remedies = append(out.Remedies, c.newerKernel(), retry(d))
		return out
	}
	out.Remedies = append(out.Remedies, retry(d), finding.Remedy{
		Title: "look for newer firmware of the drive and of the board, and try the drive in another slot", Risk: finding.RiskLow, Commands: []string{"lspci -vv -s " + d.Address},
	})
	return out
}

func crtoText(fix Fix) string {
	switch fix {
	case Affected:
		return " has the bug with ready times (fixed in 6.1.55, 6.5.5, 6.6; Proxmox: 6.5.11-1)"
	case AffectedLikely:
		return " is not known to have the fix for ready times (6.1.55, 6.5.5, 6.6; Proxmox: 6.5.11-1)"
	case Fixed:
		return " has the fix for ready times"
	case NeverHad:
		return " is older than the bug with ready times"
	default:
		return " does not tell whether it has the fix for ready times (6.1.55, 6.5.5, 6.6)"
	}
}

func passthrough(d *Drive) finding.Finding {
	return finding.Finding{
		Code: finding.NVMePassthrough, Severity: finding.Info, Title: "the drive is passed through to a guest; this host does not see its disk, by intent",
		Cause: "it is bound to vfio-pci", Confidence: finding.Certain,
		Evidence: []finding.Evidence{{Source: sysfsDir(d), Text: fmt.Sprintf("driver %s, driver_override %s", orDash(d.Driver), orDash(d.DriverOverride))}},
	}
}

// vmdHidden explains a function that keeps drives from the PCI bus: Intel's VMD without its driver, or an AHCI controller
// in RAID mode that remaps NVMe drives (drivers/pci/controller/vmd.c, drivers/ata/ahci.c).
func (c *diagnosis) vmdHidden() finding.Finding {
	d := c.d
	out := finding.Finding{
		Code: finding.NVMeVMDHidden, Severity: finding.Warn, Confidence: finding.Certain,
		Remedies: []finding.Remedy{{Title: "switch VMD, RST or RAID mode off in the firmware set-up (BIOS) and choose AHCI or NVMe; a system that boots from such a RAID will not boot then", Risk: finding.RiskHigh}},
	}
	if d.Remapped > 0 {
		out.Title = fmt.Sprintf("the SATA controller hides %d NVMe drives", d.Remapped)
		out.Cause = "the board's firmware has it in Intel RST RAID mode, in which drives do not appear on the PCI bus"
		out.Evidence = []finding.Evidence{{Source: filepath.Join(sysfsDir(d), "remapped_nvme"), Text: fmt.Sprint(d.Remapped)}}
		return out
	}
	out.Title, out.Confidence = "NVMe drives may be hidden behind Intel VMD, which has no driver", finding.Likely
	out.Cause = "the board's firmware puts drives behind VMD, and the kernel shows them only through its vmd driver"
	out.Evidence = []finding.Evidence{{Source: sysfsDir(d), Text: fmt.Sprintf("class 0x0104, %s, driver %s", d.PCIID(), orDash(d.Driver))}}
	out.Remedies = append([]finding.Remedy{{Title: "load the vmd driver; drives behind it then appear in a PCI domain of their own", Risk: finding.RiskLow, Commands: []string{"modprobe vmd"}}}, out.Remedies...)
	return out
}

// noController explains a bound function without controller.
func (c *diagnosis) noController() finding.Finding {
	d := c.d
	out := finding.Finding{
		Code: finding.NVMeNoDriver, Severity: finding.Fail, Title: fmt.Sprintf("driver %s is bound and offers no NVMe controller", d.Driver),
		Confidence: finding.Unknown, Evidence: []finding.Evidence{{Source: sysfsDir(d), Text: "driver " + d.Driver + ", no nvme directory"}},
	}
	if d.Driver != "nvme" {
		out.Cause, out.Confidence = "another driver than nvme is bound to it", finding.Certain
		out.Remedies = []finding.Remedy{{
			Title: "unbind it and bind it to nvme, if nothing uses it", Risk: finding.RiskHigh,
			Commands: append([]string{fmt.Sprintf("echo %s > /sys/bus/pci/drivers/%s/unbind", d.Address, d.Driver)}, bind(d).Commands...),
		}}
	} else if e, ok := c.last(EventNotReady, EventProbeFailed); ok {
		out.Evidence = append(out.Evidence, logEvidence(e))
	}
	return out
}

func digit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
