package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"labd/internal/netfilter"
	"labd/internal/netfilter/walk"
	"labd/internal/network"
	"labd/internal/route"
)

// strictRP is the value of rp_filter by which the kernel drops a packet whose source it would not answer over the interface
// that the packet came in by (RFC 3704, Documentation/networking/ip-sysctl.rst).
const strictRP = 1

// hops judges the way to the address and back. It is pure.
func (p *path) hops() []Hop {
	switch p.kind {
	case routed:
		return append(p.hostHops(), p.routedHops()...)
	case direct:
		return p.directHops()
	case own:
		return p.ownHops()
	default:
		return append(p.hostHops(), Hop{Name: hopContainer, Where: "host", State: Unknown, Text: fmt.Sprintf("no Docker container, and no LXC container that runs on this node, is known to have %s", p.target.Address)})
	}
}

// hostHops are the places on the host that a forwarded packet passes. What the host itself sends is not forwarded.
func (p *path) hostHops() []Hop {
	hops := []Hop{p.hopRoute()}
	if p.fromHost {
		return hops
	}
	return append(hops, p.hopHostForwarding(), p.hopHostReverse(), p.hopHostForward())
}

func (p *path) inside() string { return fmt.Sprintf("container %d", p.ct.ID) }

// taken is the route that the client's packets take: that of forwarded ones, or, where the kernel does not say, that of the
// host's own.
func (p *path) taken() (route.Route, error) {
	s := p.seen
	switch {
	case p.fromHost || !p.client.IsValid():
		return s.chosen, s.chosenErr
	case errors.Is(s.forwardedErr, unix.EXDEV) || errors.Is(s.forwardedErr, unix.EHOSTUNREACH) || errors.Is(s.forwardedErr, unix.EINVAL):
		// rp_filter, forwarding, or an odd source stand before the route: hops of their own.
		return s.chosen, s.chosenErr
	default:
		return s.forwarded, s.forwardedErr
	}
}

func (p *path) hopRoute() Hop {
	h := Hop{Name: hopRoute, Where: "host", State: OK}
	taken, err := p.taken()
	who := ""
	if p.client.IsValid() && !p.fromHost {
		who = " what comes from " + p.client.String()
	}
	sends := "the host sends it by " + routeText(taken)
	switch {
	case err != nil:
		h.State, h.Text = Blocking, fmt.Sprintf("the host has no route for%s: %v", who, err)
		if who == "" {
			h.Text = fmt.Sprintf("the host has no route: %v", err)
		}
	case p.ct == nil:
		h.State, h.Text = Unknown, sends
	case p.reachedElsewhere() != "":
		h.State, h.Text = Blocking, p.reachedElsewhere()
	case taken.Via != p.address() && !p.address().IsValid():
		h.State, h.Text = Unknown, sends
	case taken.Via != p.address():
		h.State, h.Text = Blocking, fmt.Sprintf("the host sends it by %s, not to the container's address %s", routeText(taken), p.address())
	default:
		h.Text = sends
	}
	if h.State == Blocking && p.kind == routed && p.client.IsValid() && !p.fromHost && !p.mayCome(p.client) {
		h.Text += fmt.Sprintf("; %s is not among the sources that labd lets in (%s)", p.client, sourceList(p.report.Sources))
	}
	return h
}

