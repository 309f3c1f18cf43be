package disk

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"labd/internal/host"
)

// EventKind is what a line of the kernel log says about a controller.
type EventKind string

// Kinds of events. The wordings are those of drivers/nvme/host from 5.15 to 7.x.
const (
	EventFound          EventKind = "found"           // pci function …
	EventReady          EventKind = "ready"           // …/read/poll queues
	EventNotReady       EventKind = "not-ready"       // Device not ready; aborting initialisation, …reset, …shutdown
	EventProbeFailed    EventKind = "probe-failed"    // Removing after probe failure, probe failed
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
	EventMediaError     EventKind = "media-error"     // critical medium error, of a disk
	EventIOError        EventKind = "io-error"        // I/O error, of a disk
	EventBogusCRTO      EventKind = "bogus-crto"      // bad crto: the fix is in this kernel; said once a boot, for the first drive
)

// Event is one line of the kernel log about one controller.
type Event struct {
	Time time.Duration // since boot
	Kind EventKind
	// Address is the PCI function, "" where the log does not tell; Controller is nvmeN where the line names one.
	Address, Controller string
	// Device is the disk that the line is about, where it names one.
	Device string
	// NSID is the namespace that the line is about, 0 when it names none.
	NSID int
	// Operation is what the driver was doing or did: initialisation, reset, shutdown for not-ready; aborting, reset
	// controller, completion polled, disable controller for a time-out.
	Operation string
	// QueueID is the queue of a time-out, 0 for the admin queue.
	QueueID int
	Text    string
}

// wordings are tried in order; each begins behind "nvme nvmeN: " or "nvme 0000:01:00.0: ". The groups nsid, op and qid
// become fields of the event.
var wordings = []struct {
	kind    EventKind
	pattern *regexp.Regexp
}{
	{EventFound, regexp.MustCompile(`^pci function `)},
	{EventReady, regexp.MustCompile(`^\d+/\d+/\d+ default/read/poll queues`)},
	{EventNotReady, regexp.MustCompile(`^Device not ready; aborting (?P<op>initialisation|reset|shutdown)`)},
	{EventProbeFailed, regexp.MustCompile(`^Removing after probe failure|^probe with driver nvme failed|^error -?\w+: probe failed|^Identify Controller failed|^Could not set queue count|^Reading (CAP|CRTO|VS) failed|^Minimum device page size|^IO queues (not created|lost)`)},
	{EventSameSubsystem, regexp.MustCompile(`^Duplicate cntlid \d+ with |^Subsystem does not support multiple controllers`)},
	{EventIDsRejected, regexp.MustCompile(`^globally duplicate IDs for nsid (?P<nsid>\d+)|^ignoring nsid (?P<nsid>\d+) because of duplicate IDs`)},
	{EventIDsCleared, regexp.MustCompile(`^clearing duplicate IDs for nsid (?P<nsid>\d+)`)},
	{EventIDsTwice, regexp.MustCompile(`^duplicate IDs (?:in subsystem )?for nsid (?P<nsid>\d+)|^Duplicate unshared namespace (?P<nsid>\d+)|^IDs don't match for shared namespace (?P<nsid>\d+)`)},
	{EventIDsChanged, regexp.MustCompile(`^identifiers changed for nsid (?P<nsid>\d+)`)},
	{EventDown, regexp.MustCompile(`^controller is down; will reset: CSTS=`)},
	{EventDisabled, regexp.MustCompile(`^Disabling device after reset failure`)},
	{EventTimeout, regexp.MustCompile(`^I/O (?:tag )?\d+ (?:\([^)]*\) )?(?:opcode \S+ \([^)]*\) )?QID (?P<qid>\d+) timeout, (?P<op>aborting|reset controller|completion polled|disable controller)`)},
	{EventInaccessible, regexp.MustCompile(`^Unable to change power state from \S+ to \S+, device inaccessible|^can't change power state from \S+ to \S+ \(config space inaccessible\)`)},
	{EventPowerRefused, regexp.MustCompile(`^[Rr]efused to change power state from \S+ to D0`)},
	{EventBusError, regexp.MustCompile(`^frozen state error detected|^failure state error detected`)},
	{EventInternalError, regexp.MustCompile(`^resetting controller due to (?:persistent internal error|AER)|^Fw activation timeout, reset controller`)},
	{EventNoHostMemory, regexp.MustCompile(`^failed to allocate host memory buffer|^min host memory \(\d+ MiB\) above limit|^failed to set host mem \(`)},
	{EventIdentifyFailed, regexp.MustCompile(`^Identify Descriptors failed \(nsid=(?P<nsid>\d+)|^Identify (?:NS List|namespace) failed`)},
	{EventBlockSize, regexp.MustCompile(`^invalid LBA data size`)},
	{EventUnsupportedCSI, regexp.MustCompile(`^block device for nsid (?P<nsid>\d+) not supported`)},
	{EventBogusCRTO, regexp.MustCompile(`^bad crto:`)},
}

