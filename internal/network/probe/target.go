package probe

import (
	"net/netip"
	"slices"

	"labd/internal/docker"
	"labd/internal/netfilter"
	"labd/internal/network"
	"labd/internal/route"
)

// kind is how an address is reached.
type kind int

// Kinds of addresses.
const (
	// unknownAddress is in no Docker network that labd knows.
	unknownAddress kind = iota
	// routed is behind a bridge in the container.
	routed
	// direct is of a Docker container that is in the LAN itself, by macvlan or ipvlan.
	direct
	// own is an address of the LXC container itself: for published ports, and for Docker containers in its own network.
	own
)

// path is what is known of the way to one address.
type path struct {
	target Target
	kind   kind
	// inner is the address in the Docker network: the target, what the target is an alias of, or where a published port
	// leads.
	inner netip.Addr
	// port is the port there.
	port    uint16
	family  netfilter.Family
	report  *network.Report
	facts   *network.Facts
	network *network.Network
	ct      *network.Container
	docker  docker.Network
	box     *docker.Container
	// client is the one for whom the way is judged. fromHost says that it is this host, whose packets are not forwarded.
	client   netip.Addr
	fromHost bool
	seen     seen
}

// protocol is the protocol that the path is judged for.
func (p *path) protocol() string {
	switch {
	case p.target.Port != 0:
		return "tcp"
	case p.family == netfilter.IPv6:
		return "ipv6-icmp"
	default:
		return "icmp"
	}
}

// find looks for the network and the Docker container with the address.
func (p *path) find() {
	p.inner, p.port = p.target.Address, p.target.Port
	for i := range p.report.Networks {
		for _, alias := range p.report.Networks[i].Aliases {
			if alias.Prefix.Contains(p.target.Address) {
				p.network, p.inner = &p.report.Networks[i], route.Translate(p.target.Address, alias.Prefix, alias.Subnet)
			}
		}
	}
	if p.network == nil {
		p.findSubnet()
	} else {
		p.findContainer()
	}
	switch {
	case p.ct == nil:
		p.findOwn()
	case p.docker.Driver == docker.DriverBridge || p.docker.Bridge != "":
		p.kind = routed
	default:
		p.kind = direct
	}
	if p.kind != routed && p.kind != direct {
		return
	}
	for i := range p.ct.Docker.Containers {
		if slices.Contains(p.ct.Docker.Containers[i].Addresses[p.docker.Name], p.inner) {
			p.box = &p.ct.Docker.Containers[i]
		}
	}
}

// findContainer looks for the container of the network.
func (p *path) findContainer() {
	for i := range p.facts.Containers {
		c := &p.facts.Containers[i]
		if c.ID != p.network.Container || c.Docker == nil {
			continue
		}
		for _, n := range c.Docker.Networks {
			if n.Name == p.network.Name {
				p.ct, p.docker = c, n
			}
		}
	}
}

// findSubnet looks for the network whose subnet has the address. The subnet of a network without a bridge is the LAN's own, so
// there the address must be that of a Docker container.
func (p *path) findSubnet() {
	best := -1
	for i := range p.facts.Containers {
		c := &p.facts.Containers[i]
		if c.Docker == nil {
			continue
		}
		for _, n := range c.Docker.Networks {
			for _, s := range n.Subnets {
				if !s.Contains(p.target.Address) || s.Bits() < best {
					continue
				}
				has := func(ct docker.Container) bool { return slices.Contains(ct.Addresses[n.Name], p.target.Address) }
				if n.Driver != docker.DriverBridge && n.Bridge == "" && !slices.ContainsFunc(c.Docker.Containers, has) {
					continue
				}
				known := p.networkOf(c.ID, n.Name)
				// Equal subnets in many containers: the one that has the route is meant.
				if known == nil || s.Bits() == best && len(known.Routes) == 0 {
					continue
				}
				best, p.network, p.ct, p.docker = s.Bits(), known, c, n
			}
		}
	}
}

