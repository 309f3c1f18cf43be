package probe

import (
	"fmt"
	"net/netip"
	"slices"

	"labd/internal/docker"
	"labd/internal/netfilter"
	"labd/internal/netfilter/walk"
	"labd/internal/network"
	"labd/internal/route"
)

// routedHops are the places from the container's uplink to a Docker container behind a bridge, and back.
func (p *path) routedHops() []Hop {
	hops := []Hop{p.hopPVEFirewall(), p.hopContainer()}
	hops = append(hops, p.hopFilter(hopRaw, walk.Prerouting, p.arriving()))
	if p.aliased() {
		hops = append(hops, p.hopAlias())
	}
	hops = append(hops, p.hopForwarding(), p.hopReverse(), p.hopFilter(hopForward, walk.Forward, p.forwarded()))
	if p.ct.ProgramsNFT() {
		hops = append(hops, p.hopDockerNFT())
	}
	return append(hops, p.hopBridge(), p.hopDocker(), p.hopPort(), p.hopIPFilter(), p.hopReturn())
}

// directHops are the places on the way to a Docker container that is in the LAN itself: the LXC container's rules do not see
// its packets.
func (p *path) directHops() []Hop {
	return []Hop{p.hopDirect(), p.hopPVEFirewall(), p.hopMACFilter(), p.hopContainer(), p.hopDocker(), p.hopPort()}
}

// ownHops are the places on the way to the LXC container's own address.
func (p *path) ownHops() []Hop {
	hops := []Hop{p.hopDirect(), p.hopPVEFirewall(), p.hopContainer(), p.hopFilter(hopRaw, walk.Prerouting, p.arriving())}
	if p.box != nil {
		hops = append(hops, p.hopForwarding(), p.hopFilter(hopForward, walk.Forward, p.forwarded()), p.hopBridge())
	} else {
		hops = append(hops, p.hopFilter(hopInput, walk.Input, p.arriving()))
	}
	return append(hops, p.hopPublished(), p.hopReturn())
}

// hopDirect is the host's way to an address of the LAN, which no router is on.
func (p *path) hopDirect() Hop {
	h := Hop{Name: hopRoute, Where: "host", State: OK, Text: "it is in the LAN itself: the host sends it by " + routeText(p.seen.chosen)}
	switch {
	case p.seen.chosenErr != nil:
		h.State, h.Text = Blocking, fmt.Sprintf("the host has no route: %v", p.seen.chosenErr)
	case p.seen.chosen.Via.IsValid():
		h.State = Unknown
		h.Text = fmt.Sprintf("the host sends it by %s: it is in no network of the host's, so whether the LAN has a way there is not known", routeText(p.seen.chosen))
		if p.docker.Driver == "ipvlan" {
			h.Text += "; in ipvlan's mode l3 the router needs a route to it by way of the LXC container"
		}
	}
	return h
}

// hopMACFilter is PVE's macfilter, which lets out only what has the container's own MAC (PVE::Firewall, generate_tap_rules).
func (p *path) hopMACFilter() Hop {
	h := Hop{Name: hopIPFilter, Where: "host", State: OK, Text: "PVE's firewall lets its answers out"}
	from := netip.PrefixFrom(p.target.Address, p.target.Address.BitLen())
	result, why, filtered := p.ct.PVEOut(from)
	switch {
	case !filtered:
		h.Text = "PVE's firewall does not filter this container"
	case p.docker.Driver == "macvlan" && p.ct.Firewall.Guest.Options["macfilter"] != "0":
		h.State, h.Text = Blocking, "PVE's macfilter drops its answers: a macvlan container has a MAC of its own"
		h.Rule = "macfilter: 1"
		h.Lines = []string{network.FirewallFile(p.ct.ID), "[OPTIONS]", "macfilter: 0"}
	case result == network.Unsure:
		h.State, h.Text, h.Rule = Unknown, "ipfilter has an entry that labd cannot judge", why
	case result == network.Blocks:
		h.State, h.Text, h.Rule = Blocking, "PVE's ipfilter drops its answers, whose source is not the LXC container's own address", why
		h.Lines = append([]string{network.FirewallFile(p.ct.ID)}, p.ct.IPFilterLines(from)...)
	}
	return h
}

// hopPublished says what listens on a port of the LXC container's own address.
func (p *path) hopPublished() Hop {
	h := Hop{Name: hopPort, Where: p.inside(), State: OK, Text: "no port was asked for: this is the LXC container itself"}
	switch {
	case p.target.Port == 0:
	case p.box != nil:
		h.Text = fmt.Sprintf("it is published for %s of network %s, as %s", p.box.Name, p.docker.Name, netip.AddrPortFrom(p.inner, p.port))
	case p.ct.Docker == nil:
		h.Text = "no Docker answers, so it is not known whether a Docker container listens there"
	case p.publishedElsewhere() != "":
		h.State, h.Text = Blocking, p.publishedElsewhere()
	case slices.ContainsFunc(p.ct.Docker.Containers, func(c docker.Container) bool { return c.HostNetwork && c.State == docker.StateRunning }):
		h.Text = "no Docker container publishes it; one in the host's network, or the LXC container itself, may listen there"
	default:
		h.Text = "no Docker container publishes it; the LXC container itself may listen there"
	}
	return h
}

