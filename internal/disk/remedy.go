package disk

import (
	"fmt"
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
		out.Commands = []string{"nvme id-ctrl /dev/" + ctrl.Name + " | grep -E '^(mn|fr|sn)'"}
	}
	return out
}

// newerKernel is the way to a kernel with the fix for ready times, for this kind of host.
func newerKernel(r Release) finding.Remedy {
	if r.PVE {
		return kernel(r, "boot a Proxmox kernel with the fix: 6.5.11-1 or later")
	}
	return kernel(r, "boot a kernel with the fix: 6.1.55, 6.5.5, 6.6 or later")
}

func kernel(r Release, title string) finding.Remedy {
	out := finding.Remedy{Title: title, Risk: finding.RiskLow, Commands: []string{"apt update && apt full-upgrade", "reboot"}}
	if r.PVE {
		out.Commands = []string{"apt update && apt install proxmox-kernel-6.8", "proxmox-boot-tool kernel list", "reboot"}
	}
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

// bogusNID makes the kernel ignore the drive's ids: by the nvme module's parameter where this kernel has it, else by a
// dynamic id that carries the quirk (1<<18, NVME_QUIRK_BOGUS_NID). That comes after boot, so it helps data disks only.
func (c *patient) bogusNID() finding.Remedy {
	d := c.d
	value := d.PCIID() + ":" + quirkBogusNID
	switch s := c.facts.System; {
	case strings.Contains(s.Quirks, value):
		return finding.Remedy{Title: "nvme.quirks has " + value + " already, and it does not help: only the drive's firmware can", Risk: finding.RiskNone}
	case s.QuirksParameter && s.Quirks != "" && !strings.HasPrefix(s.Quirks, "("):
		return finding.Remedy{
			Title: "have the kernel ignore the ids of such drives: add the drive to the nvme.quirks that is on the command line", Risk: finding.RiskLow,
			Commands: []string{"# nvme.quirks=" + s.Quirks + "-" + value},
		}
	case s.QuirksParameter:
		return s.bootParameters("have the kernel ignore the ids of such drives", finding.RiskLow, "nvme.quirks="+value)
	}
	return finding.Remedy{
		Title: "have the kernel ignore the ids of such drives until the next boot; not for a drive that the host boots from", Risk: finding.RiskLow,
		Commands: []string{"labctl rescue-nvme " + d.Address},
	}
}
