package disk

import (
	"fmt"
	"slices"
	"strings"

	"labd/internal/finding"
)

// Outcomes of a Prediction.
const (
	OutcomeRecognised = "recognised"  // the drive works
	OutcomeIDsCleared = "ids-cleared" // it works without its ids
	OutcomeRefused    = "refused"     // the kernel rejects its namespace for its ids
	OutcomeNotReady   = "not-ready"   // the kernel gives it up before it is ready
	OutcomeUnknown    = "unknown"
)

// Prediction is what another kernel would make of a drive. Reason is one sentence.
type Prediction struct {
	Outcome, Reason string
	Confidence      finding.Confidence
}

// Predict says of each drive of the report, in their order, what the kernel to would make of it. It knows what the
// drive's ids and this boot's log tell, the fixes of the releases and their quirk tables; it is pure.
func (r *Report) Predict(to Release) []Prediction {
	siblings, said := map[string]int{}, map[string]bool{}
	for _, d := range r.Drives {
		siblings[d.PCIID()]++
		if _, ok := last(d.history, EventBogusCRTO); ok {
			said[d.PCIID()] = true
		}
	}
	out := make([]Prediction, 0, len(r.Drives))
	for _, d := range r.Drives {
		out = append(out, prediction{d, r.running, to, r.machine, siblings[d.PCIID()] > 1, said[d.PCIID()]}.outcome())
	}
	return out
}

// prediction is one drive under another kernel.
type prediction struct {
	Drive
	running, to Release
	machine     DMI
	sibling     bool // another drive has the same PCI ids
	// kindSaid says that the running kernel named a drive with these PCI ids for its ready times. It does so for the first
	// of a boot alone, so it may be this one or not.
	kindSaid bool
}

func predict(outcome string, confidence finding.Confidence, format string, args ...any) Prediction {
	return Prediction{outcome, fmt.Sprintf(format, args...), confidence}
}

func (p prediction) outcome() Prediction {
	switch {
	case !p.to.exists():
		return predict(OutcomeUnknown, finding.Unknown, "labd knows no kernel of that release; uname -r or proxmox-boot-tool kernel list shows how they are called")
	case p.Missing && p.Known != nil && p.Known.Release != "" && p.Known.Release == p.to.Text && p.Known.Release != p.running.Text:
		return predict(OutcomeRecognised, finding.Likely, "it was last seen under that kernel")
	case p.Missing:
		return predict(OutcomeUnknown, finding.Unknown, "the drive is gone, and labd cannot tell whether another kernel would see it")
	case p.Unread:
		return predict(OutcomeUnknown, finding.Unknown, "the function cannot be read now")
	case p.hides():
		return predict(OutcomeUnknown, finding.Unknown, "the board's firmware hides drives; that is not the kernel's")
	case p.passedThrough():
		return predict(OutcomeUnknown, finding.Unknown, "it is passed through, so the guest's kernel decides")
	}
	if out, decided := p.ready(); decided {
		return out
	}
	if out, decided := p.ids(); decided {
		return out
	}
	if p.Rung != RungOK && !(p.Rung == RungDriver && p.neverReady() && p.gaveUp()) {
		return predict(OutcomeUnknown, finding.Unknown, "it does not work under the running kernel, and nothing is known of that which depends on the release")
	}
	if p.Vendor == 0x15b7 && (p.Device == 0x5008 || p.Device == 0x5009) && hasQuirk(p.Function, p.machine, p.to, quirkBrokenMSI) <= PresenceNo {
		return predict(OutcomeRecognised, finding.Likely, "it may lose interrupts: the work-around came with 6.8.10")
	}
	switch fix := p.to.CRTO(); {
	case p.proneToCRTO() && (fix == Affected || fix == AffectedLikely):
		return predict(OutcomeRecognised, finding.Likely, "it works under the running kernel, which has the same bug with ready times")
	case p.proneToCRTO():
		return predict(OutcomeRecognised, finding.Likely, "that kernel does not have the bug with ready times")
	}
	if p.to.beyondTables() {
		return predict(OutcomeRecognised, finding.Likely, "nothing known of this drive speaks against it; that release is newer than those that labd has read, up to %d.%d", newestMajor, newestMinor)
	}
	return predict(OutcomeRecognised, finding.Likely, "nothing known of this drive speaks against it")
}

