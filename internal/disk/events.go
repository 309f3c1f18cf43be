package disk

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// EventKind is what a line of the kernel log says about a drive, its disks, its port or its slot.
type EventKind string

// Kinds of events. The wordings are those of drivers/nvme/host, drivers/pci, drivers/iommu, drivers/base and block from 5.4 to 7.x.
const (
	EventFound          EventKind = "found"           // pci function …
	EventReady          EventKind = "ready"           // …/read/poll queues
	EventNotReady       EventKind = "not-ready"       // Device not ready; aborting initialisation, …reset, …shutdown
	EventProbeFailed    EventKind = "probe-failed"    // Removing after probe failure, probe failed, probe of … failed
	EventIdentify       EventKind = "identify"        // Identify Controller failed
	EventRegisters      EventKind = "registers"       // Reading CAP failed, …CRTO, …VS
	EventPageSize       EventKind = "page-size"       // Minimum device page size … too large
	EventNoQueues       EventKind = "no-queues"       // IO queues not created, IO queues lost, Could not set queue count
	EventSameSubsystem  EventKind = "same-subsystem"  // Duplicate cntlid …, Subsystem does not support multiple controllers
	EventIDsRejected    EventKind = "ids-rejected"    // globally duplicate IDs, ignoring nsid … because of duplicate IDs
	EventIDsCleared     EventKind = "ids-cleared"     // clearing duplicate IDs
	EventIDsTwice       EventKind = "ids-twice"       // duplicate IDs in subsystem
	EventIDsChanged     EventKind = "ids-changed"     // identifiers changed
	EventDown           EventKind = "down"            // controller is down; will reset
	EventDisabled       EventKind = "disabled"        // Disabling device after reset failure
	EventTimeout        EventKind = "timeout"         // I/O … timeout
	EventInaccessible   EventKind = "inaccessible"    // Unable to change power state … device inaccessible
	EventPowerRefused   EventKind = "power-refused"   // Refused to change power state
	EventBusError       EventKind = "bus-error"       // frozen state error detected, failure state error detected
	EventInternalError  EventKind = "internal-error"  // resetting controller due to …, Fw activation timeout
	EventNoHostMemory   EventKind = "no-host-memory"  // failed to allocate host memory buffer, min host memory … above limit
	EventIdentifyFailed EventKind = "identify-failed" // Identify Descriptors failed, Identify NS List failed, …
	EventBlockSize      EventKind = "block-size"      // invalid LBA data size: said once a boot, for the first drive
	EventUnsupportedCSI EventKind = "unsupported-csi" // block device for nsid … not supported
	EventStatus         EventKind = "status"          // … (sct 0x2 / sc 0x86): a command that the drive refused or could not do
	EventMediaError     EventKind = "media-error"     // critical medium error, of a disk
	EventIOError        EventKind = "io-error"        // I/O error, of a disk
	EventBogusCRTO      EventKind = "bogus-crto"      // bad crto: the fix is in this kernel; said once a boot, for the first drive
	EventNoSpace        EventKind = "no-space"        // BAR … can't assign; no space, failed to assign, can't enable device
	EventIOMMU          EventKind = "iommu"           // IO_PAGE_FAULT, DMAR: [DMA Read …] Request device
	EventDMA            EventKind = "dma"             // swiotlb buffer is full, no suitable DMA mask
	EventSlotDown       EventKind = "slot-down"       // pciehp: Slot(…): Link Down, Card not present
	EventSlotUp         EventKind = "slot-up"         // pciehp: Slot(…): Card present, Link Up
	EventSlotFault      EventKind = "slot-fault"      // pciehp: Power fault, Cannot train link, Link Training Error
	EventRetrain        EventKind = "retrain"         // broken device, retraining …; retraining failed
	EventNoAnswer       EventKind = "no-answer"       // not ready 65535ms after …; giving up
	EventAERFatal       EventKind = "aer-fatal"       // AER: Uncorrectable (Fatal) error …
	EventAERNonFatal    EventKind = "aer-non-fatal"   // AER: Uncorrectable (Non-Fatal) error …
	EventAERCorrected   EventKind = "aer-corrected"   // AER: Correctable error …
	EventAERKind        EventKind = "aer-kind"        // [18] MalfTLP: the kind of the error that was just reported
	EventOther          EventKind = "other"           // a line that names it and that labd does not know
)

