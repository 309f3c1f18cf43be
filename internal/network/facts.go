package network

import (
	"net/netip"
	"time"

	"labd/internal/docker"
	"labd/internal/netfilter"
)

// Protocol is the routing protocol number that marks labd's routes.
const Protocol = 176

// Facts are what was observed.
type Facts struct {
	At         time.Time
	Host       Host
	Containers []Container
	// Switch is what labctl net on or off stored: "on", "off" or "" for neither.
	Switch string
	// Owners are the containers that had a prefix first, as "101/web", by prefix.
	Owners map[netip.Prefix]string
}

// Host is the network of the host.
type Host struct {
	// Uplinks are the interfaces to the LAN.
	Uplinks []string
	// Addresses are the host's addresses with their prefixes, by interface.
	Addresses []Address
	// Routes are the main table's IPv4 routes that are not labd's, Own are labd's, in any table.
	Routes, Own []Route
	// Forwarding tells for each interface whether it forwards IPv4.
	Forwarding map[string]bool
}

// Address is one address on an interface.
type Address struct {
	Interface string
	Prefix    netip.Prefix
}

// Route is one IPv4 route. Dst is the zero Prefix for the default route.
type Route struct {
	Dst      netip.Prefix
	Via      netip.Addr
	Dev      string
	Table    int
	Protocol int
}

// Container is one running LXC container.
type Container struct {
	ID int
	// NetNS tells one start of the container from the next.
	NetNS string
	// Err is why the container could not be looked at, DockerErr why its Docker could not be asked; Hostile says that
	// Docker answered what no Docker answers.
	Err, DockerErr error
	Hostile        bool
	// NoDocker says that the container has no Docker or Podman socket.
	NoDocker bool
	// Uplink is the container's interface of its default route, Address its address there.
	Uplink  string
	Address netip.Addr
	// Interfaces are the addresses of all interfaces.
	Interfaces []Address
	Backend    netfilter.Backend
	Rules      *netfilter.Ruleset
	Docker     *docker.Info
	// LastGood says that Docker is what an earlier observation saw, since this one failed.
	LastGood bool
}

// connected are the prefixes that an interface is directly connected to.
func (h Host) connected(name string) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, a := range h.Addresses {
		if a.Interface == name && a.Prefix.Addr().Is4() {
			prefixes = append(prefixes, a.Prefix.Masked())
		}
	}
	return prefixes
}

// towards is the interface that is directly connected to addr, or "".
func (h Host) towards(addr netip.Addr) string {
	best, bits := "", -1
	for _, a := range h.Addresses {
		if a.Prefix.Contains(addr) && a.Prefix.Bits() > bits {
			best, bits = a.Interface, a.Prefix.Bits()
		}
	}
	return best
}
