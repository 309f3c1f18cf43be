package disk

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"labd/internal/finding"
)

// phase is where a drive stands when a reason is looked for.
type phase int

// Phases.
const (
	atProbe     phase = 1 << iota // the driver tried it and let go of it, or never had it
	atRun                         // it worked and dropped out
	atMissing                     // it is not on the bus
	atNamespace                   // it is live and offers no namespace
	atBlock                       // its disk has no size
)

// reason is what some lines of the kernel log mean for a drive that does not work.
type reason struct {
	phases phase
	// kinds are the events that tell it; the newest counts.
	kinds []EventKind
	// fits reports whether it is so; nil: wherever there is such an event.
	fits func(c *diagnosis, e Event) bool
	// explain fills in cause, confidence and remedies, and the code where the finding has a general one.
	explain func(c *diagnosis, e Event, out *finding.Finding)
}

// reasons are all reasons, the most telling first. What comes last only says that something failed.
func reasons() []reason {
	return []reason{
		{atProbe, []EventKind{EventSameSubsystem}, nil, explainSameSubsystem},
		{atProbe, []EventKind{EventNoSpace}, (*diagnosis).unmapped, explainNoSpace},
		{atNamespace | atBlock, []EventKind{EventUnsupportedCSI}, nil, explainCommandSet},
		{atNamespace, []EventKind{EventIDsChanged}, nil, explainIDsChanged},
		{atNamespace, []EventKind{EventIdentifyFailed}, nil, explainIdentifyNamespace},
		{atProbe | atRun, []EventKind{EventIOMMU}, (*diagnosis).faultedThen, explainIOMMU},
		{atProbe | atRun | atMissing | atBlock, []EventKind{EventSlotDown, EventSlotFault}, (*diagnosis).stillDown, explainSlot},
		{atProbe, []EventKind{EventRegisters}, nil, explainRegisters},
		{atProbe, []EventKind{EventPageSize}, nil, explainPageSize},
		{atProbe | atNamespace, []EventKind{EventNoQueues}, nil, explainNoQueues},
		{atProbe | atRun | atNamespace | atBlock, []EventKind{EventInternalError}, (*diagnosis).again, explainInternalLoop},
		{atProbe, []EventKind{EventNotReady}, func(_ *diagnosis, e Event) bool { return e.Operation == "initialisation" }, explainNotReady},
		{atProbe, []EventKind{EventIdentify}, nil, explainIdentify},
		{atProbe, []EventKind{EventTimeout}, func(_ *diagnosis, e Event) bool { return e.QueueID == 0 && e.Operation != "completion polled" }, explainFirstCommand},
		{atProbe | atRun, []EventKind{EventDMA}, nil, explainDMA},
		{atRun | atMissing | atBlock, []EventKind{EventDown}, nil, explainDown},
		{atRun | atMissing | atBlock, []EventKind{EventInaccessible}, nil, explainSleep},
		{atRun | atMissing | atBlock, []EventKind{EventPowerRefused}, nil, explainSleep},
		{atRun | atBlock, []EventKind{EventInternalError}, nil, explainInternal},
		{atRun | atMissing, []EventKind{EventBusError, EventAERFatal}, nil, explainBusError},
		{atRun | atBlock, []EventKind{EventNotReady}, func(_ *diagnosis, e Event) bool { return e.Operation == "reset" }, explainStuck},
		{atProbe | atRun | atMissing, []EventKind{EventRetrain, EventNoAnswer}, nil, explainTraining},
		{atBlock, []EventKind{EventDisabled}, nil, explainDropped},
		{atProbe, []EventKind{EventProbeFailed}, func(_ *diagnosis, e Event) bool { return e.Errno != "" }, explainErrno},
		{atProbe, []EventKind{EventProbeFailed}, nil, explainGivenUp},
		{atProbe, []EventKind{EventFound}, (*diagnosis).alone, explainNoWord},
	}
}

