package disk

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"labd/internal/finding"
)

// Files in which a host keeps its kernel's command line, below the root directory.
const (
	grubFile    = "/etc/default/grub"
	cmdlineFile = "/etc/kernel/cmdline"
)

// system reads what decides which remedies fit this host.
func (o *Observer) system(a *attributes) System {
	s := System{
		ProcVersion: a.get(o.host.Procfs, "version"), CommandLine: a.get(o.host.Procfs, "cmdline"),
		Quirks: a.get(o.host.Sysfs, "module/nvme/parameters/quirks"), Parameters: map[string]string{},
	}
	s.Uptime, _ = o.host.Uptime()
	dmi := filepath.Join(o.host.Sysfs, "class/dmi/id")
	s.DMI = DMI{a.get(dmi, "sys_vendor"), a.get(dmi, "product_name"), a.get(dmi, "board_vendor"), a.get(dmi, "board_name")}
	_, err := a.reader.Stat(filepath.Join(o.host.Sysfs, "module/nvme/parameters/quirks"))
	s.QuirksParameter = err == nil
	_, err = a.reader.Stat(filepath.Join(o.host.Etc, "kernel/proxmox-boot-uuids"))
	s.BootTool = err == nil
	s.Pinned, _, _ = strings.Cut(a.get(o.host.Etc, "kernel/proxmox-boot-pin"), "\n")
	for _, name := range []string{"nvme_core.default_ps_max_latency_us", "nvme.max_host_mem_size_mb"} {
		module, parameter, _ := strings.Cut(name, ".")
		if value := a.get(o.host.Sysfs, "module", module, "parameters", parameter); value != "" {
			s.Parameters[name] = value
		}
	}
	s.BootFiles = map[string]string{}
	for _, file := range []string{grubFile, cmdlineFile} {
		if text := a.get(o.host.Etc, strings.TrimPrefix(file, "/etc/")); text != "" {
			s.BootFiles[file] = text
		}
	}
	for _, name := range a.names(o.host.Etc, "default/grub.d") {
		if strings.HasSuffix(name, ".cfg") {
			s.BootFiles[filepath.Join("/etc/default/grub.d", name)] = a.get(o.host.Etc, "default/grub.d", name)
		}
	}
	s.Debian, _, _ = strings.Cut(a.get(o.host.Etc, "debian_version"), ".")
	options := s.CommandLine
	for _, name := range a.names(o.host.Etc, "modprobe.d") {
		if strings.HasSuffix(name, ".conf") {
			options += "\n" + strings.ReplaceAll(a.get(o.host.Etc, "modprobe.d", name), "options vfio-pci ids=", "vfio-pci.ids=")
		}
	}
	s.VFIOIDs = vfioIDs(options)
	return s
}

var (
	vfioWord = regexp.MustCompile(`\bvfio[-_]pci\.ids=(\S+)`)
	vfioID   = regexp.MustCompile(`^([0-9a-f]{4}:[0-9a-f]{4})(?::|$)`)
)

// vfioIDs are the PCI ids in vfio-pci.ids=, which may have more fields than vendor and device.
func vfioIDs(text string) []string {
	var out []string
	for _, m := range vfioWord.FindAllStringSubmatch(text, -1) {
		for id := range strings.SplitSeq(strings.ToLower(m[1]), ",") {
			if v := vfioID.FindStringSubmatch(id); v != nil && !slices.Contains(out, v[1]) {
				out = append(out, v[1])
			}
		}
	}
	return out
}

// Guests are the PCI functions that guests of this host have in their configurations.
type Guests struct {
	// Addresses are the functions, by domain:bus:device.function or, where a guest has all functions of a device, without the last
	// part.
	Addresses []string
	// Mapped says that some guest names a function by a mapping, so which it is cannot be told here.
	Mapped bool
}

// has reports whether a guest has the function.
func (g Guests) has(address string) bool {
	device, _, _ := strings.Cut(address, ".")
	return slices.Contains(g.Addresses, address) || slices.Contains(g.Addresses, device)
}

var hostPCI = regexp.MustCompile(`(?m)^hostpci\d+: *(?:host=)?([^,\s]+)`)

// guests reads which PCI functions the guests of this node have (qm.conf(5), hostpci).
func (o *Observer) guests(a *attributes) Guests {
	var g Guests
	for _, name := range a.names(o.host.PVE, "qemu-server") {
		if !strings.HasSuffix(name, ".conf") {
			continue
		}
		config, _, _ := strings.Cut(a.get(o.host.PVE, "qemu-server", name), "\n[") // snapshots follow
		for _, m := range hostPCI.FindAllStringSubmatch(config, -1) {
			if strings.HasPrefix(m[1], "mapping=") {
				g.Mapped = true
				continue
			}
			for address := range strings.SplitSeq(m[1], ";") {
				if strings.Count(address, ":") == 1 {
					address = "0000:" + address
				}
				g.Addresses = append(g.Addresses, address)
			}
		}
	}
	return g
}

