package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	apiv1 "labd/api/v1"
)

// details prints all that is known of each drive, a paragraph a drive.
func (a *app) details(items []apiv1.NVMeItem) {
	for _, item := range items {
		a.printf("\n%s\n", strings.TrimSpace(strings.TrimPrefix(item.ID, "nvme/")+"  "+model(item)))
		line := func(key string, parts ...string) {
			parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" })
			if len(parts) > 0 {
				a.line("  "+fmt.Sprintf("%-12s", key+":"), strings.Join(parts, ", "))
			}
		}
		line("pci", pciParts(item)...)
		line("link", linkParts(item)...)
		line("errors", errorParts("drive", item.Errors), portErrors(item.Port))
		line("controller", controllerParts(item)...)
		line("quirks", item.Quirks...)
		for _, ns := range item.Namespaces {
			line(ns.Device, namespaceParts(ns)...)
		}
		if h := item.Health; h != nil {
			line("health", healthParts(h)...)
			line("life", lifeParts(h)...)
			line("firmware", firmwareParts(h)...)
			for _, e := range h.Errors[:min(len(h.Errors), 3)] {
				line("error", fmt.Sprintf("entry %d: %s at block %d of namespace %d", e.Count, e.Text, e.LBA, e.Namespace))
			}
		}
		if m := item.Memory; m != nil {
			line("seen", "first "+m.First.Local().Format(time.DateOnly), "last "+m.Last.Local().Format(time.DateTime))
			if item.Missing || len(item.Namespaces) == 0 {
				line("it held", m.Contents...)
			}
		}
	}
}

func pciParts(item apiv1.NVMeItem) []string {
	if item.Missing {
		return []string{"not on the bus"}
	}
	parts := []string{strings.TrimSpace(item.PCIID + " " + item.Vendor + " " + item.Product)}
	if item.Chip != "" {
		parts = append(parts, "chip "+item.Chip)
	}
	parts = append(parts, "driver "+dash(item.Driver))
	if item.DriverOverride != "" {
		parts = append(parts, "reserved for "+item.DriverOverride)
	}
	parts = append(parts, item.PowerState)
	if item.PowerControl != "" {
		parts = append(parts, "runtime power management "+item.PowerControl)
	}
	if item.D3ColdAllowed {
		parts = append(parts, "d3cold allowed")
	}
	if len(item.ASPM) > 0 {
		parts = append(parts, "link saves power by "+strings.Join(item.ASPM, " "))
	}
	return parts
}

func linkParts(item apiv1.NVMeItem) []string {
	if item.Link == nil || item.Link.CurrentWidth == 0 {
		return nil
	}
	parts := []string{lanes(item.Link.CurrentSpeed, item.Link.CurrentWidth)}
	if item.Link.MaxWidth > 0 {
		parts = append(parts, "the drive can do "+lanes(item.Link.MaxSpeed, item.Link.MaxWidth))
	}
	if p := item.Port; p != nil && p.Link != nil && p.Link.MaxWidth > 0 {
		parts = append(parts, "its port "+p.Address+" "+lanes(p.Link.MaxSpeed, p.Link.MaxWidth))
	}
	return parts
}

func lanes(speed string, width int) string {
	return strings.TrimSuffix(speed, " PCIe") + " x" + strconv.Itoa(width)
}

func errorParts(end string, e *apiv1.PCIErrors) string {
	if e == nil {
		return ""
	}
	return fmt.Sprintf("%s %d corrected %d non-fatal %d fatal", end, e.Correctable, e.NonFatal, e.Fatal)
}

func portErrors(p *apiv1.PCIPort) string {
	if p == nil {
		return ""
	}
	return errorParts("port", p.Errors)
}

func controllerParts(item apiv1.NVMeItem) []string {
	if item.Controller == "" {
		return nil
	}
	parts := []string{item.Controller, item.State, "firmware " + dash(item.Firmware), "id " + strconv.Itoa(item.ControllerID)}
	if item.Queues > 0 {
		parts = append(parts, strconv.Itoa(item.Queues)+" queues")
	}
	if item.HostMemory != "" {
		parts = append(parts, "host memory buffer "+item.HostMemory)
	}
	return append(parts, item.Subsystem)
}

