package disk

import (
	"fmt"
	"slices"
	"strings"

	"labd/internal/finding"
	"labd/internal/smart"
)

// statusWords names an NVMe status in words and as a number.
func statusWords(status uint16) string {
	return fmt.Sprintf("%s, status 0x%03x", smart.StatusText(status), status&0x7ff)
}

// failure is what a kind of failed commands means. The block layer has one line for several of them ("critical medium error":
// drivers/nvme/host/core.c, nvme_error_status), so only the status tells.
type failure struct {
	statuses   []uint16
	code       finding.Code
	severity   finding.Severity
	title      string
	cause      string
	confidence finding.Confidence
	// counted says that the drive's own count of media errors has it too.
	counted  bool
	remedies func(c *diagnosis) []finding.Remedy
}

func failures() []failure {
	return []failure{
		{
			[]uint16{0x281, 0x282, 0x283, 0x284},
			finding.NVMeMediaErrors, finding.Warn, "the drive could not read what it had written",
			"blocks that its error correction cannot restore", finding.Certain, true, unreadableBlocks,
		},
		{
			[]uint16{0x280},
			finding.NVMeMediaErrors, finding.Fail, "the drive could not write",
			"the drive reports a fault at writing (write fault); what is on it can mostly still be read", finding.Certain, false,
			func(c *diagnosis) []finding.Remedy {
				return []finding.Remedy{
					{Title: "copy what is on it to another drive now, and check that backups are whole", Risk: finding.RiskNone},
					{Title: "replace the drive", Risk: finding.RiskNone, Commands: c.errorLog()},
				}
			},
		},
		{
			[]uint16{0x286, 0x015},
			finding.NVMeAccessDenied, finding.Warn, "the drive denies access to its data",
			"it is locked, as a self-encrypting drive (TCG Opal) is until somebody unlocks it; its media has no fault that it reports", finding.Likely, false,
			func(c *diagnosis) []finding.Remedy {
				dev := "/dev/" + c.d.Controllers[0].Name
				return []finding.Remedy{
					{Title: "see whether it is locked; sedutil-cli is not in Debian: github.com/Drive-Trust-Alliance/sedutil", Risk: finding.RiskNone, Commands: []string{"sedutil-cli --query " + dev}},
					{Title: "unlock it with its password, or let the software that locked it do so at boot", Risk: finding.RiskLow, Commands: []string{"sedutil-cli --setlockingrange 0 rw PASSWORD " + dev}},
					{Title: "where the password is lost, set it back with the PSID on its label: all data on it are lost then", Risk: finding.RiskHigh, Commands: []string{"sedutil-cli --yesIreallywanttoERASEALLmydatausingthePSID PSID " + dev}},
				}
			},
		},
		{
			[]uint16{0x182, 0x020},
			finding.NVMeReadOnly, finding.Fail, "the drive refuses to write: it, or a part of it, is read-only",
			"the drive protects what is on it against writing: worn out, failed, or write-protected by somebody", finding.Likely, false,
			func(c *diagnosis) []finding.Remedy {
				return []finding.Remedy{{Title: "copy what is on it to another drive first", Risk: finding.RiskNone}, {Title: "see whether the drive says why", Risk: finding.RiskNone, Commands: c.errorLog()}}
			},
		},
		{
			[]uint16{0x004},
			finding.NVMeIOErrors, finding.Warn, "data did not get from the drive to memory, or to the drive (data transfer error)",
			"the PCIe link, the memory access (DMA) or the IOMMU: the way to the drive, more likely than the drive", finding.Likely, false,
			func(c *diagnosis) []finding.Remedy {
				return []finding.Remedy{
					{Title: "look at the link and for what the IOMMU refused", Risk: finding.RiskNone, Commands: []string{"labctl check-nvme -o wide " + c.d.Address, "dmesg | grep -i -e 'AMD-Vi' -e DMAR -e 'Bus Error'"}}, reseat,
				}
			},
		},
		{
			[]uint16{0x006},
			finding.NVMeIOErrors, finding.Warn, "the drive answered commands with an internal error",
			"the drive's firmware or its hardware", finding.Likely, false,
			func(c *diagnosis) []finding.Remedy { return []finding.Remedy{firmware(c.d), vendor(c.d)} },
		},
		{
			[]uint16{0x080, 0x081},
			finding.NVMeIOErrors, finding.Warn, "blocks beyond the end of the disk were asked for",
			"a partition table or file system is larger than the disk: perhaps copied from a larger one, or the disk became smaller", finding.Likely, false,
			func(c *diagnosis) []finding.Remedy {
				return []finding.Remedy{{Title: "compare the sizes", Risk: finding.RiskNone, Commands: []string{"lsblk -b /dev/" + c.d.Controllers[0].disks()}}}
			},
		},
		{
			[]uint16{0x285},
			finding.NVMeIOErrors, finding.Info, "a command to compare data found that they differ",
			"whoever compares is told so; that is no fault of the drive", finding.Likely, false, nil,
		},
		{
			[]uint16{0x287},
			finding.NVMeIOErrors, finding.Info, "blocks were read that were never written, or were discarded",
			"the drive is set to report that (DULBE); that is no fault of its media", finding.Likely, false, nil,
		},
		// The kernel asks for what some drives do not do, and goes on without.
		{[]uint16{0x001, 0x002, 0x00b, 0x109}, "", finding.Info, "", "", finding.Unknown, false, nil},
	}
}

