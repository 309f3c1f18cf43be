package disk

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"labd/internal/finding"
)

// Speed is the transfer rate of one lane of a PCIe link in GT/s; 0 where it is not known.
type Speed float64

// ParseSpeed reads a speed as sysfs has it: "8.0 GT/s PCIe" (drivers/pci/probe.c, pci_speed_string), "8 GT/s" before 5.8.
func ParseSpeed(text string) Speed {
	number, _, _ := strings.Cut(text, " ")
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !(v > 0 && v < 1000) { // also refuses NaN
		return 0
	}
	return Speed(v)
}

// String returns the speed as sysfs writes it; "Unknown" where it is not known.
func (s Speed) String() string {
	if s == 0 {
		return "Unknown"
	}
	return strconv.FormatFloat(float64(s), 'f', 1, 64) + " GT/s PCIe"
}

// LinkState is what a PCIe link runs at, or what one end of it can do. Lanes is 0 where it is not known.
type LinkState struct {
	Speed Speed
	Lanes int
}

// Known reports whether both speed and lanes are known.
func (s LinkState) Known() bool { return s.Speed > 0 && s.Lanes > 0 }

// Gbps is what the link carries in Gbit/s, without the overhead of its packets: 8b/10b coding up to 5 GT/s, 128b/130b from 8,
// and next to none from 64 (PCI Express Base Specification; pcie_link_speed_mbps in drivers/pci/pci.h).
func (s LinkState) Gbps() float64 {
	coding := 1.0
	switch {
	case s.Speed <= 5:
		coding = 8.0 / 10
	case s.Speed < 64:
		coding = 128.0 / 130
	}
	return float64(s.Speed) * float64(s.Lanes) * coding
}

func (s LinkState) String() string { return fmt.Sprintf("%s x%d", s.Speed, s.Lanes) }

// Link is the PCIe link of a function or port: what it runs at, and the most that this end can do.
type Link struct {
	Current, Max LinkState
}

// link reads the PCIe link of a function or port.
func link(a *attributes, dir string) Link {
	state := func(which string) LinkState {
		return LinkState{ParseSpeed(a.get(dir, which+"_link_speed")), lanes(a.number(dir, which+"_link_width"))}
	}
	return Link{Current: state("current"), Max: state("max")}
}

// lanes is a link width, 0 when unknown: the kernel writes 255 for a port without link capability.
func lanes(width int64) int {
	if width < 1 || width > 32 {
		return 0
	}
	return int(width)
}

// aer reads three counters of advanced error reporting.
func aer(a *attributes, dir, correctable, nonFatal, fatal string) AER {
	out := AER{Kinds: map[string]uint64{}}
	for file, count := range map[string]*uint64{correctable: &out.Correctable, nonFatal: &out.NonFatal, fatal: &out.Fatal} {
		total, kinds, ok := parseAER(a.get(dir, file))
		*count, out.Known = total, out.Known || ok
		for kind, n := range kinds {
			out.Kinds[kind] += n
		}
	}
	return out
}

// parseAER reads a counter file of advanced error reporting (Documentation/ABI/testing/sysfs-bus-pci-devices-aer): one
// number at a root port, or a line per kind of error and one that begins with TOTAL_ERR_. kinds has those that were counted.
func parseAER(text string) (total uint64, kinds map[string]uint64, ok bool) {
	kinds = map[string]uint64{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || len(fields) > 2 {
			continue
		}
		n, err := strconv.ParseUint(fields[len(fields)-1], 10, 64)
		switch {
		case err != nil:
		case len(fields) == 1 || strings.HasPrefix(fields[0], "TOTAL_ERR_"):
			total, ok = n, true
		case n > 0:
			kinds[fields[0]] = n
		}
	}
	return total, kinds, ok
}

// kindsText writes counted kinds of errors, the most frequent first: "RxErr 150000, Timeout 50000".
func kindsText(kinds map[string]uint64) string {
	var out []string
	for _, kind := range slices.SortedFunc(maps.Keys(kinds), func(a, b string) int { return cmp.Or(cmp.Compare(kinds[b], kinds[a]), cmp.Compare(a, b)) }) {
		out = append(out, fmt.Sprintf("%s %d", kind, kinds[kind]))
	}
	return strings.Join(out, ", ")
}

