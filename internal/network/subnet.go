package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"labd/internal/docker"
	"labd/internal/finding"
	"labd/internal/netfilter"
	"labd/internal/route"
)

// subnetPath is one subnet of a candidate, IPv4 or IPv6, with the way to it.
type subnetPath struct {
	candidate
	family netfilter.Family
	subnet netip.Prefix
	mode   string
	// reach is the prefix by which others reach it: the subnet itself, or its alias. target is the part of the subnet that
	// the alias stands for.
	reach, target netip.Prefix
	route         route.Route
	rules         netfilter.Rules
}

// pathsOf are the subnets of a network that may be programmed, or why there are none. A network has at most one of each
// family: Docker knows no more, and of Podman's the first counts.
func (d *diagnosis) pathsOf(c candidate, mode string) ([]subnetPath, string) {
	var paths []subnetPath
	only6 := !slices.ContainsFunc(c.network.Subnets, func(s netip.Prefix) bool { return s.Addr().Is4() })
	for _, family := range []netfilter.Family{netfilter.IPv4, netfilter.IPv6} {
		i := slices.IndexFunc(c.network.Subnets, func(s netip.Prefix) bool { return netfilter.FamilyOf(s.Addr()) == family })
		if i < 0 {
			continue
		}
		pools := d.policy.Pools
		if mode == ModeAlias {
			pools = d.policy.AliasPools
		}
		// IPv6 is opened only where a pool says so: Docker gives networks IPv6 subnets by itself.
		if family == netfilter.IPv6 && !slices.ContainsFunc(pools, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
			continue
		}
		subnet := c.network.Subnets[i]
		paths = append(paths, subnetPath{candidate: c, family: family, subnet: subnet, mode: mode, reach: subnet, target: subnet})
	}
	switch {
	case len(paths) > 0:
		return paths, ""
	case only6 && len(c.network.Subnets) > 0:
		return nil, "it has only IPv6 subnets, and no IPv6 prefix is among the pools"
	default:
		return nil, "it has no IPv4 subnet"
	}
}

// routeOf returns the route to a subnet's prefix by way of the container.
func (d *diagnosis) routeOf(l subnetPath) route.Route {
	via := l.container.address(l.family)
	return route.Route{Dst: l.reach, Via: via, Dev: route.Towards(d.facts.Host.Addresses, via), Table: route.Table, Protocol: route.Protocol}
}

// policyRules returns the rules that lead to labd's table: of each source, and of the host itself, in each family that has
// a route. Who is no source is routed as if there were no labd.
func (d *diagnosis) policyRules() []route.Rule {
	var out []route.Rule
	for _, family := range []netfilter.Family{netfilter.IPv4, netfilter.IPv6} {
		ofFamily := func(r route.Route) bool { return netfilter.FamilyOf(r.Dst.Addr()) == family }
		// The routes of a container that cannot be asked stay in use.
		kept := func(r route.Route) bool { return ofFamily(r) && d.facts.undecided(r) }
		if !slices.ContainsFunc(d.report.Want.Routes, ofFamily) && !slices.ContainsFunc(d.facts.Host.Own, kept) {
			continue
		}
		out = append(out, route.HostRule(family))
		for _, source := range d.sourcesOf(family) {
			out = append(out, route.SourceRule(source))
		}
	}
	return out
}

// partlyRouted reports whether a route of labd's leads to the subnet in any table, with or without rules that lead there: an
// earlier labd had its routes in the main table.
func (d *diagnosis) partlyRouted(l subnetPath) bool {
	return d.own[route.Route{Dst: l.reach, Via: l.container.address(l.family)}]
}

// routed reports whether a subnet has its route, and every source is led to it.
func (d *diagnosis) routed(l subnetPath) bool {
	return d.own[l.route] && !slices.ContainsFunc(d.report.Want.PolicyRules, func(r route.Rule) bool {
		return r.Family == l.family && !slices.Contains(d.facts.Host.PolicyRules, r)
	})
}

// sourcesOf are the sources of one family.
func (d *diagnosis) sourcesOf(f netfilter.Family) []netip.Prefix { return ofFamily(d.sources, f) }

func ofFamily(list []netip.Prefix, f netfilter.Family) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		if netfilter.FamilyOf(p.Addr()) == f {
			out = append(out, p)
		}
	}
	return out
}

// nftBackend reports whether Docker programs nftables itself; then there is no DOCKER-USER.
func (c candidate) nftBackend() bool {
	return c.container.Docker.FirewallBackend.OwnTables()
}

// gatewayMode is the network's gateway mode of a family.
func (l subnetPath) gatewayMode() string {
	if l.family == netfilter.IPv6 {
		return l.network.GatewayMode6
	}
	return l.network.GatewayMode
}

// openByItself reports whether Docker's nftables backend lets routed packets in: the gateway modes that do (moby,
// libnetwork/drivers/bridge).
func (l subnetPath) openByItself() bool {
	return l.nftBackend() && (l.gatewayMode() == docker.GatewayUnprotected || l.gatewayMode() == docker.GatewayRouted)
}

// mark is the mark by which Docker's nftables rules accept packets for the subnet, where its daemon is set so. A drop before
// that, as Docker makes it for what is routed to the subnet itself, makes it useless.
func (l subnetPath) mark() (netfilter.Mark, bool) {
	table := l.container.DockerTables[l.family]
	mark, ok := table.Accepts[l.network.Bridge]
	return mark, ok && !table.DropsRouted(l.reach)
}

