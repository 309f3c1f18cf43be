package disk

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"labd/internal/host"
)

var (
	// Before the colon stands the driver that is bound, "pci" when there is none, and the device.
	deviceLine = regexp.MustCompile(`^(nvme|pci|pcieport|pciehp|vfio-pci|vmd) (nvme\d+|[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])(?::pcie\d+)?: (.*)$`)
	// The driver core's line about a probe up to 6.9 (drivers/base/dd.c).
	probeOf = regexp.MustCompile(`^nvme: probe of ([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]) (failed with error (?P<errno>-?\d+)|rejects match.*)$`)
	// A disk's own lines: "nvme0n1: Write(0x1) @ LBA 8, …".
	diskLine = regexp.MustCompile(`^(nvme\d+)(?:c\d+)?(n\d+): (.*)$`)
	// Of a command to the controller: "nvme0: Identify(0x6), …".
	adminLine = regexp.MustCompile(`^(nvme\d+): (.*)$`)
	// The block layer's line about a disk (block/blk-core.c), with the words before it that kernels up to 5.17 have.
	diskError = regexp.MustCompile(`^(?:blk_update_request: |print_req_error: )?(critical medium|[\w /]+) error, dev (nvme\d+)(?:c\d+)?(n\d+), (?:logical block|sector) (?:.* op 0x[0-9a-f]+:\((\w+)\))?`)
	// The buffer cache's (fs/buffer.c) and that of a multipath head of which no path works (drivers/nvme/host/multipath.c).
	bufferError = regexp.MustCompile(`^Buffer I/O error on (?:dev|device) (nvme\d+)(?:c\d+)?(n\d+)`)
	noPath      = regexp.MustCompile(`^block (nvme\d+)(n\d+): no (?:usable|available) path`)
	pciFunction = regexp.MustCompile(`^pci function ([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])`)
	// Of a controller that is reached over a network and takes a number that a PCIe drive had.
	fabrics   = regexp.MustCompile(`^(?:new ctrl: |creating \d+ I/O queues|mapped \d+(?:/\d+)+ default|reconnecting in |starting error recovery)`)
	busBelow  = regexp.MustCompile(`^PCI bridge to \[bus ([0-9a-f]{2})`)
	nvmeToken = regexp.MustCompile(`\b(nvme\d+)(?:c\d+)?(n\d+)?(?:p\d+)?\b`)
	// What the system does with disks in its normal life.
	everyday = regexp.MustCompile(`^ *nvme\d+n\d+:(?: p\d+)*(?: <.*>)?$|: detected capacity change from 0 to|mounted filesystem|Mounting V\d|Ending clean mount|^Adding \d+k swap|[Cc]ommand line: |^BTRFS(?: info)?: device |^md/raid|^BTRFS info|^EXT4-fs \([^)]*\): (?:mounted|unmounting|re-mounted)|^XFS \([^)]*\): (?:Mounting|Ending|Unmounting)|: Process accounting`)
)

// maxEvents is how many events of one kind are kept for one controller, maxAll how many in all. A drive that fills the
// log drives out neither its own other events nor those of another.
const (
	maxEvents = 16
	maxAll    = 4096
)

// logParser turns records into events. Controller numbers are given out anew, so a line belongs to the function that
// the last "pci function" line before it gave to its number.
type logParser struct {
	// watched are the PCI functions and ports of which every line counts; of others only the known lines do.
	watched  map[string]bool
	function map[string]string // PCI address by controller name
	// network are the controllers that are reached over a network.
	network map[string]bool
	events  []Event
	count   map[eventKey]int
	// diskErrors counts the lines about each disk, also those that are not kept.
	diskErrors map[string]int
	// named has, for each PCI function, port or controller of no known function, how many lines name it and the last of them.
	named map[string]naming
	// ports are the ports by the bus below them: "0000:01".
	ports map[string]string
}

// naming is how often the log names something.
type naming struct {
	lines int
	last  Event
}

type eventKey struct {
	address, controller string
	kind                EventKind
}

func (e Event) key() eventKey { return eventKey{e.Address, e.Controller, e.Kind} }

func newLogParser(watched map[string]bool) *logParser {
	return &logParser{watched: watched, function: map[string]string{}, network: map[string]bool{}, count: map[eventKey]int{}, diskErrors: map[string]int{}, named: map[string]naming{}, ports: map[string]string{}}
}