// errorLog are the commands that show what the drive says of its errors.
func (c *diagnosis) errorLog() []string {
	return []string{"labctl check-nvme -o wide " + c.d.Address, "apt install nvme-cli", "nvme error-log /dev/" + c.d.Controllers[0].Name}
}

func unreadableBlocks(c *diagnosis) []finding.Remedy {
	return []finding.Remedy{
		{Title: "check that backups and redundancy are whole", Risk: finding.RiskNone, Commands: append([]string{"zpool status -x"}, c.errorLog()...)},
		{Title: "restore what was in the block from a backup, and replace the drive when it happens again", Risk: finding.RiskHigh},
	}
}

// diskErrors returns the findings of commands that failed: by their status where the log has it, else by the block layer's word.
func (c *diagnosis) diskErrors() []finding.Finding {
	counted := c.trusted() && c.d.Controllers[0].Health.Data.Health.MediaErrors > 0
	var out []finding.Finding
	var known []uint16
	for _, f := range failures() {
		known = append(known, f.statuses...)
		e, ok := last(slices.DeleteFunc(slices.Clone(c.events), func(e Event) bool { return !slices.Contains(f.statuses, e.Status) }), EventStatus)
		if !ok || f.code == "" || counted && f.counted {
			continue
		}
		severity, age := c.fresh(e, f.severity)
		found := finding.Finding{
			Code: f.code, Severity: min(severity, f.severity), Title: f.title + age, Cause: f.cause, Confidence: f.confidence,
			Evidence: []finding.Evidence{logEvidence(e), {Source: "NVMe status", Text: statusWords(e.Status)}},
		}
		if line, ok := last(c.events, EventMediaError, EventIOError); ok {
			found.Evidence = append(found.Evidence, logEvidence(line))
		}
		found.Evidence = append(found.Evidence, c.mediaCount()...)
		if f.remedies != nil {
			found.Remedies = f.remedies(c)
		}
		out = append(out, found)
	}
	e, failed := last(slices.DeleteFunc(slices.Clone(c.events), func(e Event) bool { return slices.Contains(known, e.Status) }), EventStatus)
	if failed && len(out) == 0 && !c.interrupted() {
		return append(out, c.ioError(e, "the drive answered commands with an error: "+smart.StatusText(e.Status)))
	}
	if len(out) > 0 || failed || c.anyStatus() {
		return out
	}
	if e, ok := c.last(EventMediaError); ok && !counted {
		return append(out, c.mediaError(e))
	}
	if e, ok := c.last(EventIOError); ok && !c.interrupted() && !counted {
		out = append(out, c.ioError(e, "the kernel could not read or write the disk"))
	}
	return out
}

// anyStatus reports whether the log has the status of a failed command.
func (c *diagnosis) anyStatus() bool {
	_, ok := c.last(EventStatus)
	return ok
}

// interrupted reports whether the drive was down or late, which explains commands that failed.
func (c *diagnosis) interrupted() bool {
	_, ok := c.last(EventTimeout, EventDown, EventDisabled, EventInternalError, EventBusError, EventSlotDown)
	return ok
}

// mediaCount is what the drive's own count of media errors says beside failed commands.
func (c *diagnosis) mediaCount() []finding.Evidence {
	if !c.trusted() {
		return nil
	}
	ctrl := &c.d.Controllers[0]
	return []finding.Evidence{{Source: healthSource(ctrl), Text: fmt.Sprintf("media errors %d", ctrl.Health.Data.Health.MediaErrors)}}
}

// mediaError explains a "critical medium error" of which the log has no status: it stands for several statuses.
func (c *diagnosis) mediaError(e Event) finding.Finding {
	severity, age := c.fresh(e, finding.Warn)
	out := finding.Finding{
		Code: finding.NVMeMediaErrors, Severity: severity, Title: "the drive could not read" + age, Confidence: finding.Likely,
		Cause:    "most likely blocks that it cannot restore; a locked drive gives the same line, and no status is in the log that would tell",
		Evidence: append([]finding.Evidence{logEvidence(e)}, c.mediaCount()...), Remedies: unreadableBlocks(c),
	}
	switch {
	case strings.HasPrefix(e.Operation, "WRITE"):
		out.Title = "the drive could not write" + age
		out.Cause = "most likely a fault at writing; a read-only or locked drive gives the same line, and no status is in the log that would tell"
		out.Remedies = []finding.Remedy{{Title: "copy what is on it to another drive, and check that backups are whole", Risk: finding.RiskNone}, {Title: "see whether the drive says why; replace it when it happens again", Risk: finding.RiskNone, Commands: c.errorLog()}}
	case e.Operation != "" && e.Operation != "READ":
		out.Title = fmt.Sprintf("the drive could not do a command (%s)", e.Operation) + age
	}
	return out
}

func (c *diagnosis) ioError(e Event, title string) finding.Finding {
	severity, age := c.fresh(e, finding.Warn)
	return finding.Finding{
		Code: finding.NVMeIOErrors, Severity: severity, Title: title + age, Confidence: finding.Unknown,
		Evidence: []finding.Evidence{logEvidence(e)},
		Remedies: []finding.Remedy{{Title: "read the drive's own health and error log", Risk: finding.RiskNone, Commands: c.errorLog()}},
	}
}
