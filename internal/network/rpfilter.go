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
