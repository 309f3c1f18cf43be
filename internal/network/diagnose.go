package network

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"labd/internal/docker"
	"labd/internal/finding"
	"labd/internal/netfilter"
	"labd/internal/netfilter/walk"
	"labd/internal/route"
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

// Modes of a Network: by its own addresses, by those of an alias, or not at all.
const (
	ModeDirect = "direct"
	ModeAlias  = "alias"
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
	// Switch is what labctl net on or off stored; Active reports whether routes and rules are kept so, by the switch and
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
	// facts are what the report was made from, so that a plan is never made from others; pools those of the policy.
	facts *Facts
	pools []netip.Prefix
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
	// Aliases are by which prefixes its subnets are reached, in mode alias.
	Aliases []Alias
	Routes  []route.Route
	Rules   netfilter.Rules
	paths   []subnetPath
	// unasked says that the container's Docker does not answer now: it is known from before, or by the interfaces alone.
	unasked bool
}

// Alias is a prefix that stands for a subnet, or for the first part of it, address by address.
type Alias struct{ Prefix, Subnet netip.Prefix }

// Subject is network/<container>/<name>.
func (n Network) Subject() finding.Subject {
	return finding.Network(strconv.Itoa(n.Container), n.Name)
}

// Desired is what labd wants to be there.
type Desired struct {
	Routes []route.Route
	// PolicyRules lead the packets of sources, and the host's own, to the table with these routes.
	PolicyRules []route.Rule
	// Rules are labd's rules by container; a container that is not in it has none.
	Rules map[int]netfilter.Rules
	// Owners are the owners of the prefixes.
	Owners Owners
	// Forwarding are the host's interfaces that must forward.
	Forwarding []string
	// Forwarding6 reports whether the host must forward IPv6.
	Forwarding6 bool
}

// Diagnose is pure.
func Diagnose(f *Facts, p Policy) *Report {
	d := &diagnosis{facts: f, policy: p, report: &Report{
		facts: f, pools: slices.Concat(p.Pools, p.AliasPools), At: f.At, Switch: f.Switch, Active: p.Active(f.Switch), RoutesPresent: len(f.Host.Own), Repairs: f.Repairs,
		Want: Desired{Rules: map[int]netfilter.Rules{}, Owners: f.standing(p)},
	}}
	d.refused = map[int]int{}
	d.own, d.wanted = make(map[route.Route]bool, 2*len(f.Host.Own)), map[int]int{}
	for _, r := range f.Host.Own {
		d.own[r], d.own[route.Route{Dst: r.Dst, Via: r.Via}] = true, true
	}
	d.ownedBy = make(map[Owner][]netip.Prefix, len(d.report.Want.Owners))
	for prefix, owner := range d.report.Want.Owners {
		d.noteOwner(prefix, owner)
	}
	d.sources = p.From
	if len(d.sources) == 0 {
		for _, uplink := range f.Host.Uplinks {
			d.sources = append(d.sources, route.Connected(f.Host.Addresses, uplink)...)
		}
	}
	d.sources = slices.Clone(d.sources)
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
	d.contention()
	d.forwarding()
	for _, id := range slices.Sorted(maps.Keys(d.refused)) {
		if n := d.refused[id] - maxRefusals; n > 0 {
			d.report.Notes = append(d.report.Notes, fmt.Sprintf("container %d: why %d more of its subnets have no route stands with each in labctl net list", id, n))
		}
	}
	slices.SortFunc(d.report.Networks, func(a, b Network) int {
		return cmp.Or(cmp.Compare(a.Container, b.Container), cmp.Compare(a.Name, b.Name))
	})
	// In the order of the names, whoever had its prefix first: rules in another order are not other rules.
	for _, n := range d.report.Networks {
		d.report.Want.Routes = append(d.report.Want.Routes, n.Routes...)
		if n.Rules.Len() > 0 {
			d.report.Want.Rules[n.Container] = d.report.Want.Rules[n.Container].Append(n.Rules)
		}
	}
	d.report.Want.PolicyRules = d.policyRules()
	for i := range d.report.Networks {
		d.judge(&d.report.Networks[i])
	}
	for i := range f.Containers {
		d.asymmetric(&f.Containers[i])
	}
	finding.Sort(d.report.Findings)
	return d.report
}

// maxRefusals bounds the findings about subnets of one container that have no route: how many networks it has is its own to
// choose.
const maxRefusals = 64

