package storage

import (
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
	// Unit is the mount unit's name. File is the unit file, or fstab.
	Unit, File string
	// InFstab says that the unit is generated from fstab.
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

// devicePath is where a device is found below dev, or "" for what is no local device.
func devicePath(dev, what string) string {
	for prefix, dir := range map[string]string{
		"UUID=": "disk/by-uuid", "LABEL=": "disk/by-label", "PARTUUID=": "disk/by-partuuid", "PARTLABEL=": "disk/by-partlabel",
	} {
		if value, ok := strings.CutPrefix(what, prefix); ok {
			return path.Join(dev, dir, strings.Trim(value, `"`))
		}
	}
	if rest, ok := strings.CutPrefix(what, "/dev/"); ok {
		return path.Join(dev, rest)
	}
	return ""
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
