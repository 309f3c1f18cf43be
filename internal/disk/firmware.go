package disk

import (
	"fmt"
	"slices"
	"strings"

	"labd/internal/finding"
)

// firmwareFault is what is known of a model, or of one of its firmware versions, beside the kernel's quirks.
type firmwareFault struct {
	// models are beginnings of the model's name; ids are vendor:device, for drives that many makers sell.
	models, ids []string
	// firmware are the versions that have it; none stands for all of the model.
	firmware []string
	// alarm says that the drive is in danger though it works; else the row is told only of a drive that has dropped out, is late
	// or does not start.
	alarm bool
	what  string
	// fixed is the version without it, "" where none is known; advice what else helps.
	fixed, advice string
	source        string
}

const kernelTable = "drivers/nvme/host/pci.c, nvme_id_table"

// firmwareFaults are the known ones. A row needs a source that names model and version, or the kernel's own table.
var firmwareFaults = []firmwareFault{
	{models: []string{"Samsung SSD 980 PRO"}, firmware: []string{"3B2QGXA7"}, alarm: true, what: "with this firmware the drive counts media errors and in the end makes itself read-only for ever", fixed: "5B2QGXA7", source: "Puget Systems, Samsung 980 PRO firmware (2023)"},
	{models: []string{"Samsung SSD 990 PRO"}, firmware: []string{"0B2QJXD7"}, alarm: true, what: "with this firmware the drive counts its wear much too fast, and becomes read-only when the count ends", fixed: "1B2QJXD7", source: "Samsung, 990 PRO firmware (February 2023)"},
	{models: []string{"Micron_7450", "MTFDKBA", "MTFDKBG", "MTFDKCB", "MTFDKCC"}, firmware: []string{"E2MU200"}, alarm: true, what: "with this firmware the drive can lock up for ever, with all data on it", fixed: "E2MU300", advice: "for E2MU300 some report failures after a power cycle: ask the maker which version is the newest", source: "OSNEXUS knowledge base, critical firmware issues on Micron 7450 (2026)"},
	{models: []string{"Micron_7500"}, firmware: []string{"E3MQ000"}, alarm: true, what: "with this firmware the drive can lock up for ever, with all data on it", fixed: "E3MQ005", source: "Disctech, Micron 7450 and 7500 firmware issue (2026)"},
	{models: []string{"KINGSTON SA2000"}, firmware: []string{"S5Z42102", "S5Z42103", "S5Z42105"}, alarm: true, what: "with this firmware the drive hangs in a power-saving state under Linux until it loses power", fixed: "S5Z42109", source: "Kingston, release notes of S5Z42109; kernel quirk for 2646:2263"},
	{models: []string{"KINGSTON SA2000"}, ids: []string{"2646:2263"}, what: "some of these hang in their deepest power-saving state or do not answer in time (A2000: firmware before S5Z42109)", advice: "install the newest firmware; nvme_core.default_ps_max_latency_us=0 keeps it out of that state", source: "acidanthera/NVMeFix#4; siderolabs/talos#5914"},
	{models: []string{"WD_BLACK SN770"}, firmware: []string{"731100WD"}, what: "with this firmware some have errors on the PCIe link and drop out", fixed: "731120WD", source: "FrameworkComputer/SoftwareFirmwareIssueTracker#41"},
	{models: []string{"WD_BLACK SN770", "WD Blue SN580", "WD_BLACK SN770M", "WD Blue SN5000"}, what: "the 2 TB models ask for 200 MiB of the host's memory and some crash when they get it", advice: "install the maker's newest firmware, and leave nvme.max_host_mem_size_mb at its default", source: "Western Digital, firmware for SN770, SN580 and SN5000 (2024)"},
	{models: []string{"Micron_2400", "MTFDKCD", "MTFDKBK"}, what: "some do not come back from a power-saving state of their own (APST)", advice: "nvme_core.default_ps_max_latency_us=0 switches these states off", source: "reports on linux-nvme"},
	{models: []string{"SOLIDIGM SSDPFKKW"}, ids: []string{"025e:f1ac"}, what: "it may not come back from its deepest power-saving state", advice: "kernels from 6.1.141 and 6.12 on keep it out of that state", source: kernelTable + " (Solidigm P44 Pro)"},
	{models: []string{"SKHynix_HFS001TEJ9X", "SHPP41", "SKHynix_HFS002TEJ9X"}, what: "its sibling, the Solidigm P44 Pro, may not come back from its deepest power-saving state", advice: "nvme_core.default_ps_max_latency_us=0 keeps it out of that state", source: "quirk of the P44 Pro, which has the same controller"},
	{models: []string{"SHGP31", "HFM001TD3JX013N"}, firmware: []string{"31060C20", "41000C20", "41060C20"}, what: "older firmware of the P31 is late with answers and may drop out", fixed: "41062C20", source: "acidanthera/bugtracker#1662; linux-nvme/nvme-cli#2576"},
	{models: []string{"Samsung SSD 970 EVO Plus"}, firmware: []string{"1B2QEXM7"}, what: "some with this firmware crash or do not come back from a power-saving state", fixed: "2B2QEXM7", source: "Samsung, 970 EVO Plus firmware; reports of pop-os/pop"},
	{models: []string{"Samsung SSD 960 EVO", "SAMSUNG MZVLW"}, ids: []string{"144d:a804"}, what: "on some boards it does not come back from its power-saving states", advice: "the kernel switches them off on the boards that it knows; elsewhere nvme_core.default_ps_max_latency_us=0", source: "drivers/nvme/host/pci.c, check_vendor_combination_bug"},
	{models: []string{"Samsung SSD 990 PRO"}, what: "some hang with CSTS=0x1 and answer only after the machine was switched off", advice: "install the newest firmware, and switch power saving off for drive and link", source: "blog.bspwr.com, Samsung 990 PRO disconnects"},
	{models: []string{"CT1000T700", "CT2000T700", "CT4000T700"}, firmware: []string{"PACR5101"}, what: "without a heat sink it shuts itself down when it is hot, in place of getting slower", fixed: "PACR5102", advice: "give it a heat sink", source: "ComputerBase and Tom's Hardware, Phison E26 (2023)"},
	{models: []string{"Corsair MP700", "Seagate FireCuda 540", "Gigabyte AG510K", "ADATA LEGEND 970"}, firmware: []string{"EQFM22.0", "EQFM22.00"}, what: "without a heat sink it shuts itself down when it is hot, in place of getting slower", fixed: "EQFM22.1", advice: "give it a heat sink", source: "Tom's Hardware, PCIe 5.0 drives that crash (2023)"},
	{ids: []string{"1987:5018"}, what: "some drives with a Phison E18 hang in a reset (CSTS=0x1) after power saving, with firmware before EIFM31.6", advice: "install the newest firmware of the drive's maker", source: "privex.io, Phison E18 on EPYC"},
	{ids: []string{"1987:5012"}, what: "drives with a Phison E12 have ids that are not their own, and some with firmware of 2019 drop out under load", advice: "install the newest firmware of the drive's maker (ECFM12.3 or later)", source: kernelTable + " (Phison E12)"},
	{ids: []string{"1987:5016"}, what: "drives with a Phison E16 have ids that are not their own", advice: "kernels from 5.18.13 on ignore them", source: kernelTable + " (Phison E16)"},
	{ids: []string{"15b7:5008", "15b7:5009"}, what: "it loses interrupts of more than one vector", advice: "kernels from 6.8.10 on use one", source: kernelTable + " (SN530, SN550: BROKEN_MSI)"},
	{ids: []string{"126f:2262", "126f:2263", "126f:1001"}, what: "drives with this Silicon Motion controller may not come back from their deepest power-saving state", advice: "nvme_core.default_ps_max_latency_us=0 keeps it out of that state", source: kernelTable + " (Silicon Motion)"},
	{ids: []string{"8086:f1a5", "8086:f1a6"}, what: "it may not come back from its deepest power-saving state", advice: "the kernel keeps it out of that state; install the maker's newest firmware", source: kernelTable + " (Intel 600p, 760p)"},
	{models: []string{"THNSF5256GPUK TOSHIBA"}, what: "it dies in any power-saving state of its own (APST)", advice: "the kernel switches them off for this model", source: "drivers/nvme/host/core.c, core_quirks (Launchpad 1678184)"},
	{models: []string{"KCD6XVUL6T40"}, what: "it does not come back from a suspend in which it keeps its state", advice: "the kernel shuts it down at suspend", source: "drivers/nvme/host/core.c, core_quirks (Kioxia CD6-V)"},
	{ids: []string{"144d:a821", "144d:a822"}, what: "it needs a pause before its ready bit is looked at", advice: "the kernel waits for this model", source: kernelTable + " (PM1725, PM1725a)"},
	{ids: []string{"1c58:0003", "1c58:0023"}, what: "it needs a pause before its ready bit is looked at; and after a crash it reports a persistent internal error every few seconds", advice: "the maker's tool can bring such a drive back", source: kernelTable + " (HGST SN100, SN200); linux-nvme/nvme-cli#2838"},
	{ids: []string{"1e4b:1602", "1d97:1602"}, what: "it says that it is ready at once (CRTO 0) and is not, so kernels with the bug with ready times give it up", advice: "kernels from 6.1.55, 6.5.5 and 6.6 on wait", source: "kernel commit 6cc834ba6299 (bugzilla.kernel.org 217863)"},
	{ids: []string{"1d97:2263"}, what: "drives of this kind have ids that are not their own", advice: "kernels from 6.1.40, 6.4.5 and 6.5 on clear them", source: "fabianishere/pve-edge-kernel#300"},
	{models: []string{"Seagate FireCuda 530"}, firmware: []string{"SU6SM001", "SU6SM003"}, what: "it has an early firmware of the Phison E18, which hangs in some machines", fixed: "SU6SM005", source: "Seagate/openSeaChest#198"},
}

