package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"

	"github.com/moby/sys/mountinfo"
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
	data, err := h.ReadFile(ctx, filepath.Join(h.Procfs, "1/mountinfo"))
	if err != nil {
		own, ownErr := h.ReadFile(ctx, filepath.Join(h.Procfs, "self/mountinfo"))
		if ownErr != nil {
			return nil, fmt.Errorf("read the mount table: %w", errors.Join(err, ownErr))
		}
		data = own
	}
	return ParseMountinfo(data)
}

var blankLines = regexp.MustCompile(`(?m)^\s*\n`)

// ParseMountinfo reads the format of /proc/PID/mountinfo (proc(5)).
func ParseMountinfo(data []byte) ([]Mount, error) {
	data = blankLines.ReplaceAll(data, nil) // a table kept as a file may have some; the parser takes none
	infos, err := mountinfo.GetMountsFromReader(bytes.NewReader(data), nil)
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	mounts := make([]Mount, 0, len(infos))
	for _, m := range infos {
		mounts = append(mounts, Mount{
			ID: m.ID, Parent: m.Parent, Device: fmt.Sprintf("%d:%d", m.Major, m.Minor),
			Root: m.Root, Point: m.Mountpoint, Type: m.FSType, Source: m.Source,
		})
	}
	return mounts, nil
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