// add takes a record, and returns the event in it; ok is false where there is none.
func (p *logParser) add(rec host.KernelRecord) (e Event, ok bool) {
	text := rec.Text
	if !strings.Contains(text, "nvme") && !hasAddress(text) {
		return Event{}, false
	}
	e = Event{Time: rec.Time, Text: text, BAR: -1}
	known := p.aboutDisk(text, &e) || p.aboutDevice(text, &e) || p.aboutOther(text, &e)
	if e.Address == "" && e.Controller == "" {
		return Event{}, false
	}
	p.name(e)
	if !known || e.Kind == "" {
		return Event{}, false
	}
	p.keep(e)
	return e, true
}

// name counts a line that names something.
func (p *logParser) name(e Event) {
	key := e.Address
	if key == "" && p.network[e.Controller] {
		return
	}
	if key == "" {
		key = e.Controller
	}
	for _, k := range []string{key, e.Reporter} {
		if k == "" || len(p.named) >= maxAll && p.named[k].lines == 0 {
			continue
		}
		n := p.named[k]
		n.lines, n.last = n.lines+1, e
		p.named[k] = n
	}
}

// aboutDevice reads a line that begins with a driver and a device. It is false for a line that says nothing bad, and for one
// that begins otherwise.
func (p *logParser) aboutDevice(text string, e *Event) bool {
	if m := probeOf.FindStringSubmatch(text); m != nil {
		e.Kind, e.Address = EventProbeFailed, m[1]
		e.fill(probeOf, m)
		return true
	}
	m := deviceLine.FindStringSubmatch(text)
	if m == nil {
		return false
	}
	device, rest := m[2], m[3]
	if strings.HasPrefix(device, "nvme") {
		return p.aboutController(device, rest, e)
	}
	e.Address = device
	if b := busBelow.FindStringSubmatch(rest); b != nil && len(p.ports) < maxAll {
		p.ports[device[:strings.IndexByte(device, ':')]+":"+b[1]] = device
	}
	if p.aboutPort(rest, e) {
		return e.Kind != ""
	}
	p.resolve(rest, *e)
	if harmless.MatchString(rest) {
		return false
	}
	if classify(rest, e) {
		return !e.needless()
	}
	e.Kind = EventOther
	return p.watched[device]
}

// resolve drops what was said of an address range that the kernel found a place for later.
func (p *logParser) resolve(rest string, e Event) {
	m := assigned.FindStringSubmatch(rest)
	if m == nil {
		return
	}
	p.events = slices.DeleteFunc(p.events, func(o Event) bool {
		gone := o.Kind == EventNoSpace && o.Address == e.Address && o.BAR == int(m[1][0]-'0')
		if gone {
			p.forget(o)
		}
		return gone
	})
}

var assigned = regexp.MustCompile(`^BAR (\d)(?: \[mem[^\]]*\]: assigned|: assigned \[mem)`)

// aboutController reads what the driver says of a controller.
func (p *logParser) aboutController(controller, rest string, e *Event) bool {
	e.Controller = controller
	if f := pciFunction.FindStringSubmatch(rest); f != nil {
		p.function[controller] = f[1]
		// The number may be another drive's now, and so are the names of its disks.
		maps.DeleteFunc(p.diskErrors, func(disk string, _ int) bool { return strings.HasPrefix(disk, controller+"n") })
		delete(p.network, controller)
	} else if fabrics.MatchString(rest) {
		delete(p.function, controller)
		p.network[controller] = true
		return false
	}
	e.Address = p.function[controller]
	if harmless.MatchString(rest) {
		return false
	}
	if !classify(rest, e) {
		e.Kind = EventOther
	}
	return true
}

// aboutPort reads what a port says of its slot and of errors on the bus; false for all else. A kind of "" is for nobody.
func (p *logParser) aboutPort(rest string, e *Event) bool {
	if m := slotLine.FindStringSubmatch(rest); m != nil {
		for _, s := range slotEvents {
			if strings.Contains(m[1], s.words) {
				e.Kind = s.kind
				return true
			}
		}
		e.Kind = EventOther
		return true
	}
	if m := aerLine.FindStringSubmatch(rest); m != nil {
		e.Kind = aerSeverity(m[1])
		if from := longAddress(m[2]); from != "" && from != e.Address {
			e.Reporter, e.Address = e.Address, from
		}
		return true
	}
	if dpcLine.MatchString(rest) {
		e.Kind = EventAERFatal
		return true
	}
	if m := aerReport.FindStringSubmatch(rest); m != nil {
		e.Kind = aerSeverity(m[1])
		return true
	}
	if m := aerBit.FindStringSubmatch(rest); m != nil {
		e.Kind, e.Operation = EventAERKind, m[1]
		return true
	}
	return aerDevice.MatchString(rest)
}