// Event is one line of the kernel log about one drive, port or slot.
type Event struct {
	Time time.Duration // since boot
	Kind EventKind
	// Address is the PCI function that is meant, "" where the log does not tell; Controller is nvmeN where the line names one.
	Address, Controller string
	// Device is the disk that the line is about, where it names one.
	Device string
	// NSID is the namespace that the line is about, 0 when it names none.
	NSID int
	// Operation is what the driver was doing or did: initialisation, reset, shutdown for not-ready; aborting, reset
	// controller, completion polled, disable controller for a time-out; READ, WRITE, … for a failed command of a disk; the
	// kind of error for AER: MalfTLP.
	Operation string
	// QueueID is the queue of a time-out, 0 for the admin queue.
	QueueID int
	// Status is the NVMe status of a failed command: status code type times 256, plus status code. 0 where the line has none.
	Status uint16
	// Errno is why a probe or a command failed: "ENOMEM"; "" where the line does not say. A positive number there is an NVMe
	// status and in Status.
	Errno string
	// Reporter is the port that reported an error of another function (AER).
	Reporter string
	// BAR is the number of the address range that a line is about, -1 where it names none.
	BAR  int
	Text string
}

// wordings are tried in order; each begins behind "nvme nvmeN: " or "nvme 0000:01:00.0: ". The groups nsid, op, qid, errno,
// sct, sc and bar become fields of the event.
var wordings = []struct {
	kind    EventKind
	pattern *regexp.Regexp
}{
	{EventFound, regexp.MustCompile(`^pci function `)},
	{EventReady, regexp.MustCompile(`^\d+(?:/\d+)+ default/read(?:/\w+)+ queues`)},
	{EventNotReady, regexp.MustCompile(`^Device not ready; aborting (?P<op>initialisation|reset|shutdown)`)},
	{EventProbeFailed, regexp.MustCompile(`^Removing after probe failure(?: status: (?P<errno>-?\d+))?|^probe with driver nvme failed(?: with error (?P<errno>-?\d+))?|^error (?P<errno>-?\w+): probe failed|^Failed to (?:configure AEN|read smart log during init)`)},
	{EventIdentify, regexp.MustCompile(`^Identify Controller failed(?: \((?P<errno>-?\d+)\))?`)},
	{EventRegisters, regexp.MustCompile(`^Reading (?:CAP|CRTO|VS) failed(?: \((?P<errno>-?\d+)\))?`)},
	{EventPageSize, regexp.MustCompile(`^Minimum device page size`)},
	{EventNoQueues, regexp.MustCompile(`^IO queues (?:not created|lost)|^Could not set queue count(?: \((?P<errno>-?\d+)\))?`)},
	{EventSameSubsystem, regexp.MustCompile(`^Duplicate cntlid \d+ with |^Subsystem does not support multiple controllers`)},
	{EventIDsRejected, regexp.MustCompile(`^globally duplicate IDs for nsid (?P<nsid>\d+)|^ignoring nsid (?P<nsid>\d+) because of duplicate IDs`)},
	{EventIDsCleared, regexp.MustCompile(`^clearing duplicate IDs for nsid (?P<nsid>\d+)`)},
	{EventIDsTwice, regexp.MustCompile(`^duplicate IDs (?:in subsystem )?for nsid (?P<nsid>\d+)|^Duplicate unshared namespace (?P<nsid>\d+)|^IDs don't match for shared namespace (?P<nsid>\d+)`)},
	{EventIDsChanged, regexp.MustCompile(`^identifiers changed for nsid (?P<nsid>\d+)`)},
	{EventDown, regexp.MustCompile(`^controller is down; will reset: CSTS=`)},
	{EventDisabled, regexp.MustCompile(`^Disabling device after reset failure(?:: (?P<errno>-?\d+))?`)},
	{EventTimeout, regexp.MustCompile(`^I/O (?:tag )?\d+ (?:\([^)]*\) )?(?:type \S+ )?(?:opcode \S+ \([^)]*\) )?QID (?P<qid>\d+) timeout(?:, (?P<op>aborting|reset controller|completion polled|disable controller))?`)},
	{EventInaccessible, regexp.MustCompile(`^Unable to change power state from \S+ to \S+, device inaccessible|^can't change power state from \S+ to \S+ \(config space inaccessible\)`)},
	{EventPowerRefused, regexp.MustCompile(`^[Rr]efused to change power state(?: from \S+ to D0|, currently in D\d)`)},
	{EventBusError, regexp.MustCompile(`^frozen state error detected|^failure state error detected`)},
	{EventInternalError, regexp.MustCompile(`^resetting controller due to (?:persistent internal error|AER)|^Fw activation timeout, reset controller`)},
	{EventNoHostMemory, regexp.MustCompile(`^failed to allocate host memory buffer|^min host memory \(\d+ MiB\) above limit|^failed to set host mem \(`)},
	{EventIdentifyFailed, regexp.MustCompile(`^Identify Descriptors failed \(nsid=(?P<nsid>\d+)|^Identify (?:NS List|namespace) failed`)},
	{EventBlockSize, regexp.MustCompile(`^invalid LBA data size`)},
	{EventUnsupportedCSI, regexp.MustCompile(`^block device for nsid (?P<nsid>\d+) not supported`)},
	{EventBogusCRTO, regexp.MustCompile(`^bad crto:`)},
	// drivers/pci/setup-res.c and setup-bus.c, before and after 6.9; pci.c pci_enable_resources. Only the memory ranges of a
	// drive count: it works without its ROM and its I/O ports.
	{EventNoSpace, regexp.MustCompile(`^(?:can't (?:enable device: |ioremap |claim |reserve ))?BAR (?P<bar>\d+)\b.*(?:no space|failed to assign|can't assign|can't claim|can't reserve|can't enable device|no compatible bridge window|not claimed|not assigned)|^can't (?:enable device: |ioremap |claim |reserve )BAR (?P<bar>\d+)|` +
		`^bridge window \[mem.*(?:no space|failed to assign)`)},
	{EventIOMMU, regexp.MustCompile(`^AMD-Vi: Event logged \[|^DMAR: \[|^event 0x\w+ received|^Unhandled context fault`)},
	{EventDMA, regexp.MustCompile(`^swiotlb buffer is full|^No suitable DMA |^overflow 0x|^DMA addr 0x\w+\+\d+ overflow|^(?:unable to set|failed to set) DMA mask`)},
	{EventRetrain, regexp.MustCompile(`^broken device, retraining|^retraining (?:failed|sucessfully)|^retraining failed`)},
	{EventNoAnswer, regexp.MustCompile(`^not ready \d+ms after [^;]+; giving up|^Data Link Layer Link Active not set in \d+ msec`)},
	{EventStatus, statusLine},
}