// publishedElsewhere says on which address the port is published instead.
func (p *path) publishedElsewhere() string {
	for _, box := range p.ct.Docker.Containers {
		for _, port := range box.Ports {
			if on, err := netip.ParseAddr(port.PublishedOn); err == nil && port.HostPort == p.target.Port && port.Protocol == "tcp" && on.IsLoopback() && on.Is4() == p.target.Address.Is4() {
				return fmt.Sprintf("%s publishes it on %s only, where nobody else reaches it", box.Name, on)
			}
		}
	}
	return ""
}

func (p *path) hopContainer() Hop {
	h := Hop{Name: hopContainer, Where: p.inside(), State: OK, Text: fmt.Sprintf("it runs, with %s on %s", p.address(), p.ct.Uplink)}
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

// hopFilter is what the container's packet filter does with a packet at a hook.
func (p *path) hopFilter(name string, hook walk.Hook, packet walk.Packet) Hop {
	h := Hop{Name: name, Where: p.inside(), State: OK, Text: fmt.Sprintf("its rules at %s let it through", hook)}
	if p.seen.filterErr != nil {
		h.State, h.Text = Unknown, fmt.Sprintf("its rules could not be read: %v", p.seen.filterErr)
		return h
	}
	if h = judge(h, p.seen.filter, hook, packet, "the container"); h.State == OK && hook == walk.Forward {
		h = judge(h, p.seen.filter, walk.Postrouting, packet, "the container")
	}
	return h
}

// arriving is the client's packet as it comes into the container.
func (p *path) arriving() walk.Packet {
	return walk.Packet{In: p.ct.Uplink, Source: single(p.client), Dest: single(p.target.Address), Protocol: p.protocol(), DestPort: p.target.Port, Local: p.kind == own}
}

// forwarded is the packet on its way to the bridge, with the mark that labd's table gives where Docker's rules ask for it.
func (p *path) forwarded() walk.Packet {
	packet := walk.Packet{In: p.ct.Uplink, Out: p.docker.Bridge, Source: single(p.client), Dest: single(p.inner), Protocol: p.protocol(), DestPort: p.port}
	if p.inner != p.target.Address {
		packet.OrigDest = single(p.target.Address)
	}
	if p.ct.ProgramsNFT() && p.ct.Table.There {
		if access := p.ct.NFTAccessTo(p.docker, p.subnet(), p.reach()); access.Marked {
			packet.Mark = access.Mark.Value
		}
	}
	return packet
}

// hopAlias is the rule that maps the alias onto the subnet.
func (p *path) hopAlias() Hop {
	h := Hop{Name: hopAlias, Where: p.inside(), State: Blocking, Text: fmt.Sprintf("no rule maps %s onto %s", p.target.Address, p.inner)}
	if p.seen.filterErr != nil {
		h.State, h.Text = Unknown, fmt.Sprintf("its rules could not be read: %v", p.seen.filterErr)
		return h
	}
	mapped := fmt.Sprintf("%s is mapped onto %s", p.target.Address, p.inner)
	if p.ct.ProgramsNFT() {
		if p.ct.Table.There {
			h.State, h.Text = OK, mapped
		}
		return h
	}
	for _, rs := range p.seen.counts {
		own, inPlace := rs.Own()
		for _, rule := range own.NAT {
			if inPlace && rule.MayMatch(netfilter.Packet{In: p.ct.Uplink, Src: p.client, Dst: p.target.Address, Protocol: p.protocol(), DstPort: p.target.Port}) {
				h.State, h.Text, h.Rule = OK, mapped, "-A "+netfilter.ChainNAT+" "+rule.String()
			}
		}
	}
	return h
}

func (p *path) hopForwarding() Hop {
	h := Hop{Name: hopForwarding, Where: p.inside(), State: OK, Text: "it forwards what comes in on " + p.ct.Uplink}
	switch {
	case p.seen.sysctlErr != nil:
		h.State, h.Text = Unknown, fmt.Sprintf("its sysctls could not be read: %v", p.seen.sysctlErr)
	case !p.seen.forwarding:
		h.State, h.Text = Blocking, "it does not forward what comes in on "+p.ct.Uplink
		h.Rule = fmt.Sprintf("net.ipv4.conf.%s.forwarding = 0", p.ct.Uplink)
		if p.family == netfilter.IPv6 {
			h.Text, h.Rule = "it does not forward IPv6", network.Forwarding6Name+" = 0"
		}
	}
	return h
}

func (p *path) hopReverse() Hop {
	h := Hop{Name: hopRPFilter, Where: p.inside(), State: OK, Text: "its rp_filter lets the client's packets in"}
	switch {
	case p.family == netfilter.IPv6:
		h.Text = "IPv6 has no rp_filter"
	case p.seen.sysctlErr != nil:
		h.State, h.Text = Unknown, fmt.Sprintf("its sysctls could not be read: %v", p.seen.sysctlErr)
	case p.seen.rpFilter == strictRP && p.seen.backErr == nil && p.seen.back.Dev != p.ct.Uplink:
		h.State, h.Text = Blocking, fmt.Sprintf("it would answer %s by %s, and rp_filter is strict", p.client, p.seen.back.Dev)
		h.Rule = fmt.Sprintf("net.ipv4.conf.%s.rp_filter = %d", p.ct.Uplink, strictRP)
	}
	return h
}

func (p *path) hopDockerNFT() Hop {
	access := p.ct.NFTAccessTo(p.docker, p.subnet(), p.reach())
	h := Hop{Name: hopDockerFirewall, Where: p.inside(), State: OK, Text: fmt.Sprintf("Docker's nftables rules let it in: gateway mode %s", access.GatewayMode)}
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
	h := Hop{Name: hopBridge, Where: p.inside(), State: OK, Text: fmt.Sprintf("%s carries %s", p.docker.Bridge, p.subnet())}
	switch {
	case p.docker.Bridge == "":
		h.State, h.Text = Unknown, fmt.Sprintf("a network of driver %s has no bridge", p.docker.Driver)
	case p.ct.Err != nil:
		h.State, h.Text = Unknown, "its interfaces are not known"
	case !p.ct.BridgeCarries(p.docker, p.subnet()):
		h.State, h.Text = Blocking, fmt.Sprintf("no interface %s with an address in %s is there", p.docker.Bridge, p.subnet())
	case !p.seen.bridgeUp:
		h.State, h.Text = Blocking, fmt.Sprintf("%s is down: no running container is attached to it", p.docker.Bridge)
	}
	return h
}

func (p *path) hopDocker() Hop {
	h := Hop{Name: hopDocker, Where: p.inside(), State: OK}
	switch {
	case p.box != nil && p.kind == direct:
		h.Text = fmt.Sprintf("%s runs with this address, by %s of network %s: the LXC container's rules do not see its packets", p.box.Name, p.docker.Driver, p.docker.Name)
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
	h := Hop{Name: hopPort, Where: p.inside(), State: OK, Text: "no port was asked for"}
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

// hopReturn is the way of the answer. By another interface than the uplink it never comes to the client: it dies in the
// network that lies there.
func (p *path) hopReturn() Hop {
	h := Hop{Name: hopReturn, Where: p.inside(), State: OK}
	back := p.seen.back
	switch {
	case p.seen.backErr != nil:
		h.State, h.Text = Unknown, fmt.Sprintf("by which way it answers is not known: %v", p.seen.backErr)
	case back.Dev != p.ct.Uplink:
		h.State, h.Text = Blocking, fmt.Sprintf("it answers %s by %s, not by its uplink %s", p.client, back.Dev, p.ct.Uplink)
		if name := p.behind(back.Dev); name != "" {
			h.Text += ": " + name
		}
		h.Rule = fmt.Sprintf("ip route get %s: dev %s", p.client, back.Dev)
	case !back.Via.IsValid():
		h.Text = fmt.Sprintf("it answers %s directly by %s", p.client, back.Dev)
		if !p.fromHost {
			h.Text += ", past the router"
		}
	case p.isHost(back.Via):
		h.Text = fmt.Sprintf("it answers by way of this host, %s", back.Via)
	default:
		h.Text = fmt.Sprintf("it answers by way of %s, while the question came through this host", back.Via)
	}
	return h
}

// behind says which Docker network lies behind an interface that the answer wrongly takes.
func (p *path) behind(dev string) string {
	if dev == "lo" {
		return fmt.Sprintf("%s is an address of the container itself", p.client)
	}
	if p.ct.Docker == nil {
		return ""
	}
	for _, n := range p.ct.Docker.Networks {
		for _, s := range n.Subnets {
			if n.Bridge == dev && s.Contains(p.client) {
				return fmt.Sprintf("its Docker network %s has the client's prefix, as %s; give that network another subnet", n.Name, s)
			}
		}
		if n.Bridge == dev {
			return fmt.Sprintf("its Docker network %s lies there", n.Name)
		}
	}
	return ""
}
