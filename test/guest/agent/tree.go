package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
)

// What is kept of a tree: whatever labd reads, and what people look at.
var (
	functionFiles = []string{
		"class", "vendor", "device", "subsystem_vendor", "subsystem_device", "enable", "power_state", "driver_override", "d3cold_allowed", "numa_node",
		"current_link_speed", "max_link_speed", "current_link_width", "max_link_width", "aer_dev_correctable", "aer_dev_nonfatal", "aer_dev_fatal",
		"aer_rootport_total_err_cor", "aer_rootport_total_err_nonfatal", "aer_rootport_total_err_fatal", "power/control", "power/runtime_status", "driver",
	}
	nvmeFiles = []string{
		"state", "model", "serial", "firmware_rev", "transport", "subsysnqn", "cntlid", "queue_count", "address", "hmb", "quirks", "iopolicy",
		"nsid", "wwid", "eui", "nguid", "uuid", "size", "ro", "hidden", "dev", "diskseq", "ana_state", "logical_block_size",
	}
	hostFiles = []string{"/proc/version", "/proc/cmdline", "/proc/uptime", "/proc/sys/kernel/random/boot_id"}
)

// tree prints what the machine's sysfs and kernel log say of its drives and the ports above them, as a text archive with
// symbolic links (test/fixture).
func tree() int {
	a := &txtar.Archive{}
	for _, link := range slices.Concat(glob("/sys/bus/pci/devices/*"), glob("/sys/class/nvme*/*"), glob("/sys/block/nvme*")) {
		target, err := filepath.EvalSymlinks(link)
		if err != nil || strings.HasPrefix(link, "/sys/bus") && !ofDrives(link) {
			continue
		}
		add(a, link)
		if strings.HasPrefix(link, "/sys/bus") {
			for _, name := range functionFiles {
				add(a, filepath.Join(target, name))
			}
			addNVMe(a, filepath.Join(target, "nvme"))
		}
	}
	for _, subsystem := range glob("/sys/devices/virtual/nvme-subsystem/*") {
		addNVMe(a, subsystem)
	}
	for _, file := range hostFiles {
		add(a, file)
	}
	log, err := kernelLog()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var drives strings.Builder
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "] pci ") { // how the bus was set up
			drives.WriteString(line)
		}
	}
	a.Files = append(a.Files, txtar.File{Name: "dmesg", Data: []byte(drives.String())})
	fmt.Printf("%s", txtar.Format(a))
	return 0
}

func glob(pattern string) []string {
	names, _ := filepath.Glob(pattern) // of a pattern that is right
	return names
}

// ofDrives tells drives and the bridges that they are plugged into.
func ofDrives(function string) bool {
	class, _ := os.ReadFile(filepath.Join(function, "class"))
	return strings.HasPrefix(string(class), "0x0108") || strings.HasPrefix(string(class), "0x0604")
}

// addNVMe adds controllers and disks below a directory.
func addNVMe(a *txtar.Archive, dir string) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && slices.Contains(nvmeFiles, e.Name()) && e.Type().IsRegular() {
			add(a, path)
		}
		return nil // what cannot be read is left out
	})
}

// add adds a file or a link, where it is there and is text.
func add(a *txtar.Archive, path string) {
	name := strings.TrimPrefix(path, "/")
	if target, err := os.Readlink(path); err == nil {
		a.Files = append(a.Files, txtar.File{Name: name + " -> " + target})
		return
	}
	data, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(data), "\x00") {
		return
	}
	a.Files = append(a.Files, txtar.File{Name: name, Data: data})
}