// statusLine is the driver's word for a command that failed (drivers/nvme/host/core.c, nvme_log_error), with the wording of
// CONFIG_NVME_VERBOSE_ERRORS and without.
var statusLine = regexp.MustCompile(`\(sct (?P<sct>0x[0-9a-f]+) / sc (?P<sc>0x[0-9a-f]+)\)`)

// slotLine, aerLine and so on are what a port says of what is plugged into it.
var (
	slotLine = regexp.MustCompile(`^(?:pciehp: )?Slot\([^)]*\)(?: [0-9a-f:.]+)?: (?P<what>.*)$`)
	// "Error Message" from 7.x on; "Corrected" up to 6.x for what is "Correctable" later.
	aerLine = regexp.MustCompile(`^AER: (?:Multiple )?(?P<severity>Correct(?:ed|able)|Uncorrect(?:ed|able) \((?:Non-)?Fatal\)) [Ee]rror(?: [Mm]essages?)?(?:\(s\))? received(?: from|:)? ?(?P<from>[0-9a-f:]+\.[0-7])?`)
	// Downstream port containment takes the link down at an error that cannot be mended (drivers/pci/pcie/dpc.c).
	dpcLine   = regexp.MustCompile(`^DPC: (?:containment event|unmasked uncorrectable error|ERR_FATAL)`)
	aerReport = regexp.MustCompile(`^(?:PCIe|CXL) Bus Error: severity=(?P<severity>Correct(?:ed|able)|Uncorrect(?:ed|able) \((?:Non-)?Fatal\))`)
	aerBit    = regexp.MustCompile(`^ +\[ ?\d+\] (?P<kind>\S.*?) *(?:\(First\))?$`)
	aerDevice = regexp.MustCompile(`^ +device \[[0-9a-f:]+\] error status/mask`)
)

