package disk

import (
	"fmt"
	"path/filepath"
	"strings"

	"labd/internal/finding"
)

// sysfsDir is the function's directory as a person finds it.
func sysfsDir(d *Drive) string { return filepath.Join("/sys/bus/pci/devices", d.Address) }

func logEvidence(e Event) finding.Evidence {
	return finding.Evidence{Source: "kernel log", Text: fmt.Sprintf("[%12.6f] %s", e.Time.Seconds(), e.Text)}
}

// retry are the ways to make the kernel probe a function again. The function has no driver, so nothing uses it.
func retry(d *Drive) finding.Remedy {
	return finding.Remedy{
		Title: "let the kernel probe it once more; nothing uses it, so this is safe, and on such drives it sometimes helps", Risk: finding.RiskLow,
		Commands: []string{
			fmt.Sprintf("echo 1 > %s/remove", sysfsDir(d)),
			"echo 1 > /sys/bus/pci/rescan",
		},
	}
}

func bind(d *Drive) finding.Remedy {
	return finding.Remedy{
		Title: "bind it to the nvme driver", Risk: finding.RiskLow,
		Commands: []string{"modprobe nvme", fmt.Sprintf("echo %s > /sys/bus/pci/drivers/nvme/bind", d.Address)},
	}
}

// noDriver explains a function without driver: a probe that failed, or none at all.
func noDriver(f *Facts, d *Drive) finding.Finding {
	state := finding.Evidence{Source: sysfsDir(d), Text: fmt.Sprintf("no driver link, enable %s, power_state %s", digit(d.Enabled), orDash(d.PowerState))}
	if e, ok := lastEvent(f, d.Address, EventNotReady); ok && strings.Contains(e.Text, "initialisation") {
		return notReady(f, d, e, state)
	}
	out := finding.Finding{
		Code: finding.NVMeNoDriver, Severity: finding.Fail, Title: "the drive is on the PCI bus and no driver is bound to it",
		Confidence: finding.Unknown, Evidence: []finding.Evidence{state},
	}
	if e, ok := lastEvent(f, d.Address, EventProbeFailed); ok {
		out.Cause, out.Confidence = "the driver tried it and gave it up", finding.Certain
		out.Evidence = append(out.Evidence, logEvidence(e))
		out.Remedies = []finding.Remedy{retry(d)}
		return out
	}
	if e, ok := lastEvent(f, d.Address, EventFound); ok {
		out.Cause, out.Confidence = "the driver tried it and did not say why it let go of it", finding.Likely
		out.Evidence = append(out.Evidence, logEvidence(e))
		out.Remedies = []finding.Remedy{retry(d)}
		return out
	}
	out.Evidence = append(out.Evidence, finding.Evidence{Source: "kernel log", Text: silence(f)})
	if d.DriverOverride != "" {
		out.Cause, out.Confidence = fmt.Sprintf("driver_override reserves it for %s, which is not bound", d.DriverOverride), finding.Certain
	}
	out.Remedies = []finding.Remedy{bind(d), retry(d)}
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
func notReady(f *Facts, d *Drive, e Event, state finding.Evidence) finding.Finding {
	out := finding.Finding{
		Code: finding.NVMeNotReady, Severity: finding.Fail, Title: "the drive never became ready, so the kernel gave it up: it is in lspci and nowhere else",
		Confidence: finding.Unknown, Evidence: []finding.Evidence{logEvidence(e), state},
	}
	release, err := ParseRelease(f.Release)
	fix := FixUnknown
	if err == nil {
		fix = release.CRTO()
	}
	asBug := strings.HasSuffix(strings.TrimSpace(e.Text), "CSTS=0x0") // the drive said nothing at all, as it does while it starts
	affected := fix == Affected || fix == AffectedLikely
	if d.Chip != "" {
		out.Evidence = append(out.Evidence, finding.Evidence{Source: sysfsDir(d), Text: fmt.Sprintf("vendor:device %s is a Maxio %s", d.PCIID(), d.Chip)})
	}
	out.Evidence = append(out.Evidence, finding.Evidence{Source: "uname -r", Text: f.Release + crtoText(fix)})
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
		out.Remedies = append(out.Remedies, newerKernel(release), retry(d))
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

// newerKernel is the way to a kernel with the fix, for this kind of host.
func newerKernel(r Release) finding.Remedy {
	out := finding.Remedy{Title: "boot a kernel with the fix: 6.1.55, 6.5.5, 6.6 or later", Risk: finding.RiskLow}
	if r.PVE {
		out.Title = "boot a Proxmox kernel with the fix: 6.5.11-1 or later"
		out.Commands = []string{"apt update && apt install proxmox-kernel-6.8", "proxmox-boot-tool kernel list", "reboot"}
		return out
	}
	out.Commands = []string{"apt update && apt full-upgrade", "reboot"}
	return out
}

func passthrough(d *Drive) finding.Finding {
	return finding.Finding{
		Code: finding.NVMePassthrough, Severity: finding.Info, Title: "the drive is passed through to a guest; this host does not see its disk, by intent",
		Cause: "it is bound to vfio-pci", Confidence: finding.Certain,
		Evidence: []finding.Evidence{{Source: sysfsDir(d), Text: fmt.Sprintf("driver %s, driver_override %s", orDash(d.Driver), orDash(d.DriverOverride))}},
	}
}

// noController explains a bound function without controller.
func noController(f *Facts, d *Drive) finding.Finding {
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
	} else if e, ok := lastEvent(f, d.Address, EventNotReady, EventProbeFailed); ok {
		out.Evidence = append(out.Evidence, logEvidence(e))
	}
	return out
}

func dead(f *Facts, d *Drive) finding.Finding {
	return withDrop(f, d, finding.Finding{
		Code: finding.NVMeDead, Severity: finding.Fail, Title: "the kernel gave the drive up while it was in use", Confidence: finding.Unknown,
		Evidence: []finding.Evidence{{Source: sysfsDir(d), Text: d.Controllers[0].Name + " state dead"}},
	})
}

func resetting(f *Facts, d *Drive) finding.Finding {
	return withDrop(f, d, finding.Finding{
		Code: finding.NVMeResetting, Severity: finding.Fail, Title: "the controller is being reset and offers no disk meanwhile", Confidence: finding.Unknown,
		Evidence: []finding.Evidence{{Source: sysfsDir(d), Text: fmt.Sprintf("%s state %s", d.Controllers[0].Name, d.Controllers[0].State)}},
	})
}

// withDrop adds what the log says of a drive that dropped out at run time.
func withDrop(f *Facts, d *Drive, out finding.Finding) finding.Finding {
	for _, kind := range []EventKind{EventDown, EventInaccessible, EventDisabled} {
		if e, ok := lastEvent(f, d.Address, kind); ok {
			out.Evidence = append(out.Evidence, logEvidence(e))
		}
	}
	if e, ok := lastEvent(f, d.Address, EventDown); ok {
		switch {
		case strings.Contains(e.Text, "PCI_STATUS=0xffff"), strings.Contains(e.Text, "read failed"):
			out.Cause, out.Confidence = "link or power was lost: not even the configuration space answers", finding.Likely
		case strings.Contains(e.Text, "CSTS=0xffffffff"):
			out.Cause, out.Confidence = "the drive's firmware crashed or did not come back from a power-saving state: the configuration space still answers", finding.Likely
		}
	}
	if _, ok := lastEvent(f, d.Address, EventInaccessible); ok && out.Cause == "" {
		out.Cause, out.Confidence = "link or power was lost in a sleep state", finding.Likely
	}
	out.Remedies = []finding.Remedy{
		{Title: "switch the machine off and on: a reboot alone may leave the drive as it is", Risk: finding.RiskHigh},
		{
			Title: "if it comes back and drops out again, switch power saving off for drive and link; see where this host keeps its kernel command line", Risk: finding.RiskLow,
			Commands: []string{"# add: nvme_core.default_ps_max_latency_us=0 pcie_aspm=off pcie_port_pm=off"},
		},
	}
	return out
}

// noNamespace explains a live controller without namespace.
func noNamespace(f *Facts, d *Drive) finding.Finding {
	c := d.Controllers[0]
	out := finding.Finding{
		Code: finding.NVMeNoNamespace, Severity: finding.Fail, Title: "the controller is live and offers no namespace, so there is no disk", Confidence: finding.Unknown,
		Evidence: []finding.Evidence{{Source: filepath.Join("/sys/class/nvme", c.Name), Text: fmt.Sprintf("state %s, no %sn* below it", orDash(c.State), c.Name)}},
	}
	e, ok := lastEvent(f, d.Address, EventIDsRejected, EventIDsTwice)
	if !ok {
		out.Evidence = append(out.Evidence, finding.Evidence{Source: "kernel log", Text: strings.Replace(silence(f), "no line about it", "no line that says why", 1)})
		out.Remedies = []finding.Remedy{{Title: "see what namespaces the drive itself lists", Risk: finding.RiskNone, Commands: []string{"nvme list-ns --all /dev/" + c.Name, "nvme id-ctrl /dev/" + c.Name}}}
		return out
	}
	out.Code, out.Confidence = finding.NVMeDuplicateIDs, finding.Certain
	out.Title = "the kernel rejected the drive's namespace, because another drive has the same ids"
	out.Cause = "the drive's firmware gives every drive the same ids"
	out.Evidence = append(out.Evidence, logEvidence(e))
	release, err := ParseRelease(f.Release)
	if err == nil && release.DuplicateIDs() == Affected && strings.Contains(e.Text, "globally duplicate") {
		remedy := newerKernel(release)
		remedy.Title = "boot a kernel that clears such ids instead: 6.1.40, 6.4.5, 6.5 or later"
		out.Remedies = append(out.Remedies, remedy)
	}
	out.Remedies = append(out.Remedies, finding.Remedy{
		Title: "look for newer firmware of the drive", Risk: finding.RiskLow, Commands: []string{"nvme id-ctrl /dev/" + c.Name + " | grep -E '^(mn|fr|sn)'"},
	})
	return out
}

// noBlock explains namespaces without a usable block device.
func noBlock(f *Facts, d *Drive) finding.Finding {
	c := d.Controllers[0]
	out := finding.Finding{
		Code: finding.NVMeNoNamespace, Severity: finding.Fail, Title: "the drive has a namespace and no block device of any size", Confidence: finding.Unknown,
		Evidence: []finding.Evidence{{Source: filepath.Join("/sys/class/nvme", c.Name), Text: fmt.Sprintf("state %s, %d block devices, all of size 0", orDash(c.State), len(c.Namespaces))}},
	}
	if e, ok := lastEvent(f, d.Address, EventUnsupportedCSI); ok {
		out.Cause, out.Confidence = "the namespace has a command set that this kernel cannot use as a disk", finding.Certain
		out.Evidence = append(out.Evidence, logEvidence(e))
	} else if e, ok := lastEvent(f, d.Address, EventDown, EventDisabled); ok {
		out.Cause, out.Confidence = "the drive dropped out while it was in use", finding.Likely
		out.Evidence = append(out.Evidence, logEvidence(e))
	}
	return out
}

// idsCleared tells a working drive whose ids the kernel cleared.
func idsCleared(f *Facts, d *Drive) (finding.Finding, bool) {
	e, ok := lastEvent(f, d.Address, EventIDsCleared)
	for _, ns := range d.Controllers[0].Namespaces {
		ok = ok && !ns.HasID
	}
	if !ok {
		return finding.Finding{}, false
	}
	return finding.Finding{
		Code: finding.NVMeIDsCleared, Severity: finding.Info, Title: "the kernel cleared the drive's ids, since another drive has the same ones; the drive works",
		Cause: "the drive's firmware gives every drive the same ids", Confidence: finding.Certain,
		Evidence: []finding.Evidence{logEvidence(e)},
		Remedies: []finding.Remedy{{Title: "name the drive by model and serial, never by nvme-eui, in pools and filters: which of the two loses its id changes from boot to boot", Risk: finding.RiskNone, Commands: []string{"ls -l /dev/disk/by-id/"}}},
	}, true
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
