package probe

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"labd/internal/docker"
	"labd/internal/netfilter"
	"labd/internal/network"
	"labd/internal/route"
)

// strictRP is the value of rp_filter by which the kernel drops a packet whose source it would not answer over the interface
// that the packet came in by (RFC 3704, Documentation/networking/ip-sysctl.rst).
const strictRP = 1

// hops walks the way to the address and back. It is pure.
func (p *path) hops() []Hop {
	hops := []Hop{p.hopRoute(), p.hopHostForwarding(), p.hopHostReverse(), p.hopHostForward()}
	if p.ct == nil {
		return append(hops, Hop{Name: "container", Where: "host", State: Unknown, Text: fmt.Sprintf("no Docker network in a running container of this node is known to have %s", p.target.Address)})
	}
	hops = append(hops, p.hopPVEFirewall(), p.hopContainer())
	hops = append(hops, p.hopChain("container-raw", "raw", "PREROUTING", p.packet("", p.target.Address)))
	if p.aliased() {
		hops = append(hops, p.hopAlias())
	}
	hops = append(hops, p.hopForwarding(), p.hopReverse(), p.hopChain("container-forward", "filter", "FORWARD", p.packet(p.docker.Bridge, p.inner)))
	if p.network != nil && p.ct.Docker.FirewallBackend.OwnTables() {
		hops = append(hops, p.hopDockerNFT())
	}
	return append(hops, p.hopBridge(), p.hopBox(), p.hopPort(), p.hopIPFilter(), p.hopReturn())
}

func (p *path) inside() string { return fmt.Sprintf("container %d", p.ct.ID) }

func (p *path) hopRoute() Hop {
	h := Hop{Name: "route", Where: "host", State: OK}
	switch {
	case p.chosenErr != nil:
		h.State, h.Text = Blocking, fmt.Sprintf("the host has no route: %v", p.chosenErr)
	case p.ct == nil:
		h.State, h.Text = Unknown, "the host sends it by "+routeText(p.chosen)
	case p.reachedElsewhere() != "":
		h.State, h.Text = Blocking, p.reachedElsewhere()
	case p.chosen.Via != p.address() && !p.address().IsValid():
		h.State, h.Text = Unknown, "the host sends it by "+routeText(p.chosen)
	case p.chosen.Via != p.address():
		h.State, h.Text = Blocking, fmt.Sprintf("the host sends it by %s, not to the container's address %s", routeText(p.chosen), p.address())
	default:
		h.Text = "the host sends it by " + routeText(p.chosen)
	}
	return h
}

// address is the container's address that the route leads by.
func (p *path) address() netip.Addr { return p.ct.AddressOf(p.family) }

// reachedElsewhere says where the address is reached instead, in a network behind an alias.
func (p *path) reachedElsewhere() string {
	if p.network == nil || p.aliased() {
		return ""
	}
	for _, alias := range p.network.Aliases {
		if alias.Subnet.Contains(p.inner) {
			return fmt.Sprintf("the network is reached by its alias: ask for %s", route.Translate(p.inner, alias.Subnet, alias.Prefix))
		}
	}
	return ""
}

// hopAlias is the rule that maps the alias onto the subnet.
func (p *path) hopAlias() Hop {
	h := Hop{Name: "container-alias", Where: p.inside(), State: Blocking, Text: fmt.Sprintf("no rule maps %s onto %s", p.target.Address, p.inner)}
	if p.rulesErr != nil {
		h.State, h.Text = Unknown, fmt.Sprintf("its rules could not be read: %v", p.rulesErr)
		return h
	}
	mapped := fmt.Sprintf("%s is mapped onto %s", p.target.Address, p.inner)
	if p.ct.ProgramsNFT() {
		if p.ct.Table.There {
			h.State, h.Text = OK, mapped
		}
		return h
	}
	for _, rs := range p.rules {
		own, inPlace := rs.Own()
		for _, rule := range own.NAT {
			if inPlace && rule.MayMatch(p.packet("", p.target.Address)) {
				h.State, h.Text, h.Rule = OK, mapped, "-A "+netfilter.ChainNAT+" "+rule.String()
			}
		}
	}
	return h
}

func routeText(r route.Route) string {
	if r.Via.IsValid() {
		return fmt.Sprintf("%s via %s", r.Dev, r.Via)
	}
	return r.Dev
}

