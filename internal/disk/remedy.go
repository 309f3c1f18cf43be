package disk

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"labd/internal/finding"
)

// retry has the kernel probe a function again. The function has no driver, so nothing uses it.
func retry(d *Drive) finding.Remedy {
	return finding.Remedy{
		Title: "let the kernel probe it once more; nothing uses it, so this is safe, and on such drives it sometimes helps", Risk: finding.RiskLow,
		Commands: []string{"labctl rescue-nvme " + d.Address},
	}
}

// powerCycle helps a drive that hangs.
var powerCycle = finding.Remedy{Title: "switch the machine off and on: a reboot alone may leave the drive as it is", Risk: finding.RiskHigh}

// otherSlot finds out whether it is the drive or its place.
func otherSlot(d *Drive) finding.Remedy {
	return finding.Remedy{Title: "look for newer firmware of the drive and of the board, and try the drive in another slot or machine; replace it when it does not start there either", Risk: finding.RiskHigh, Commands: []string{"lspci -vv -s " + d.Address}}
}

// vendor is the last remedy for a drive that is broken.
func vendor(d *Drive) finding.Remedy {
	return finding.Remedy{Title: "copy what can still be read, and ask the maker for a replacement (warranty, RMA)", Risk: finding.RiskNone, Commands: []string{"labctl check-nvme -o wide " + d.Address}}
}

func bind(d *Drive) finding.Remedy {
	return finding.Remedy{
		Title: "bind it to the nvme driver", Risk: finding.RiskLow,
		Commands: []string{"modprobe nvme", "labctl rescue-nvme " + d.Address},
	}
}

// firmware is the remedy of the drive's own software. A controller that works names its version.
func firmware(d *Drive) finding.Remedy {
	out := finding.Remedy{Title: "look for newer firmware of the drive", Risk: finding.RiskLow, Commands: []string{"lspci -vv -s " + d.Address}}
	if ctrl := d.Controller(); ctrl != nil {
		out.Title += fmt.Sprintf(" (it has %s)", orDash(ctrl.Firmware))
		out.Commands = []string{"apt install fwupd", "fwupdmgr refresh && fwupdmgr get-updates"}
	}
	return out
}

// newerKernel is the way to a kernel with the fix for ready times, for this kind of host.
func (c *diagnosis) newerKernel() finding.Remedy {
	if c.release.PVE {
		return c.kernel("boot a Proxmox kernel with the fix: 6.5.11-1 or later")
	}
	return c.kernel("boot a kernel with the fix: 6.1.55, 6.5.5, 6.6 or later")
}

// pveMajor is the Proxmox VE release of the host: by Debian's below it, else by its kernel; 0 where neither tells.
func (f *Facts) pveMajor(running Release) int {
	switch f.System.Debian {
	case "11":
		return 7
	case "12":
		return 8
	case "13":
		return 9
	}
	switch text := running.Text; {
	case !running.PVE:
		return 0
	case strings.Contains(text, "-bpo11-"), strings.Contains(text, "~bpo11"):
		return 7
	case strings.Contains(text, "-bpo12-"), strings.Contains(text, "~bpo12"):
		return 8
	case running.before(5, 11):
		return 6
	case running.before(6, 2): // 5.11 to 5.19, and 6.1
		return 7
	case running.before(6, 14):
		return 8
	default:
		return 9
	}
}

// kernel is the way to another kernel, as the release of Proxmox VE offers it. One that is pinned would only boot again.
func (c *diagnosis) kernel(title string) finding.Remedy {
	out := finding.Remedy{Title: title, Risk: finding.RiskLow, Commands: []string{"apt update && apt full-upgrade", "reboot"}}
	if !c.release.PVE {
		return out
	}
	switch c.facts.pveMajor(c.release) {
	case 9:
		out.Commands = []string{"apt update && apt install proxmox-kernel-6.17", "proxmox-boot-tool kernel list"}
	case 8:
		out.Commands = []string{"apt update && apt install proxmox-kernel-6.8", "proxmox-boot-tool kernel list"}
	case 7:
		out.Title += ". Proxmox VE 7 has none of them: go back to its kernel 5.15, which is older than this bug, and upgrade to Proxmox VE 8, since 7 gets no more updates"
		out.Commands = []string{"apt update && apt install pve-kernel-5.15", "proxmox-boot-tool kernel list", "proxmox-boot-tool kernel pin 5.15.158-2-pve"}
		return finding.Remedy{Title: out.Title, Risk: out.Risk, Commands: append(out.Commands, "reboot")}
	default:
		out.Title += ". This Proxmox VE gets no more updates: upgrade it"
		return finding.Remedy{Title: out.Title, Risk: finding.RiskHigh, Commands: []string{"pveversion"}}
	}
	if c.facts.System.Pinned != "" {
		out.Title += "; this host has pinned " + c.facts.System.Pinned
		out.Commands = append(out.Commands, "proxmox-boot-tool kernel unpin")
	}
	out.Commands = append(out.Commands, "reboot")
	return out
}

// powerParameters switch power saving off for drive, link and port. Those that are on the command line already are
// not said again; none is left where all are.
const powerParameters = "nvme_core.default_ps_max_latency_us=0 pcie_aspm=off pcie_port_pm=off"