// explain fills in the first reason that fits, with the line that tells it and the others as evidence. It is false where no
// line says anything that labd knows; then the lines there are, or that there are none, are the evidence.
func (c *diagnosis) explain(p phase, out *finding.Finding) bool {
	events := c.allEvents()
	for _, r := range reasons() {
		if r.phases&p == 0 {
			continue
		}
		e, ok := last(slices.DeleteFunc(slices.Clone(events), func(e Event) bool { return r.fits != nil && !r.fits(c, e) }), r.kinds...)
		if !ok {
			continue
		}
		r.explain(c, e, out)
		lines := c.logLines(&e)
		out.Evidence = slices.Concat(lines[:1], out.Evidence, lines[1:])
		return true
	}
	out.Evidence = append(out.Evidence, c.logLines(nil)...)
	if lines := c.telling(nil); len(lines) > 0 {
		out.Cause, out.Confidence = "not known to labd; what the kernel log says of it is below", finding.Unknown
	}
	return false
}

// allEvents are the events of the drive since it was last found, and those of its port that may be about it.
func (c *diagnosis) allEvents() []Event {
	out := slices.Clone(c.events)
	for _, e := range c.portEvents {
		// Corrected errors come by the thousand and tell nothing of a drive that does not work.
		if e.Kind != EventAERCorrected && e.Address == c.d.Port.Address && !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b Event) int { return int(a.Time - b.Time) })
	return out
}

// telling are the lines that may say why, without the first, the most telling ones first.
func (c *diagnosis) telling(first *Event) []Event {
	rank := map[EventKind]int{}
	for i, r := range reasons() {
		for _, kind := range r.kinds {
			if _, ok := rank[kind]; !ok {
				rank[kind] = i
			}
		}
	}
	place := func(e Event) int {
		if n, ok := rank[e.Kind]; ok {
			return n
		}
		return len(rank) + 100
	}
	var out []Event
	for _, e := range slices.Backward(c.allEvents()) {
		switch e.Kind {
		case EventFound, EventReady, EventBogusCRTO, EventIDsCleared, EventNoHostMemory:
			continue
		default:
		}
		if first == nil || e != *first {
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b Event) int { return place(a) - place(b) })
	return out
}

// maxLines is how many lines of the log a finding shows, maxAlike how many of one kind.
const (
	maxLines = 7
	maxAlike = 2
)

// logLines are the lines of the kernel log that may say why, as evidence: the first, then the others. Where none does, it says
// how many name the drive or its port at all.
func (c *diagnosis) logLines(first *Event) []finding.Evidence {
	var out []finding.Evidence
	alike := map[EventKind]int{}
	if first != nil {
		out = append(out, logEvidence(*first))
		alike[first.Kind]++
	}
	more := 0
	for _, e := range c.telling(first) {
		if len(out) >= maxLines || alike[e.Kind] >= maxAlike {
			more++
			continue
		}
		alike[e.Kind]++
		out = append(out, logEvidence(e))
	}
	switch {
	case more == 1:
		out = append(out, finding.Evidence{Source: "kernel log", Text: "one more line about it"})
	case more > 1:
		out = append(out, finding.Evidence{Source: "kernel log", Text: fmt.Sprintf("%s more lines about it", atLeast(more))})
	}
	if len(out) == 0 {
		out = append(out, finding.Evidence{Source: "kernel log", Text: c.silence()})
	}
	return out
}

// silence says that no line of the log tells why, and whether any names the drive at all.
func (c *diagnosis) silence() string {
	f := c.facts
	lines, newest := 0, naming{}
	for _, address := range []string{c.d.Address, c.d.Port.Address} {
		if n := f.Named[address]; address != "" && n.lines > 0 {
			lines += n.lines
			if n.last.Time >= newest.last.Time {
				newest = n
			}
		}
	}
	switch {
	case f.LogErr != nil:
		return "it cannot be read"
	case lines == 1:
		return "one line names it or its port, and does not say why: " + newest.last.Text
	case lines > 1:
		return fmt.Sprintf("%d lines name it or its port, and none says why; the last: %s", lines, newest.last.Text)
	case f.orphan() != "":
		return f.orphan()
	case f.LogLost:
		return "no line about it; the oldest lines of this boot are gone"
	default:
		return "no line about it in this boot"
	}
}