func (p *path) hopHostForwarding() Hop {
	h := Hop{Name: "host-forwarding", Where: "host", State: OK}
	if p.family == netfilter.IPv6 {
		h.Text = "the host forwards IPv6"
		if !p.facts.Host.Forwarding6 {
			h.State, h.Text, h.Rule = Blocking, "the host does not forward IPv6", network.Forwarding6Name+" = 0"
		}
		return h
	}
	names := slices.Clone(p.facts.Host.Uplinks)
	if p.chosenErr == nil && p.chosen.Dev != "" {
		names = append(names, p.chosen.Dev)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	var closed []string
	for _, name := range names {
		if !p.facts.Host.Forwarding[name] {
			closed = append(closed, name)
		}
	}
	h.Text = "the host forwards between " + strings.Join(names, ", ")
	if len(closed) > 0 {
		h.State, h.Text = Blocking, "the host does not forward what comes in on "+strings.Join(closed, ", ")
		h.Rule = fmt.Sprintf("net.ipv4.conf.%s.forwarding = 0", closed[0])
	}
	return h
}

func (p *path) hopHostReverse() Hop {
	h := Hop{Name: "host-rp-filter", Where: "host", State: OK, Text: "rp_filter lets the clients' packets in"}
	if p.family == netfilter.IPv6 {
		h.Text = "IPv6 has no rp_filter"
		return h
	}
	back, ok := route.Best(netip.PrefixFrom(p.client, max(p.client.BitLen(), 0)), p.facts.Host.Routes, p.facts.Host.Own)
	if !p.client.IsValid() || !ok {
		h.State, h.Text = Unknown, "it is not known from where clients come"
		return h
	}
	host := p.facts.Host
	if len(host.Uplinks) > 0 && !slices.ContainsFunc(host.Uplinks, func(name string) bool { return host.RPFilter[name] != strictRP || back.Dev == name }) {
		h.State, h.Text = Blocking, fmt.Sprintf("clients come in on %s, would be answered by %s, and rp_filter is strict", strings.Join(host.Uplinks, ", "), back.Dev)
		h.Rule = fmt.Sprintf("net.ipv4.conf.%s.rp_filter = %d", host.Uplinks[0], strictRP)
	}
	return h
}

// hopHostForward is the host's own FORWARD chain: for packets of clients, which labd's own do not pass.
func (p *path) hopHostForward() Hop {
	h := Hop{Name: "host-forward", Where: "host", State: OK, Text: "the host's FORWARD chain lets it through"}
	if p.hostRulesErr != nil {
		h.State, h.Text = Unknown, fmt.Sprintf("the host's rules could not be read: %v", p.hostRulesErr)
		return h
	}
	in := ""
	if len(p.facts.Host.Uplinks) > 0 {
		in = p.facts.Host.Uplinks[0]
	}
	packet := netfilter.Packet{In: in, Out: p.chosen.Dev, Src: p.client, Dst: p.target.Address, Protocol: p.protocol(), DstPort: p.target.Port}
	return p.judge(h, p.hostRules, "filter", "FORWARD", packet, "the host's FORWARD chain")
}

// judge lets a packet walk a chain of each backend: it must get through all of them.
func (p *path) judge(h Hop, rules map[netfilter.Backend]*netfilter.Ruleset, table, chain string, packet netfilter.Packet, what string) Hop {
	for _, backend := range []netfilter.Backend{netfilter.NFT, netfilter.Legacy} {
		rs := rules[backend]
		if rs == nil {
			continue
		}
		if slices.Contains(rs.Unreadable, table) && h.State == OK {
			h.State, h.Text = Unknown, fmt.Sprintf("table %s of the %s backend holds rules that iptables cannot print", table, backend)
			continue
		}
		fate := rs.Walk(table, chain, packet)
		switch {
		case fate.Dropped && fate.Maybe == nil:
			h.State, h.Text, h.Rule = Blocking, what+" drops it", ruleText(p.family, backend, fate.End)
			return h
		case fate.Maybe != nil:
			h.State, h.Rule = Unknown, ruleText(p.family, backend, *fate.Maybe)
			h.Text = what + " has a rule whose condition labd cannot judge"
		case h.State == OK && fate.End.Number > 0:
			h.Rule = ruleText(p.family, backend, fate.End)
		}
	}
	return h
}

func ruleText(family netfilter.Family, backend netfilter.Backend, place netfilter.Place) string {
	program := "iptables"
	if family == netfilter.IPv6 {
		program = "ip6tables"
	}
	return fmt.Sprintf("%s-%s -t %s: %s", program, backend, place.Table, place)
}

func (p *path) hopPVEFirewall() Hop {
	h := Hop{Name: "pve-firewall", Where: "host", State: OK, Text: "PVE's firewall does not filter this container"}
	fw := &p.ct.Firewall
	if fw.Err != nil {
		h.State, h.Text = Unknown, fmt.Sprintf("what PVE's firewall does is not known: %v", fw.Err)
		return h
	}
	source := netip.PrefixFrom(p.client, max(p.client.BitLen(), 0))
	result, why, filtered := p.ct.PVEIn(source, netip.PrefixFrom(p.target.Address, p.target.Address.BitLen()), p.protocol(), p.target.Port)
	if !filtered {
		return h
	}
	h.Rule = why
	switch result {
	case network.Passes:
		h.Text = "PVE's firewall of the container lets it in"
	case network.Unsure:
		h.State, h.Text = Unknown, "PVE's firewall of the container has a rule that labd cannot judge"
	case network.Blocks:
		h.State, h.Text = Blocking, "PVE's firewall of the container drops it"
		for _, s := range p.report.Sources {
			if s.Contains(p.client) {
				source = s
			}
		}
		h.Lines = []string{network.FirewallFile(p.ct.ID), "[RULES]", network.InboundLine(source, p.reach())}
	}
	return h
}

func (p *path) hopIPFilter() Hop {
	h := Hop{Name: "pve-ipfilter", Where: "host", State: OK, Text: "PVE's ipfilter lets the answer out"}
	switch result, why, _ := p.ct.PVEOut(p.reach()); result {
	case network.Passes:
	case network.Unsure:
		h.State, h.Text, h.Rule = Unknown, "ipfilter has an entry that labd cannot judge", why
	case network.Blocks:
		h.State, h.Text, h.Rule = Blocking, "PVE's ipfilter drops the answer, whose source is not the container's own address", why
		h.Lines = append([]string{network.FirewallFile(p.ct.ID)}, p.ct.IPFilterLines(p.reach())...)
	}
	return h
}

func (p *path) hopContainer() Hop {
	h := Hop{Name: "container", Where: p.inside(), State: OK, Text: fmt.Sprintf("it runs, with %s on %s", p.address(), p.ct.Uplink)}
	switch {
	case p.ct.Err != nil:
		h.State, h.Text = Unknown, p.ct.Err.Error()
	case p.ct.LastGood:
		h.State, h.Text = Unknown, "its Docker does not answer now; this is what it said before"
	case p.ct.ByKernel:
		h.Text += "; no Docker answers, so its Docker containers are not known"
	}
	return h
}

func (p *path) hopChain(name, table, chain string, packet netfilter.Packet) Hop {
	h := Hop{Name: name, Where: p.inside(), State: OK, Text: fmt.Sprintf("%s in table %s lets it through", chain, table)}
	if p.rulesErr != nil {
		h.State, h.Text = Unknown, fmt.Sprintf("its rules could not be read: %v", p.rulesErr)
		return h
	}
	return p.judge(h, p.rules, table, chain, packet, chain+" in table "+table)
}

// packet is labd's packet, or a client's, as it comes into the container, for an address.
func (p *path) packet(out string, dst netip.Addr) netfilter.Packet {
	return netfilter.Packet{In: p.ct.Uplink, Out: out, Src: p.client, Dst: dst, Protocol: p.protocol(), DstPort: p.target.Port}
}

func (p *path) hopForwarding() Hop {
	h := Hop{Name: "container-forwarding", Where: p.inside(), State: OK, Text: "it forwards what comes in on " + p.ct.Uplink}
	switch {
	case p.sysctlErr != nil:
		h.State, h.Text = Unknown, fmt.Sprintf("its sysctls could not be read: %v", p.sysctlErr)
	case !p.forwarding:
		h.State, h.Text = Blocking, "it does not forward what comes in on "+p.ct.Uplink
		h.Rule = fmt.Sprintf("net.ipv4.conf.%s.forwarding = 0", p.ct.Uplink)
		if p.family == netfilter.IPv6 {
			h.Text, h.Rule = "it does not forward IPv6", network.Forwarding6Name+" = 0"
		}
	}
	return h
}

func (p *path) hopReverse() Hop {
	h := Hop{Name: "container-rp-filter", Where: p.inside(), State: OK, Text: "its rp_filter lets the client's packets in"}
	switch {
	case p.family == netfilter.IPv6:
		h.Text = "IPv6 has no rp_filter"
	case p.sysctlErr != nil:
		h.State, h.Text = Unknown, fmt.Sprintf("its sysctls could not be read: %v", p.sysctlErr)
	case p.rpFilter == strictRP && p.backErr == nil && p.back.Dev != p.ct.Uplink:
		h.State, h.Text = Blocking, fmt.Sprintf("it would answer %s by %s, and rp_filter is strict", p.client, p.back.Dev)
		h.Rule = fmt.Sprintf("net.ipv4.conf.%s.rp_filter = %d", p.ct.Uplink, strictRP)
	}
	return h
}

func (p *path) hopDockerNFT() Hop {
	access := p.ct.NFTAccessTo(p.docker, p.subnet(), p.reach())
	h := Hop{Name: "docker-firewall", Where: p.inside(), State: OK, Text: fmt.Sprintf("Docker's nftables rules let it in: gateway mode %s", access.GatewayMode)}
	switch {
	case access.Open:
	case access.Marked && p.ct.Table.There:
		h.Text = fmt.Sprintf("Docker's nftables rules let it in by the mark %#x/%#x, which labd's table gives", access.Mark.Value, access.Mark.Mask)
	default:
		h.State, h.Text = Blocking, fmt.Sprintf("Docker's nftables rules drop what is routed to it: gateway mode %s", access.GatewayMode)
		h.Rule = `table ip docker-bridges: "DROP DIRECT ACCESS", "UNPUBLISHED PORT DROP"`
	}
	return h
}

func (p *path) hopBridge() Hop {
	h := Hop{Name: "bridge", Where: p.inside(), State: OK, Text: fmt.Sprintf("%s carries %s", p.docker.Bridge, p.subnet())}
	switch {
	case p.docker.Bridge == "":
		h.State, h.Text = Unknown, fmt.Sprintf("a network of driver %s has no bridge", p.docker.Driver)
	case p.ct.Err != nil:
		h.State, h.Text = Unknown, "its interfaces are not known"
	case !p.ct.BridgeCarries(p.docker, p.subnet()):
		h.State, h.Text = Blocking, fmt.Sprintf("no interface %s with an address in %s is there", p.docker.Bridge, p.subnet())
	case !p.bridgeUp:
		h.State, h.Text = Blocking, fmt.Sprintf("%s is down: no running container is attached to it", p.docker.Bridge)
	}
	return h
}

func (p *path) hopBox() Hop {
	h := Hop{Name: "docker-container", Where: p.inside(), State: OK}
	switch {
	case p.box != nil:
		h.Text = fmt.Sprintf("%s runs with this address", p.box.Name)
	case p.ct.ByKernel:
		h.State, h.Text = Unknown, "no Docker answers, so it is not known whether a Docker container has this address"
	case bridgeHas(p.ct, p.inner):
		h.Text = "this is the address of the network's gateway, the container itself"
	default:
		h.State, h.Text = Blocking, fmt.Sprintf("no running Docker container on network %s has this address", p.docker.Name)
	}
	return h
}

func bridgeHas(c *network.Container, addr netip.Addr) bool {
	return slices.ContainsFunc(c.Interfaces, func(a route.Address) bool { return a.Prefix.Addr() == addr })
}

func (p *path) hopPort() Hop {
	h := Hop{Name: "port", Where: p.inside(), State: OK, Text: "no port was asked for"}
	if p.target.Port == 0 || p.box == nil {
		return h
	}
	i := slices.IndexFunc(p.box.Ports, func(port docker.Port) bool { return port.Number == p.target.Port && port.Protocol == "tcp" })
	switch {
	case i < 0:
		h.Text = "its image does not name this port; something may listen all the same"
	case p.box.Ports[i].PublishedOn == "":
		h.Text = "its image names this port; it is not published, which a routed packet does not need"
	default:
		h.Text = "it is published on " + p.box.Ports[i].PublishedOn
	}
	return h
}

func (p *path) hopReturn() Hop {
	h := Hop{Name: "return", Where: p.inside(), State: OK}
	switch {
	case p.backErr != nil:
		h.State, h.Text = Unknown, fmt.Sprintf("by which way it answers is not known: %v", p.backErr)
	case !p.back.Via.IsValid():
		h.Text = fmt.Sprintf("it answers %s directly by %s", p.client, p.back.Dev)
		if !slices.ContainsFunc(p.facts.Host.Addresses, func(a route.Address) bool { return a.Prefix.Addr() == p.client }) {
			h.Text += ", past the router"
		}
	case slices.ContainsFunc(p.facts.Host.Addresses, func(a route.Address) bool { return a.Prefix.Addr() == p.back.Via }):
		h.Text = fmt.Sprintf("it answers by way of this host, %s", p.back.Via)
	default:
		h.Text = fmt.Sprintf("it answers by way of %s, while the question came through this host", p.back.Via)
	}
	return h
}
