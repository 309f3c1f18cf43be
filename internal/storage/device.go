package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"labd/internal/host"
)

// devicePath is where a device is found below dev, or "" for what is no local device.
func devicePath(dev, what string) string {
	for prefix, dir := range map[string]string{
		"UUID=": "disk/by-uuid", "LABEL=": "disk/by-label", "PARTUUID=": "disk/by-partuuid", "PARTLABEL=": "disk/by-partlabel",
	} {
		if value, ok := strings.CutPrefix(what, prefix); ok {
			return path.Join(dev, dir, linkName(strings.Trim(value, `"'`)))
		}
	}
	if rest, ok := strings.CutPrefix(what, "/dev/"); ok {
		return path.Join(dev, rest)
	}
	return ""
}

// linkName is how udev writes a label as a file name: a blank is \x20 (systemd, encode_devnode_name).
func linkName(label string) string {
	var b strings.Builder
	for i := 0; i < len(label); {
		r, size := utf8.DecodeRuneInString(label[i:])
		switch c := label[i]; {
		case size > 1:
			b.WriteRune(r)
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("#+-.:=@_", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
		i += size
	}
	return b.String()
}

// isAssembled tells a name of a device that something has to put together first: it is missing while an encrypted disk
// is locked, a volume group inactive or an array stopped, with all disks in place.
func isAssembled(what string) bool {
	for _, prefix := range []string{"/dev/mapper/", "/dev/dm-", "/dev/md", "/dev/zvol/", "/dev/disk/by-id/dm-", "/dev/disk/by-id/md-", "/dev/disk/by-id/lvm-"} {
		if strings.HasPrefix(what, prefix) {
			return true
		}
	}
	return false
}

// isFileSystemName tells a name that lies inside what is mounted. While an encrypted disk is locked, nobody can read it.
func isFileSystemName(what string) bool {
	for _, prefix := range []string{"UUID=", "LABEL=", "/dev/disk/by-uuid/", "/dev/disk/by-label/"} {
		if strings.HasPrefix(what, prefix) {
			return true
		}
	}
	return false
}

// isKernelName tells a name that may be another disk's after the next boot, or the next time it is plugged in.
func isKernelName(what string) bool {
	return strings.HasPrefix(what, "/dev/") && !strings.HasPrefix(what, "/dev/disk/") || strings.HasPrefix(what, "/dev/disk/by-path/")
}

// deviceFinder tells whether devices are there. It lists each directory of links once.
type deviceFinder struct {
	reader *host.Reader
	paths  host.Paths
	locked bool
	names  map[string][]string
}

// newDeviceFinder returns a finder; locked says that an encrypted disk is there and not unlocked.
func newDeviceFinder(reader *host.Reader, paths host.Paths, locked bool) *deviceFinder {
	return &deviceFinder{reader: reader, paths: paths, locked: locked, names: map[string][]string{}}
}

// find tells whether a device is there. It is gone only when the directory it should be in can be read and lacks it: a
// missing /dev/disk/by-uuid says nothing about a disk.
func (d *deviceFinder) find(what string) Device {
	file := devicePath(d.paths.Dev, what)
	if file == "" || strings.Contains(what, "%") { // systemd.unit(5), specifiers
		return DeviceUnknown
	}
	if _, err := d.reader.Stat(file); err == nil {
		return DevicePresent
	} else if !errors.Is(err, fs.ErrNotExist) || isAssembled(what) {
		return DeviceUnknown
	}
	dir := filepath.Dir(file)
	names, known := d.names[dir]
	if !known {
		var err error
		if names, err = d.reader.Names(dir); err != nil {
			return DeviceUnknown
		}
		d.names[dir] = names
	}
	base := filepath.Base(file)
	for _, name := range names {
		if name != base && strings.EqualFold(name, base) {
			return DeviceUnknown // mount(8) and a person may take the one for the other
		}
	}
	return DeviceGone
}

// source is find for what should be mounted. A file system that may lie in a locked disk is not gone.
func (d *deviceFinder) source(what string) Device {
	device := d.find(what)
	if device == DeviceGone && isFileSystemName(what) && d.locked {
		return DeviceUnknown
	}
	return device
}

// removable tells whether a device is seen to be one that people take along: on USB, or with a medium that can be taken
// out.
func (d *deviceFinder) removable(what string) bool {
	file := devicePath(d.paths.Dev, what)
	if file == "" {
		return false
	}
	name := filepath.Base(file)
	if target, err := d.reader.Link(file); err == nil {
		name = filepath.Base(target)
	}
	class := filepath.Join(d.paths.Sysfs, "class/block", name)
	if target, err := d.reader.Link(class); err == nil && strings.Contains(target, "/usb") {
		return true
	}
	for _, attr := range []string{"removable", "../removable"} {
		if v, err := d.reader.Attr(class + "/" + attr); err == nil {
			return v == "1"
		}
	}
	return false
}

// hintsRemovable tells whether the names and options of a mount say that its disk comes and goes.
func hintsRemovable(s Source) bool {
	if strings.HasPrefix(s.What, "/dev/disk/by-id/usb-") || strings.HasPrefix(s.What, "/dev/disk/by-path/") && strings.Contains(s.What, "-usb-") {
		return true
	}
	return s.hasOption("noauto", "user", "users", "x-systemd.automount")
}

// hasOption tells whether a mount has one of these options.
func (s Source) hasOption(names ...string) bool {
	for option := range strings.SplitSeq(s.Options, ",") {
		if slices.Contains(names, strings.TrimSpace(option)) {
			return true
		}
	}
	return false
}

// hasLockedDisk tells whether a disk of crypttab(5) is there, or may be, and not unlocked.
func hasLockedDisk(reader *host.Reader, paths host.Paths) bool {
	data, err := reader.File(filepath.Join(paths.Etc, "crypttab"))
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	devices := newDeviceFinder(reader, paths, false)
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if _, err := reader.Stat(filepath.Join(paths.Dev, "mapper", fields[0])); err != nil && devices.find(fields[1]) != DeviceGone {
			return true
		}
	}
	return false
}
