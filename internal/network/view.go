package network

import (
	"net/netip"

	"labd/internal/docker"
	"labd/internal/netfilter"
	"labd/internal/netfilter/walk"
)

// Facts returns what the report was made from.
func (r *Report) Facts() *Facts { return r.facts }

// Pools returns the policy's pools, those of aliases included.
func (r *Report) Pools() []netip.Prefix { return r.pools }

// ReachedAt returns by which address others reach an address of a Docker container, and whether they can.
func (n *Network) ReachedAt(addr netip.Addr) (netip.Addr, bool) { return n.reachedAt(addr) }

// AddressOf returns the container's address of a family on its uplink.
func (c *Container) AddressOf(f netfilter.Family) netip.Addr { return c.address(f) }

// Special reports whether an address is of a range with a meaning of its own, which no Docker container has.
func Special(addr netip.Addr) bool { return special(addr) }

// OfFamily returns the prefixes of one family.
func OfFamily(list []netip.Prefix, f netfilter.Family) []netip.Prefix { return ofFamily(list, f) }

// BridgeCarries reports whether a network's bridge is in the container and has an address within the subnet.
func (c *Container) BridgeCarries(n docker.Network, subnet netip.Prefix) bool {
	return bridgeCarries(candidate{container: c, network: n}, subnet)
}

// ProgramsNFT reports whether the container's Docker programs nftables itself.
func (c *Container) ProgramsNFT() bool { return candidate{container: c}.nftBackend() }

// NFTAccess says how Docker's nftables rules treat what is routed to a prefix of a network.
type NFTAccess struct {
	GatewayMode string
	// Open says that the gateway mode lets it in.
	Open bool
	// Mark is what lets it in, where Marked.
	Mark   netfilter.Mark
	Marked bool
}

// NFTAccessTo returns how Docker's nftables rules treat what is routed to reach, which leads to a subnet of the network.
func (c *Container) NFTAccessTo(n docker.Network, subnet, reach netip.Prefix) NFTAccess {
	l := subnetPath{candidate: candidate{container: c, network: n}, family: netfilter.FamilyOf(subnet.Addr()), subnet: subnet, reach: reach}
	out := NFTAccess{GatewayMode: l.gatewayMode(), Open: l.openByItself()}
	out.Mark, out.Marked = l.mark()
	return out
}

// Passage says what a filter does with a packet.
type Passage int

// What a filter does: it lets the packet pass, drops it, or it cannot be told.
const (
	Passes Passage = iota
	Unsure
	Blocks
)

// PVEIn returns what PVE's firewall of the container does with a packet to it, and the rule or policy that decides. ok is false
// where it filters nothing.
func (c *Container) PVEIn(source, dest netip.Prefix, protocol string, port uint16) (p Passage, why string, ok bool) {
	device := c.Firewall.device(c.Uplink)
	if device == "" {
		return Passes, "", false
	}
	result, why := c.Firewall.inbound(device, walk.Packet{Source: source, Dest: dest, Protocol: protocol, DestPort: port})
	return Passage(result), why, true
}

// PVEOut returns whether PVE's ipfilter lets out what comes from a prefix, and what decides. ok is false where it filters
// nothing.
func (c *Container) PVEOut(from netip.Prefix) (p Passage, why string, ok bool) {
	device := c.Firewall.device(c.Uplink)
	if device == "" {
		return Passes, "", false
	}
	result, why := c.Firewall.outbound(device, from)
	return Passage(result), why, true
}

// FirewallFile returns the path of a container's firewall file.
func FirewallFile(id int) string { return firewallFile(id) }

// InboundLine returns the rule for the container's firewall file that lets a source reach a subnet.
func InboundLine(source, subnet netip.Prefix) string { return inboundLine(source, subnet) }

// IPFilterLines returns the lines for the container's firewall file that let a subnet's packets out.
func (c *Container) IPFilterLines(subnet netip.Prefix) []string {
	return ipfilterLines(c, c.Firewall.device(c.Uplink), subnet)
}

// Forwarding6Name is the sysctl by which a host forwards IPv6.
const Forwarding6Name = forwarding6Name
