package disk

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Release is a kernel release as uname -r prints it, taken apart.
type Release struct {
	Text                string
	Major, Minor, Patch int
	// PatchKnown is false where the third number is not the stable release, as in Debian's 6.1.0-28-amd64.
	PatchKnown bool
	// PVE says that it is a Proxmox kernel, Revision is its package revision: 3 in 6.2.16-3-pve.
	PVE      bool
	Revision int
	// ABI is Debian's number of a kernel's interface to modules, which stands where the stable release would: 28 in
	// 6.1.0-28-amd64. 0 where there is none.
	ABI int
	// Vendor says that a distribution other than Debian and Proxmox made it, as 5.14.0-362.el9 or 6.2.0-39-generic:
	// such kernels have fixes, and bugs, that their number does not tell.
	Vendor bool
	// Candidate says that it is a release candidate (-rcN).
	Candidate bool
}

var releasePattern = regexp.MustCompile(`^(\d{1,3})\.(\d{1,4})(?:\.(\d{1,5}))?(?:-(\d{1,6}))?(.*)$`)

// ParseRelease reads a kernel release.
func ParseRelease(text string) (Release, error) {
	m := releasePattern.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return Release{}, fmt.Errorf("%q is not a kernel release", text)
	}
	number := func(s string) int {
		n, _ := strconv.Atoi(s) // digits only, few enough
		return n
	}
	r := Release{Text: strings.TrimSpace(text), Major: number(m[1]), Minor: number(m[2]), Patch: number(m[3]), PatchKnown: m[3] != ""}
	// Backports for the former PVE release say so in between: 6.2.16-11-bpo11-pve.
	r.PVE = m[4] != "" && (m[5] == "-pve" || strings.HasPrefix(m[5], "-bpo") && strings.HasSuffix(m[5], "-pve"))
	r.Candidate = m[4] == "" && strings.HasPrefix(m[5], "-rc")
	if r.PVE {
		r.Revision = number(m[4])
	} else if m[4] != "" && r.Patch == 0 {
		// A distribution's ABI number stands where the stable release would.
		r.PatchKnown = false
		r.Vendor = !strings.HasSuffix(m[5], "-amd64") && !strings.HasSuffix(m[5], "-arm64")
		if !r.Vendor {
			r.ABI = number(m[4])
		}
	}
	return r, nil
}

// versionPattern finds the package that Debian writes behind the release in /proc/version: "Debian 6.1.119-1".
var versionPattern = regexp.MustCompile(`\bDebian (\d{1,3})\.(\d{1,4})\.(\d{1,5})-`)

// Refine takes the stable release from /proc/version, where Debian names it, when that is about the same kernel.
func (r Release) Refine(procVersion string) Release {
	if !strings.HasPrefix(procVersion, "Linux version "+r.Text+" ") {
		return r // paths or [kernel] release are moved
	}
	m := versionPattern.FindStringSubmatch(procVersion)
	if m == nil || m[1] != strconv.Itoa(r.Major) || m[2] != strconv.Itoa(r.Minor) {
		return r
	}
	r.Patch, _ = strconv.Atoi(m[3]) // digits only, few enough
	r.PatchKnown, r.Vendor = true, false
	return r
}

// The newest release whose sources labd's tables were made from.
const (
	newestMajor = 7
	newestMinor = 3
)

// lastMinor is the last release of each major number that ended (kernel.org).
var lastMinor = map[int]int{2: 6, 3: 19, 4: 20, 5: 19, 6: 19}

// exists reports whether there is, or may be some day, a kernel of this release.
func (r Release) exists() bool {
	last, ended := lastMinor[r.Major]
	return r.Major >= 2 && (!ended || r.Minor <= last) && r.Major <= newestMajor+3
}

// beyondTables reports whether the release is newer than what labd knows.
func (r Release) beyondTables() bool { return !r.before(newestMajor, newestMinor+1) }

// before reports whether r is an earlier version than major.minor.
func (r Release) before(major, minor int) bool {
	return r.Major < major || r.Major == major && r.Minor < minor
}

func (r Release) is(major, minor int) bool { return r.Major == major && r.Minor == minor }

// Fix is whether a kernel has a bug's fix.
type Fix int

// States of a fix.
const (
	FixUnknown Fix = iota
	// NeverHad: the kernel is older than the bug.
	NeverHad
	Fixed
	Affected
	// AffectedLikely: no changelog of the distribution names the fix, so it is taken for affected.
	AffectedLikely
)

// fixIn61 is stableFix for 6.1, of which Debian 12 names an ABI: its 6.1.0-11 is 6.1.38, -12 is 6.1.52, -13 is 6.1.55.
func fixIn61(r Release, patch, abi int) Fix {
	switch {
	case r.PatchKnown || r.ABI == 0:
		return stableFix(r, patch)
	case r.ABI >= abi:
		return Fixed
	default:
		return Affected
	}
}

// stableFix is the first fixed patch of a stable series.
func stableFix(r Release, patch int) Fix {
	switch {
	case !r.PatchKnown:
		return FixUnknown
	case r.Patch >= patch:
		return Fixed
	default:
		return Affected
	}
}

// CRTO reports whether the kernel gives up drives that advertise ready modes with a ready time of 0: the code came with
// 5.19 (354201c53e61), the fix with 6.6, 6.5.5 and 6.1.55 (6cc834ba6299, "nvme: avoid bogus CRTO values").
func (r Release) CRTO() Fix {
	switch {
	case r.Major == 0, r.Vendor && r.before(6, 6), r.Candidate && r.is(6, 6): // the fix came with 6.6-rc2
		return FixUnknown
	case r.before(5, 19):
		return NeverHad
	case !r.before(6, 6):
		return Fixed
	case r.is(6, 5):
		return stableFix(r, 5)
	case r.is(6, 1):
		return fixIn61(r, 55, 13)
	case r.is(6, 2) && r.PVE && r.Revision >= 6:
		// Based on Ubuntu-6.2.0-36 and later, which may carry the fix; no changelog says so.
		return AffectedLikely
	default: // 5.19, 6.0, 6.2, 6.3, 6.4 ended before the fix
		return Affected
	}
}

// DuplicateIDs reports whether the kernel rejects a namespace whose ids another drive has too: the check came with 5.18
// (2079f41ec6ff), and from 6.5, 6.4.5 and 6.1.40 on (ac522fc6c316) it clears the ids of PCIe drives instead. Proxmox
// fixed it in pve-kernel 6.2.16-6 (bug 4770).
func (r Release) DuplicateIDs() Fix {
	switch {
	case r.Major == 0, r.Vendor && r.before(6, 5), r.Candidate && r.is(6, 5): // the fix came with 6.5-rc2
		return FixUnknown
	case r.before(5, 18):
		return NeverHad
	case !r.before(6, 5):
		return Fixed
	case r.is(6, 4):
		return stableFix(r, 5)
	case r.is(6, 2) && r.PVE && r.Revision >= 6:
		return Fixed
	case r.is(6, 1):
		return fixIn61(r, 40, 12)
	default:
		return Affected
	}
}