// neverReady reports whether the drive is one that the log shows to have been given up while it said nothing at all.
func (p prediction) neverReady() bool {
	e, ok := last(p.history, EventNotReady)
	return ok && asBug(p.history, e)
}

// gaveUp reports whether the running kernel has the bug with ready times, so that one without it may bring the drive up.
func (p prediction) gaveUp() bool {
	fix := p.running.CRTO()
	return fix == Affected || fix == AffectedLikely
}

// proneToCRTO reports whether the drive is one whose firmware promises to be ready at once and is not.
func (p prediction) proneToCRTO() bool {
	return p.kindSaid || p.Chip == chipMAP1602 || p.neverReady()
}

// ready decides whether the kernel waits long enough.
func (p prediction) ready() (Prediction, bool) {
	if !p.proneToCRTO() {
		return Prediction{}, false
	}
	_, said := last(p.history, EventBogusCRTO)
	now, works := p.running.CRTO(), p.Controller() != nil
	switch fix := p.to.CRTO(); {
	case p.neverReady() && !works && (now == Fixed || now == NeverHad):
		return predict(OutcomeUnknown, finding.Unknown, "it does not come up under the running kernel either, which has no bug with ready times"), true
	case fix == Fixed || fix == NeverHad:
		return Prediction{}, false
	case fix == FixUnknown:
		return predict(OutcomeUnknown, finding.Unknown, "that release does not tell whether it has the bug with ready times, which such drives meet"), true
	case works && now == Affected:
		return Prediction{}, false // the same bug, and this drive's firmware is better
	case fix == AffectedLikely:
		return predict(OutcomeNotReady, finding.Likely, "no changelog of that kernel names the fix for the bug with ready times, which such drives meet"), true
	case said || p.neverReady():
		return predict(OutcomeNotReady, finding.Certain, "that kernel has the bug with ready times, and this drive's firmware meets it"), true
	case p.kindSaid:
		return predict(OutcomeNotReady, finding.Likely, "that kernel has the bug with ready times, and a drive of this kind meets it; the running kernel says so once a boot, for the first one"), true
	default:
		return predict(OutcomeNotReady, finding.Likely, "that kernel has the bug with ready times, and drives with a Maxio %s often meet it", p.Chip), true
	}
}

// ids decides what the kernel does about ids that are not the drive's own.
func (p prediction) ids() (Prediction, bool) {
	quirk := hasQuirk(p.Function, p.machine, p.to, quirkBogusNID)
	if e, ok := last(p.history, EventIDsTwice); ok && quirk < PresenceLikely {
		return predict(OutcomeRefused, finding.Likely, "namespace %d has the same ids as another of the drive, which every kernel checks", e.NSID), true
	}
	e, seen := last(p.history, EventIDsRejected, EventIDsCleared)
	hidden := !seen && !p.twin && p.sibling && slices.Contains(p.Quirks, quirkBogusNID) // ignored now, so nobody knows
	if !seen && !p.twin && !hidden {
		return Prediction{}, false
	}
	fix := p.to.DuplicateIDs()
	switch {
	case hidden && (quirk >= PresenceLikely || fix == NeverHad):
		return Prediction{}, false // as it is now
	case quirk >= PresenceLikely:
		return predict(OutcomeRecognised, finding.Likely, "that kernel ignores the ids of such drives"), true
	case hidden:
		return predict(OutcomeUnknown, finding.Unknown, "the running kernel ignores the ids of such drives and that one may not; two of them may have the same"), true
	case fix == NeverHad:
		return predict(OutcomeRecognised, finding.Likely, "that kernel does not check ids: two disks with the same ids appear, so nothing should go by id"), true
	case strings.Contains(e.Text, "ignoring nsid"):
		return predict(OutcomeRefused, finding.Certain, "the drive says that its namespaces may be shared, and such are rejected by every kernel that checks ids"), true
	case fix == Affected:
		return predict(OutcomeRefused, finding.Likely, "that kernel rejects the second of two drives with the same ids, and which is second changes from boot to boot"), true
	case fix == Fixed:
		return predict(OutcomeIDsCleared, finding.Likely, "that kernel clears the ids of the second of two drives with the same ids; both work"), true
	default:
		return predict(OutcomeUnknown, finding.Unknown, "that release does not tell what it does to drives with the same ids"), true
	}
}
