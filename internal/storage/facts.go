package storage

import (
	"iter"
	"path"
	"strings"
	"time"

	"labd/internal/host"
	"labd/internal/pve"
)

// Facts are what was observed. Nothing was mounted, activated or started for them.
type Facts struct {
	At   time.Time
	Node string
	// Cluster is what /etc/pve says of itself; ClusterErr is why it could not be read.
	Cluster    pve.Cluster
	ClusterErr error
	// Config is storage.cfg; nil when it is missing, empty or unreadable, with ConfigErr saying which. That must never
	// be taken for "no storages".
	Config    *pve.StorageConfig
	ConfigErr error
	Mounts    []host.Mount
	MountsErr error
	// Sources are what should be mounted, by mount point.
	Sources map[string]Source
	// Devices are the states of the devices that the sources name, by that name.
	Devices map[string]Device
	// Directories are the storage directories on local file systems, by path.
	Directories map[string]Directory
	// References are the places that name a storage, by id; ReferencesErr says that they may be incomplete.
	References    map[string][]pve.Reference
	ReferencesErr error
	// Users is what user.cfg says of storages; UsersErr is why it could not be read.
	Users    pve.UserConfig
	UsersErr error
	// GoneSince is since when a storage has been found gone, by id.
	GoneSince map[string]time.Time
}

// Source says what should be mounted at a point, and where that is written.
type Source struct {
	// What is the device as written: a path, or UUID=…, LABEL=…, PARTUUID=…, PARTLABEL=… in fstab.
	What string
	// Point is where it should be mounted.
	Point string
	// Unit is the mount unit's name. File is the unit file, or fstab.
	Unit, File string
	// InFstab says that fstab has a line for the point: the unit is generated from it, or would be when the unit file
	// is gone.
	InFstab bool
	// Wants are the links that enable the unit.
	Wants []string
}

// Device is whether a device is there.
type Device int

// States of a device.
const (
	// DeviceUnknown says that it cannot be told: the directory of its links is missing, or could not be read.
	DeviceUnknown Device = iota
	DevicePresent
	DeviceGone
)

// Directory is what is known of a storage's directory.
type Directory struct {
	Exists bool
	// Entries is how many files lie in it, at most 1,000 are counted.
	Entries int
	// Err is why it could not be looked at.
	Err error
}

// sourceOf is where a storage should be mounted, and the source for it, if any. PVE may insist on a mount point; else
// it is the nearest directory at or above the path that a unit or fstab names.
func (f *Facts) sourceOf(s *pve.StorageSection) (point string, source Source, ok bool) {
	if point = s.MountPoint(); point != "" {
		source, ok = f.Sources[path.Clean(point)]
		return path.Clean(point), source, ok
	}
	for dir := range upwards(s.Path()) {
		if source, ok = f.Sources[dir]; ok {
			return dir, source, true
		}
	}
	return path.Clean(s.Path()), Source{}, false
}

// mountedAt is the file system that is seen at a point. An automount is none: it only waits for somebody to look.
func mountedAt(mounts []host.Mount, point string) (host.Mount, bool) {
	m, ok := host.MountAt(mounts, point)
	return m, ok && m.Type != "autofs"
}

// upwards yields a directory and those above it, without the root.
func upwards(dir string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for dir = path.Clean(dir); dir != "/" && dir != "."; dir = path.Dir(dir) {
			if !yield(dir) {
				return
			}
		}
	}
}

// isBelow tells whether p is dir or lies below it.
func isBelow(p, dir string) bool {
	p, dir = path.Clean(p), path.Clean(dir)
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}

// mountOf is the mount that a path lies on.
func mountOf(mounts []host.Mount, dir string) (host.Mount, bool) {
	var best host.Mount
	found := false
	for _, m := range mounts {
		if (m.Point == "/" || m.Point == dir || strings.HasPrefix(dir, m.Point+"/")) && (!found || len(m.Point) >= len(best.Point)) {
			best, found = m, true
		}
	}
	return best, found
}

// isNetworkFS tells whether a file system may hang when its server is away.
func isNetworkFS(fsType string) bool {
	for _, prefix := range []string{"nfs", "cifs", "smb", "ceph", "fuse", "9p", "glusterfs", "afs", "autofs"} {
		if strings.HasPrefix(fsType, prefix) {
			return true
		}
	}
	return false
}