// slotEvents are what pciehp says of a slot (drivers/pci/hotplug/pciehp_ctrl.c, pciehp_hpc.c).
var slotEvents = []struct {
	kind  EventKind
	words string
}{
	{EventSlotDown, "Link Down"},
	{EventSlotDown, "Card not present"},
	{EventSlotFault, "ower fault"},
	{EventSlotFault, "Cannot train link"},
	{EventSlotFault, "Link Training Error"},
	{EventSlotFault, "No link"},
	{EventSlotFault, "Failed to check link status"},
	{EventSlotFault, "No adapter"},
	{EventSlotUp, "Card present"},
	{EventSlotUp, "Link Up"},
}

// aerSeverity is the kind of event of an AER severity in any kernel's words.
func aerSeverity(text string) EventKind {
	switch {
	case strings.HasPrefix(text, "Correct"):
		return EventAERCorrected
	case strings.Contains(text, "Non-Fatal"):
		return EventAERNonFatal
	default:
		return EventAERFatal
	}
}

// fill takes the named groups of a match into the event.
func (e *Event) fill(pattern *regexp.Regexp, m []string) {
	var sct, sc uint64
	for i, group := range pattern.SubexpNames() {
		if m[i] == "" {
			continue
		}
		number, _ := strconv.Atoi(m[i]) // of digits, where it counts; too many of them are no namespace that exists
		switch group {
		case "nsid":
			e.NSID = number
		case "qid":
			e.QueueID = number
		case "op":
			e.Operation = m[i]
		case "bar":
			e.BAR = number
		case "errno":
			e.Errno, e.Status = errno(m[i])
		case "sct":
			sct, _ = strconv.ParseUint(m[i], 0, 3)
		case "sc":
			sc, _ = strconv.ParseUint(m[i], 0, 8)
		}
	}
	if sct|sc != 0 {
		e.Status = uint16(sct<<8 | sc)
	}
}

// classify reports whether the text behind the device's name is a known line, and fills e with what it says.
func classify(text string, e *Event) bool {
	for _, w := range wordings {
		if m := w.pattern.FindStringSubmatch(text); m != nil {
			e.Kind = w.kind
			e.fill(w.pattern, m)
			return true
		}
	}
	return false
}

// needless reports whether a line is about an address range without which a drive works: I/O ports, its ROM (6) and those of
// virtual functions (7 to 12); 14 and 15 are the windows of a bridge (include/linux/pci.h, PCI_ROM_RESOURCE and so on).
func (e *Event) needless() bool {
	return e.Kind == EventNoSpace && (strings.Contains(e.Text, "[io ") || strings.Contains(e.Text, "ROM") || e.BAR > 5 && e.BAR < 14)
}