// orphan says that the log is about a controller of which it does not tell the function, so that it may be any; "" where there is
// none.
func (f *Facts) orphan() string {
	for _, name := range slices.Sorted(maps.Keys(f.Named)) {
		if n := f.Named[name]; controllerName.MatchString(name) {
			return fmt.Sprintf("none of the lines names its PCI address; %d are about %s, and the log does not tell which drive that was; the last: %s", n.lines, name, n.last.Text)
		}
	}
	return ""
}

// narrow gives the finding a narrower code, where it has a general one.
func narrow(out *finding.Finding, code finding.Code) {
	if out.Code == finding.NVMeNoDriver || out.Code == finding.NVMeNoNamespace {
		out.Code = code
	}
}

// because fills in the cause.
func because(out *finding.Finding, confidence finding.Confidence, format string, args ...any) {
	out.Cause, out.Confidence = fmt.Sprintf(format, args...), confidence
}

// unmapped reports whether the driver cannot have mapped the drive's registers, which are in BAR 0: it says "pci function" right
// after that, so such a line later speaks against it.
func (c *diagnosis) unmapped(e Event) bool {
	found, ok := last(c.events, EventFound)
	return e.Address == c.d.Address && (!ok || found.Time <= e.Time)
}

// faultedThen reports whether commands went wrong soon after the IOMMU had refused the drive an access. Alone such a fault
// may be harmless: some drives read a little beyond what they were given.
func (c *diagnosis) faultedThen(e Event) bool {
	return slices.ContainsFunc(c.events, func(o Event) bool {
		switch o.Kind {
		case EventTimeout, EventIdentify, EventProbeFailed, EventNotReady, EventDown, EventDisabled, EventNoQueues, EventIOError, EventStatus:
			return o.Time >= e.Time-time.Second && o.Time-e.Time < 2*time.Minute
		default:
			return false
		}
	})
}

// stillDown reports whether the slot did not come back after a line about its loss.
func (c *diagnosis) stillDown(e Event) bool {
	return !slices.ContainsFunc(c.allEvents(), func(o Event) bool { return (o.Kind == EventSlotUp || o.Kind == EventReady) && o.Time > e.Time })
}

// again reports whether the drive reported an internal error more than once.
func (c *diagnosis) again(Event) bool { return c.count(EventInternalError) > 1 }