func (s System) powerOff() (finding.Remedy, bool) {
	var missing []string
	for parameter := range strings.FieldsSeq(powerParameters) {
		if !s.has(parameter) {
			missing = append(missing, parameter)
		}
	}
	if len(missing) == 0 {
		return finding.Remedy{}, false
	}
	return s.bootParameters("if it comes back and drops out again, switch power saving off for drive and link", finding.RiskLow, strings.Join(missing, " ")), true
}

// powerNow switches power saving off for a drive that is there, its link and its port, until the next boot; ok is false
// where all of it is off.
func powerNow(d *Drive) (out finding.Remedy, ok bool) {
	ctrl := d.Controller()
	if ctrl == nil || ctrl.State != "live" {
		return out, false
	}
	out = finding.Remedy{Title: "see whether it is that: switch power saving off until the next boot", Risk: finding.RiskLow}
	if d.Power.D3ColdAllowed {
		out.Commands = append(out.Commands, "echo 0 > "+filepath.Join(sysfsDir(d), "d3cold_allowed"))
	}
	if d.Power.Control == "auto" {
		out.Commands = append(out.Commands, "echo on > "+filepath.Join(sysfsDir(d), "power/control"))
	}
	for _, state := range d.ASPM {
		out.Commands = append(out.Commands, "echo 0 > "+filepath.Join(sysfsDir(d), "link", state))
	}
	if len(out.Commands) == 0 {
		return out, false
	}
	if d.Port.Address != "" {
		out.Commands = append(out.Commands, "echo on > "+filepath.Join("/sys/bus/pci/devices", d.Port.Address, "power/control"))
	}
	out.Commands = append(out.Commands, "echo 0 > "+filepath.Join("/sys/class/nvme", ctrl.Name, "power/pm_qos_latency_tolerance_us"))
	return out, true
}

// bogusNID makes the kernel ignore the drive's ids: by the nvme module's parameter where this kernel has it, else by a
// dynamic id that carries the quirk (1<<18, NVME_QUIRK_BOGUS_NID). That comes after boot, so it helps data disks only.
func (c *diagnosis) bogusNID() finding.Remedy {
	if c.facts.System.QuirksParameter || len(c.d.Controllers[0].Namespaces) > 0 { // a drive that has a disk is not unbound
		return c.quirk(quirkBogusNID, "have the kernel ignore the ids of such drives")
	}
	return finding.Remedy{
		Title: "have the kernel ignore the ids of such drives until the next boot; not for a drive that the host boots from", Risk: finding.RiskLow,
		Commands: []string{"labctl rescue-nvme " + c.d.Address},
	}
}

// quirk is the remedy that has the kernel treat drives like this one otherwise, by the nvme module's parameter; without the
// parameter a newer kernel has it.
func (c *diagnosis) quirk(name, what string) finding.Remedy {
	value := c.d.PCIID() + ":" + name
	switch s := c.facts.System; {
	case !s.QuirksParameter:
		return finding.Remedy{Title: what + ": kernels of 7.x have the parameter nvme.quirks for that, this one has not", Risk: finding.RiskLow}
	case strings.Contains(s.Quirks, value):
		return finding.Remedy{Title: "nvme.quirks has " + value + " already, and it does not help: only the drive's firmware can", Risk: finding.RiskNone}
	case s.Quirks != "" && !strings.HasPrefix(s.Quirks, "("):
		return s.bootParameters(what+": add the drive to the nvme.quirks that is on the command line", finding.RiskLow, "nvme.quirks="+s.Quirks+"-"+value)
	default:
		return s.bootParameters(what, finding.RiskLow, "nvme.quirks="+value)
	}
}

var hostMemoryLimit = regexp.MustCompile(`min host memory \((\d+) MiB\) above limit \((\d+) MiB\)`)

// noHostMemory returns the finding of a drive without memory of its own that did not get the host's: it works, and slowly.
func (c *diagnosis) noHostMemory() (finding.Finding, bool) {
	e, ok := c.last(EventNoHostMemory)
	if !ok || c.d.Controllers[0].HostMemory == HostMemoryOn {
		return finding.Finding{}, false
	}
	out := finding.Finding{
		Code: finding.NVMeHostMemory, Severity: finding.Info, Title: "the drive works without the host memory that it wants as its buffer, so it is slower than it could be",
		Cause: "the kernel found no memory for it", Confidence: finding.Likely, Evidence: []finding.Evidence{logEvidence(e)},
	}
	if m := hostMemoryLimit.FindStringSubmatch(e.Text); m != nil {
		out.Cause, out.Confidence = fmt.Sprintf("it wants at least %s MiB, and the kernel's limit is %s MiB", m[1], m[2]), finding.Certain
		out.Remedies = []finding.Remedy{c.facts.System.bootParameters("raise the kernel's limit", finding.RiskLow, "nvme.max_host_mem_size_mb="+m[1])}
	} else if strings.HasPrefix(afterColon(e.Text), "failed to set") {
		out.Cause = "the drive refused the memory"
	}
	return out, true
}