// errnos are the error numbers that drivers return from a probe (include/uapi/asm-generic/errno-base.h, errno.h), by name.
var errnos = map[int]string{
	1: "EPERM", 4: "EINTR", 5: "EIO", 6: "ENXIO", 11: "EAGAIN", 12: "ENOMEM", 14: "EFAULT", 16: "EBUSY", 19: "ENODEV", 22: "EINVAL", 28: "ENOSPC", 34: "ERANGE",
	61: "ENODATA", 62: "ETIME", 75: "EOVERFLOW", 95: "EOPNOTSUPP", 110: "ETIMEDOUT", 125: "ECANCELED",
}

// errno reads an error number as the kernel prints it: -12, ENOMEM or -ENOMEM. A positive number is an NVMe status.
func errno(text string) (name string, status uint16) {
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return strings.TrimPrefix(text, "-"), 0
	case n >= 0:
		return "", uint16(n & 0x7ff)
	case errnos[-n] != "":
		return errnos[-n], 0
	default:
		return "error " + strconv.Itoa(-n), 0
	}
}

// errnoWords says in words what an error number of a failed probe means.
func errnoWords(name string) string {
	switch name {
	case "ENOMEM":
		return "the kernel got no memory or no address space for it (ENOMEM)"
	case "EIO":
		return "it did not answer as it should (EIO)"
	case "ENODEV", "ENXIO":
		return "it was not there when the driver spoke to it (" + name + ")"
	case "EBUSY":
		return "something else holds its address range (EBUSY)"
	case "EINVAL":
		return "it gave an answer that the driver cannot use (EINVAL)"
	case "ETIMEDOUT", "ETIME":
		return "it did not answer in time (" + name + ")"
	case "EINTR", "ECANCELED":
		return "its first command was given up, since no answer came in time (" + name + ")"
	case "ENOSPC":
		return "the host has no interrupt or other resource left for it (ENOSPC)"
	case "":
		return ""
	default:
		return "the driver gave it up with " + name
	}
}

// harmless are lines that name a drive, a disk or a port and mean nothing bad: every such host has them.
var harmless = regexp.MustCompile(strings.Join([]string{
	`^missing or invalid SUBNQN field`, `^platform quirk: setting simple suspend`, `^D3 entry latency set to`, `^using unchecked data buffer`, `^Ignoring bogus Namespace Identifiers`,
	`^Failed to read smart log`, `^Shutdown timeout set to`, `^allocated \d+ MiB host memory buffer`, `^enabling device \(`, `^restart after slot reset`, `^rescanning namespaces`,
	`^\[[0-9a-f]{4}:[0-9a-f]{4}\] type `, `^BAR \d+ \[[^\]]*\]$`, `^BAR \d+: assigned`, `^BAR \d+ \[[^\]]*\]: (?:assigned|releasing)`, `^BAR \d+: releasing`, `^reg 0x`, `^ROM \[`, `^VF BAR`, `^PME# `, `^supports D1`,
	`^[Ee]nabling Extended Tags`, `^Adding to iommu group`, `^\d+\.\d+ Gb/s available PCIe bandwidth`, `^PCI bridge to \[bus`, `^ *bridge window \[(?:mem|io)[^\]]*\](?: to \[bus[^\]]*\].*)?$`, `^ *bridge window \[[^\]]*\]: assigned`,
	`^PME: Signaling with IRQ`, `^AER: enabled with IRQ`, `^DPC: enabled with IRQ`, `^DPC: error containment capabilities`, `^pciehp: Slot #`, `^AER: device recovery successful`, `^AER: Root Port link has been reset \(0\)`, `^ {2,}TLP Header`,
	`^AER: broadcast`, `^disabling ASPM|^can't disable ASPM`, `^Using \d+-bit DMA`, `^vgaarb`, `^Max Payload Size`, `^Overriding RHSA`, `^working around|^quirk`,
}, "|"))
