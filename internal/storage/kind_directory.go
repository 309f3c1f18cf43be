package storage

import (
	"path"
	"path/filepath"

	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/layer"
	"labd/internal/pve"
)

// directory is the type whose volumes are files below a path.
type directory struct{ local }

func (directory) observe(q *questions, s *pve.StorageSection) {
	q.directories = append(q.directories, s)
}
func (directory) backing(*pve.StorageSection) []layer.Layer { return nil }
func (directory) lost() string                              { return "device" }

// judge judges by the mount that it should be on. A device that is gone counts even when
// the entry is switched off. A mount counts as dead only when its own device is gone as well: somebody may have mounted
// another disk there by hand.
func (directory) judge(f *Facts, e *Entry) {
	if f.MountsErr != nil {
		e.set(VerdictUnknown, "the mount table cannot be read: %v", f.MountsErr)
		return
	}
	s := e.section
	point, source, hasSource := f.sourceOf(s)
	e.point, e.source = point, source
	mount, mounted := mountedAt(f.Mounts, point)
	e.mounted, e.automount = mounted, mount.Type == "autofs"
	device := f.Devices[source.What]
	if hasSource && device != DevicePresent && devicePath("/dev", source.What) != "" {
		e.proof = f.prove(source)
		device = e.proof.state
	}
	switch {
	case hasSource && device != DevicePresent && source.Twice && !mounted:
		e.set(VerdictUnknown, "fstab has two lines for %s, which name different devices", point)
	case hasSource && device == DeviceGone && mounted:
		judgeMountWithoutDevice(f, e, mount)
	case hasSource && device == DeviceGone:
		e.evidence = append(e.evidence, e.proof.evidence...)
		if insists(f, e) {
			e.set(VerdictGone, "%s, which %s names for %s, does not exist", source.What, where(source), point)
			return
		}
		e.set(VerdictMasked, "%s does not exist, and PVE writes to the file system below %s instead", source.What, point)
	case hasSource && device == DeviceUnknown && mounted && e.proof.reason != "" && f.isMissing(mount.Source):
		e.set(VerdictUnknown, "%s, which is mounted at %s, is not there; whether it is gone cannot be told: %s", mount.Source, point, e.proof.reason)
	case mounted && s.Type == "btrfs" && mount.Type != "btrfs":
		e.set(VerdictDown, "%s is a %s file system, and PVE wants btrfs", point, mount.Type)
	case mounted && (s.MountPoint() != "" || point == path.Clean(s.Path())):
		e.set(VerdictOK, "mounted")
	case mounted:
		judgePlainDirectory(f, e)
	case hasSource && devicePath("/dev", source.What) == "":
		judgeUnmounted(f, e, "is not mounted")
	case hasSource && device == DevicePresent:
		judgeUnmounted(f, e, "is there and not mounted")
	case hasSource && e.proof.down:
		e.evidence = append(e.evidence, e.proof.evidence...)
		judgeUnmounted(f, e, "is not there: "+e.proof.reason)
	case hasSource:
		e.evidence = append(e.evidence, e.proof.evidence...)
		e.set(VerdictUnknown, "whether %s exists cannot be told: %s", source.What, e.proof.reason)
	case s.MountPoint() != "":
		e.set(VerdictDown, "%s is not mounted, and neither a unit nor fstab says what should be", point)
	default:
		judgePlainDirectory(f, e)
	}
}

// isMissing reports whether what is mounted is a device whose name is not there.
func (f *Facts) isMissing(device string) bool {
	state, known := f.Devices[device]
	return known && state != DevicePresent
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
	device, known := f.Devices[mount.Source]
	if known && device == DeviceGone {
		device = f.prove(Source{What: mount.Source}).state
		if isKernelName(mount.Source) && !isVolumeName(mount.Source) {
			device = DeviceGone // the kernel's name of what is mounted does not move
		}
	}
	switch {
	case known && device == DeviceGone:
		e.evidence = append(e.evidence, e.proof.evidence...)
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

func (directory) isHere(f *Facts, e *Entry) bool {
	return e.source.What != "" && f.Devices[e.source.What] == DevicePresent
}

func (directory) explainGone(x *explanation) { x.putDiskBack() }

func (directory) explainDown(x *explanation) {
	if x.e.source.Unit != "" && x.e.source.What != "" {
		x.remedy(finding.RiskNone, "mount it", "systemctl start "+shellWord(x.e.source.Unit), "journalctl -b -u "+shellWord(x.e.source.Unit))
	}
}

// isDirectory reports whether a type is a directory on some local file system.
func isDirectory(storageType string) bool {
	switch kindOf(storageType).(type) {
	case directory, btrfs:
		return true
	}
	return false
}
