package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Mount is one line of the host's mount table.
type Mount struct {
	// ID and Parent are the kernel's mount ids; a later mount on the same point hides an earlier one.
	ID, Parent int
	// Device is "major:minor" of the file system (st_dev).
	Device string
	// Root is the path inside the file system that is mounted: not "/" for a bind mount of a directory.
	Root string
	// Point is where it is mounted, Type the file system type and Source the device or server.
	Point, Type, Source string
}

// Mounts is the mount table of the host's init (<procfs>/1/mountinfo), since a sandboxed labd has one of its own;
// where that does not exist, as in a fixture tree, labd's own. Reading it touches no mounted file system.
func (h *Host) Mounts(ctx context.Context) ([]Mount, error) {
	mounts, err := ReadTable(ctx, h, filepath.Join(h.Procfs, "1/mountinfo"), ParseMountinfo)
	if err != nil {
		own, ownErr := ReadTable(ctx, h, filepath.Join(h.Procfs, "self/mountinfo"), ParseMountinfo)
		if ownErr != nil {
			return nil, fmt.Errorf("read the mount table: %w", errors.Join(err, ownErr))
		}
		mounts = own
	}
	return mounts, nil
}

// ParseMountinfo reads the format of /proc/PID/mountinfo (proc(5)):
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//
// A line that is none of it is an error, since a mount that is overlooked looks like one that is gone; empty lines are not.
func ParseMountinfo(r io.Reader) ([]Mount, error) {
	var mounts []Mount
	// The options alone may fill a page (fs/proc_namespace.c), and each of the other fields one.
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, 0, 16<<10), 1<<20)
	for scanner.Scan() {
		line := scanner.Text()
		if strings.TrimSpace(line) == "" {
			continue
		}
		m, ok := parseMount(line)
		if !ok {
			return nil, fmt.Errorf("read the mount table: not a line of it: %.200q", line)
		}
		mounts = append(mounts, m)
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	return mounts, nil
}

func parseMount(line string) (m Mount, ok bool) {
	// The source may be empty, so fields are what stands between single spaces.
	fields := strings.Split(strings.TrimSpace(line), " ")
	if len(fields) < 9 {
		return m, false
	}
	end := slices.Index(fields[6:], "-") // behind any number of optional fields
	if end < 0 || len(fields) < 6+end+3 {
		return m, false
	}
	var err1, err2 error
	m.ID, err1 = strconv.Atoi(fields[0])
	m.Parent, err2 = strconv.Atoi(fields[1])
	major, minor, _ := strings.Cut(fields[2], ":")
	if err1 != nil || err2 != nil || !isNumber(major) || !isNumber(minor) {
		return m, false
	}
	m.Device, m.Root, m.Point = fields[2], unescapeMount(fields[3]), unescapeMount(fields[4])
	m.Type, m.Source = unescapeMount(fields[6+end+1]), unescapeMount(fields[6+end+2])
	return m, true
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// unescapeMount undoes the \ooo that the kernel writes for space, tab, newline, backslash and # (seq_file, mangle_path).
func unescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// MountAt is the mount that is seen at point, the last one when several are stacked.
func MountAt(mounts []Mount, point string) (Mount, bool) {
	for i := len(mounts) - 1; i >= 0; i-- {
		if mounts[i].Point == point {
			return mounts[i], true
		}
	}
	return Mount{}, false
}