// knownFaults are the rows about a drive; alarms alone, or all.
func knownFaults(fn Function, alarms bool) []firmwareFault {
	model, firmware := "", ""
	if len(fn.Controllers) > 0 {
		model, firmware = fn.Controllers[0].Model, fn.Controllers[0].Firmware
	}
	var out []firmwareFault
	for _, f := range firmwareFaults {
		named := slices.ContainsFunc(f.models, func(m string) bool { return len(model) >= len(m) && strings.EqualFold(model[:len(m)], m) })
		if (named || slices.Contains(f.ids, pciID(fn))) && (len(f.firmware) == 0 || slices.Contains(f.firmware, firmware)) && (f.alarm || !alarms) {
			out = append(out, f)
		}
	}
	return out
}

// remedy is the way to another firmware.
func (f firmwareFault) remedy(ctrl *Controller) finding.Remedy {
	title := "save what is on it, then update the drive's firmware"
	if f.fixed != "" {
		title += " to " + f.fixed + " or later"
	}
	title += "; where the maker does not publish for fwupd, take its own tool or a file from its site (package nvme-cli)"
	return finding.Remedy{Title: title, Risk: finding.RiskHigh, Commands: []string{
		"apt install fwupd nvme-cli", "fwupdmgr refresh && fwupdmgr get-updates", "nvme fw-download /dev/" + ctrl.Name + " --fw=FILE", "nvme fw-commit /dev/" + ctrl.Name + " --slot=0 --action=3",
	}}
}

