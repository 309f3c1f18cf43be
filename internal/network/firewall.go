package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/netfilter/walk"
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

// passage is what a filter does with packets: pass, block, or it cannot be told.
type passage int

const (
	passes passage = iota
	unsure
	blocks
)

// inbound returns what the container's rules and policy_in do with packets, and which of them decides. Where only a part is let
// in, it blocks the rest, and why names what is let in.
func (f *Firewall) inbound(device string, p walk.Packet) (result passage, why string) {
	guest := pve.GuestFirewall{Cluster: f.Cluster, Guest: f.Guest}
	return judged(guest.Inbound(device, p))
}

// outbound returns whether ipfilter lets packets with a source in the subnet leave the container, and what decides.
func (f *Firewall) outbound(device string, subnet netip.Prefix) (result passage, why string) {
	guest := pve.GuestFirewall{Cluster: f.Cluster, Guest: f.Guest}
	r := guest.Outbound(device, subnet)
	if r.Outcome == walk.Partly && !r.Place.Drops {
		return blocks, r.Parts[0].Place.Text // some of its containers cannot answer
	}
	return judged(r)
}

func judged(r walk.Result) (passage, string) {
	switch {
	case r.Outcome == walk.Unknown:
		return unsure, r.At.Text
	case r.Outcome == walk.Partly && r.Place.Drops:
		var only []string
		for _, part := range r.Parts {
			if !part.Place.Drops && len(only) < maxEvidence && !slices.Contains(only, part.Place.Text) {
				only = append(only, part.Place.Text)
			}
		}
		return blocks, r.Place.Text + "; only a part is let in: " + strings.Join(only, "; ")
	case r.Outcome == walk.Dropped:
		return blocks, r.Place.Text
	}
	return passes, r.Place.Text
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
		if result, why := fw.inbound(device, walk.Packet{Source: source, Dest: subnet}); result == blocks {
			d.find(inboundFinding(n.Subject(), c.container.ID, source, subnet, why))
			closed = "PVE's firewall of the container drops what comes for it: " + why
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
