package network

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"labd/internal/docker"
	"labd/internal/finding"
	"labd/internal/netfilter"
)

// Verdicts of a Network.
const (
	VerdictOK          = "ok"
	VerdictPlanned     = "planned"
	VerdictRefused     = "refused"
	VerdictDrift       = "drift"
	VerdictUnreachable = "unreachable"
	VerdictUnknown     = "unknown"
)

// Modes of a Network.
const (
	ModeDirect = "direct"
	ModeOff    = "off"
)

// Report is what the facts mean.
type Report struct {
	At       time.Time
	Networks []Network
	// Containers are the ids of the running containers that could be looked at.
	Containers []ContainerReport
	Findings   []finding.Finding
	Notes      []string
	// Switch is what labctl net on or off stored; Active tells whether routes and rules are kept so, by the switch and
	// the mode.
	Switch string
	Active bool
	// RoutesPresent are the routes with labd's mark on the host, Repairs the changes that the reconcile loop made since
	// labd started.
	RoutesPresent int
	Repairs       uint64
	// Sources are who may reach the containers.
	Sources []netip.Prefix
	// Want is what should be on the host and in the containers, by the policy, whether or not it is switched on.
	Want Desired
	// facts are what the report was made from, so that a plan is never made from others.
	facts *Facts
}

// ContainerReport says how the look into one container went.
type ContainerReport struct {
	ID int
	OK bool
	// RulesPresent are the rules in labd's chains there.
	RulesPresent int
}

// Network is one Docker network with its verdict.
type Network struct {
	Container int
	Name      string
	Driver    string
	Bridge    string
	Subnets   []netip.Prefix
	Mode      string
	Verdict   string
	Reason    string
	Routes    []Route
	Rules     netfilter.Chains
}

// Subject is network/<container>/<name>.
func (n Network) Subject() finding.Subject {
	return finding.Network(strconv.Itoa(n.Container), n.Name)
}

// Desired is what labd wants to be there.
type Desired struct {
	Routes []Route
	// Chains are labd's rules by container; a container that is not in it has none.
	Chains map[int]netfilter.Chains
	// Owners are the owners of the prefixes.
	Owners Owners
	// Forwarding are the host's interfaces that must forward.
	Forwarding []string
}

// Diagnose is pure.
func Diagnose(f *Facts, p Policy) *Report {
	d := &diagnosis{facts: f, policy: p, report: &Report{
		facts: f, At: f.At, Switch: f.Switch, Active: p.Active(f.Switch), RoutesPresent: len(f.Host.Own), Repairs: f.Repairs,
		Want: Desired{Chains: map[int]netfilter.Chains{}, Owners: f.standing(p)},
	}}
	d.own, d.wanted = make(map[Route]bool, len(f.Host.Own)), map[int]int{}
	for _, r := range f.Host.Own {
		d.own[r] = true
	}
	d.sources = p.From
	if len(d.sources) == 0 {
		for _, uplink := range f.Host.Uplinks {
			d.sources = append(d.sources, f.Host.connected(uplink)...)
		}
	}
	d.sources = slices.DeleteFunc(slices.Clone(d.sources), func(p netip.Prefix) bool { return !p.Addr().Is4() })
	slices.SortFunc(d.sources, netip.Prefix.Compare)
	d.sources = slices.Compact(d.sources)
	d.report.Sources = d.sources
	if len(f.Containers) == 0 {
		d.report.Notes = append(d.report.Notes, "no LXC container runs on this node, so there is no Docker network to reach")
	}
	for _, candidate := range d.candidates() {
		d.network(candidate)
	}
	for _, c := range f.Containers {
		d.container(c)
	}
	d.reversePath()
	d.fought()
	for _, name := range d.report.Want.Forwarding {
		if !f.Host.Forwarding[name] {
			d.report.Notes = append(d.report.Notes, fmt.Sprintf("the host does not forward what comes in on %s; labctl net apply turns that on", name))
		}
	}
	slices.SortFunc(d.report.Networks, func(a, b Network) int {
		return cmp.Or(cmp.Compare(a.Container, b.Container), cmp.Compare(a.Name, b.Name))
	})
	// In the order of the names, whoever had its prefix first: rules in another order are not other rules.
	for _, n := range d.report.Networks {
		d.report.Want.Routes = append(d.report.Want.Routes, n.Routes...)
		if len(n.Rules.Raw)+len(n.Rules.Forward) > 0 {
			chains := d.report.Want.Chains[n.Container]
			chains.Raw, chains.Forward = append(chains.Raw, n.Rules.Raw...), append(chains.Forward, n.Rules.Forward...)
			d.report.Want.Chains[n.Container] = chains
		}
	}
	for i := range f.Containers {
		d.asymmetric(&f.Containers[i])
	}
	finding.Sort(d.report.Findings)
	return d.report
}

