package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"labd/internal/finding"
	"labd/internal/route"
)

// refuse says why a subnet gets no route and no rules; nil when it may have them. What a container says must not be
// able to take over, widen or cut anything: not an address, a route or a network of the host or of the cluster, nor one
// of another container.
func (d *diagnosis) refuse(l subnetPath) *finding.Finding {
	subnet := l.subnet
	outside := func(cause string) *finding.Finding {
		return &finding.Finding{
			Code: finding.NetOutsidePool, Severity: finding.Warn, Title: fmt.Sprintf("%s may not have a route", subnet), Cause: cause, Confidence: finding.Certain,
			Evidence: []finding.Evidence{{Source: "Docker API", Text: fmt.Sprintf("subnet %s", subnet)}, {Source: "labd.toml", Text: fmt.Sprintf("network.pools = %v", d.policy.Pools)}},
			Remedies: []finding.Remedy{{Title: "give the network a subnet inside the pools, or add a pool to labd.toml", Risk: finding.RiskLow, Commands: []string{"labctl net list -o wide"}}},
		}
	}
	widest, narrowest := limits(l.family)
	switch addr := subnet.Addr(); {
	case special(addr):
		return outside("it is a range with a meaning of its own")
	case subnet.Bits() < widest || subnet.Bits() > narrowest:
		return outside(fmt.Sprintf("its prefix length is not from %d to %d", widest, narrowest))
	}
	if with := d.overlaps(l); with != "" {
		return overlapFinding(l, with)
	}
	if l.mode == ModeDirect && !d.approved(l) {
		return approvalFinding(l, d.policy.Pools)
	}
	return d.refuseContainer(l)
}

// approved reports whether a subnet may have a route at all: it lies in the pools, a person approved it, or it has one since
// before that was asked.
func (d *diagnosis) approved(l subnetPath) bool {
	return route.Within(d.policy.Pools, l.subnet) || route.Within(d.facts.Approved, l.subnet) || d.facts.Owners[l.reach] == l.owner() && d.partlyRouted(l)
}

func approvalFinding(l subnetPath, pools []netip.Prefix) *finding.Finding {
	return &finding.Finding{
		Code: finding.NetApproval, Severity: finding.Warn, Title: fmt.Sprintf("%s waits for your approval", l.subnet), Confidence: finding.Certain,
		Cause:    "it lies outside network.pools; a container can name any network as its own, so you are asked once",
		Evidence: []finding.Evidence{{Source: "Docker API", Text: fmt.Sprintf("subnet %s", l.subnet)}, {Source: "labd.toml", Text: fmt.Sprintf("network.pools = %v", pools)}},
		Remedies: []finding.Remedy{
			{Title: "approve it, if nothing else in your networks has these addresses", Risk: finding.RiskLow, Commands: []string{"labctl net approve " + l.subnet.String()}},
			{Title: "or give the network a subnet inside the pools, or add a pool to labd.toml", Risk: finding.RiskLow, Commands: []string{"labctl net list -o wide"}},
		},
	}
}

// special reports whether an address is of a range with a meaning of its own: loopback, link-local, multicast, 0.0.0.0 and
// ::, and those that stand for IPv4 addresses.
func special(addr netip.Addr) bool {
	return addr.IsLoopback() || addr.IsMulticast() || addr.IsLinkLocalUnicast() || addr.IsUnspecified() || addr.Is4In6() || nat64.Contains(addr)
}

// nat64 is the prefix of IPv4 addresses behind a translator (RFC 6052).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// overlapFinding says with what the prefix by which a network would be reached overlaps.
func overlapFinding(l subnetPath, with string) *finding.Finding {
	severity := finding.Warn
	if !l.used() {
		severity = finding.Info // nobody misses what nobody uses, as the docker0 of every container
	}
	f := &finding.Finding{
		Code: finding.NetOverlap, Severity: severity, Title: fmt.Sprintf("%s overlaps %s", l.reach, with), Confidence: finding.Certain,
		Cause:    "two networks with the same addresses cannot both be reached",
		Evidence: []finding.Evidence{{Source: "Docker API", Text: fmt.Sprintf("subnet %s", l.subnet)}},
		Remedies: []finding.Remedy{
			{
				Title: "give each container's Docker a range of its own in /etc/docker/daemon.json (bip, default-address-pools) and make its networks anew", Risk: finding.RiskHigh,
				Commands: []string{fmt.Sprintf("pct exec %d -- editor /etc/docker/daemon.json", l.container.ID)},
			},
			{
				Title: fmt.Sprintf(`or reach it by an alias: in labd.toml [network] alias_pools = ["10.99.0.0/16"] and modes = { "lxc/%d" = "alias" }`, l.container.ID), Risk: finding.RiskLow,
			},
		},
	}
	if l.mode == ModeAlias {
		f.Remedies = []finding.Remedy{{Title: "choose alias_pools in labd.toml that nothing else uses", Risk: finding.RiskLow}}
	}
	return f
}