// rulesOf returns the rules of a subnet, one of each kind for each source.
func (d *diagnosis) rulesOf(l subnetPath) netfilter.Rules {
	sources := d.sourcesOf(l.family)
	if l.nftBackend() {
		return netfilter.Rules{Table: l.tableRules(sources)}
	}
	chains := d.chainRules(l, sources)
	if l.family == netfilter.IPv6 {
		return netfilter.Rules{IPv6: chains}
	}
	return netfilter.Rules{IPv4: chains}
}

func (l subnetPath) comment() string {
	return fmt.Sprintf("labd:%d:%s", l.container.ID, l.network.Name)
}

// chainRules returns the rules for a Docker that uses iptables. Behind an alias only what came for the alias is accepted, so
// that the subnet itself is no more open than before. What a person's rules close is left to them.
func (d *diagnosis) chainRules(l subnetPath, sources []netip.Prefix) netfilter.Chains {
	var out netfilter.Chains
	for _, source := range sources {
		match := func(to netip.Prefix) []string {
			return []string{"-s", source.String(), "-d", to.String(), "-i", l.container.Uplink}
		}
		var forward, raw userRules
		if !d.policy.OverrideUserDrop {
			forward, raw = d.userForward(l, source), d.userRaw(l, source)
		}
		through := append(match(l.target), "-o", l.network.Bridge)
		if l.mode == ModeAlias {
			through = append(through, "-m", "conntrack", "--ctorigdst", l.reach.String())
			out.NAT = append(out.NAT, l.rule(match(l.reach), "NETMAP", "--to", l.target.String()))
		} else {
			out.Raw = append(out.Raw, l.accepts(match(l.reach), raw)...)
		}
		out.Forward = append(out.Forward, l.accepts(through, forward)...)
	}
	return out
}

// rule is one rule with labd's comment.
func (l subnetPath) rule(match []string, target ...string) netfilter.Rule {
	return netfilter.Rule{Args: slices.Concat(match, []string{"-m", "comment", "--comment", l.comment(), "-j"}, target)}
}

// accepts returns the rules that accept what meets a match, but for what a person's rules close: that returns to them.
func (l subnetPath) accepts(match []string, user userRules) []netfilter.Rule {
	var out []netfilter.Rule
	for _, m := range user.returns {
		out = append(out, l.rule(joinMatch(m, match), "RETURN"))
	}
	for _, m := range user.accepts {
		out = append(out, l.rule(joinMatch(m, match), "ACCEPT"))
	}
	if user.closed {
		out = append(out, l.rule(match, "RETURN"))
	}
	if len(user.accepts) == 0 {
		out = append(out, l.rule(match, "ACCEPT"))
	}
	return out
}

// joinMatch joins a person's match with labd's own. Where both ask for the same, an iptables rule can hold the person's
// alone.
func joinMatch(person, own []string) []string {
	var out []string
	for i := 0; i+1 < len(own); i += 2 {
		switch option := own[i]; {
		case option == "-m" && slices.Contains(person, "conntrack"), option == "--ctorigdst" && slices.Contains(person, option):
		case option != "-m" && slices.Contains(person, option):
		default:
			out = append(out, option, own[i+1])
		}
	}
	return append(out, person...)
}

// tableRules are the rules for a Docker that programs nftables.
func (l subnetPath) tableRules(sources []netip.Prefix) netfilter.Table {
	var out netfilter.Table
	mark, marked := l.mark()
	ip := "ip"
	if l.family == netfilter.IPv6 {
		ip = "ip6"
	}
	for _, source := range sources {
		match := fmt.Sprintf("iifname %q %s saddr %s", l.container.Uplink, ip, source)
		if marked && !l.openByItself() {
			out.Mark = append(out.Mark, fmt.Sprintf("%s %s daddr %s %s comment %q", match, ip, l.reach, mark.Set(), l.comment()))
		}
		if l.mode == ModeAlias {
			out.Alias = append(out.Alias, fmt.Sprintf("%s dnat %s prefix to %s daddr map { %s : %s } comment %q", match, ip, ip, l.reach, l.target, l.comment()))
		}
	}
	return out
}

// modeOf is the network's mode, or ModeOff and why.
func (d *diagnosis) modeOf(c candidate) (mode, why string) {
	network, container := string(finding.Network(strconv.Itoa(c.container.ID), c.network.Name)), string(finding.LXC(strconv.Itoa(c.container.ID)))
	switch {
	case d.policy.ignored(network) || d.policy.ignored(container):
		return ModeOff, "ignored by the configuration"
	case c.network.Driver != docker.DriverBridge:
		return ModeOff, fmt.Sprintf("driver %s has no subnet of its own to route", c.network.Driver)
	case c.container.Docker.Podman && c.network.Bridge == "":
		return ModeOff, "Podman makes its bridge when a container uses it"
	case c.network.Internal:
		return ModeOff, "internal: its containers have no way out, so none to answer"
	case c.network.GatewayMode == docker.GatewayIsolated:
		return ModeOff, "gateway mode isolated: its containers have no way out, so none to answer"
	}
	mode, by := d.policy.modeOf(container, network, c.network.Mode)
	if mode == ModeOff {
		return ModeOff, "switched off by " + by
	}
	return mode, ""
}