var pciAddress = regexp.MustCompile(`^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)

// port reads the port above a function: its parent directory, where that is a PCI function too.
func (o *Observer) port(a *attributes, dir string) Port {
	address := filepath.Base(filepath.Dir(a.target(dir)))
	if !pciAddress.MatchString(address) {
		return Port{}
	}
	up := filepath.Join(o.busDir(), address)
	p := Port{Address: address, Link: link(a, up)}
	p.AER = aer(a, up, "aer_rootport_total_err_cor", "aer_rootport_total_err_nonfatal", "aer_rootport_total_err_fatal")
	p.Own = aer(a, up, "aer_dev_correctable", "aer_dev_nonfatal", "aer_dev_fatal")
	if !p.AER.Known { // a downstream port of a switch
		p.AER = p.Own
	}
	return p
}

// reseat is the remedy for contacts.
var reseat = finding.Remedy{Title: "with the machine off, take the drive out, clean its contacts and put it in again; then try another slot", Risk: finding.RiskHigh}

// checkLink compares what the link carries with what drive and port can both do. A slot that can do less than the drive is
// by design, as the x1 and x2 slots of small boards: that is worth knowing and no fault. So are half of the lanes at a speed
// that makes up for it: drives of 4 lanes at 16 GT/s that have 2 at 32. Without a port to compare with, nothing is said.
func checkLink(d *Drive) (finding.Finding, bool) {
	now, own, port := d.Link.Current, d.Link.Max, d.Port.Link.Max
	if !now.Known() || !own.Known() || !port.Known() {
		return finding.Finding{}, false
	}
	both := LinkState{min(own.Speed, port.Speed), min(own.Lanes, port.Lanes)}
	out := finding.Finding{Code: finding.NVMeLinkDegraded, Severity: finding.Warn, Evidence: []finding.Evidence{
		{Source: sysfsDir(d), Text: fmt.Sprintf("link at %s, the drive can do %s", now, own)},
		{Source: filepath.Join("/sys/bus/pci/devices", d.Port.Address), Text: fmt.Sprintf("its port can do %s", port)},
	}}
	switch {
	case now.Lanes < both.Lanes && now.Speed >= 32 && now.Lanes == 2 && !fourLanesAt32(d):
		if twoLanesAt32(d) {
			return finding.Finding{}, false
		}
		// As much as four lanes at 16 GT/s carry; which of the two it is, only the data sheet tells.
		out.Severity = finding.Info
		out.Title = fmt.Sprintf("the link runs with %d of %d lanes at %s, as some drives are built", now.Lanes, both.Lanes, now.Speed)
		out.Cause, out.Confidence = "a drive sold as \"PCIe 4.0 x4 / 5.0 x2\" has two lanes at this speed; another one has lost two of its lanes", finding.Unknown
		out.Remedies = []finding.Remedy{{Title: "see in the data sheet of the drive how many lanes it has at 32 GT/s; only if it has four, try it in another slot", Risk: finding.RiskNone}}
	case now.Lanes < both.Lanes:
		out.Title = fmt.Sprintf("the link runs with %d of %d lanes", now.Lanes, both.Lanes)
		out.Cause, out.Confidence = "lanes that both ends have do not work: a contact, a riser or an adapter", finding.Likely
		out.Remedies = []finding.Remedy{reseat}
	case now.Speed < both.Speed && d.SlowAtWork >= slowLooks:
		out.Title = fmt.Sprintf("the link runs at %s though both ends can do %s, also while the drive works", now.Speed, both.Speed)
		out.Cause, out.Confidence = "the link was trained down for its signal: a contact, a riser or an adapter", finding.Likely
		out.Evidence = append(out.Evidence, finding.Evidence{Source: "labd", Text: fmt.Sprintf("so slow at %d looks with reads or writes under way", d.SlowAtWork)})
		out.Remedies = []finding.Remedy{reseat}
	case now.Speed < both.Speed:
		// One look does not tell an idle link, which some boards slow down on purpose, from one that was trained down.
		out.Severity = finding.Info
		out.Title = fmt.Sprintf("the link runs at %s though both ends can do %s", now.Speed, both.Speed)
		out.Cause, out.Confidence = "the board slows idle links, or the link was trained down for its signal", finding.Unknown
		out.Remedies = []finding.Remedy{{
			Title: "look again while the drive is read: an idle link may be slow on purpose. Only if it stays slow, try another slot or riser", Risk: finding.RiskNone,
			Commands: []string{fmt.Sprintf("cat %s/current_link_speed", sysfsDir(d))},
		}}
	case port.Lanes < own.Lanes:
		out.Severity, out.Title = finding.Info, fmt.Sprintf("the slot has %d of the %d lanes that the drive could use", port.Lanes, own.Lanes)
		out.Cause, out.Confidence = "the slot is built so", finding.Certain
	default:
		return finding.Finding{}, false
	}
	return out, true
}

// slowLooks is at how many looks with work under way a link must be slow, until it is taken for one that was trained down.
const slowLooks = 3

// twoLanesAt32 reports whether the drive is of a model with four lanes at 16 GT/s and two at 32 (data sheets).
func twoLanesAt32(d *Drive) bool { return d.isModel("Samsung SSD 990 EVO") }

// fourLanesAt32 reports whether the drive is of a model that has four lanes at 32 GT/s (data sheets).
func fourLanesAt32(d *Drive) bool {
	return d.isModel("Samsung SSD 9100 PRO", "CT1000T7", "CT2000T7", "CT4000T7", "WD_BLACK SN8100", "Corsair MP700", "Seagate FireCuda 540", "SAMSUNG MZVLC", "SAMSUNG MZQL", "KIOXIA KCD8", "KIOXIA KCM7")
}

// isModel reports whether the drive's model begins with one of these words, whatever the case of their letters.
func (d Drive) isModel(beginnings ...string) bool {
	ctrl := d.Controller()
	return ctrl != nil && slices.ContainsFunc(beginnings, func(b string) bool {
		return len(ctrl.Model) >= len(b) && strings.EqualFold(ctrl.Model[:len(b)], b)
	})
}

// countSlow counts, of each function, the looks at which its link was slower than both ends can do while reads or writes were
// under way; a faster link begins anew.
func (o *Observer) countSlow(functions []Function) {
	before := o.slowAtWork
	o.slowAtWork = map[string]int{}
	for i := range functions {
		fn := &functions[i]
		if !fn.slow() {
			continue
		}
		fn.SlowAtWork = before[fn.Address]
		if fn.working() {
			fn.SlowAtWork++
		}
		o.slowAtWork[fn.Address] = fn.SlowAtWork
	}
}

// slow reports whether the link is slower than both ends can do.
func (fn *Function) slow() bool {
	now, own, port := fn.Link.Current, fn.Link.Max, fn.Port.Link.Max
	return now.Known() && own.Known() && port.Known() && now.Speed < min(own.Speed, port.Speed)
}

// working reports whether reads or writes of a disk of the function are under way.
func (fn *Function) working() bool {
	return slices.ContainsFunc(fn.Controllers, func(c Controller) bool {
		return slices.ContainsFunc(c.Namespaces, func(n Namespace) bool { return n.InFlight > 0 })
	})
}