// overlaps names what the prefix by which a subnet would be reached overlaps, or "".
func (d *diagnosis) overlaps(l subnetPath) string {
	if with := route.Overlap(l.reach, d.facts.Host.Addresses, d.facts.Host.Routes); with != "" {
		return with
	}
	for _, r := range d.facts.Host.Routes {
		if r.Table == route.Table {
			return fmt.Sprintf("the route to %s in table %d, which is labd's own", r.Dst, route.Table)
		}
	}
	for _, c := range d.facts.Host.Cluster {
		if c.Prefix.Overlaps(l.reach) {
			return c.String()
		}
	}
	// A machine that the host talks to lies where the container says that its network is. Whoever had the prefix before may
	// be that machine.
	for _, c := range d.facts.Host.Seen {
		if c.Prefix.Overlaps(l.reach) && d.facts.Owners[l.reach] != l.owner() && !d.partlyRouted(l) {
			return c.String()
		}
	}
	for _, source := range d.sources {
		if source.Overlaps(l.reach) {
			return fmt.Sprintf("%s, from where the containers are to be reached", source)
		}
	}
	if other, owner := d.holder(l.owner(), l.reach); owner != (Owner{}) {
		return fmt.Sprintf("%s of network %s, which had it first", other, owner)
	}
	first := d.report.Want.Owners[l.reach] == l.owner()
	for i := range d.facts.Containers {
		c := &d.facts.Containers[i]
		if first && c.ID != l.container.ID {
			continue // another container must not be able to take a prefix away by giving itself an address there
		}
		for _, other := range []netip.Addr{c.Address, c.Address6} {
			if other.IsValid() && l.reach.Contains(other) {
				return fmt.Sprintf("the address %s of container %d", other, c.ID)
			}
		}
	}
	return ""
}

// holder is another owner of a prefix that overlaps the subnet, and the prefix: the first in the order of prefixes, so
// that the same facts always give the same words.
func (d *diagnosis) holder(self Owner, subnet netip.Prefix) (first netip.Prefix, owner Owner) {
	// What overlaps it is wider, or it stands among those that begin within it.
	for bits := range subnet.Bits() {
		wider, err := subnet.Addr().Prefix(bits)
		if o := d.report.Want.Owners[wider]; err == nil && o != (Owner{}) && o != self {
			return wider, o
		}
	}
	i, _ := slices.BinarySearchFunc(d.owned, subnet, netip.Prefix.Compare)
	for ; i < len(d.owned) && subnet.Overlaps(d.owned[i]); i++ {
		if o := d.report.Want.Owners[d.owned[i]]; o != (Owner{}) && o != self {
			return d.owned[i], o
		}
	}
	return netip.Prefix{}, Owner{}
}

