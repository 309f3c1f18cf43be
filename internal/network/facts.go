package network

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"labd/internal/docker"
	"labd/internal/netfilter"
	"labd/internal/netfilter/walk"
	"labd/internal/route"
)

// Facts are what was observed.
type Facts struct {
	At         time.Time
	Host       Host
	Containers []Container
	// Stopped are the containers of this node that do not run.
	Stopped []int
	// Switch is what labctl net on or off stored: "on", "off" or "" for neither.
	Switch string
	// Owners had a prefix first, Gone are those of their containers that do not exist any more.
	Owners Owners
	Gone   map[int]bool
	// Approved are prefixes outside the pools that a person let have routes.
	Approved []netip.Prefix
	// ForwardingSet are the host's interfaces that labd made forward.
	ForwardingSet []string
	// Looked is when each container was last looked into, Contentions what was taken away again and again. Version changes with
	// everything but times and counts.
	Looked      map[int]time.Time
	Contentions []Contention
	Version     uint64
	// Repairs is how many changes the reconcile loop has made since labd started.
	Repairs uint64
}

// Host is the network of the host.
type Host struct {
	// Uplinks are the interfaces to the LAN.
	Uplinks []string
	// Addresses are the host's addresses with their prefixes, by interface.
	Addresses []route.Address
	// Routes are the routes of all tables but the local one that are not labd's, Own are labd's, in any table.
	Routes, Own []route.Route
	// PolicyRules are labd's rules that lead to its table.
	PolicyRules []route.Rule
	// Defaults are the next hops of the default routes among them.
	Defaults []route.Default
	// Forwarding tells for each interface whether it forwards IPv4.
	Forwarding map[string]bool
	// Forwarding6 reports whether the host forwards IPv6: the kernel asks only the setting for all interfaces.
	Forwarding6 bool
	// AcceptRA6 are the interfaces that take router advertisements and would stop doing so once the host forwards IPv6
	// (accept_ra is 1), where their routes are in use.
	AcceptRA6 []string
	// Cluster are addresses and networks that the host needs: of PVE's cluster (its members, corosync's links, migration), of
	// storage servers, of resolvers.
	Cluster []ClusterNetwork
	// Filter is the host's own packet filter, where it could be asked for.
	Filter map[netfilter.Family]*walk.Ruleset
	// Seen are machines that the host talks to: its neighbours, and the ends of connections that stand.
	Seen []ClusterNetwork
	// RPFilter is rp_filter in force for each interface: 0 off, 1 strict, 2 loose.
	RPFilter map[string]int
}

// ClusterNetwork is an address or network that the host needs, with where it was found.
type ClusterNetwork struct {
	Prefix netip.Prefix
	Source string
}

// String says what it is: "10.1.2.0/24 of the cluster (datacenter.cfg)".
func (c ClusterNetwork) String() string {
	switch c.Source {
	case ".members", "corosync.conf", "datacenter.cfg":
		return fmt.Sprintf("%s of the cluster (%s)", c.Prefix, c.Source)
	}
	return fmt.Sprintf("%s, %s", c.Prefix.Addr(), c.Source)
}

// Container is one running LXC container.
type Container struct {
	ID int
	// Name is its host name in PVE's configuration; may be empty.
	Name string
	// NetNS tells one start of the container from the next.
	NetNS string
	// Err is why the container could not be looked at, DockerErr why its Docker could not be asked; Hostile says that
	// Docker answered what no Docker answers.
	Err, DockerErr error
	Hostile        bool
	// NoDocker says that the container has no Docker or Podman socket.
	NoDocker bool
	// Uplink is the container's interface of its default route, Address its IPv4 address there, Address6 its IPv6 address,
	// each invalid where it has none.
	Uplink            string
	Address, Address6 netip.Addr
	// Interfaces are the addresses of all interfaces.
	Interfaces []route.Address
	Backend    netfilter.Backend
	// Rules are its IPv4 rules, Rules6 its IPv6 rules: nil where it has no IPv6 address, or where Err6 says why they could
	// not be read.
	Rules, Rules6 *netfilter.Ruleset
	Err6          error
	// Table is labd's nftables table, DockerTables Docker's own by family; looked at where Docker programs nftables.
	Table        netfilter.TableState
	DockerTables map[netfilter.Family]netfilter.DockerTable
	Docker       *docker.Info
	// ByKernel says that Docker holds what the interfaces tell, since no Docker answers.
	ByKernel bool
	// Firewall is what PVE's firewall is set to do.
	Firewall Firewall
	// LastGood says that Docker is what an earlier observation saw, since this one failed; Expired, that this is too
	// long ago to act on.
	LastGood, Expired bool
}

// address is the container's address of a family on its uplink.
func (c *Container) address(f netfilter.Family) netip.Addr {
	if f == netfilter.IPv6 {
		return c.Address6
	}
	return c.Address
}

// rules is the container's ruleset of a family; nil where it is not known.
func (c *Container) rules(f netfilter.Family) *netfilter.Ruleset {
	if f == netfilter.IPv6 {
		return c.Rules6
	}
	return c.Rules
}

// hasMark reports whether anything of labd's was seen in the container.
func (c *Container) hasMark() bool { return c.Rules.HasMark() || c.Rules6.HasMark() || c.Table.There }

// undecided reports whether it is not known what the container wants now; what it has is then left as it is.
func (c *Container) undecided() bool {
	return c.Err != nil || c.Expired || c.Docker == nil && c.DockerErr != nil
}

// undecided reports whether one of labd's routes may belong to a container of which it is not known what it wants.
func (f *Facts) undecided(r route.Route) bool {
	owner := f.Owners[r.Dst].Container
	for i := range f.Containers {
		c := &f.Containers[i]
		unread := c.Err6 != nil && r.Dst.Addr().Is6()
		if !c.undecided() && !unread || owner != 0 && owner != c.ID {
			continue
		}
		if addr := c.address(netfilter.FamilyOf(r.Dst.Addr())); !addr.IsValid() || addr == r.Via {
			return true
		}
	}
	return false
}

// standing are the owners that keep their prefix: also those whose container is stopped or does not answer, but not
// those that were destroyed, or whose Docker no longer has the network.
func (f *Facts) standing(p Policy) Owners {
	out := Owners{}
	for prefix, owner := range f.Owners {
		if owner.Container != 0 && !f.Gone[owner.Container] && (route.Within(p.Pools, prefix) || route.Within(p.AliasPools, prefix)) && !f.lost(p, prefix, owner) {
			out[prefix] = owner
		}
	}
	return out
}

// lost reports whether the owner's Docker was seen without the network.
func (f *Facts) lost(p Policy, prefix netip.Prefix, owner Owner) bool {
	alias := route.Within(p.AliasPools, prefix)
	for i := range f.Containers {
		c := &f.Containers[i]
		if c.ID != owner.Container || c.undecided() || c.Docker == nil {
			continue
		}
		for _, n := range c.Docker.Networks {
			if n.Name != owner.Network {
				continue
			}
			sameFamily := func(s netip.Prefix) bool { return s.Addr().Is4() == prefix.Addr().Is4() }
			if alias && slices.ContainsFunc(n.Subnets, sameFamily) || slices.Contains(n.Subnets, prefix) {
				return false
			}
		}
		return true
	}
	return false
}