// badFirmware returns the finding of a drive whose firmware puts it in danger.
func (c *diagnosis) badFirmware() (finding.Finding, bool) {
	ctrl := c.d.Controller()
	if ctrl == nil {
		return finding.Finding{}, false
	}
	for _, f := range knownFaults(c.d.Function, true) {
		out := finding.Finding{
			Code: finding.NVMeFirmware, Severity: finding.Warn, Title: fmt.Sprintf("the firmware %s of this model has a known fault", ctrl.Firmware),
			Cause: f.what, Confidence: finding.Likely,
			Evidence: []finding.Evidence{{Source: "/sys/class/nvme/" + ctrl.Name, Text: fmt.Sprintf("%s, firmware %s", ctrl.Model, ctrl.Firmware)}, {Source: "known firmware faults", Text: f.source}},
			Remedies: []finding.Remedy{f.remedy(ctrl)},
		}
		if f.advice != "" {
			out.Remedies[0].Title += "; " + f.advice
		}
		return out, true
	}
	return finding.Finding{}, false
}

// addFirmware adds to findings about a drive that dropped out, is late or does not start what is known of its kind.
func (c *diagnosis) addFirmware(found []finding.Finding) {
	for i := range found {
		switch found[i].Code {
		case finding.NVMeNotReady, finding.NVMeNoDriver, finding.NVMeDropped, finding.NVMeDead, finding.NVMeResetting, finding.NVMeTimeouts, finding.NVMeLostIRQ:
			c.addKnown(&found[i])
		default: // what is known of the kind has nothing to do with it
		}
	}
}

func (c *diagnosis) addKnown(out *finding.Finding) {
	ctrl := c.d.Controller()
	for _, f := range knownFaults(c.d.Function, false) {
		text := f.what
		if f.fixed != "" {
			text += "; fixed in " + f.fixed
		}
		if f.advice != "" {
			text += "; " + f.advice
		}
		out.Evidence = append(out.Evidence, finding.Evidence{Source: "known of such drives", Text: fmt.Sprintf("%s (%s)", text, f.source)})
		if ctrl != nil && f.fixed != "" && ctrl.Firmware != "" {
			out.Remedies = append(out.Remedies, f.remedy(ctrl))
		}
	}
}