// refuseContainer says why this container cannot have it.
func (d *diagnosis) refuseContainer(l subnetPath) *finding.Finding {
	c, subnet, address := l.candidate, l.subnet, l.container.address(l.family)
	hostile := func(title, cause string, remedy finding.Remedy) *finding.Finding {
		return &finding.Finding{
			Code: finding.NetHostile, Severity: finding.Warn, Title: title, Cause: cause, Confidence: finding.Likely,
			Evidence: []finding.Evidence{{Source: "netlink in the container", Text: fmt.Sprintf("interfaces: %s", interfaces(c.container.Interfaces))}},
			Remedies: []finding.Remedy{remedy},
		}
	}
	if !bridgeCarries(c, subnet) {
		return hostile(
			fmt.Sprintf("no interface %s with an address in %s is in the container", c.network.Bridge, subnet), "its Docker and its kernel disagree",
			finding.Remedy{Title: "compare what Docker says with what is there", Risk: finding.RiskNone, Commands: []string{
				fmt.Sprintf("pct exec %d -- docker network inspect %s", c.container.ID, c.network.Name), fmt.Sprintf("pct exec %d -- ip -br address", c.container.ID),
			}},
		)
	}
	for _, a := range d.facts.Host.Addresses {
		if a.Prefix.Addr() == address {
			return hostile(
				fmt.Sprintf("the container has the host's own address %s", address), "two machines with one address, or a container that plays the host",
				finding.Remedy{Title: "give the container an address of its own", Risk: finding.RiskHigh, Commands: []string{fmt.Sprintf("pct config %d", c.container.ID)}},
			)
		}
	}
	if len(d.sourcesOf(l.family)) == 0 {
		return &finding.Finding{
			Code: finding.NetNoRoute, Severity: finding.Warn, Title: fmt.Sprintf("no %s source is known that may reach it", l.family), Confidence: finding.Certain,
			Cause:    fmt.Sprintf("every accept rule of labd names who may come, and the host has no %s address on its uplink", l.family),
			Evidence: []finding.Evidence{{Source: "netlink", Text: fmt.Sprintf("uplinks: %v", d.facts.Host.Uplinks)}},
			Remedies: []finding.Remedy{{Title: "name the sources in labd.toml: network.from, or the interface to the LAN: network.uplink", Risk: finding.RiskLow}},
		}
	}
	if !address.IsValid() {
		return &finding.Finding{
			Code: finding.NetNoRoute, Severity: finding.Warn, Title: fmt.Sprintf("the container has no %s address on its uplink %s", l.family, c.container.Uplink), Confidence: finding.Certain,
			Cause:    "a route to the subnet leads by way of that address",
			Evidence: []finding.Evidence{{Source: "netlink in the container", Text: fmt.Sprintf("interfaces: %s", interfaces(c.container.Interfaces))}},
			Remedies: []finding.Remedy{{Title: fmt.Sprintf("give the container an %s address and gateway on its uplink", l.family), Risk: finding.RiskLow, Commands: []string{fmt.Sprintf("pct config %d", c.container.ID)}}},
		}
	}
	if route.Towards(d.facts.Host.Addresses, address) == "" {
		return &finding.Finding{
			Code: finding.NetNoRoute, Severity: finding.Warn, Title: fmt.Sprintf("the host has no interface in the network of %s", address), Confidence: finding.Certain,
			Cause:    "the container's bridge or VLAN carries no address of the host, so the host cannot be its router",
			Evidence: []finding.Evidence{{Source: "netlink", Text: fmt.Sprintf("the host's addresses: %s", interfaces(d.facts.Host.Addresses))}},
			Remedies: []finding.Remedy{{Title: "give the host an address on the container's bridge or VLAN, or route the subnet to the container on the LAN's router", Risk: finding.RiskLow}},
		}
	}
	if f := d.refuseBackend(l); f != nil {
		return f
	}
	// What runs is not taken away because of a rule that came since: labd's rules leave to it what it closes.
	if u, closed := d.userClosed(l); closed && !l.nftBackend() && !d.policy.OverrideUserDrop && !d.partlyRouted(l) {
		return d.userDropFinding(l, u)
	}
	if d.wanted[c.container.ID] >= d.policy.MaxNetworks {
		return hostile(
			fmt.Sprintf("the container has more than %d networks", d.policy.MaxNetworks), "more networks of one container than network.max_networks are left alone",
			finding.Remedy{Title: "remove networks that nothing uses, or raise network.max_networks in labd.toml", Risk: finding.RiskLow, Commands: []string{
				fmt.Sprintf("pct exec %d -- docker network prune", c.container.ID),
			}},
		)
	}
	return nil
}

// interfaces returns addresses as text, each interface before its address, and at most maxEvidence of them: what a container
// has is its own to choose.
func interfaces(list []route.Address) string {
	texts := make([]string, 0, min(len(list), maxEvidence+1))
	for i, a := range list {
		if i == maxEvidence {
			texts = append(texts, fmt.Sprintf("and %d more", len(list)-i))
			break
		}
		texts = append(texts, a.Interface+" "+a.Prefix.String())
	}
	return strings.Join(texts, ", ")
}

// bridgeCarries reports whether the bridge that Docker names is there and has an address within the subnet.
func bridgeCarries(c candidate, subnet netip.Prefix) bool {
	for _, a := range c.container.Interfaces {
		if a.Interface == c.network.Bridge && subnet.Contains(a.Prefix.Addr()) {
			return true
		}
	}
	return false
}