// aboutDisk reads a line about a disk of which a command failed; false for all else.
func (p *logParser) aboutDisk(text string, e *Event) bool {
	if m := diskError.FindStringSubmatch(text); m != nil {
		e.Kind, e.Controller, e.Device, e.Operation = EventIOError, m[2], m[2]+m[3], m[4]
		if m[1] == "critical medium" {
			e.Kind = EventMediaError
		}
	} else if m := bufferError.FindStringSubmatch(text); m != nil {
		e.Kind, e.Controller, e.Device = EventIOError, m[1], m[1]+m[2]
	} else if m := noPath.FindStringSubmatch(text); m != nil {
		e.Kind, e.Controller, e.Device = EventIOError, m[1], m[1]+m[2]
	} else if m := diskLine.FindStringSubmatch(text); m != nil && statusLine.MatchString(m[3]) {
		e.Kind, e.Controller, e.Device, e.Operation = EventStatus, m[1], m[1]+m[2], operation(m[3])
		e.fill(statusLine, statusLine.FindStringSubmatch(m[3]))
		e.Address = p.function[e.Controller]
		return true
	} else if m := adminLine.FindStringSubmatch(text); m != nil && statusLine.MatchString(m[2]) {
		// What a program asks of the controller and the controller refuses is no fault of a disk.
		e.Controller, e.Address = m[1], p.function[m[1]]
		return true
	} else {
		return false
	}
	e.Address = p.function[e.Controller]
	p.diskErrors[e.Device]++
	return true
}

// operation is what a command was by its code, which stands in brackets behind its name or "I/O Cmd" (NVM Command Set
// Specification, opcodes): READ, WRITE, …; "" for others.
func operation(text string) string {
	_, rest, _ := strings.Cut(text, "(")
	code, _, _ := strings.Cut(rest, ")")
	return map[string]string{"0x0": "FLUSH", "0x1": "WRITE", "0x2": "READ", "0x4": "WRITE UNCORRECTABLE", "0x5": "COMPARE", "0x8": "WRITE ZEROES", "0x9": "DISCARD", "0xc": "VERIFY"}[code]
}

// aboutOther finds what any other line names: the PCI function of the IOMMU's words, a controller, a disk, a port.
func (p *logParser) aboutOther(text string, e *Event) bool {
	if e.Address != "" || e.Controller != "" {
		return false // it was read already, and says nothing bad
	}
	if m := nvmeToken.FindStringSubmatch(text); m != nil {
		e.Controller, e.Address = m[1], p.function[m[1]]
		if m[2] != "" {
			e.Device = m[1] + m[2]
		}
		e.Kind = EventOther
		return !everyday.MatchString(text)
	}
	for _, address := range addresses(text) {
		iommu := strings.Contains(text, "AMD-Vi: Event logged") || strings.HasPrefix(text, "DMAR: [") || strings.HasPrefix(text, "DMAR:[")
		if iommu || p.watched[address] {
			e.Address, e.Kind = address, EventOther
			if iommu {
				e.Kind = EventIOMMU
			}
			return true
		}
	}
	return false
}

// addresses are the PCI addresses in a text, in full: those without domain are of domain 0. The IOMMU writes them as
// 04:00.0 and 0x04:0x00.0 (drivers/iommu/amd/init.c, drivers/iommu/intel/dmar.c).
func addresses(text string) []string {
	var out []string
	text = strings.ReplaceAll(text, "0x", "")
	for i := 5; i+1 < len(text); i++ {
		if text[i] != '.' || text[i-3] != ':' || !hexDigits(text[i-5:i-3]) || !hexDigits(text[i-2:i]) || text[i+1] < '0' || text[i+1] > '7' {
			continue
		}
		if i+2 < len(text) && wordByte(text[i+2]) {
			continue
		}
		domain := "0000"
		if j := i - 6; j >= 0 && text[j] == ':' {
			start := j
			for start > 0 && j-start < 8 && hexDigits(text[start-1:start]) {
				start--
			}
			if j-start < 4 {
				continue
			}
			domain = text[start:j]
		} else if j >= 0 && wordByte(text[j]) {
			continue
		}
		out = append(out, domain+":"+text[i-5:i+2])
	}
	return out
}

// longAddress is the first PCI address in a text, in full; "" where there is none.
func longAddress(text string) string {
	if list := addresses(text); len(list) > 0 {
		return list[0]
	}
	return ""
}

