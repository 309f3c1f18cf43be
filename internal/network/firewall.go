package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/pve"
)

// Firewall is what PVE's firewall is set to do with a container's packets. The zero value filters nothing.
type Firewall struct {
	Cluster, Host, Guest pve.Firewall
	// Devices are the container's interfaces that PVE filters (firewall=1), by their name inside, with PVE's name.
	Devices map[string]string
	// Hostname is the container's, from the same file as its devices.
	Hostname string
	// Err is why a part of it could not be read.
	Err error
}

// readFirewall reads the container's network devices and the three files of PVE's firewall. A file that is missing says
// nothing.
func readFirewall(ctx context.Context, h *host.Host, id int) Firewall {
	f := Firewall{Devices: map[string]string{}}
	var errs []error
	read := func(path string) []byte {
		data, err := h.ReadFile(ctx, filepath.Join(h.PVE, path))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("read %s: %w", path, err))
		}
		return data
	}
	config := pve.ParseGuestConfig(pve.LXC, read(filepath.Join("lxc", strconv.Itoa(id)+".conf")))
	for _, p := range config.Live().Properties {
		if p.Key == "hostname" {
			f.Hostname = p.Value
		}
		number, ok := strings.CutPrefix(p.Key, "net")
		if _, err := strconv.ParseUint(number, 10, 8); !ok || err != nil {
			continue
		}
		name, filtered := "", false
		for pair := range strings.SplitSeq(p.Value, ",") {
			switch key, value, _ := strings.Cut(pair, "="); key {
			case "name":
				name = value
			case "firewall":
				filtered = value == "1"
			}
		}
		if filtered {
			f.Devices[name] = p.Key
		}
	}
	if len(f.Devices) == 0 {
		f.Err = errors.Join(errs...)
		return f
	}
	f.Cluster = pve.ParseFirewall(read("firewall/cluster.fw"))
	f.Guest = pve.ParseFirewall(read(filepath.Join("firewall", strconv.Itoa(id)+".fw")))
	f.Host = pve.ParseFirewall(read("local/host.fw"))
	f.Err = errors.Join(errs...)
	return f
}

// device is PVE's name of the container's interface where the firewall filters it, else "".
func (f *Firewall) device(uplink string) string {
	if !f.Cluster.Enabled() || !f.Guest.Enabled() {
		return ""
	}
	return f.Devices[uplink]
}

// flow is what a packet filter is asked about. Protocol and port are empty for "whatever it is".
type flow struct {
	source, dest netip.Prefix
	protocol     string
	port         uint16
}

// passage is what a filter does with a flow: pass, block, or it cannot be told.
type passage int

const (
	passes passage = iota
	unsure
	blocks
)

// inbound tells what the container's rules and policy_in do with a flow, and which of them.
func (f *Firewall) inbound(device string, fl flow) (passage, string) {
	doubt := ""
	for _, rule := range f.Guest.Rules {
		if rule.Disabled || rule.Direction == "OUT" || rule.Direction == "FORWARD" || rule.Options["i"] != "" && rule.Options["i"] != device {
			continue
		}
		covers, may := firewallRuleMeets(rule, fl)
		switch {
		case !may:
		case !covers:
			if doubt == "" {
				doubt = rule.Text
			}
		case doubt != "":
			return unsure, doubt
		case rule.Action == "ACCEPT":
			return passes, rule.Text
		default:
			return blocks, rule.Text
		}
	}
	policy := strings.ToUpper(f.Guest.Options["policy_in"])
	if policy == "" {
		policy = "DROP" // PVE's default
	}
	switch {
	case policy == "ACCEPT" && doubt == "":
		return passes, "policy_in: ACCEPT"
	case doubt != "":
		return unsure, doubt
	default:
		return blocks, "policy_in: " + policy
	}
}

// firewallRuleMeets reports whether a rule is for all of a flow, and whether it may be for some of it. Macros, security
// groups, aliases and sets are not looked into.
func firewallRuleMeets(rule pve.FirewallRule, fl flow) (covers, may bool) {
	covers, may = rule.Direction == "IN" && rule.Macro == "", true
	for _, side := range []struct {
		text string
		want netip.Prefix
	}{{rule.Options["source"], fl.source}, {rule.Options["dest"], fl.dest}} {
		if side.text == "" {
			continue
		}
		all, some := listMeets(side.text, side.want)
		covers, may = covers && all, may && some
	}
	if p := rule.Options["p"]; p != "" {
		covers, may = covers && p == fl.protocol, may && (fl.protocol == "" || p == fl.protocol)
	}
	if list := rule.Options["dport"]; list != "" {
		port, err := strconv.ParseUint(list, 10, 16)
		same := err == nil && fl.port != 0 && uint64(port) == uint64(fl.port)
		covers, may = covers && same, may && (same || err != nil || fl.port == 0)
	}
	for key := range rule.Options {
		switch key {
		case "i", "source", "dest", "p", "dport", "log":
		default:
			covers = false
		}
	}
	return covers, may
}

// listMeets reports whether a list of addresses, prefixes and names covers all of p, and whether it may meet some of it.
func listMeets(list string, p netip.Prefix) (covers, may bool) {
	for entry := range strings.SplitSeq(list, ",") {
		prefix, ok := parseCIDR(entry)
		switch {
		case !ok:
			may = true
		case prefix.Overlaps(p):
			may, covers = true, covers || prefix.Bits() <= p.Bits()
		}
	}
	return covers, may
}

