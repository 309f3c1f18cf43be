package disk

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"labd/internal/finding"
)

// link reads the PCIe link of a function or port.
func link(a *attributes, dir string) Link {
	return Link{
		CurrentSpeed: a.get(dir, "current_link_speed"), MaxSpeed: a.get(dir, "max_link_speed"),
		CurrentWidth: int(a.number(dir, "current_link_width")), MaxWidth: int(a.number(dir, "max_link_width")),
	}
}

// aer reads three counters of advanced error reporting.
func aer(a *attributes, dir, correctable, nonFatal, fatal string) AER {
	var out AER
	for file, count := range map[string]*uint64{correctable: &out.Correctable, nonFatal: &out.NonFatal, fatal: &out.Fatal} {
		total, ok := parseAER(a.get(dir, file))
		*count, out.Known = total, out.Known || ok
	}
	return out
}

// parseAER reads a counter file of advanced error reporting (Documentation/ABI/testing/sysfs-bus-pci-devices-aer): one
// number at a root port, or a line per kind of error that ends with TOTAL_ERR_….
func parseAER(text string) (total uint64, ok bool) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || len(fields) > 1 && !strings.HasPrefix(fields[0], "TOTAL_ERR_") {
			continue
		}
		if n, err := strconv.ParseUint(fields[len(fields)-1], 10, 64); err == nil {
			total, ok = n, true
		}
	}
	return total, ok
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
	if !p.AER.Known { // a downstream port of a switch
		p.AER = aer(a, up, "aer_dev_correctable", "aer_dev_nonfatal", "aer_dev_fatal")
	}
	return p
}

// speed is a link speed in GT/s, 0 when unknown.
func speed(text string) float64 {
	number, _, _ := strings.Cut(text, " ")
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !(v > 0 && v < 1000) { // also refuses NaN
		return 0
	}
	return v
}

// lanes is a link width, 0 when unknown: the kernel writes 255 for a port without link capability.
func lanes(width int) int {
	if width < 1 || width > 32 {
		return 0
	}
	return width
}

// checkLink compares the link with what drive and port can both do. A slot that can do less than the drive is by
// design, as the x1 and x2 slots of small boards: that is worth knowing and no fault. Without a port to compare with,
// nothing is said.
func checkLink(d *Drive) (finding.Finding, bool) {
	own, port := d.Link, d.Port.Link
	width, speedNow := lanes(own.CurrentWidth), speed(own.CurrentSpeed)
	maxWidth, maxSpeed := lanes(own.MaxWidth), speed(own.MaxSpeed)
	portWidth, portSpeed := lanes(port.MaxWidth), speed(port.MaxSpeed)
	if width == 0 || speedNow == 0 || maxWidth == 0 || maxSpeed == 0 || portWidth == 0 || portSpeed == 0 {
		return finding.Finding{}, false
	}
	out := finding.Finding{Code: finding.NVMeLinkDegraded, Severity: finding.Warn, Evidence: []finding.Evidence{
		{Source: sysfsDir(d), Text: fmt.Sprintf("link at %s x%d, the drive can do %s x%d", own.CurrentSpeed, width, own.MaxSpeed, maxWidth)},
		{Source: filepath.Join("/sys/bus/pci/devices", d.Port.Address), Text: fmt.Sprintf("its port can do %s x%d", port.MaxSpeed, portWidth)},
	}}
	slot := finding.Remedy{Title: "with the machine off, take the drive out, clean its contacts and put it in again; then try another slot", Risk: finding.RiskHigh}
	switch {
	case width < min(maxWidth, portWidth):
		out.Title = fmt.Sprintf("the link runs with %d of %d lanes", width, min(maxWidth, portWidth))
		out.Cause, out.Confidence = "lanes that both ends have do not work: a contact, a riser or an adapter", finding.Likely
		out.Remedies = []finding.Remedy{slot}
	case speedNow < min(maxSpeed, portSpeed):
		out.Title = fmt.Sprintf("the link runs at %s though both ends can do more", own.CurrentSpeed)
		out.Cause, out.Confidence = "the link was trained down for its signal, or the board slows idle links", finding.Unknown
		out.Remedies = []finding.Remedy{{
			Title: "look again while the drive is read: an idle link may be slow on purpose", Risk: finding.RiskNone,
			Commands: []string{fmt.Sprintf("cat %s/current_link_speed", sysfsDir(d))},
		}, slot}
	case portWidth < maxWidth:
		out.Severity, out.Title = finding.Info, fmt.Sprintf("the slot has %d of the %d lanes that the drive could use", portWidth, maxWidth)
		out.Cause, out.Confidence = "the slot is built so", finding.Certain
	default:
		return finding.Finding{}, false
	}
	return out, true
}
