package disk

import (
	"fmt"
	"path/filepath"
	"slices"
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
	if ready, ok := c.last(EventReady); ok {
		if failed, again := c.last(EventNotReady, EventIdentify, EventNoQueues); !again || failed.Operation != "initialisation" && failed.Time < ready.Time || failed.Operation == "reset" {
			return c.lost(ready, state)
		}
	}
	out := finding.Finding{
		Code: finding.NVMeNoDriver, Severity: finding.Fail, Title: "the drive is on the PCI bus and no driver is bound to it",
		Confidence: finding.Unknown, Evidence: []finding.Evidence{state},
	}
	if c.explain(atProbe, &out) {
		return out
	}
	if d.DriverOverride != "" {
		because(&out, finding.Certain, "driver_override reserves it for %s, which is not bound", d.DriverOverride)
	}
	if len(c.telling(nil)) > 0 {
		out.Remedies = c.startRemedies()
		return out
	}
	out.Remedies = []finding.Remedy{bind(d), retry(d)}
	return out
}

// lost explains a drive that came up in this probe and has no driver any more.
func (c *diagnosis) lost(ready Event, state finding.Evidence) finding.Finding {
	out := finding.Finding{
		Code: finding.NVMeDropped, Severity: finding.Fail, Title: "the drive worked in this boot, dropped out and lost its driver",
		Confidence: finding.Unknown, Evidence: []finding.Evidence{state, logEvidence(ready)},
	}
	if len(c.telling(nil)) == 0 { // nothing about a failure: somebody may have unbound it
		out.Title = "the drive worked in this boot and has no driver any more"
		out.Evidence = append(out.Evidence, c.logLines(nil)...)
		out.Remedies = []finding.Remedy{bind(c.d), retry(c.d)}
		return out
	}
	out = c.withDrop(out)
	out.Remedies = append([]finding.Remedy{retry(c.d)}, out.Remedies...)
	return out
}

// earlyEnough is how soon after the line that found a drive the bug with ready times gives it up: half a second by the
// driver's arithmetic ((0 + 1) * HZ / 2), less on fast timers, and a second more for logs whose times are whole seconds.
const earlyEnough = 1600 * time.Millisecond

// patience is how long the kernel waited for a drive that it then called not ready; ok is false where the log does not tell.
func patience(events []Event, e Event) (waited time.Duration, ok bool) {
	return after(events, EventFound, e)
}

// asBug reports whether a drive was given up as the bug with ready times does it: it said nothing at all (CSTS 0), and the
// kernel did not wait.
func asBug(events []Event, e Event) bool {
	waited, known := patience(events, e)
	return e.Kind == EventNotReady && e.Operation == "initialisation" && strings.HasSuffix(strings.TrimSpace(e.Text), "CSTS=0x0") && (!known || waited <= earlyEnough)
}