type diagnosis struct {
	facts   *Facts
	policy  Policy
	sources []netip.Prefix
	report  *Report
	own     map[route.Route]bool // labd's routes that are there; without table and interface, those in any table
	refused map[int]int          // how many subnets have no route, by container
	wanted  map[int]int          // how many networks are wanted, by container
	// walks are the iptables rules of containers, taken apart for walking.
	walks map[*netfilter.Ruleset]*walk.Ruleset
	taken []netip.Prefix // what no alias may overlap, beside what is owned
	// owned are the prefixes that are or were owned, sorted, ownedBy the same by owner: a host may have thousands.
	owned   []netip.Prefix
	ownedBy map[Owner][]netip.Prefix
}

// forwarding says what the host does not forward.
func (d *diagnosis) forwarding() {
	note := func(format string, args ...any) {
		d.report.Notes = append(d.report.Notes, fmt.Sprintf(format, args...))
	}
	for _, name := range d.report.Want.Forwarding {
		if !d.facts.Host.Forwarding[name] {
			note("the host does not forward what comes in on %s; labctl net apply turns that on", name)
		}
	}
	if d.report.Want.Forwarding6 && !d.facts.Host.Forwarding6 {
		note("the host does not forward IPv6; labctl net apply turns that on")
	}
}

// candidate is a network of a container, in the order in which prefixes are given out.
type candidate struct {
	container *Container
	network   docker.Network
}

func (c candidate) owner() Owner { return Owner{c.container.ID, c.network.Name} }

