package storage

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"labd/internal/host"
)

// cryptLine is one line of crypttab(5).
type cryptLine struct {
	Name, Device, Key, Options string
}

// parseCrypttab reads crypttab(5): name, device, key file, options.
func parseCrypttab(data []byte) (out []cryptLine) {
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		fields = append(fields, "", "")
		out = append(out, cryptLine{fields[0], strings.Trim(fields[1], `"'`), fields[2], fields[3]})
	}
	return out
}

// lockedDisks are the disks of crypttab that are there, or may be, and not unlocked, in words.
func lockedDisks(reader *host.Reader, paths host.Paths) (out []string) {
	data, err := reader.File(filepath.Join(paths.Etc, "crypttab"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return []string{"crypttab cannot be read (" + err.Error() + ")"}
	}
	devices := newDeviceFinder(reader, paths)
	for _, line := range parseCrypttab(data) {
		if _, err := reader.Stat(filepath.Join(paths.Dev, "mapper", line.Name)); err == nil {
			continue
		}
		if file, ok := strings.CutPrefix(line.Device, "/"); ok && !strings.HasPrefix(line.Device, "/dev/") {
			if _, err := reader.Stat(filepath.Join(filepath.Dir(paths.Etc), file)); errors.Is(err, fs.ErrNotExist) {
				continue // a container in a file that is not there
			}
		} else if devices.find(line.Device) == DeviceGone {
			continue
		}
		out = append(out, line.Device+", which crypttab has as "+line.Name+", is not unlocked")
	}
	return out
}