// Before the colon stands the driver that is bound, "pci" when there is none, and the device.
var (
	subject = regexp.MustCompile(`^(?:nvme|pci|vfio-pci) (nvme\d+|[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]): (.*)$`)
	// The block layer's line about a disk (block/blk-core.c), with the word before it that kernels up to 5.17 have, and that of
	// a multipath head of which no path works (drivers/nvme/host/multipath.c).
	diskError   = regexp.MustCompile(`^(?:blk_update_request: )?(critical medium error|I/O error), dev (nvme\d+)(?:c\d+)?(n\d+), sector `)
	noPath      = regexp.MustCompile(`^block (nvme\d+)(n\d+): no (?:usable|available) path`)
	pciFunction = regexp.MustCompile(`^pci function ([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])`)
)

// classify reports whether the text behind the device's name is a known line, and fills e with what it says.
func classify(text string, e *Event) bool {
	for _, w := range wordings {
		m := w.pattern.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		e.Kind = w.kind
		for i, group := range w.pattern.SubexpNames() {
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
			}
		}
		return true
	}
	return false
}

// maxEvents is how many events of one kind are kept for one controller, maxAll how many in all. A drive that fills the
// log drives out neither its own other events nor those of another.
const (
	maxEvents = 16
	maxAll    = 4096
)

// logParser turns records into events. Controller numbers are given out anew, so a line belongs to the function that
// the last "pci function" line before it gave to its number.
type logParser struct {
	function map[string]string // PCI address by controller name
	events   []Event
	count    map[eventKey]int
	// diskErrors counts the lines about each disk, also those that are not kept.
	diskErrors map[string]int
}

type eventKey struct {
	address, controller string
	kind                EventKind
}

func (e Event) key() eventKey { return eventKey{e.Address, e.Controller, e.Kind} }

func newLogParser() *logParser {
	return &logParser{function: map[string]string{}, count: map[eventKey]int{}, diskErrors: map[string]int{}}
}

// add takes a record, and returns the event in it; ok is false where there is none.
func (p *logParser) add(rec host.KernelRecord) (e Event, ok bool) {
	e = Event{Time: rec.Time, Text: rec.Text}
	if controller, disk, kind := aboutDisk(rec.Text); disk != "" {
		e.Kind, e.Controller, e.Device, e.Address = kind, controller, disk, p.function[controller]
		p.diskErrors[e.Device]++
		p.keep(e)
		return e, true
	}
	m := subject.FindStringSubmatch(rec.Text)
	if m == nil || !classify(m[2], &e) {
		return Event{}, false
	}
	if strings.HasPrefix(m[1], "nvme") {
		e.Controller = m[1]
		if f := pciFunction.FindStringSubmatch(m[2]); f != nil {
			p.function[e.Controller] = f[1]
			// The number may be another drive's now, and so are the names of its disks.
			maps.DeleteFunc(p.diskErrors, func(disk string, _ int) bool { return strings.HasPrefix(disk, e.Controller+"n") })
		}
		e.Address = p.function[e.Controller]
	} else {
		e.Address = m[1]
	}
	p.keep(e)
	return e, true
}