type diagnosis struct {
	facts   *Facts
	policy  Policy
	sources []netip.Prefix
	report  *Report
	own     map[Route]bool // labd's routes that are there
	wanted  map[int]int    // how many networks are wanted, by container
}

// candidate is a network of a container, in the order in which prefixes are given out.
type candidate struct {
	container *Container
	network   docker.Network
}

func (c candidate) owner() Owner { return newOwner(c.container.ID, c.network.Name) }

// used tells whether a Docker container is attached to the network.
func (c candidate) used() bool {
	return slices.ContainsFunc(c.container.Docker.Containers, func(ct docker.Container) bool {
		return len(ct.Addresses[c.network.Name]) > 0
	})
}

// candidates are all networks in the order in which they get their prefix: the first owner keeps it, then a route that
// is there, then a network that a container uses.
func (d *diagnosis) candidates() []candidate {
	var list []candidate
	for i := range d.facts.Containers {
		c := &d.facts.Containers[i]
		if c.Docker == nil {
			continue
		}
		for _, n := range c.Docker.Networks {
			if n.Driver != "host" && n.Driver != "null" { // those two are no networks
				list = append(list, candidate{c, n})
			}
		}
	}
	rank := func(c candidate) int {
		for _, s := range c.network.Subnets {
			if d.report.Want.Owners[s] == c.owner() {
				return 0
			}
			if d.own[d.route(c, s)] {
				return 1
			}
		}
		if c.used() {
			return 2
		}
		return 3
	}
	slices.SortStableFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.container.ID, b.container.ID), cmp.Compare(a.network.Name, b.network.Name))
	})
	return list
}

func (d *diagnosis) find(f finding.Finding) { d.report.Findings = append(d.report.Findings, f) }

// network gives one network its verdict.
func (d *diagnosis) network(c candidate) {
	n := Network{
		Container: c.container.ID, Name: c.network.Name, Driver: c.network.Driver, Bridge: c.network.Bridge,
		Subnets: c.network.Subnets, Mode: ModeOff, Verdict: VerdictOK,
	}
	defer func() { d.report.Networks = append(d.report.Networks, n) }()
	subnet, why := d.subnetOf(c)
	if why != "" {
		n.Reason = why
		return
	}
	n.Mode = ModeDirect
	if c.container.undecided() {
		n.Verdict, n.Reason = VerdictUnknown, "what was last seen of it is too old"
		if c.container.Err != nil {
			n.Reason = c.container.Err.Error()
		}
		return
	}
	if refusal := d.refuse(c, subnet); refusal != nil {
		n.Verdict, n.Reason = VerdictRefused, refusal.Title
		if refusal.Code == finding.NetNFTBackend || refusal.Code == finding.NetNoRoute {
			n.Verdict = VerdictUnreachable // nothing forbids it, but labd cannot
		}
		refusal.Subject = n.Subject()
		d.find(*refusal)
		return
	}
	route := d.route(c, subnet)
	d.wanted[c.container.ID]++
	n.Routes, n.Rules = []Route{route}, rules(c, subnet, d.sources)
	d.report.Want.Owners[subnet] = c.owner()
	for _, name := range append(slices.Clone(d.facts.Host.Uplinks), route.Dev) {
		if !slices.Contains(d.report.Want.Forwarding, name) {
			d.report.Want.Forwarding = append(d.report.Want.Forwarding, name)
		}
	}
	d.state(&n, c, route)
	if closed := d.firewall(&n, c, subnet); closed != "" && n.Verdict == VerdictOK {
		n.Verdict, n.Reason = VerdictUnreachable, closed
	}
}

// route is the route to a subnet in a container.
func (d *diagnosis) route(c candidate, subnet netip.Prefix) Route {
	return Route{
		Dst: subnet, Via: c.container.Address, Dev: d.facts.Host.towards(c.container.Address), Table: mainTable, Protocol: Protocol,
	}
}