// count is how many events of a kind there are since the drive was found; not more than maxEvents are kept.
func (c *diagnosis) count(kind EventKind) int {
	n := 0
	for _, e := range c.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// alone reports whether no line after the one that found the drive says anything.
func (c *diagnosis) alone(Event) bool { return len(c.telling(nil)) == 0 }

func explainSameSubsystem(c *diagnosis, _ Event, out *finding.Finding) {
	because(out, finding.Certain, "another drive has the same subsystem name or serial number, so the kernel takes this one for its second controller")
	out.Remedies = append(out.Remedies, firmware(c.d), retry(c.d))
}

func explainNoSpace(c *diagnosis, e Event, out *finding.Finding) {
	narrow(out, finding.NVMeAddressSpace)
	confidence := finding.Likely
	if e.BAR == 0 || strings.HasPrefix(afterColon(e.Text), "can't enable device") {
		confidence = finding.Certain // the registers are in BAR 0
	}
	because(out, confidence, "the kernel found no address space for the drive's memory range (BAR), so the driver cannot reach its registers")
	out.Remedies = append(out.Remedies, c.moreSpace()...)
}

// moreSpace are the remedies for a function that gets no address space.
func (c *diagnosis) moreSpace() []finding.Remedy {
	if c.facts.System.raspberry() {
		return []finding.Remedy{
			{Title: "give the PCIe bus a DMA window of 32 bit: add the overlay to /boot/firmware/config.txt and reboot (Raspberry Pi 5)", Risk: finding.RiskLow, Commands: []string{"echo dtoverlay=pcie-32bit-dma-pi5 >> /boot/firmware/config.txt", "reboot"}},
			{Title: "boot the kernel under which it worked", Risk: finding.RiskLow},
		}
	}
	return []finding.Remedy{
		{Title: "in the firmware set-up (BIOS), switch on \"Above 4G decoding\", enlarge the space for memory-mapped I/O (MMIO), and look for newer firmware of the board", Risk: finding.RiskLow},
		c.facts.System.bootParameters("have the kernel lay out the address space itself", finding.RiskLow, "pci=realloc"),
		{Title: "if the drive has a controller memory buffer (CMB), as drives for servers have, switch it off with the maker's tool in another machine; else take out another card that needs much space", Risk: finding.RiskHigh},
	}
}

func explainCommandSet(_ *diagnosis, _ Event, out *finding.Finding) {
	because(out, finding.Certain, "the namespace has a command set that this kernel cannot use as a disk")
	out.Remedies = append(out.Remedies, finding.Remedy{Title: "boot a newer kernel; older ones lack zoned and other command sets", Risk: finding.RiskLow})
}

func explainIDsChanged(c *diagnosis, _ Event, out *finding.Finding) {
	because(out, finding.Certain, "the drive's firmware gave other ids after a reset or sleep than before, so the kernel dropped the namespace")
	out.Remedies = append(out.Remedies, firmware(c.d), c.bogusNID())
}

func explainIdentifyNamespace(c *diagnosis, e Event, out *finding.Finding) {
	because(out, finding.Certain, "the drive refused to say what its namespaces are")
	out.Remedies = append(out.Remedies, firmware(c.d))
	if strings.HasPrefix(afterColon(e.Text), "Identify Descriptors") {
		out.Remedies = append(out.Remedies, c.quirk("no_ns_desc_list", "have the kernel do without that question"))
	}
}

func explainIOMMU(c *diagnosis, _ Event, out *finding.Finding) {
	narrow(out, finding.NVMeIOMMU)
	because(out, finding.Likely, "the IOMMU refused the drive's access to memory (DMA), and right after that its commands got no answer")
	out.Remedies = append(out.Remedies,
		c.facts.System.bootParameters("let the host's own devices pass by the IOMMU (passthrough to guests goes on working)", finding.RiskLow, "iommu=pt"),
		finding.Remedy{Title: "look for newer firmware of the board (BIOS) and of the drive; a re-probe alone does not help", Risk: finding.RiskLow},
	)
}

func explainSlot(c *diagnosis, e Event, out *finding.Finding) {
	what := "the slot lost its link to the drive: the drive was taken out, or lost contact or power"
	if e.Kind == EventSlotFault {
		what = "the slot cannot bring up power or link of the drive"
	}
	because(out, finding.Likely, "%s", what)
	out.Remedies = append(out.Remedies,
		finding.Remedy{Title: "if nobody took it out: look at its seat, the cable or adapter, and its power; then switch the machine off and on", Risk: finding.RiskHigh},
		finding.Remedy{Title: "have the slot looked at once more", Risk: finding.RiskLow, Commands: []string{"echo 1 > /sys/bus/pci/devices/" + c.slotPort(e) + "/rescan"}},
	)
}

// slotPort is the port that a line about a slot names.
func (c *diagnosis) slotPort(e Event) string {
	if c.d.Port.Address != "" {
		return c.d.Port.Address
	}
	return e.Address
}

func explainRegisters(c *diagnosis, _ Event, out *finding.Finding) {
	because(out, finding.Certain, "the drive's registers cannot be read")
	out.Remedies = append(out.Remedies, powerCycle, retry(c.d), otherSlot(c.d))
}

func explainPageSize(_ *diagnosis, _ Event, out *finding.Finding) {
	because(out, finding.Certain, "the drive wants larger pages of memory than this kernel has")
	out.Remedies = append(out.Remedies, finding.Remedy{Title: "boot a kernel with larger pages, where the processor has them (arm64)", Risk: finding.RiskLow})
}

func explainNoQueues(c *diagnosis, e Event, out *finding.Finding) {
	narrow(out, finding.NVMeQueues)
	if c.d.Controller() != nil {
		out.Title = "the controller is live and has no queue for reads and writes, so there is no disk"
	}
	text := "the kernel could make no queue for reads and writes, so only the admin queue is there and no disk"
	if e.Status != 0 {
		text += fmt.Sprintf(": the drive answered %s", statusWords(e.Status))
	} else if e.Errno != "" {
		text += " (" + e.Errno + ")"
	}
	because(out, finding.Certain, "%s", text)
	out.Remedies = append(out.Remedies, c.queueRemedies()...)
}

func (c *diagnosis) queueRemedies() []finding.Remedy {
	return []finding.Remedy{
		{Title: "see whether its interrupts are set up: interrupts (MSI-X) and DMA of the board are the usual culprits", Risk: finding.RiskNone, Commands: []string{"grep nvme /proc/interrupts", "dmesg | grep -i -e msi -e 'remapping' -e nvme"}},
		{Title: "boot another kernel: the one before the last update, else a newer one", Risk: finding.RiskLow, Commands: c.facts.kernelList()},
		{Title: "look for newer firmware of the board (BIOS) and of the drive, and switch the machine off and on", Risk: finding.RiskHigh},
	}
}

func explainInternalLoop(c *diagnosis, _ Event, out *finding.Finding) {
	var first, newest Event
	n := 0
	for _, e := range c.events {
		if e.Kind == EventInternalError {
			if n++; n == 1 {
				first = e
			}
			newest = e
		}
	}
	because(out, finding.Likely, "the drive reports a persistent internal error again and again (%s times in %s): it is broken, or its firmware is", atLeast(n), (newest.Time - first.Time).Round(time.Second))
	out.Remedies = append(out.Remedies, firmware(c.d), vendor(c.d))
}

func explainInternal(c *diagnosis, _ Event, out *finding.Finding) {
	because(out, finding.Likely, "the drive reported an error inside itself, so the kernel reset it: its firmware or its hardware")
	out.Remedies = append(out.Remedies, firmware(c.d))
}

func explainIdentify(c *diagnosis, e Event, out *finding.Finding) {
	_, late := last(c.events, EventTimeout)
	switch {
	case e.Status != 0:
		because(out, finding.Certain, "it answered the driver's first command, Identify Controller, with an error (%s), so it did not say what it is", statusWords(e.Status))
	case late:
		because(out, finding.Certain, "it did not answer the driver's first command, Identify Controller, in time")
	case e.Errno != "":
		because(out, finding.Likely, "the driver's first command, Identify Controller, failed: %s", errnoWords(e.Errno))
	default:
		because(out, finding.Certain, "it did not say what it is: the driver's first command, Identify Controller, failed")
	}
	out.Remedies = append(out.Remedies, c.startRemedies()...)
}

func explainFirstCommand(c *diagnosis, _ Event, out *finding.Finding) {
	because(out, finding.Certain, "it did not answer one of the driver's first commands in time (queue 0)")
	out.Remedies = append(out.Remedies, c.startRemedies()...)
}

// startRemedies help a drive that does not start as it should.
func (c *diagnosis) startRemedies() []finding.Remedy {
	return []finding.Remedy{
		retry(c.d), powerCycle, firmware(c.d),
		{Title: "lower the PCIe generation of its slot in the firmware set-up (BIOS), and try another slot", Risk: finding.RiskHigh},
	}
}

func explainDMA(c *diagnosis, _ Event, out *finding.Finding) {
	because(out, finding.Likely, "the drive cannot reach the memory that the kernel gave it (DMA)")
	out.Remedies = append(out.Remedies, c.moreSpace()...)
}

func explainDown(_ *diagnosis, e Event, out *finding.Finding) {
	switch {
	case strings.Contains(e.Text, "PCI_STATUS=0xffff"), strings.Contains(e.Text, "read failed"):
		because(out, finding.Likely, "link or power was lost: not even the configuration space answers")
	case strings.Contains(e.Text, "CSTS=0xffffffff"):
		because(out, finding.Likely, "the drive's firmware crashed or did not come back from a power-saving state: the configuration space still answers")
	case fatalStatus(e.Text):
		because(out, finding.Likely, "the drive reports a fatal fault in itself (CSTS bit 1), so the kernel reset it")
	default:
		because(out, finding.Unknown, "the controller stopped working; the log does not say why")
	}
}

var cstsFatal = regexp.MustCompile(`CSTS=0x[0-9a-f]?[2367abef]\b`)

// fatalStatus reports whether a line has a CSTS with the bit for a fatal controller status (NVM Express Base Specification,
// CSTS.CFS); all ones are no status.
func fatalStatus(text string) bool { return cstsFatal.MatchString(text) }

func explainSleep(_ *diagnosis, e Event, out *finding.Finding) {
	if e.Kind == EventInaccessible {
		because(out, finding.Likely, "link or power was lost in a sleep state")
		return
	}
	because(out, finding.Likely, "it did not come back from a sleep state")
}

func explainBusError(c *diagnosis, _ Event, out *finding.Finding) {
	text := "errors on the PCIe link made the kernel reset it"
	if kinds := c.aerKinds(); kinds != "" {
		text += ": " + kinds
	}
	because(out, finding.Likely, "%s", text)
}

// aerKinds are the kinds of errors that the log names for the drive.
func (c *diagnosis) aerKinds() string {
	var out []string
	for _, e := range c.allEvents() {
		if e.Kind == EventAERKind && e.Operation != "" && !slices.Contains(out, e.Operation) {
			out = append(out, e.Operation)
		}
	}
	return strings.Join(out, ", ")
}

func explainStuck(_ *diagnosis, e Event, out *finding.Finding) {
	if fatalStatus(e.Text) {
		because(out, finding.Likely, "the drive reports a fatal fault in itself, and a reset did not help")
		return
	}
	because(out, finding.Likely, "the drive hung, perhaps in a power-saving state, and its firmware did not come out of a reset")
}

func explainTraining(_ *diagnosis, _ Event, out *finding.Finding) {
	because(out, finding.Likely, "the PCIe link to the slot does not come up: the slot, an adapter or the drive, or how this kernel trains the link")
	out.Remedies = append(out.Remedies, powerCycle)
}

func explainDropped(_ *diagnosis, _ Event, out *finding.Finding) {
	because(out, finding.Likely, "the drive dropped out while it was in use")
}

func explainErrno(c *diagnosis, e Event, out *finding.Finding) {
	because(out, finding.Likely, "%s", errnoWords(e.Errno))
	if e.Errno == "ENOMEM" {
		narrow(out, finding.NVMeAddressSpace)
		out.Remedies = append(out.Remedies, c.moreSpace()...)
		return
	}
	out.Remedies = append(out.Remedies, c.startRemedies()...)
}

func explainGivenUp(c *diagnosis, e Event, out *finding.Finding) {
	if e.Status != 0 {
		because(out, finding.Likely, "the drive answered one of the driver's first commands with an error: %s", statusWords(e.Status))
	} else {
		because(out, finding.Unknown, "the driver tried it and let go of it; the log does not say why")
	}
	out.Remedies = append(out.Remedies, c.startRemedies()...)
}

func explainNoWord(c *diagnosis, _ Event, out *finding.Finding) {
	because(out, finding.Likely, "the driver tried it and did not say why it let go of it")
	out.Remedies = append(out.Remedies, retry(c.d), powerCycle)
}
