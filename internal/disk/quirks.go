package disk

import (
	"slices"
	"strings"
)

//go:generate go run ./quirkgen quirks.tsv quirks_table.go

// Quirks that labd's conclusions need, by the kernel's names in lower case (enum nvme_quirks, drivers/nvme/host/nvme.h).
const (
	quirkBogusNID  = "bogus_nid"
	quirkBrokenMSI = "broken_msi"
)

type entryKind int

const (
	entryID entryKind = iota
	entryCore
	entryBoard
	entryChip
)

// quirkEntry is one row of quirks.tsv. A vendor or device of 0 is any.
type quirkEntry struct {
	kind           entryKind
	vendor, device uint16
	match          []match
	// at61, at612 and at73 are the quirks in 6.1.192, 6.12.117 and 7.3.4, joined by commas; "-" without entry, "?" unknown.
	at61, at612, at73 string
	since             []since
	name              string
}

type match struct {
	key    string
	values []string
}

// since is a release that first had a quirk; patch is mainline for one that is not of a stable series.
type since struct {
	quirk               string
	major, minor, patch int
}

const mainline = -1

// fits reports whether an entry is about a drive in a machine.
func (e quirkEntry) fits(fn Function, machine DMI) bool {
	if e.vendor != 0 && e.vendor != fn.Vendor || e.device != 0 && e.device != fn.Device {
		return false
	}
	model, firmware := "", ""
	if len(fn.Controllers) > 0 {
		model, firmware = fn.Controllers[0].Model, fn.Controllers[0].Firmware
	}
	values := map[string]string{
		"model": model, "firmware": firmware, "sys_vendor": machine.SysVendor, "product_name": machine.ProductName,
		"board_vendor": machine.BoardVendor, "board_name": machine.BoardName,
	}
	for _, m := range e.match {
		value := values[m.key]
		if !slices.ContainsFunc(m.values, func(want string) bool {
			if e.kind == entryChip {
				return strings.Contains(strings.ToUpper(value), strings.ToUpper(want))
			}
			return value == want
		}) {
			return false
		}
	}
	return true
}

// Chips that conclusions are drawn from.
const chipMAP1602 = "MAP1602"

// chip names the controller chip of a drive by its ids or else its model; "" when it is not known. Maxio's MAP1602 comes
// under its own id and, rebadged by Longsys, under 1d97:1602, which no kernel's table has.
func chip(fn Function) string {
	for _, e := range quirkTable {
		if e.kind == entryChip && e.fits(fn, DMI{}) {
			return e.name
		}
	}
	return ""
}

// Presence is whether a kernel treats a drive with a quirk.
type Presence int

// Presences. Likely: the kernel's series had it at its end, and when it came is not known.
const (
	PresenceUnknown Presence = iota
	PresenceNo
	PresenceLikely
	PresenceYes
)

// hasQuirk reports whether a kernel treats a drive with a quirk. Where the running kernel says so itself (7.x), ask
// Controller.Quirks instead.
func hasQuirk(fn Function, machine DMI, r Release, quirk string) Presence {
	best := PresenceNo
	idSeen := false
	for _, e := range quirkTable {
		if e.kind == entryChip || !e.fits(fn, machine) || e.kind == entryID && idSeen {
			continue
		}
		idSeen = idSeen || e.kind == entryID
		switch p := e.has(r, quirk); {
		case p == PresenceUnknown && best == PresenceNo:
			best = PresenceUnknown
		case p > PresenceNo:
			best = max(best, p)
		}
	}
	return best
}

// quirksOf are the quirks that a kernel has for a drive, at least likely.
func quirksOf(fn Function, machine DMI, r Release) []string {
	var out []string
	for _, e := range quirkTable {
		if e.kind == entryChip || !e.fits(fn, machine) {
			continue
		}
		for _, column := range []string{e.at61, e.at612, e.at73} {
			for _, quirk := range quirkNames(strings.ReplaceAll(column, ",", "\n")) {
				if hasQuirk(fn, machine, r, quirk) >= PresenceLikely {
					out = append(out, quirk)
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// quirkNames reads quirks as the kernel's attribute has them: one on a line, or "none".
func quirkNames(text string) []string {
	var out []string
	for name := range strings.FieldsSeq(text) {
		if name != "none" && name != "-" && name != "?" {
			out = append(out, name)
		}
	}
	return out
}

// in reads one column.
func in(column, quirk string) Presence {
	switch {
	case column == "?":
		return PresenceUnknown
	case slices.Contains(strings.Split(column, ","), quirk):
		return PresenceYes
	default:
		return PresenceNo
	}
}

// has reports whether a kernel has the entry's quirk. Only what is known counts: the releases that first had it, and the
// three releases whose tables were read; in between it is likely where both ends have it.
func (e quirkEntry) has(r Release, quirk string) Presence {
	at61, at612, at73 := in(e.at61, quirk), in(e.at612, quirk), in(e.at73, quirk)
	if r.Vendor {
		return PresenceUnknown
	}
	if p, ok := e.sinceKnown(r, quirk); ok {
		return p
	}
	both := func(a, b, same Presence) Presence {
		switch {
		case a != b:
			return PresenceUnknown
		case a == PresenceYes:
			return same
		}
		return a
	}
	stable := r.PatchKnown && !r.PVE // a Proxmox kernel's third number is of its own
	switch {
	case !r.before(7, 3):
		return at73
	case !r.before(6, 13), r.is(6, 12) && stable && r.Patch >= 117:
		return both(at612, at73, PresenceYes)
	case r.is(6, 12), !r.before(6, 2):
		return both(at61, at612, PresenceLikely)
	case r.is(6, 1) && stable && r.Patch >= 192:
		return at61
	case at61 == PresenceYes && r.is(6, 1):
		return PresenceLikely
	case at61 == PresenceYes:
		return PresenceUnknown
	default:
		return at61
	}
}

// sinceKnown answers by the releases that first had the quirk, where they say something about r.
func (e quirkEntry) sinceKnown(r Release, quirk string) (Presence, bool) {
	for _, s := range e.since {
		if s.quirk != quirk {
			continue
		}
		switch {
		case s.patch == mainline && !r.before(s.major, s.minor) && !(r.Candidate && r.is(s.major, s.minor)):
			return PresenceYes, true
		case s.patch != mainline && r.is(s.major, s.minor) && r.PatchKnown && !r.PVE:
			if r.Patch >= s.patch {
				return PresenceYes, true
			}
			return PresenceNo, true
		}
	}
	return PresenceUnknown, false
}