// raspberry reports whether the host is a Raspberry Pi, by its kernel or what boots it.
func (s System) raspberry() bool {
	return strings.Contains(s.ProcVersion, "rpi") || strings.Contains(s.CommandLine, "coherent_pool=") || strings.Contains(s.CommandLine, "bcm2") ||
		s.DMI == (DMI{}) && s.CommandLine != "" && !strings.Contains(s.CommandLine, `initrd=\EFI`) && strings.Contains(s.CommandLine, "root=/dev/mmcblk")
}

// values are all values that a parameter has on the kernel's command line, in their order. In names of parameters - and _ are
// the same (kernel/params.c, parameq).
func (s System) values(parameter string) []string {
	var out []string
	for word := range strings.FieldsSeq(s.CommandLine) {
		k, v, _ := strings.Cut(word, "=")
		if strings.ReplaceAll(k, "-", "_") == strings.ReplaceAll(parameter, "-", "_") {
			out = append(out, strings.Trim(v, `"`))
		}
	}
	return out
}

// effective is the value of a parameter that counts: the one that the module says it has, else the last on the command line.
func (s System) effective(parameter string) (value string, ok bool) {
	if value, ok = s.Parameters[parameter]; ok {
		return value, true
	}
	if values := s.values(parameter); len(values) > 0 {
		return values[len(values)-1], true
	}
	return "", false
}

// has reports whether the kernel runs with a parameter at this value. Parameters of lists, as pci=noaer,nomsi, add up; of others
// the last value counts.
func (s System) has(parameter string) bool {
	key, value, _ := strings.Cut(parameter, "=")
	if key == "pci" {
		return slices.ContainsFunc(s.values(key), func(v string) bool { return slices.Contains(strings.Split(v, ","), value) })
	}
	v, ok := s.effective(key)
	return ok && v == value
}

// bootParameters is the remedy that puts parameters on the kernel's command line, where this host keeps it: the loader
// that booted it is known by what it adds to the line. A parameter that stands there with another value is changed in its
// place, since of two the last one wins. labd itself never writes that line.
func (s System) bootParameters(title string, risk finding.Risk, parameters string) finding.Remedy {
	out := finding.Remedy{Title: title, Risk: risk}
	file, refresh := s.loader()
	var add []string
	var elsewhere []string
	for parameter := range strings.FieldsSeq(parameters) {
		key, value, _ := strings.Cut(parameter, "=")
		old := slices.DeleteFunc(s.values(key), func(v string) bool { return v == value })
		if key == "pci" || len(old) == 0 {
			add = append(add, parameter)
			continue
		}
		now, _ := s.effective(key)
		if len(s.values(key)) > 1 {
			out.Title += fmt.Sprintf("; %s is on the command line %d times, and the last one, %s, counts: change it to %s", key, len(s.values(key)), now, value)
		} else {
			out.Title += fmt.Sprintf("; change %s=%s to %s=%s where it stands, since a second one before it would not count", key, old[0], key, value)
		}
		places := s.filesWith(key)
		for _, place := range places {
			out.Commands = append(out.Commands, fmt.Sprintf(`sed -i 's/\b%s=[^ "]*/%s/g' %s`, regexp.QuoteMeta(key), parameter, place))
		}
		if len(places) == 0 {
			elsewhere = append(elsewhere, fmt.Sprintf("# replace %s=%s by %s", key, old[len(old)-1], parameter))
		}
	}
	words := strings.Join(add, " ")
	switch {
	case file == "":
		out.Title += "; see where this host keeps its kernel command line"
		if s.raspberry() {
			out.Title += ": on a Raspberry Pi in /boot/firmware/cmdline.txt"
		}
		if words != "" {
			elsewhere = append(elsewhere, "# add: "+words)
		}
	case words != "" && file == cmdlineFile:
		out.Commands = append(out.Commands, "sed -i '1s/$/ "+words+"/' "+cmdlineFile)
	case words != "":
		out.Commands = append(out.Commands, "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&"+words+" /' "+grubFile)
	}
	if len(elsewhere) > 0 && file != "" {
		out.Commands = append(out.Commands, "grep -n "+shellWord(strings.Fields(parameters)[0][:strings.IndexByte(strings.Fields(parameters)[0]+"=", '=')])+" -r /etc/default/grub /etc/default/grub.d /etc/kernel/cmdline")
	}
	out.Commands = append(append(out.Commands, elsewhere...), refresh...)
	return out
}

// loader is the file with the command line of the loader that booted the host, and what brings a change of it to the loader; file
// is "" for a loader that is not known.
func (s System) loader() (file string, refresh []string) {
	switch {
	case strings.Contains(s.CommandLine, `initrd=\EFI\proxmox`):
		return cmdlineFile, []string{"proxmox-boot-tool refresh", "reboot"}
	case strings.Contains(s.CommandLine, "BOOT_IMAGE="):
		refresh = []string{"update-grub"}
		if s.BootTool {
			refresh = append(refresh, "proxmox-boot-tool refresh")
		}
		return grubFile, append(refresh, "reboot")
	default:
		return "", nil
	}
}

// filesWith are the files of the loader that booted the host in which a parameter stands.
func (s System) filesWith(key string) []string {
	file, _ := s.loader()
	var out []string
	for name, text := range s.BootFiles {
		if (name == cmdlineFile) == (file == cmdlineFile) && file != "" && strings.Contains(text, key+"=") {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
