package storage

import (
	"path"
	"path/filepath"
	"strings"

	"labd/internal/host"
)

// judgeDirectory judges a dir or btrfs storage by the mount that it should be on. A device that is gone counts even when
// the entry is switched off. A mount counts as dead only when its own device is gone as well: somebody may have mounted
// another disk there by hand.
func judgeDirectory(f *Facts, e *Entry) {
	if f.MountsErr != nil {
		e.set(VerdictUnknown, "the mount table cannot be read: %v", f.MountsErr)
		return
	}
	s := e.section
	point, source, hasSource := f.sourceOf(s)
	e.point, e.source = point, source
	mount, mounted := mountedAt(f.Mounts, point)
	e.mounted, e.automount = mounted, mount.Type == "autofs"
	switch {
	case hasSource && f.Devices[source.What] == DeviceGone && mounted:
		judgeMountWithoutDevice(f, e, mount)
	case hasSource && f.Devices[source.What] == DeviceGone:
		if insists(f, e) {
			e.set(VerdictGone, "%s, which %s names for %s, does not exist", source.What, where(source), point)
			return
		}
		e.set(VerdictMasked, "%s does not exist, and PVE writes to the file system below %s instead", source.What, point)
	case mounted && s.Type == "btrfs" && mount.Type != "btrfs":
		e.set(VerdictDown, "%s is a %s file system, and PVE wants btrfs", point, mount.Type)
	case mounted && (s.MountPoint() != "" || point == path.Clean(s.Path())):
		e.set(VerdictOK, "mounted")
	case mounted:
		judgePlainDirectory(f, e)
	case hasSource && devicePath("/dev", source.What) == "":
		judgeUnmounted(f, e, "is not mounted")
	case hasSource && f.Devices[source.What] == DevicePresent:
		judgeUnmounted(f, e, "is there and not mounted")
	case hasSource:
		e.set(VerdictUnknown, "whether %s exists cannot be told", source.What)
	case s.MountPoint() != "":
		e.set(VerdictDown, "%s is not mounted, and neither a unit nor fstab says what should be", point)
	default:
		judgePlainDirectory(f, e)
	}
}

// insists tells whether PVE leaves a storage alone while nothing is mounted: because the entry says so, or because it
// wants btrfs and the file system below is none.
func insists(f *Facts, e *Entry) bool {
	if e.section.MountPoint() != "" {
		return true
	}
	below, ok := mountOf(f.Mounts, e.Path)
	return e.Type == "btrfs" && ok && below.Type != "btrfs"
}

// judgeMountWithoutDevice judges what is mounted where the device that should be is gone.
func judgeMountWithoutDevice(f *Facts, e *Entry, mount host.Mount) {
	what := e.source.What
	switch device, known := f.Devices[mount.Source]; {
	case known && device == DeviceGone:
		e.set(VerdictGone, "%s does not exist any more; its mount at %s lives on without it", what, e.point)
	case known && device == DeviceUnknown:
		e.set(VerdictUnknown, "%s does not exist; whether %s, which is mounted at %s, does cannot be told", what, mount.Source, e.point)
	default:
		// What is no device node, as a dataset, a share or a bind mount, is there.
		e.set(VerdictOK, "%s is mounted; %s, which %s names for %s, does not exist, so it will not be mounted at the next boot", mount.Source, what, where(e.source), e.point)
	}
}

// judgeUnmounted judges a storage whose file system could be mounted and is not.
func judgeUnmounted(f *Facts, e *Entry, state string) {
	if insists(f, e) {
		e.set(VerdictDown, "%s %s", e.source.What, state)
		return
	}
	e.set(VerdictMasked, "%s %s, and PVE writes to the file system below %s instead", e.source.What, state, e.point)
}

// judgePlainDirectory judges a directory that is no mount point and need not be one.
func judgePlainDirectory(f *Facts, e *Entry) {
	dir, known := f.Directories[e.Path]
	below, mounted := mountOf(f.Mounts, e.Path)
	switch {
	case !known:
		e.set(VerdictUnknown, "it lies on a network file system, which labd does not touch")
	case dir.Err != nil:
		e.set(VerdictUnknown, "it cannot be read: %v", dir.Err)
	case !dir.Exists:
		e.set(VerdictDown, "the directory %s does not exist", e.Path)
	case e.Type == "btrfs" && mounted && below.Type != "btrfs":
		e.set(VerdictDown, "%s lies on a %s file system, and PVE wants btrfs", e.Path, below.Type)
	default:
		e.set(VerdictOK, "the directory is there")
	}
}

func where(s Source) string {
	if filepath.Base(s.File) == "fstab" {
		return "fstab"
	}
	return "unit " + s.Unit
}

// follow gives a directory inside another storage's mount the verdict that follows from that one: a directory on a share
// that is not mounted, or on a pool that is not imported, is made anew by PVE on the file system below.
func follow(f *Facts, entries []Entry) {
	parents := map[string]*Entry{}
	for i := range entries {
		if point := entries[i].hostPoint(); point != "" {
			parents[point] = &entries[i]
		}
	}
	for i := range entries {
		e := &entries[i]
		if e.section == nil || !isDirectory(e.Type) || e.source.What != "" || e.section.Disabled() {
			continue
		}
		parent, point := parentOf(parents, e)
		if parent == nil {
			continue
		}
		_, seen := mountedAt(f.Mounts, point)
		switch {
		case seen && parent.Verdict == VerdictOK && e.Verdict == VerdictUnknown:
			e.set(VerdictOK, "it lies on storage %s, which is mounted", parent.ID)
		case seen && parent.Verdict == VerdictDown:
			e.set(VerdictDown, "it lies on storage %s, which is down: %s", parent.ID, parent.Reason)
		case !seen && (parent.Verdict == VerdictDown || parent.Verdict == VerdictGone) && e.Verdict == VerdictOK:
			e.set(VerdictMasked, "it lies on storage %s, which is %s, and PVE writes to the file system below %s instead", parent.ID, parent.Verdict, point)
		}
	}
}

// parentOf is the entry inside whose mount a directory lies, and that mount's point: a share, or a pool; nil when there
// is none.
func parentOf(parents map[string]*Entry, e *Entry) (parent *Entry, point string) {
	for dir := range upwards(e.Path) {
		if p := parents[dir]; p != nil && p != e {
			return p, dir
		}
	}
	return nil, ""
}

// hostPoint is where a share or a pool is mounted, "" for other entries. A pool is mounted at its own name unless its
// entry says otherwise.
func (e *Entry) hostPoint() string {
	switch {
	case e.section == nil || e.section.Malformed != "":
		return ""
	case e.Type == "zfspool":
		if m := e.section.Get("mountpoint"); m != "" {
			return path.Clean(m)
		}
		return "/" + strings.Trim(e.section.Get("pool"), "/")
	case isNetwork(e.Type) && e.Path != "":
		return path.Clean(e.Path)
	}
	return ""
}
