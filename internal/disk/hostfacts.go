package disk

import (
	"path/filepath"
	"slices"
	"strings"

	"labd/internal/finding"
)

// system reads what decides which remedies fit this host.
func (o *Observer) system(a *attributes) System {
	s := System{
		ProcVersion: a.get(o.host.Procfs, "version"), CommandLine: a.get(o.host.Procfs, "cmdline"),
		Quirks: a.get(o.host.Sysfs, "module/nvme/parameters/quirks"),
	}
	s.Uptime, _ = o.host.Uptime()
	dmi := filepath.Join(o.host.Sysfs, "class/dmi/id")
	s.DMI = DMI{a.get(dmi, "sys_vendor"), a.get(dmi, "product_name"), a.get(dmi, "board_vendor"), a.get(dmi, "board_name")}
	_, err := a.reader.Stat(filepath.Join(o.host.Sysfs, "module/nvme/parameters/quirks"))
	s.QuirksParameter = err == nil
	_, err = a.reader.Stat(filepath.Join(o.host.Etc, "kernel/proxmox-boot-uuids"))
	s.BootTool = err == nil
	s.Pinned, _, _ = strings.Cut(a.get(o.host.Etc, "kernel/proxmox-boot-pin"), "\n")
	return s
}

// has reports whether the kernel was booted with a parameter and this value, alone or in a list: "pci=nomsi" is in
// "pci=noaer,nomsi".
func (s System) has(parameter string) bool {
	key, value, _ := strings.Cut(parameter, "=")
	for word := range strings.FieldsSeq(s.CommandLine) {
		k, v, _ := strings.Cut(word, "=")
		if k == key && (v == value || slices.Contains(strings.Split(v, ","), value)) {
			return true
		}
	}
	return false
}

// bootParameters is the remedy that puts parameters on the kernel's command line, where this host keeps it: the loader
// that booted it is known by what it adds to the line. labd itself never writes that line.
func (s System) bootParameters(title string, risk finding.Risk, parameters string) finding.Remedy {
	out := finding.Remedy{Title: title, Risk: risk}
	switch {
	case strings.Contains(s.CommandLine, `initrd=\EFI\proxmox`):
		out.Commands = []string{"sed -i '1s/$/ " + parameters + "/' /etc/kernel/cmdline", "proxmox-boot-tool refresh", "reboot"}
	case strings.Contains(s.CommandLine, "BOOT_IMAGE="):
		out.Commands = []string{"sed -i 's/^GRUB_CMDLINE_LINUX=\"/&" + parameters + " /' /etc/default/grub", "update-grub"}
		if s.BootTool {
			out.Commands = append(out.Commands, "proxmox-boot-tool refresh")
		}
		out.Commands = append(out.Commands, "reboot")
	default:
		out.Title += "; see where this host keeps its kernel command line"
		out.Commands = []string{"# add: " + parameters}
	}
	return out
}
