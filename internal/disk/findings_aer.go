package disk

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"labd/internal/finding"
)

// Rates of errors on a PCIe link, in an hour of uptime. Corrected errors harm nothing, but a link at its limit has thousands
// of them, and some day one that cannot be corrected.
const (
	manyCorrected  = 60
	floodCorrected = 3600
	// steadyErrors is the rate from which on errors that could not be mended are more than chance.
	steadyErrors = 1.0 / 24
	// manyUnknown is how many corrected errors are worth a word where the uptime is not known.
	manyUnknown = 100_000
)

// checkAER returns the finding of errors on the PCIe link: who met them counts, the drive or its port.
func (c *diagnosis) checkAER() (finding.Finding, bool) {
	d := c.d
	hours := c.facts.System.Uptime.Hours()
	own := d.AER.NonFatal + d.AER.Fatal
	port := d.Port.Own.NonFatal + d.Port.Own.Fatal
	// Where the port has no counts of its own, those of all messages it got are of it or the drive.
	if !d.Port.Own.Known && d.Port.AER.Known {
		port = d.Port.AER.NonFatal + d.Port.AER.Fatal
	}
	switch {
	case own > 0:
		return c.uncorrected("the drive", d.Address, d.AER, hours), true
	case port > 0:
		aer := d.Port.Own
		if !aer.Known {
			aer = d.Port.AER
		}
		return c.ofPort(aer, hours), true
	}
	return c.corrected(hours)
}

// rate is a count in an hour; that of an unknown uptime is as if it were all in this hour.
func rate(n uint64, hours float64) float64 {
	if hours <= 0 {
		return float64(n)
	}
	return float64(n) / max(hours, 1)
}

// recent reports whether the log has an error of this kind from the last day, for the drive or its port.
func (c *diagnosis) recent(kinds ...EventKind) (Event, bool) {
	e, ok := last(c.portEvents, kinds...)
	if own, found := last(c.d.history, kinds...); found && (!ok || own.Time > e.Time) {
		e, ok = own, true
	}
	up := c.facts.System.Uptime
	return e, ok && (up == 0 || up-e.Time < recently)
}

func (c *diagnosis) aerEvidence(where, address string, aer AER, e Event, logged bool) []finding.Evidence {
	text := fmt.Sprintf("%s counts %d non-fatal and %d fatal errors", where, aer.NonFatal, aer.Fatal)
	if aer.Correctable > 0 {
		text += fmt.Sprintf(", and %d corrected", aer.Correctable)
	}
	if up := c.facts.System.Uptime; up > 0 {
		text += fmt.Sprintf(", in %s since boot", up.Round(time.Minute))
	}
	if kinds := kindsText(aer.Kinds); kinds != "" {
		text += ": " + kinds
	} else if kinds := c.aerKinds(); kinds != "" {
		text += "; the log names " + kinds
	}
	out := []finding.Evidence{{Source: filepath.Join("/sys/bus/pci/devices", address), Text: text}}
	if logged {
		out = append(out, logEvidence(e))
		for _, k := range c.allEvents() {
			if k.Kind == EventAERKind && k.Time >= e.Time && k.Time-e.Time < time.Second {
				out = append(out, logEvidence(k))
				break
			}
		}
	}
	return out
}

func counters(address string) []string {
	dir := filepath.Join("/sys/bus/pci/devices", address)
	return []string{fmt.Sprintf("cat %s/aer_dev_correctable %s/aer_dev_nonfatal %s/aer_dev_fatal", dir, dir, dir)}
}

// uncorrected explains errors that the drive met and PCIe could not mend.
func (c *diagnosis) uncorrected(where, address string, aer AER, hours float64) finding.Finding {
	out := finding.Finding{
		Code: finding.NVMeAER, Severity: finding.Warn, Title: "the PCIe link had errors that it could not mend in this boot", Confidence: finding.Unknown,
		Remedies: []finding.Remedy{reseat, {Title: "see whether the counts grow", Risk: finding.RiskNone, Commands: counters(address)}},
	}
	if cause, signal := aer.cause(); cause != "" {
		because(&out, finding.Likely, "%s", cause)
		if !signal {
			out.Remedies[0] = finding.Remedy{Title: "look for newer firmware of the drive and of the board (BIOS); then try the drive in another slot", Risk: finding.RiskLow}
		}
	}
	e, logged := c.recent(EventAERFatal, EventAERNonFatal)
	out.Evidence = c.aerEvidence(where, address, aer, e, logged)
	if n := aer.NonFatal + aer.Fatal; !logged && hours > recently.Hours() && rate(n, hours) < steadyErrors {
		// Without a time, an old error is no alarm for ever.
		out.Severity = finding.Info
		out.Title = fmt.Sprintf("the PCIe link had %d errors that it could not mend since boot, and the log has none of the last day", n)
		out.Remedies = out.Remedies[1:]
	}
	return out
}