// explainNotReady explains a controller that never became ready. For the MAP1602 on a kernel with the bug with ready times
// that is the cause; for other drives the same bug is only likely, since others have such firmware too. Where the kernel
// waited, it is another cause.
func explainNotReady(c *diagnosis, e Event, out *finding.Finding) {
	d := c.d
	out.Code, out.Title = finding.NVMeNotReady, "the drive never became ready, so the kernel gave it up: it is in lspci and nowhere else"
	fix := c.release.CRTO()
	waited, timed := patience(c.events, e)
	affected := fix == Affected || fix == AffectedLikely
	if d.Chip != "" {
		out.Evidence = append(out.Evidence, finding.Evidence{Source: sysfsDir(d), Text: fmt.Sprintf("vendor:device %s is a Maxio %s", d.PCIID(), d.Chip)})
	}
	if !asBug(c.events, e) {
		switch {
		case fatalStatus(e.Text):
			because(out, finding.Likely, "the drive reports a fatal fault in itself while it starts: its firmware or its hardware")
		case timed && waited > earlyEnough:
			because(out, finding.Likely, "the drive did not start in the %s that the kernel waited: its power, its firmware or its slot", waited.Round(time.Second))
		default:
			because(out, finding.Unknown, "the drive did not start; the log does not say why")
		}
		out.Remedies = append(out.Remedies, powerCycle, retry(d), otherSlot(d))
		return
	}
	out.Evidence = append(out.Evidence, finding.Evidence{Source: "uname -r", Text: c.facts.Release + crtoText(fix)})
	bug := "this kernel waits as long as the drive's CRTO register says, and the firmware of these drives says 0: it gives up after half a second"
	switch {
	case affected && d.Chip == chipMAP1602:
		because(out, finding.Certain, "%s", bug)
		if fix == AffectedLikely || !timed {
			out.Confidence = finding.Likely
		}
	case affected:
		because(out, finding.Likely, "perhaps the kernel's bug with ready times: %s", bug)
	case d.Chip == chipMAP1602 && fix == FixUnknown:
		because(out, finding.Likely, "likely the kernel's bug with ready times: %s; this release does not tell whether it has the fix", bug)
	default:
		because(out, finding.Unknown, "the drive said nothing at all when the driver started it; this kernel does not have the bug with ready times")
		out.Remedies = append(out.Remedies, retry(d), powerCycle, otherSlot(d))
		return
	}
	out.Remedies = append(out.Remedies, c.newerKernel(), retry(d))
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

// passthrough explains a function that is meant for a guest, or set aside.
func (c *diagnosis) passthrough() finding.Finding {
	d := c.d
	out := finding.Finding{
		Code: finding.NVMePassthrough, Severity: finding.Info, Title: "the drive is passed through to a guest; this host does not see its disk, by intent",
		Cause: "it is bound to vfio-pci", Confidence: finding.Certain,
		Evidence: []finding.Evidence{{Source: sysfsDir(d), Text: fmt.Sprintf("driver %s, driver_override %s", orDash(d.Driver), orDash(d.DriverOverride))}},
	}
	if holder := d.setAside(); holder != "" {
		out.Title = fmt.Sprintf("the drive is set aside by intent: %s has it, so this host does not see its disk", holder)
		because(&out, finding.Certain, "somebody gave it to %s, which keeps other drivers away", holder)
		return out
	}
	c.caughtByIDs(&out)
	return out
}

// caughtByIDs changes the finding for a drive that went to vfio-pci only because another one with the same PCI ids was meant:
// vfio-pci.ids takes all of them.
func (c *diagnosis) caughtByIDs(out *finding.Finding) {
	d, s := c.d, c.facts.System
	if d.DriverOverride != "" || !slices.Contains(s.VFIOIDs, d.PCIID()) {
		return
	}
	out.Cause = "the ids " + d.PCIID() + " are given to vfio-pci (vfio-pci.ids)"
	out.Evidence = append(out.Evidence, finding.Evidence{Source: "vfio-pci.ids", Text: strings.Join(s.VFIOIDs, ",")})
	guests := c.facts.Guests
	if guests.Mapped || guests.has(d.Address) {
		return
	}
	for _, other := range c.facts.Functions {
		if other.Address == d.Address || pciID(other) != d.PCIID() || !guests.has(other.Address) {
			continue
		}
		out.Severity = finding.Warn
		out.Title = "the drive went to vfio-pci together with " + other.Address + ", which has the same PCI ids; no guest of this host has it"
		because(out, finding.Likely, "vfio-pci.ids names %s, which is both drives, and only %s is in a guest's configuration", d.PCIID(), other.Address)
		out.Remedies = append(out.Remedies, finding.Remedy{
			Title: "take the ids off: Proxmox VE binds a drive to vfio-pci by its address when the guest starts", Risk: finding.RiskLow,
			Commands: []string{"grep -rn -e vfio-pci.ids -e 'options vfio-pci' /etc/modprobe.d /etc/default/grub /etc/kernel/cmdline", "update-initramfs -u -k all", "reboot"},
		})
		return
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
	out.Evidence = []finding.Evidence{{Source: sysfsDir(d), Text: fmt.Sprintf("class 0x0104, %s, driver %s", d.PCIID(), orDash(d.Driver))}}
	switch {
	case !d.VMD:
		out.Title, out.Confidence = "an Intel RAID function has no driver, and drives may be hidden behind it", finding.Unknown
		out.Cause = "the board's firmware is in a RAID mode (VMD or RST) of a kind that labd does not know, ids " + d.PCIID()
	case d.Driver == "vmd":
		out.Title, out.Severity, out.Confidence = "Intel VMD is on and its driver is bound, and no NVMe drive is behind it", finding.Info, finding.Unknown
		out.Cause = "no drive is in the slots that the board's firmware gives to VMD, or the kernel does not find it there"
		out.Remedies[0].Title = "if a drive is missing: look whether the firmware set-up (BIOS) lists it; there, switch VMD off for its slot and choose AHCI or NVMe; a system that boots from a VMD RAID will not boot then"
	default:
		out.Title, out.Confidence = "NVMe drives may be hidden behind Intel VMD, which has no driver", finding.Likely
		out.Cause = "the board's firmware puts drives behind VMD, and the kernel shows them only through its vmd driver"
		out.Remedies = append([]finding.Remedy{{Title: "load the vmd driver; drives behind it then appear in a PCI domain of their own", Risk: finding.RiskLow, Commands: []string{"modprobe vmd"}}}, out.Remedies...)
	}
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
		return out
	}
	c.explain(atProbe, &out)
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
