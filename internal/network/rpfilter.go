package network

import (
	"fmt"
	"slices"
	"strconv"

	"labd/internal/finding"
	"labd/internal/route"
)

// strict is the value of rp_filter by which the kernel drops a packet whose source it would not answer over the
// interface that the packet came in by (RFC 3704, Documentation/networking/ip-sysctl.rst).
const strict = 1

// reversePath finds sources whose packets the host drops since it would answer them by another interface.
func (d *diagnosis) reversePath() {
	h := d.facts.Host
	for _, source := range d.sources {
		back, ok := route.Best(source, h.Routes, h.Own)
		if !ok || len(h.Uplinks) == 0 {
			continue
		}
		passes := slices.ContainsFunc(h.Uplinks, func(name string) bool { return h.RPFilter[name] != strict || back.Dev == name })
		if passes {
			continue
		}
		d.find(finding.Finding{
			Code: finding.NetRPFilter, Severity: finding.Warn, Subject: finding.Route(source.String()), Title: fmt.Sprintf("the host drops what comes from %s", source),
			Cause: "rp_filter is strict on the uplink, and the host would answer by another interface", Confidence: finding.Certain,
			Evidence: []finding.Evidence{
				{Source: "routing tables", Text: fmt.Sprintf("to %s by %s", source, back.Dev)},
				{Source: "sysctl", Text: fmt.Sprintf("net.ipv4.conf.%s.rp_filter = %d", h.Uplinks[0], strict)},
			},
			Remedies: []finding.Remedy{{Title: "make it loose, as PVE's firewall does", Risk: finding.RiskLow, Commands: []string{fmt.Sprintf("sysctl -w net.ipv4.conf.%s.rp_filter=2", h.Uplinks[0])}}},
		})
	}
}

// asymmetric finds a container in the very network that its clients are in: it answers them directly, while they ask
// by way of the router.
func (d *diagnosis) asymmetric(c *Container) {
	if d.wanted[c.ID] == 0 {
		return
	}
	for _, source := range d.sources {
		if !c.Address.IsValid() || !source.Contains(c.Address) {
			continue
		}
		d.find(finding.Finding{
			Code: finding.NetAsymmetric, Severity: finding.Info, Subject: finding.LXC(strconv.Itoa(c.ID)), Title: fmt.Sprintf("clients in %s ask by way of the router and are answered directly", source),
			Cause: fmt.Sprintf("the container's address %s is in the clients' own network", c.Address), Confidence: finding.Certain,
			Evidence: []finding.Evidence{{Source: "netlink in the container", Text: fmt.Sprintf("%s on %s", c.Address, c.Uplink)}},
			Remedies: []finding.Remedy{
				{Title: "if TCP connections hang after some seconds, have the router pass what goes out by the interface it came in (pfSense, OPNsense: bypass firewall rules for traffic on the same interface)", Risk: finding.RiskLow},
				{Title: "or give the containers a network of their own, of which the host is the router", Risk: finding.RiskHigh},
			},
		})
		return
	}
}

// lanClash finds an interface in the container, beside its uplink, that has the addresses of a source: the container then
// looks for its clients there, and no network of it answers them.
func (d *diagnosis) lanClash(n *Network, l subnetPath) {
	c := l.container
	for _, source := range d.sourcesOf(l.family) {
		for _, a := range c.Interfaces {
			if a.Interface == c.Uplink || a.Interface == "lo" || !a.Prefix.Masked().Overlaps(source) || a.Prefix.Addr().IsLinkLocalUnicast() {
				continue
			}
			n.worsen(VerdictUnreachable, fmt.Sprintf("the container answers %s by %s, which has the same addresses", source, a.Interface))
			f := finding.Finding{
				Code: finding.NetLANClash, Severity: finding.Warn, Subject: finding.LXC(strconv.Itoa(c.ID)), Confidence: finding.Certain,
				Title:    fmt.Sprintf("its interface %s has the addresses of your network %s, so none of its Docker networks can answer that", a.Interface, source),
				Cause:    "a Docker network was given the addresses of the LAN, and the container looks for the LAN's machines there",
				Evidence: []finding.Evidence{{Source: "netlink in the container", Text: fmt.Sprintf("%s on %s", a.Prefix, a.Interface)}},
				Remedies: []finding.Remedy{{
					Title: "make that network again with other addresses, and give Docker a range that is not the LAN's in /etc/docker/daemon.json (default-address-pools)", Risk: finding.RiskHigh,
					Commands: []string{fmt.Sprintf("pct exec %d -- docker network ls", c.ID), fmt.Sprintf("pct exec %d -- editor /etc/docker/daemon.json", c.ID)},
				}},
			}
			if !slices.ContainsFunc(d.report.Findings, func(o finding.Finding) bool { return o.Code == f.Code && o.Subject == f.Subject }) {
				d.find(f)
			}
			return
		}
	}
}
