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

// isKernelName tells a name that may be another disk's after the next boot, or the next time it is plugged in.
func isKernelName(what string) bool {
	return strings.HasPrefix(what, "/dev/") && !strings.HasPrefix(what, "/dev/disk/") || strings.HasPrefix(what, "/dev/disk/by-path/")
}

// deviceFinder tells whether the names of devices are there. It lists each directory once.
type deviceFinder struct {
	reader *host.Reader
	paths  host.Paths
	names  map[string]directoryNames
}

type directoryNames struct {
	names []string
	err   error
}

func newDeviceFinder(reader *host.Reader, paths host.Paths) *deviceFinder {
	return &deviceFinder{reader: reader, paths: paths, names: map[string]directoryNames{}}
}

func (d *deviceFinder) list(dir string) ([]string, error) {
	out, known := d.names[dir]
	if !known {
		out.names, out.err = d.reader.Names(dir)
		d.names[dir] = out
	}
	return out.names, out.err
}

// find reports whether the name of a device is there. It is missing only when the directory it should be in can be read and
// lacks it. udev makes a directory of links with its first link, so one that does not exist says that there is no such link
// where udev has made others, and nothing where it has made none. That a name is missing does not say that the device is.
func (d *deviceFinder) find(what string) Device {
	file := devicePath(d.paths.Dev, what)
	if file == "" || strings.Contains(what, "%") { // systemd.unit(5), specifiers
		return DeviceUnknown
	}
	if _, err := d.reader.Stat(file); err == nil {
		return DevicePresent
	} else if !errors.Is(err, fs.ErrNotExist) {
		return DeviceUnknown
	}
	dir := filepath.Dir(file)
	names, err := d.list(dir)
	if errors.Is(err, fs.ErrNotExist) && d.hasOtherLinks(dir) {
		return DeviceGone
	}
	if err != nil {
		return DeviceUnknown
	}
	base := filepath.Base(file)
	for _, name := range names {
		if name != base && strings.EqualFold(name, base) {
			return DeviceUnknown // mount(8) and a person may take the one for the other
		}
	}
	return DeviceGone
}

// hasOtherLinks reports whether a directory that does not exist would, if anything belonged into it: udev made links beside
// it, or it is one of the directories that a group, an array or a pool makes below /dev.
func (d *deviceFinder) hasOtherLinks(dir string) bool {
	links := filepath.Join(d.paths.Dev, "disk")
	if !isBelow(dir, links) {
		_, err := d.list(d.paths.Dev)
		return err == nil
	}
	kinds, err := d.list(links)
	return err == nil && slices.ContainsFunc(kinds, func(kind string) bool {
		names, err := d.list(filepath.Join(links, kind))
		return err == nil && len(names) > 0
	})
}

// links returns the names in a directory of links of udev.
func (d *deviceFinder) links(kind string) []string {
	names, _ := d.list(filepath.Join(d.paths.Dev, "disk", kind))
	return names
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