// aboutDisk reads a line about a disk of which a read or write failed; disk is "" for all else.
func aboutDisk(text string) (controller, disk string, kind EventKind) {
	if m := diskError.FindStringSubmatch(text); m != nil {
		if strings.HasPrefix(m[1], "critical") {
			return m[2], m[2] + m[3], EventMediaError
		}
		return m[2], m[2] + m[3], EventIOError
	}
	if m := noPath.FindStringSubmatch(text); m != nil {
		return m[1], m[1] + m[2], EventIOError
	}
	return "", "", ""
}

// keep adds an event, dropping the oldest of the same controller and kind when there are too many.
func (p *logParser) keep(e Event) {
	oldest := func(Event) bool { return true }
	switch {
	case p.count[e.key()] >= maxEvents:
		oldest = func(o Event) bool { return o.key() == e.key() }
		fallthrough
	case len(p.events) >= maxAll:
		i := slices.IndexFunc(p.events, oldest)
		if p.count[p.events[i].key()]--; p.count[p.events[i].key()] == 0 {
			delete(p.count, p.events[i].key())
		}
		p.events = slices.Delete(p.events, i, i+1)
	}
	p.count[e.key()]++
	p.events = append(p.events, e)
}

// ofDisks gives events about disks to the functions that have these disks: a multipath head's number is not its
// controller's.
func ofDisks(log []Event, functions []Function) []Event {
	owner := map[string]string{}
	for _, fn := range functions {
		for _, c := range fn.Controllers {
			for _, ns := range c.Namespaces {
				owner[ns.Device] = fn.Address
			}
		}
	}
	log = slices.Clone(log)
	for i := range log {
		if address, ok := owner[log[i].Device]; ok {
			log[i].Address = address
		}
	}
	return log
}

// ofDrive are the events about a function.
func ofDrive(log []Event, address string) []Event {
	var out []Event
	for _, e := range log {
		if e.Address == address {
			out = append(out, e)
		}
	}
	return out
}

// lastProbe are a drive's events since the kernel last found it, that line included. What an earlier probe of it said no
// longer counts.
func lastProbe(history []Event) []Event {
	for i, e := range slices.Backward(history) {
		if e.Kind == EventFound {
			return history[i:]
		}
	}
	return history
}

// last is the newest event of these kinds among events.
func last(events []Event, kinds ...EventKind) (Event, bool) {
	for _, e := range slices.Backward(events) {
		if slices.Contains(kinds, e.Kind) {
			return e, true
		}
	}
	return Event{}, false
}

// logReader reads the kernel log bit by bit.
type logReader struct {
	log    *host.KernelLog
	parser *logParser
	lost   bool
}

func newLogReader(log *host.KernelLog) *logReader {
	return &logReader{log: log, parser: newLogParser()}
}

// poll returns the events of this boot. older are records of this boot from the journal, which is read once: they count
// where the kernel's buffer has lost its oldest records or cannot be read. lost is said all the same, since the journal
// may lack some too.
func (r *logReader) poll(older []host.KernelRecord) (events []Event, lost bool, err error) {
	records, lost, whole, err := r.log.Poll()
	r.lost = !whole && r.lost || lost
	fill := len(older) > 0 && (r.lost || err != nil)
	if fill && err == nil && !whole { // from the oldest record on once more
		r.log.Rewind()
		if records, lost, whole, err = r.log.Poll(); lost {
			r.lost = true
		}
	}
	if whole || fill {
		r.parser = newLogParser()
	}
	if fill {
		for _, rec := range older {
			if len(records) == 0 || rec.Time < records[0].Time {
				r.parser.add(rec)
			}
		}
	}
	for _, rec := range records {
		r.parser.add(rec)
	}
	return slices.Clone(r.parser.events), r.lost, err
}

// countErrors puts the counts of failed reads and writes into the namespaces.
func (r *logReader) countErrors(functions []Function) {
	for _, fn := range functions {
		for _, c := range fn.Controllers {
			for i := range c.Namespaces {
				c.Namespaces[i].LoggedErrors = r.parser.diskErrors[c.Namespaces[i].Device]
			}
		}
	}
}