func namespaceParts(ns apiv1.NVMeNamespace) []string {
	parts := []string{"namespace " + strconv.Itoa(ns.NSID), size(ns.SizeBytes)}
	if ns.LogicalBlockSize > 0 {
		parts = append(parts, "blocks of "+strconv.Itoa(ns.LogicalBlockSize))
	}
	parts = append(parts, ns.WWID)
	if ns.ReadOnly {
		parts = append(parts, "read-only")
	}
	if len(ns.Paths) > 0 {
		parts = append(parts, "by path "+strings.Join(ns.Paths, " "))
	}
	if ns.LoggedErrors > 0 {
		parts = append(parts, strconv.Itoa(ns.LoggedErrors)+" failed reads or writes in the kernel log")
	}
	if ns.CommandErrors != nil && *ns.CommandErrors > 0 {
		parts = append(parts, strconv.FormatUint(*ns.CommandErrors, 10)+" failed commands")
	}
	for _, list := range []struct {
		what  string
		items []string
	}{{"holds", ns.Contents}, {"used by", ns.Users}, {"storages", ns.Storages}} {
		if len(list.items) > 0 {
			parts = append(parts, list.what+" "+strings.Join(list.items, " + "))
		}
	}
	return parts
}

func healthParts(h *apiv1.NVMeHealth) []string {
	if len(h.Doubts) > 0 {
		return []string{"doubtful: " + strings.Join(h.Doubts, ", ")}
	}
	temperature := celsius(h.TemperatureCelsius, " °C")
	if h.WarnCelsius != 0 {
		temperature += fmt.Sprintf(" (warns at %d, critical at %d)", h.WarnCelsius, h.CriticalCelsius)
	}
	parts := []string{
		temperature, fmt.Sprintf("%d media errors", h.MediaErrors), fmt.Sprintf("%d unsafe shutdowns of %d power cycles", h.UnsafeShutdowns, h.PowerCycles),
		fmt.Sprintf("%d entries in the error log", h.ErrorLogEntries),
	}
	if len(h.CriticalWarning) > 0 {
		parts = append(parts, "critical warning: "+strings.Join(h.CriticalWarning, " "))
	}
	if h.SelfTest != "" {
		parts = append(parts, "last self-test "+h.SelfTest)
	}
	if h.SelfTestPercent != nil {
		parts = append(parts, fmt.Sprintf("a self-test runs, %d %% done", *h.SelfTestPercent))
	}
	return parts
}

func lifeParts(h *apiv1.NVMeHealth) []string {
	if len(h.Doubts) > 0 {
		return nil
	}
	parts := []string{
		fmt.Sprintf("%d %% used", h.UsedPercent), fmt.Sprintf("spare %d %% (warns below %d)", h.SparePercent, h.SpareThreshold),
		fmt.Sprintf("%.1f TB written %.1f TB read", float64(h.BytesWritten)/1e12, float64(h.BytesRead)/1e12), fmt.Sprintf("%.0f hours on", h.PowerOnSeconds/3600),
	}
	if h.WearPerDay != nil && h.DaysLeft != nil {
		parts = append(parts, fmt.Sprintf("%.2f %% a day lately: %.0f days to 100 %%", *h.WearPerDay, max(0, *h.DaysLeft)))
	}
	return parts
}

func firmwareParts(h *apiv1.NVMeHealth) []string {
	var parts []string
	for _, slot := range slices.Sorted(maps.Keys(h.FirmwareSlots)) {
		text := fmt.Sprintf("slot %d %s", slot, h.FirmwareSlots[slot])
		switch slot {
		case h.ActiveSlot:
			text += " (runs)"
		case h.NextSlot:
			text += " (after the next reset)"
		}
		parts = append(parts, text)
	}
	return parts
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
