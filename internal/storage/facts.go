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
	// NoPVE says that this is no PVE host: its packages are not installed, and the directory of its configuration is not there.
	// On a PVE host the directory comes with package pve-cluster, and is empty while the cluster file system is down.
	NoPVE bool
	// Config is storage.cfg; nil when it is missing, empty or unreadable, with ConfigErr saying which. That must never
	// be taken for "no storages".
	Config    *pve.StorageConfig
	ConfigErr error
	// AccessErr is why PVE lets labd change no storage; nil where it does, and where that cannot be told.
	AccessErr error
	Mounts    []host.Mount
	MountsErr error
	// Sources are what should be mounted, by mount point.
	Sources map[string]Source
	// Devices are the states of the devices that the sources name, by that name.
	Devices map[string]Device
	// Directories are the storage directories on local file systems, by path.
	Directories map[string]Directory
	// Blocks are the block devices of the host, looked at where a name is missing.
	Blocks Blocks
	// Links are the names in the directories of udev's links, by "by-id" and so on.
	Links map[string][]string
	LVM   LVM
	ZFS   ZFS
	// Servers are the servers of network storages, by id.
	Servers map[string]Server
	// Stray are mount units and lines of fstab below /mnt/pve that no storage uses.
	Stray []Source
	// Traces are the volume groups of which LVM keeps a copy of the metadata: they were here once.
	Traces map[string]bool
	// NoMonitors says that neither ceph.conf nor a part of it names a monitor: no Ceph cluster is set up here.
	NoMonitors bool
	// References are the places that name a storage, by id, of those that may be removed; ReferencesErr says that they
	// may be incomplete.
	References    map[string][]pve.Reference
	ReferencesErr error
	// Elsewhere are files outside PVE that name the storage's directory, by id: "/etc/exports line 3".
	Elsewhere map[string][]string
	// Effects is what HA and replication say of guests.
	Effects Effects
	// Users is what user.cfg says of storages; UsersErr is why it could not be read.
	Users    pve.UserConfig
	UsersErr error
	// Seen is what is remembered of storages, by id.
	Seen map[string]Seen
	// Uptime is the time since boot; UptimeKnown is false where it cannot be read.
	Uptime      time.Duration
	UptimeKnown bool
	// Boot is the id of this boot, "" where it cannot be read.
	Boot string
	// Removable are the storages, by id, whose disk is seen to be a removable one right now.
	Removable map[string]bool
	// Text is storage.cfg as it is.
	Text []byte
	// PanelMounts are the mount points below /mnt/pve that have a unit or a line of fstab.
	PanelMounts map[string]bool
	// Secrets are the files of keys and passwords below /etc/pve/priv, by id: "storage/backup.enc".
	Secrets map[string][]string
	// FstabFile is fstab. VzdumpFile is vzdump.conf, and VzdumpLines are its lines by number from 1.
	FstabFile, VzdumpFile string
	VzdumpLines           map[int]string
	// Importers are the enabled units that import pools at boot, by unit: "zfs-import@tank.service".
	Importers map[string][]string
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
	// is gone. Line is that line, FstabWhat what it names.
	InFstab         bool
	Line, FstabWhat string
	// Twice says that fstab has another line for the point, which names another device.
	Twice bool
	// Type is the file system's type and Options are the mount's, as written.
	Type, Options string
	// Wants are the links that enable the unit.
	Wants []string
	// Needs are the units that the unit file names in Requires, BindsTo, Wants and After.
	Needs []string
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
	rest, below := strings.CutPrefix(p, dir)
	return below && (rest == "" || rest[0] == '/') || dir == "/"
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

// sectionText is the text of the section that begins at a line, with the empty line that ends it; ok is false when it
// swallows what looks like another section, for a person must say what is meant there.
func (f *Facts) sectionText(line int) (text string, ok bool) {
	lines := strings.SplitAfter(string(f.Text), "\n")
	if line < 1 || line > len(lines) {
		return "", false
	}
	var b strings.Builder
	b.WriteString(lines[line-1])
	for _, l := range lines[line:] {
		body := strings.TrimSuffix(l, "\n")
		if strings.TrimLeft(body, " \t") == body && strings.Contains(body, ":") && !strings.HasPrefix(body, "#") {
			return "", false
		}
		b.WriteString(l)
		if body == "" || body == "0" {
			break
		}
	}
	return b.String(), true
}

// endsBoot reports whether a boot ends in emergency mode while a source's device is missing: local-fs.target requires what
// fstab does not mark as nofail, noauto or of the network (systemd-fstab-generator(8)).
func (s Source) endsBoot() bool {
	for _, link := range s.Wants {
		if strings.HasSuffix(path.Dir(link), "local-fs.target.requires") {
			return true
		}
	}
	return path.Base(s.File) == "fstab" && !s.hasOption("nofail", "noauto", "_netdev", "x-systemd.automount")
}