// findOwn looks for the LXC container with the address, and for the Docker container behind a port of it.
func (p *path) findOwn() {
	for i := range p.facts.Containers {
		c := &p.facts.Containers[i]
		onUplink := func(a route.Address) bool {
			return a.Interface == c.Uplink && a.Prefix.Addr() == p.target.Address
		}
		if c.Address != p.target.Address && c.Address6 != p.target.Address && !slices.ContainsFunc(c.Interfaces, onUplink) {
			continue
		}
		p.ct, p.kind = c, own
		if c.Docker != nil && p.target.Port != 0 {
			p.findPublished()
		}
		return
	}
}

// findPublished looks for the Docker container that publishes the port on the address.
func (p *path) findPublished() {
	for i := range p.ct.Docker.Containers {
		box := &p.ct.Docker.Containers[i]
		port := published(box, p.target)
		if port == nil {
			continue
		}
		for _, n := range p.ct.Docker.Networks {
			for _, addr := range box.Addresses[n.Name] {
				if netfilter.FamilyOf(addr) == p.family && n.Bridge != "" {
					p.box, p.docker, p.network, p.inner, p.port = box, n, p.networkOf(p.ct.ID, n.Name), addr, port.Number
					return
				}
			}
		}
	}
}

// published returns the port of a Docker container that is published as the target, or nil.
func published(box *docker.Container, t Target) *docker.Port {
	for i, p := range box.Ports {
		on, err := netip.ParseAddr(p.PublishedOn)
		if err == nil && p.HostPort == t.Port && p.Protocol == "tcp" && (on == t.Address || on.IsUnspecified() && on.Is4() == t.Address.Is4()) {
			return &box.Ports[i]
		}
	}
	return nil
}

// aliased reports whether the target is an alias.
func (p *path) aliased() bool { return p.kind == routed && p.inner != p.target.Address }

func (p *path) networkOf(container int, name string) *network.Network {
	for i := range p.report.Networks {
		if n := &p.report.Networks[i]; n.Container == container && n.Name == name {
			return n
		}
	}
	return nil
}

// reach is the prefix by which the address is reached: the subnet, its alias, or the address itself.
func (p *path) reach() netip.Prefix {
	if p.kind != routed {
		return netip.PrefixFrom(p.target.Address, p.target.Address.BitLen())
	}
	for _, alias := range p.network.Aliases {
		if alias.Prefix.Contains(p.target.Address) {
			return alias.Prefix
		}
	}
	return p.subnet()
}

// subnet is the network's prefix with the address.
func (p *path) subnet() netip.Prefix {
	for _, s := range p.docker.Subnets {
		if s.Contains(p.inner) {
			return s
		}
	}
	return netip.Prefix{}
}

// choose decides for whom the way is judged: for the one that was asked for, else for some address of the first source that
// is nobody's on this host, so that its packets come in by the uplink and are forwarded.
func (p *path) choose(from netip.Addr) {
	hosts := func(addr netip.Addr) bool {
		return slices.ContainsFunc(p.facts.Host.Addresses, func(a route.Address) bool { return a.Prefix.Addr() == addr })
	}
	if from.IsValid() {
		p.client, p.fromHost = from, hosts(from)
		return
	}
	for _, source := range network.OfFamily(p.report.Sources, p.family) {
		addr := source.Addr()
		if source.IsSingleIP() {
			p.client, p.fromHost = addr, hosts(addr)
			return
		}
		for range 256 {
			if addr = addr.Next(); !source.Contains(addr) {
				break
			}
			taken := hosts(addr) || slices.ContainsFunc(p.facts.Containers, func(c network.Container) bool { return c.AddressOf(p.family) == addr })
			if !taken {
				p.client = addr
				return
			}
		}
	}
}

// mayCome reports whether a client is among the sources that labd lets in.
func (p *path) mayCome(client netip.Addr) bool {
	return slices.ContainsFunc(p.report.Sources, func(s netip.Prefix) bool { return s.Contains(client) })
}