func sourceList(sources []netip.Prefix) string {
	texts := make([]string, 0, len(sources))
	for _, s := range sources {
		texts = append(texts, s.String())
	}
	return strings.Join(texts, ", ")
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

func routeText(r route.Route) string {
	if r.Via.IsValid() {
		return fmt.Sprintf("%s via %s", r.Dev, r.Via)
	}
	return r.Dev
}

// uplink is the interface by which the client's packets come in.
func (p *path) uplink() string {
	switch {
	case p.seen.inErr == nil && p.seen.in != "" && p.seen.in != "lo":
		return p.seen.in
	case len(p.facts.Host.Uplinks) > 0:
		return p.facts.Host.Uplinks[0]
	default:
		return ""
	}
}

func (p *path) hopHostForwarding() Hop {
	h := Hop{Name: hopHostForwarding, Where: "host", State: OK}
	if p.family == netfilter.IPv6 {
		h.Text = "the host forwards IPv6"
		if !p.facts.Host.Forwarding6 {
			h.State, h.Text, h.Rule = Blocking, "the host does not forward IPv6", network.Forwarding6Name+" = 0"
		}
		return h
	}
	names := []string{}
	if in := p.uplink(); in != "" {
		names = append(names, in)
	}
	if taken, err := p.taken(); err == nil && taken.Dev != "" {
		names = append(names, taken.Dev)
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
	switch {
	case len(closed) > 0:
		h.State, h.Text = Blocking, "the host does not forward what comes in on "+strings.Join(closed, ", ")
		h.Rule = fmt.Sprintf("net.ipv4.conf.%s.forwarding = 0", closed[0])
	case len(names) == 0:
		h.State, h.Text = Unknown, "it is not known between which interfaces the host would have to forward"
	}
	return h
}

func (p *path) hopHostReverse() Hop {
	h := Hop{Name: hopHostRPFilter, Where: "host", State: OK, Text: "rp_filter lets the clients' packets in"}
	host := p.facts.Host
	switch {
	case p.family == netfilter.IPv6:
		h.Text = "IPv6 has no rp_filter"
		return h
	case !p.client.IsValid() || p.seen.inErr != nil:
		h.State, h.Text = Unknown, "it is not known from where clients come"
		return h
	}
	passes := slices.ContainsFunc(host.Uplinks, func(name string) bool { return host.RPFilter[name] != strictRP || p.seen.in == name })
	switch {
	case errors.Is(p.seen.forwardedErr, unix.EXDEV):
		h.State, h.Text = Blocking, fmt.Sprintf("the host drops what comes from %s on %s, which it would answer by another interface", p.client, p.seen.in)
		h.Rule = fmt.Sprintf("net.ipv4.conf.%s.rp_filter = %d", p.seen.in, host.RPFilter[p.seen.in])
	case len(host.Uplinks) > 0 && !passes:
		h.State, h.Text = Blocking, fmt.Sprintf("clients come in on %s, would be answered by %s, and rp_filter is strict", strings.Join(host.Uplinks, ", "), p.seen.in)
		h.Rule = fmt.Sprintf("net.ipv4.conf.%s.rp_filter = %d", host.Uplinks[0], strictRP)
	}
	return h
}

// hopHostForward is what the host's packet filter does with forwarded packets: for those of clients, which labd's own are not.
func (p *path) hopHostForward() Hop {
	h := Hop{Name: hopHostForward, Where: "host", State: OK, Text: "the host's rules let what it forwards through"}
	taken, err := p.taken()
	switch {
	case p.seen.hostFilterErr != nil:
		h.State, h.Text = Unknown, fmt.Sprintf("the host's rules could not be read: %v", p.seen.hostFilterErr)
		return h
	case err != nil:
		h.State, h.Text = Unknown, "without a route it is not known by which rules packets would be judged"
		return h
	}
	packet := walk.Packet{In: p.uplink(), Source: single(p.client), Dest: single(p.target.Address), Protocol: p.protocol(), DestPort: p.target.Port}
	if h = judge(h, p.seen.hostFilter, walk.Prerouting, packet, "the host"); h.State != OK {
		return h
	}
	packet.Out = taken.Dev
	if h = judge(h, p.seen.hostFilter, walk.Forward, packet, "the host"); h.State != OK {
		return h
	}
	return judge(h, p.seen.hostFilter, walk.Postrouting, packet, "the host")
}

// single returns an address as a prefix.
func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, max(a.BitLen(), 0)) }

// judge lets a packet through all rules that it meets at a hook, in every table of both iptables and of nftables.
func judge(h Hop, rules *walk.Ruleset, hook walk.Hook, packet walk.Packet, who string) Hop {
	if !packet.Source.IsValid() {
		h.State, h.Text = Unknown, "it is not known from where clients come"
		return h
	}
	result := rules.Walk(hook, packet)
	switch result.Outcome {
	case walk.Dropped:
		h.State, h.Text, h.Rule, h.place = Blocking, fmt.Sprintf("%s drops it, in %s", who, placeName(result.Place)), placeText(result.Place), result.Place
	case walk.Passes:
		if result.Place.Number > 0 {
			h.Rule = placeText(result.Place)
		}
	case walk.Partly:
		h.State, h.Text, h.Rule = Unknown, fmt.Sprintf("%s drops some of such packets, in %s", who, placeName(result.Place)), placeText(result.Place)
		if len(result.Parts) > 0 {
			h.Rule = placeText(result.Parts[0].Place)
		}
	default:
		h.State, h.Text, h.Rule = Unknown, fmt.Sprintf("%s has rules that labd cannot judge, in %s: %s", who, placeName(result.At), result.Because), placeText(result.At)
	}
	return h
}

// placeName is a chain with its table, in words.
func placeName(p walk.Place) string {
	if p.Name == "" {
		return "table " + tableName(p)
	}
	return fmt.Sprintf("%s in table %s", p.Name, tableName(p))
}

func tableName(p walk.Place) string {
	if _, table, ok := strings.Cut(string(p.Table), " -t "); ok {
		return table
	}
	return string(p.Table)
}

// placeText is a place as the program shows it that made it.
func placeText(p walk.Place) string {
	if !strings.Contains(string(p.Table), " -t ") {
		return p.String()
	}
	text := p.Text
	if p.Number == 0 {
		text = ":" + p.Name + " ACCEPT"
		if p.Drops {
			text = ":" + p.Name + " DROP"
		}
	}
	return string(p.Table) + ": " + text
}

func ruleText(family netfilter.Family, backend netfilter.Backend, place netfilter.Place) string {
	program := "iptables"
	if family == netfilter.IPv6 {
		program = "ip6tables"
	}
	return fmt.Sprintf("%s-%s -t %s: %s", program, backend, place.Table, place)
}

func (p *path) hopPVEFirewall() Hop {
	h := Hop{Name: hopPVEFirewall, Where: "host", State: OK, Text: "PVE's firewall does not filter this container"}
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
	h := Hop{Name: hopIPFilter, Where: "host", State: OK, Text: "PVE's ipfilter lets the answer out"}
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