// used reports whether a Docker container is attached to the network.
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
	owning := map[Owner]bool{}
	for _, owner := range d.report.Want.Owners {
		owning[owner] = true
	}
	rank := func(c candidate) int {
		if owning[c.owner()] {
			return 0
		}
		for _, s := range c.network.Subnets {
			if d.partlyRouted(subnetPath{candidate: c, family: netfilter.FamilyOf(s.Addr()), reach: s}) {
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

// network finds out whether and how a network is to be reached.
func (d *diagnosis) network(c candidate) {
	n := Network{
		Container: c.container.ID, Name: c.network.Name, Driver: c.network.Driver, Bridge: c.network.Bridge,
		Subnets: c.network.Subnets, Mode: ModeOff, Verdict: VerdictOK, unasked: c.container.ByKernel || c.container.LastGood,
	}
	defer func() { d.report.Networks = append(d.report.Networks, n) }()
	mode, why := d.modeOf(c)
	var paths []subnetPath
	if mode != ModeOff {
		paths, why = d.pathsOf(c, mode)
	}
	if len(paths) == 0 {
		n.Reason = why
		return
	}
	n.Mode = mode
	if c.container.undecided() {
		n.Verdict, n.Reason = VerdictUnknown, "what was last seen of it is too old"
		if c.container.Err != nil {
			n.Reason = c.container.Err.Error()
		}
		return
	}
	for _, l := range paths {
		d.path(&n, l)
	}
	d.disown(c.owner(), n.paths)
	if len(n.Routes) > 0 {
		d.wanted[c.container.ID]++
	}
}

// path finds out how one subnet is to be reached, or refuses it.
func (d *diagnosis) path(n *Network, l subnetPath) {
	if l.family == netfilter.IPv6 && l.container.Err6 != nil {
		n.worsen(VerdictUnknown, l.container.Err6.Error())
		return
	}
	var refusal *finding.Finding
	if l.mode == ModeAlias {
		refusal = d.alias(&l)
	}
	n.paths = append(n.paths, l)
	if refusal == nil {
		refusal = d.refuse(l)
	}
	if refusal != nil {
		verdict := VerdictRefused
		if slices.Contains([]finding.Code{finding.NetNFTBackend, finding.NetNoRoute, finding.NetAliasPool}, refusal.Code) {
			verdict = VerdictUnreachable // nothing forbids it, but labd cannot
		}
		n.worsen(verdict, refusal.Title)
		refusal.Subject = n.Subject()
		if d.refused[n.Container]++; d.refused[n.Container] <= maxRefusals {
			d.find(*refusal)
		}
		return
	}
	l.route, l.rules = d.routeOf(l), d.rulesOf(l)
	n.paths[len(n.paths)-1] = l
	n.Routes, n.Rules = append(n.Routes, l.route), n.Rules.Append(l.rules)
	if l.mode == ModeAlias {
		n.Aliases = append(n.Aliases, Alias{Prefix: l.reach, Subnet: l.target})
	}
	d.claim(l.reach, l.owner())
	if l.family == netfilter.IPv6 {
		d.report.Want.Forwarding6 = true
		return
	}
	for _, name := range append(slices.Clone(d.facts.Host.Uplinks), l.route.Dev) {
		if !slices.Contains(d.report.Want.Forwarding, name) {
			d.report.Want.Forwarding = append(d.report.Want.Forwarding, name)
		}
	}
}

// judge compares what is wanted for a network with what is there.
func (d *diagnosis) judge(n *Network) {
	for _, l := range n.paths {
		if !l.route.Dst.IsValid() {
			continue
		}
		d.state(n, l)
		d.lanClash(n, l)
		d.hostFilter(n, l)
		if closed := d.firewall(n, l); closed != "" {
			n.worsen(VerdictUnreachable, closed)
		}
		d.userNarrow(n, l)
		d.beyond(n, l)
	}
}

// badness orders the verdicts: that of a network is the worst of its subnets.
func badness(verdict string) int {
	return slices.Index([]string{VerdictOK, VerdictPlanned, VerdictDrift, VerdictUnknown, VerdictUnreachable, VerdictRefused}, verdict)
}

// worsen gives the network a verdict unless it has a worse one.
func (n *Network) worsen(verdict, reason string) {
	if was, is := badness(n.Verdict), badness(verdict); is > was || is == was && n.Reason == "" {
		n.Verdict, n.Reason = verdict, reason
	}
}

// state compares what is wanted for one subnet with what is there.
func (d *diagnosis) state(n *Network, l subnetPath) {
	routed := d.routed(l)
	open, part := d.open(l)
	forwards := l.family == netfilter.IPv4 || d.facts.Host.Forwarding6
	if l.family == netfilter.IPv4 {
		for _, name := range d.report.Want.Forwarding {
			forwards = forwards && d.facts.Host.Forwarding[name]
		}
	}
	verdict, reason := VerdictPlanned, "labctl net apply makes its route and rules"
	switch {
	case routed && open && forwards:
		if l.container.LastGood {
			n.worsen(VerdictOK, "as its Docker said before it stopped answering")
		} else if l.container.ByKernel {
			n.worsen(VerdictOK, "no Docker answers; its interfaces tell of it")
		}
		return
	case routed && open:
		verdict, reason = VerdictDrift, "its route and rules are there, but the host does not forward between its interfaces"
	case part || d.partlyRouted(l):
		verdict, reason = VerdictDrift, "a part of its route and rules is missing"
	}
	if d.facts.Switch == SwitchOff {
		reason = "labctl net is off; labctl net on makes its route and rules"
	}
	n.worsen(verdict, reason)
	first := len(d.report.Findings)
	d.explain(n, l, routed, open)
	if d.facts.Switch == SwitchOff {
		for i := range d.report.Findings[first:] {
			d.report.Findings[first+i].Severity = finding.Info // as the operator wants it
		}
	}
}

// open reports whether all rules of a subnet are there and in force, and whether some are.
func (d *diagnosis) open(l subnetPath) (all, some bool) {
	if l.nftBackend() {
		held := l.container.Table.Holds(d.report.Want.Rules[l.container.ID].Table)
		return held || l.rules.Len() == 0, l.rules.Len() > 0 && l.container.Table.There
	}
	own, inPlace := l.container.rules(l.family).Own()
	want := l.rules.Of(l.family)
	all = inPlace && containsAll(own.Raw, want.Raw) && containsAll(own.Forward, want.Forward) && containsAll(own.NAT, want.NAT)
	return all, containsAny(own.Raw, want.Raw) || containsAny(own.Forward, want.Forward) || containsAny(own.NAT, want.NAT)
}

// beyond says where Docker containers lie outside the part of the subnet that the alias stands for.
func (d *diagnosis) beyond(n *Network, l subnetPath) {
	if l.target == l.subnet {
		return
	}
	var names []string
	for _, ct := range l.container.Docker.Containers {
		for _, addr := range ct.Addresses[n.Name] {
			if l.subnet.Contains(addr) && !l.target.Contains(addr) {
				names = append(names, fmt.Sprintf("%s at %s", ct.Name, addr))
			}
		}
	}
	if len(names) == 0 {
		return
	}
	slices.Sort(names)
	d.find(finding.Finding{
		Code: finding.NetAliasPool, Severity: finding.Warn, Subject: n.Subject(), Title: fmt.Sprintf("the alias %s does not reach every container of %s", l.reach, l.subnet), Confidence: finding.Certain,
		Cause:    fmt.Sprintf("it stands for %s, the first /%d of the subnet", l.target, l.target.Bits()),
		Evidence: []finding.Evidence{{Source: "Docker API", Text: strings.Join(names, ", ")}},
		Remedies: []finding.Remedy{{Title: fmt.Sprintf("set network.alias_length in labd.toml to %d or less, where the pool has room", l.subnet.Bits()), Risk: finding.RiskLow}},
	})
}

func containsAll(have, want []netfilter.Rule) bool {
	return !slices.ContainsFunc(want, func(w netfilter.Rule) bool { return !slices.ContainsFunc(have, w.Equal) })
}

func containsAny(have, want []netfilter.Rule) bool {
	return slices.ContainsFunc(want, func(w netfilter.Rule) bool { return slices.ContainsFunc(have, w.Equal) })
}