func parseCIDR(text string) (netip.Prefix, bool) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), true
	}
	prefix, err := netip.ParsePrefix(text)
	return prefix.Masked(), err == nil
}

// outbound reports whether ipfilter lets packets with a source in the subnet leave the container: only what is in the set
// ipfilter-netN, which exists by itself where the option ipfilter is on (PVE::Firewall, compile_ipsets).
func (f *Firewall) outbound(device string, subnet netip.Prefix) (passage, string) {
	set, defined := f.Guest.Sets["ipfilter-"+device]
	on := f.Guest.Options["ipfilter"]
	if !defined && (on == "" || on == "0") {
		return passes, "ipfilter is off"
	}
	result := blocks
	for _, entry := range set {
		text, except := strings.CutPrefix(entry, "!")
		prefix, ok := parseCIDR(strings.TrimSpace(text))
		switch {
		case ok && except && prefix.Overlaps(subnet):
			return blocks, "[IPSET ipfilter-" + device + "] " + entry
		case !ok:
			result = min(result, unsure)
		case prefix.Overlaps(subnet) && prefix.Bits() <= subnet.Bits():
			result = passes
		}
	}
	return result, "[IPSET ipfilter-" + device + "]"
}

// firewall finds what PVE's firewall does to a network that labd may open, and says whether it certainly closes it.
func (d *diagnosis) firewall(n *Network, l subnetPath) (closed string) {
	c, subnet := l.candidate, l.reach
	fw := &c.container.Firewall
	device := fw.device(c.container.Uplink)
	if device == "" {
		return ""
	}
	for _, source := range d.sourcesOf(l.family) {
		if result, why := fw.inbound(device, flow{source: source, dest: subnet}); result == blocks {
			d.find(inboundFinding(n.Subject(), c.container.ID, source, subnet, why))
			closed = "PVE's firewall of the container drops what comes for it"
			break
		}
	}
	if result, why := fw.outbound(device, subnet); result == blocks {
		d.find(ipfilterFinding(n.Subject(), c.container, device, subnet, why))
		closed = "PVE's ipfilter drops what its containers answer"
	}
	return closed
}

func firewallFile(id int) string { return fmt.Sprintf("/etc/pve/firewall/%d.fw", id) }

// inboundLine is the rule for the container's firewall file that lets a source reach a subnet.
func inboundLine(source, subnet netip.Prefix) string {
	return fmt.Sprintf("IN ACCEPT -source %s -dest %s -log nolog", source, subnet)
}

func inboundFinding(subject finding.Subject, id int, source, subnet netip.Prefix, why string) finding.Finding {
	return finding.Finding{
		Code: finding.NetPVEFirewall, Severity: finding.Warn, Subject: subject, Title: fmt.Sprintf("PVE's firewall of container %d drops what comes for %s", id, subnet),
		Cause: "the firewall of the container is on and has no rule that lets this in", Confidence: finding.Certain,
		Evidence: []finding.Evidence{{Source: firewallFile(id), Text: why}},
		Remedies: []finding.Remedy{{
			Title: fmt.Sprintf("add to %s below [RULES]: %s", firewallFile(id), inboundLine(source, subnet)), Risk: finding.RiskLow,
			Commands: []string{fmt.Sprintf("pvesh create /nodes/localhost/lxc/%d/firewall/rules --type in --action ACCEPT --enable 1 --source %s --dest %s", id, source, subnet)},
		}},
	}
}

// ipfilterLines are the lines of the set: an own set replaces the one that PVE makes, so the container's own address
// is in it too.
func ipfilterLines(c *Container, device string, subnet netip.Prefix) []string {
	lines := []string{"[IPSET ipfilter-" + device + "]"}
	for _, own := range []netip.Addr{c.Address, c.Address6} {
		if own.IsValid() {
			lines = append(lines, own.String())
		}
	}
	return append(lines, subnet.String())
}

func ipfilterFinding(subject finding.Subject, c *Container, device string, subnet netip.Prefix, why string) finding.Finding {
	path := fmt.Sprintf("/nodes/localhost/lxc/%d/firewall/ipset", c.ID)
	var commands []string
	if _, defined := c.Firewall.Guest.Sets["ipfilter-"+device]; !defined {
		commands = append(commands, fmt.Sprintf("pvesh create %s --name ipfilter-%s", path, device), fmt.Sprintf("pvesh create %s/ipfilter-%s --cidr %s", path, device, c.Address))
	}
	return finding.Finding{
		Code: finding.NetIPFilter, Severity: finding.Warn, Subject: subject, Title: fmt.Sprintf("PVE's ipfilter of container %d drops what comes from %s", c.ID, subnet),
		Cause: "Docker's containers answer with their own addresses, which are not in the set of what the container may send from", Confidence: finding.Certain,
		Evidence: []finding.Evidence{{Source: firewallFile(c.ID), Text: why}},
		Remedies: []finding.Remedy{{
			Title: fmt.Sprintf("add to %s: %s", firewallFile(c.ID), strings.Join(ipfilterLines(c, device, subnet), " / ")), Risk: finding.RiskLow,
			Commands: append(commands, fmt.Sprintf("pvesh create %s/ipfilter-%s --cidr %s", path, device, subnet)),
		}},
	}
}