// cause says what the kinds of errors that could not be mended mean (PCI Express Base Specification, uncorrectable error status);
// signal says that contacts and the like come first.
func (a AER) cause() (text string, signal bool) {
	has := func(kinds ...string) bool {
		return slices.ContainsFunc(kinds, func(k string) bool { return a.Kinds[k] > 0 })
	}
	switch {
	case has("DLP", "SDES", "FCP", "RxOF"):
		return "the link itself failed: a contact, a riser or adapter, or the signal at this speed", true
	case has("CmpltTO"):
		return "one end did not answer the other in time: the drive hung, slept too deeply, or lost its link for a moment", true
	case has("MalfTLP", "ECRC", "UnxCmplt", "PoisonTLPBlocked", "TLP", "AtomicOpBlocked", "TLPBlockedErr"):
		return "one end sent what the other could not accept (a malformed or damaged packet): firmware of the drive or of the board, seldom a contact", false
	case has("UnsupReq", "ACSViol", "BlockedTLP", "CmpltAbrt", "UncorrIntErr"):
		return "one end asked for what the other does not do (an unsupported request or the like), which firmware often does at boot or when it sleeps", false
	default:
		return "", true
	}
}

// ofPort explains errors that the port met itself, while the drive counts none: that is not the drive's contact.
func (c *diagnosis) ofPort(aer AER, hours float64) finding.Finding {
	d := c.d
	out := finding.Finding{
		Code: finding.NVMeAER, Severity: finding.Warn, Title: "the port of the drive had errors of its own that PCIe could not mend; the drive counts none", Confidence: finding.Likely,
		Cause: "the board and its firmware, or a request that the port does not support; not the contacts of the drive",
		Remedies: []finding.Remedy{
			{Title: "look for newer firmware of the board (BIOS); the drive itself reports nothing", Risk: finding.RiskLow},
			{Title: "see whether the counts grow", Risk: finding.RiskNone, Commands: counters(d.Port.Address)},
		},
	}
	e, logged := c.recent(EventAERFatal, EventAERNonFatal)
	out.Evidence = c.aerEvidence("the port", d.Port.Address, aer, e, logged)
	if n := aer.NonFatal + aer.Fatal; aer.Fatal == 0 && !logged && (hours == 0 || hours > recently.Hours()) && (hours == 0 && n < 10 || rate(n, hours) < steadyErrors) {
		out.Severity = finding.Info
	}
	return out
}

// corrected explains very many errors that were corrected.
func (c *diagnosis) corrected(hours float64) (finding.Finding, bool) {
	d := c.d
	where, address, aer := "the drive", d.Address, d.AER
	if d.Port.Own.Known && d.Port.Own.Correctable > aer.Correctable {
		where, address, aer = "the port", d.Port.Address, d.Port.Own
	}
	perHour := rate(aer.Correctable, hours)
	if hours == 0 && aer.Correctable < manyUnknown || hours > 0 && perHour < manyCorrected {
		return finding.Finding{}, false
	}
	out := finding.Finding{
		Code: finding.NVMeAER, Severity: finding.Info, Title: fmt.Sprintf("%s corrected %d errors on the PCIe link since boot", where, aer.Correctable), Confidence: finding.Likely,
		Cause: "the link works at its limit: the signal on a long trace, riser or adapter, or its power saving; so many errors often come before a drop-out",
	}
	if hours > 0 && perHour >= floodCorrected {
		out.Severity = finding.Warn
	}
	if !aer.ofLink() {
		out.Cause = "the port or the drive reports them for what is no error of the signal (see the kinds); firmware of the board is the usual place"
	}
	e, logged := last(append(c.portEvents, d.history...), EventAERCorrected)
	out.Evidence = c.aerEvidence(where, address, aer, e, logged)
	out.Remedies = []finding.Remedy{
		c.facts.System.bootParameters("switch the link's power saving off", finding.RiskLow, "pcie_aspm=off"),
		{Title: "lower the PCIe generation of the slot in the firmware set-up (BIOS) by one; then put the drive in again or try another slot", Risk: finding.RiskHigh},
	}
	if !aer.ofLink() {
		out.Remedies = []finding.Remedy{{Title: "look for newer firmware of the board (BIOS)", Risk: finding.RiskLow}}
	}
	return out, true
}

// ofLink reports whether most corrected errors are of the signal on the link: errors at the receiver, bad packets, replays
// (PCI Express Base Specification, correctable error status).
func (a AER) ofLink() bool {
	signal, other := uint64(0), uint64(0)
	for kind, n := range a.Kinds {
		switch kind {
		case "RxErr", "BadTLP", "BadDLLP", "Rollover", "Timeout":
			signal += n
		case "NonFatalErr", "CorrIntErr", "HeaderOF":
			other += n
		}
	}
	return signal >= other
}
