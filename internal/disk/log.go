package disk

import (
	"regexp"
	"slices"
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
	EventNotReady       EventKind = "not-ready"       // Device not ready; aborting initialisation
	EventProbeFailed    EventKind = "probe-failed"    // Removing after probe failure, probe failed
	EventIDsRejected    EventKind = "ids-rejected"    // globally duplicate IDs, ignoring nsid … because of duplicate IDs
	EventIDsCleared     EventKind = "ids-cleared"     // clearing duplicate IDs
	EventIDsTwice       EventKind = "ids-twice"       // duplicate IDs in subsystem
	EventDown           EventKind = "down"            // controller is down; will reset
	EventDisabled       EventKind = "disabled"        // Disabling device after reset failure
	EventTimeout        EventKind = "timeout"         // I/O … timeout
	EventInaccessible   EventKind = "inaccessible"    // Unable to change power state … device inaccessible
	EventUnsupportedCSI EventKind = "unsupported-csi" // block device for nsid … not supported
	EventBogusCRTO      EventKind = "bogus-crto"      // bad crto: the fix for such drives is in this kernel
)

// Event is one line of the kernel log about one controller.
type Event struct {
	Time time.Duration // since boot
	Kind EventKind
	// Address is the PCI function, "" where the log does not tell; Controller is nvmeN where the line names one.
	Address, Controller string
	Text                string
}

// wordings are tried in order; each begins behind "nvme nvmeN: " or "nvme 0000:01:00.0: ".
var wordings = []struct {
	kind    EventKind
	pattern *regexp.Regexp
}{
	{EventFound, regexp.MustCompile(`^pci function `)},
	{EventReady, regexp.MustCompile(`^\d+/\d+/\d+ default/read/poll queues`)},
	{EventNotReady, regexp.MustCompile(`^Device not ready; aborting (initialisation|reset|shutdown), CSTS=`)},
	{EventProbeFailed, regexp.MustCompile(`^Removing after probe failure|^probe with driver nvme failed|^error -?\w+: probe failed|^Identify Controller failed|^Could not set queue count|^Reading (CAP|CRTO|VS) failed|^Minimum device page size`)},
	{EventIDsRejected, regexp.MustCompile(`^globally duplicate IDs for nsid|^ignoring nsid \d+ because of duplicate IDs`)},
	{EventIDsCleared, regexp.MustCompile(`^clearing duplicate IDs for nsid`)},
	{EventIDsTwice, regexp.MustCompile(`^duplicate IDs (in subsystem )?for nsid`)},
	{EventDown, regexp.MustCompile(`^controller is down; will reset: CSTS=`)},
	{EventDisabled, regexp.MustCompile(`^Disabling device after reset failure`)},
	{EventTimeout, regexp.MustCompile(`^I/O (?:tag )?\d+ (?:\([^)]*\) )?(?:opcode \S+ \([^)]*\) )?QID \d+ timeout, (aborting|reset controller|completion polled|disable controller)`)},
	{EventInaccessible, regexp.MustCompile(`^Unable to change power state from \S+ to D0, device inaccessible`)},
	{EventUnsupportedCSI, regexp.MustCompile(`^block device for nsid \d+ not supported`)},
	{EventBogusCRTO, regexp.MustCompile(`^bad crto:`)},
}

var (
	subject     = regexp.MustCompile(`^nvme (nvme\d+|[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]): (.*)$`)
	pciFunction = regexp.MustCompile(`^pci function ([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])`)
)

// maxEvents is how many events are kept for one controller.
const maxEvents = 64

// logParser turns records into events. Controller numbers are given out anew, so a line belongs to the function that
// the last "pci function" line before it gave to its number.
type logParser struct {
	function map[string]string // PCI address by controller name
	events   []Event
	count    map[string]int
}

func newLogParser() *logParser {
	return &logParser{function: map[string]string{}, count: map[string]int{}}
}

func (p *logParser) add(rec host.KernelRecord) {
	m := subject.FindStringSubmatch(rec.Text)
	if m == nil {
		return
	}
	e := Event{Time: rec.Time, Text: rec.Text}
	if strings.HasPrefix(m[1], "nvme") {
		e.Controller = m[1]
		if f := pciFunction.FindStringSubmatch(m[2]); f != nil {
			p.function[e.Controller] = f[1]
		}
		e.Address = p.function[e.Controller]
	} else {
		e.Address = m[1]
	}
	for _, w := range wordings {
		if w.pattern.MatchString(m[2]) {
			e.Kind = w.kind
			p.keep(e)
			return
		}
	}
}

// keep adds an event, dropping the oldest of the same controller when there are too many.
func (p *logParser) keep(e Event) {
	key := e.Address + "/" + e.Controller
	if p.count[key] >= maxEvents {
		i := slices.IndexFunc(p.events, func(o Event) bool { return o.Address == e.Address && o.Controller == e.Controller })
		p.events = slices.Delete(p.events, i, i+1)
		p.count[key]--
	}
	p.count[key]++
	p.events = append(p.events, e)
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

func (r *logReader) poll() (events []Event, lost bool, err error) {
	records, lost, whole, err := r.log.Poll()
	if whole {
		r.parser, r.lost = newLogParser(), false
	}
	r.lost = r.lost || lost
	for _, rec := range records {
		r.parser.add(rec)
	}
	return slices.Clone(r.parser.events), r.lost, err
}