// mainTable is the kernel's main routing table (RT_TABLE_MAIN).
const mainTable = 254

// subnetOf is the IPv4 subnet to program, or why there is none.
func (d *diagnosis) subnetOf(c candidate) (netip.Prefix, string) {
	subject := string(finding.Network(strconv.Itoa(c.container.ID), c.network.Name))
	switch {
	case d.policy.ignored(subject) || d.policy.ignored(string(finding.LXC(strconv.Itoa(c.container.ID)))):
		return netip.Prefix{}, "ignored by the configuration"
	case c.network.Driver != "bridge":
		return netip.Prefix{}, fmt.Sprintf("driver %s has no subnet of its own to route", c.network.Driver)
	case c.network.Internal:
		return netip.Prefix{}, "internal: its containers have no way out, so none to answer"
	}
	for _, s := range c.network.Subnets {
		if s.Addr().Is4() {
			return s, ""
		}
	}
	return netip.Prefix{}, "it has no IPv4 subnet"
}

// nftBackend tells whether Docker programs nftables itself; then there is no DOCKER-USER.
func (c candidate) nftBackend() bool {
	return strings.HasPrefix(c.container.Docker.FirewallBackend, "nftables")
}

// openByItself tells whether Docker's nftables backend lets routed packets in: the gateway modes that do (moby,
// libnetwork/drivers/bridge).
func (c candidate) openByItself() bool {
	return c.nftBackend() && (c.network.GatewayMode == "nat-unprotected" || c.network.GatewayMode == "routed")
}

// rules are the accept rules of a network, one for each source.
func rules(c candidate, subnet netip.Prefix, sources []netip.Prefix) netfilter.Chains {
	var out netfilter.Chains
	if c.openByItself() {
		return out
	}
	comment := []string{"-m", "comment", "--comment", fmt.Sprintf("labd:%d:%s", c.container.ID, c.network.Name), "-j", "ACCEPT"}
	for _, source := range sources {
		match := []string{"-s", source.String(), "-d", subnet.String(), "-i", c.container.Uplink}
		out.Raw = append(out.Raw, netfilter.Rule{Args: slices.Concat(match, comment)})
		out.Forward = append(out.Forward, netfilter.Rule{Args: slices.Concat(match, []string{"-o", c.network.Bridge}, comment)})
	}
	return out
}

// state compares what is wanted for a network with what is there.
func (d *diagnosis) state(n *Network, c candidate, route Route) {
	routed := d.own[route]
	own, inPlace := c.container.Rules.Own()
	open := (inPlace || len(n.Rules.Raw)+len(n.Rules.Forward) == 0) && containsAll(own.Raw, n.Rules.Raw) && containsAll(own.Forward, n.Rules.Forward)
	trace := routed || containsAny(own.Raw, n.Rules.Raw) || containsAny(own.Forward, n.Rules.Forward)
	forwards := true
	for _, name := range d.report.Want.Forwarding {
		forwards = forwards && d.facts.Host.Forwarding[name]
	}
	switch {
	case routed && open && forwards:
		n.Verdict = VerdictOK
		if c.container.LastGood {
			n.Reason = "as its Docker said before it stopped answering"
		}
		return
	case routed && open:
		n.Verdict, n.Reason = VerdictDrift, "its route and rules are there, but the host does not forward between its interfaces"
	case trace:
		n.Verdict, n.Reason = VerdictDrift, "a part of its route and rules is missing"
	default:
		n.Verdict, n.Reason = VerdictPlanned, "labctl net apply makes its route and rules"
	}
	if d.facts.Switch == SwitchOff {
		n.Reason = "labctl net is off; labctl net on makes its route and rules"
	}
	first := len(d.report.Findings)
	d.explain(n, c, route, routed, open)
	if d.facts.Switch == SwitchOff {
		for i := range d.report.Findings[first:] {
			d.report.Findings[first+i].Severity = finding.Info // as the operator wants it
		}
	}
}

func containsAll(have, want []netfilter.Rule) bool {
	return !slices.ContainsFunc(want, func(w netfilter.Rule) bool { return !slices.ContainsFunc(have, w.Equal) })
}

func containsAny(have, want []netfilter.Rule) bool {
	return slices.ContainsFunc(want, func(w netfilter.Rule) bool { return slices.ContainsFunc(have, w.Equal) })
}