// hasAddress reports, fast, whether a text may hold a PCI address.
func hasAddress(text string) bool {
	for at := 0; ; {
		i := strings.IndexByte(text[at:], '.')
		if i < 0 {
			return false
		}
		i += at
		if i >= 5 && i+1 < len(text) && (text[i-3] == ':' || text[i-3] == 'x') && text[i+1] >= '0' && text[i+1] <= '7' {
			return true
		}
		at = i + 1
	}
}

func hexDigits(text string) bool {
	return strings.Trim(text, "0123456789abcdef") == ""
}

func wordByte(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

func (p *logParser) forget(e Event) {
	if p.count[e.key()]--; p.count[e.key()] <= 0 {
		delete(p.count, e.key())
	}
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
		p.forget(p.events[i])
		p.events = slices.Delete(p.events, i, i+1)
	}
	p.count[e.key()]++
	p.events = append(p.events, e)
}

// attribute gives events to functions: those about disks to the function that has the disk, since a multipath head's number is
// not its controller's, and those of a controller whose "pci function" line is lost to the function that has it now.
func attribute(log []Event, functions []Function) []Event {
	disks, controllers := map[string]string{}, map[string]string{}
	for _, fn := range functions {
		for _, c := range fn.Controllers {
			controllers[c.Name] = fn.Address
			for _, ns := range c.Namespaces {
				disks[ns.Device] = fn.Address
			}
		}
	}
	log = slices.Clone(log)
	for i := range log {
		if address, ok := disks[log[i].Device]; ok {
			log[i].Address = address
		} else if log[i].Address == "" {
			log[i].Address = controllers[log[i].Controller]
		}
	}
	return log
}

// about are the events about a function or port.
func about(log []Event, address string) []Event {
	var out []Event
	for _, e := range log {
		if address != "" && (e.Address == address || e.Reporter == address) {
			out = append(out, e)
		}
	}
	return out
}

// lastProbe are a drive's events since the kernel last found it, that line included, and what was said before of the address
// space that it needs. What an earlier probe of it said no longer counts.
func lastProbe(history []Event) []Event {
	for i, e := range slices.Backward(history) {
		if e.Kind == EventFound {
			var before []Event
			for _, o := range history[:i] {
				if o.Kind == EventNoSpace {
					before = append(before, o)
				}
			}
			return append(before, history[i:]...)
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

// after is when the first event of a kind was, and how much later e was; ok is false where there is none before it.
func after(events []Event, kind EventKind, e Event) (d time.Duration, ok bool) {
	for _, o := range events {
		if o.Kind == kind && o.Time <= e.Time {
			d, ok = e.Time-o.Time, true
		}
	}
	return d, ok
}

// logReader reads the kernel log bit by bit.
type logReader struct {
	log    *host.KernelLog
	parser *logParser
	lost   bool
	older  []host.KernelRecord // of this boot, from the journal
}

func newLogReader(log *host.KernelLog) *logReader {
	return &logReader{log: log, parser: newLogParser(nil)}
}

// watch names the functions and ports of which every line counts. Where some are new, the log is read from its start again.
func (r *logReader) watch(addresses map[string]bool) {
	for address := range addresses {
		if !r.parser.watched[address] {
			r.log.Rewind()
			r.parser = newLogParser(addresses)
			return
		}
	}
}

// poll returns the events of this boot. older are records of this boot from the journal, which is read once: they count
// where the kernel's buffer has lost its oldest records or cannot be read. lost is said all the same, since the journal
// may lack some too.
func (r *logReader) poll(older []host.KernelRecord) (events []Event, lost bool, err error) {
	records, lost, whole, err := r.log.Poll()
	r.lost = !whole && r.lost || lost
	if len(older) > 0 {
		r.older = older
	}
	fill := (len(older) > 0 || whole) && len(r.older) > 0 && (r.lost || err != nil)
	if fill && err == nil && !whole { // from the oldest record on once more
		r.log.Rewind()
		if records, lost, whole, err = r.log.Poll(); lost {
			r.lost = true
		}
	}
	if whole || fill {
		r.parser = newLogParser(r.parser.watched)
	}
	if fill {
		for _, rec := range r.older {
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

// namings are how often the log names each function, port and controller: of a controller whose function the log does not
// tell, by the function that has it now.
func (r *logReader) namings(functions []Function) map[string]naming {
	out := maps.Clone(r.parser.named)
	for _, fn := range functions {
		for _, c := range fn.Controllers {
			if n, ok := out[c.Name]; ok {
				n.lines += out[fn.Address].lines
				out[fn.Address] = n
				delete(out, c.Name)
			}
		}
	}
	return out
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
