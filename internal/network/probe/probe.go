// Package probe finds out where packets to a Docker container end: it looks at every place on the way and back, sends packets,
// and says which rule counted them. It changes nothing.
package probe

import (
	"net/netip"
	"time"

	"labd/internal/docker"
	"labd/internal/finding"
	"labd/internal/netfilter"
	"labd/internal/network"
	"labd/internal/route"
)

// State says whether packets pass a place on the way.
type State string

// States of a Hop.
const (
	OK       State = "ok"
	Blocking State = "blocking"
	Unknown  State = "unknown"
)

// Verdict says whether packets arrive.
type Verdict string

// Verdicts of a Result.
const (
	VerdictOK      Verdict = "ok"
	VerdictBlocked Verdict = "blocked"
	VerdictUnknown Verdict = "unknown"
)

// Target is what a probe asks for. Port 0 is any.
type Target struct {
	Address netip.Addr
	Port    uint16
}

// String is ADDR or ADDR:PORT.
func (t Target) String() string {
	if t.Port == 0 {
		return t.Address.String()
	}
	return netip.AddrPortFrom(t.Address, t.Port).String()
}

// Hop is one place on the way to a Docker container, or back.
type Hop struct {
	// Name is stable: route, host-forwarding, host-rp-filter, host-forward, pve-firewall, container, container-raw,
	// container-alias, container-forwarding, container-rp-filter, container-forward, docker-firewall, bridge,
	// docker-container, port, pve-ipfilter, return.
	Name string
	// Where is "host" or "container 101".
	Where string
	State State
	// Text says what is there, Rule which rule or policy decides, in iptables-save's words or those of a firewall file.
	Text, Rule string
	// Counted is how many packets that rule counted while labd sent its own.
	Counted uint64
	// Lines are what to put into which file, where the way out is a line in a file: the file first.
	Lines []string
}

// Packet is what became of what labd sent.
type Packet struct {
	// Kind is icmp or tcp.
	Kind string
	Port uint16
	// Answered reports whether anything came back from the address itself; Result says what.
	Answered bool
	Result   string
	RTT      time.Duration
}

// Moved is a rule that counted while labd sent its packets.
type Moved struct {
	Where string
	Place netfilter.Place
}

// Result is what labd found on the way to one address.
type Result struct {
	At     time.Time
	Target Target
	// Network is the subject of the Docker network that the address is in, empty when it is in none.
	Network finding.Subject
	// Docker is the name of the Docker container with the address.
	Docker string
	// Source is the address that labd's packets came from, From the source for whom the rules were judged.
	Source netip.Addr
	// Verdict is ok (answered, and nothing in the way), blocked, or unknown.
	Verdict  Verdict
	Hops     []Hop
	Packets  []Packet
	Moved    []Moved
	Findings []finding.Finding
	Notes    []string
}

// path is what is known of the way to one address.
type path struct {
	target Target
	// inner is the address in the Docker network: the target, or what the target is an alias of.
	inner   netip.Addr
	family  netfilter.Family
	report  *network.Report
	facts   *network.Facts
	network *network.Network
	ct      *network.Container
	docker  docker.Network
	box     *docker.Container
	// client is an address of someone who may reach it: the source of labd's packets, where it has such an address.
	client netip.Addr
	// chosen is the route that the host's kernel takes, chosenErr why there is none.
	chosen    route.Route
	chosenErr error
	// hostRules and rules are the rulesets of each backend, on the host and in the container.
	hostRules, rules map[netfilter.Backend]*netfilter.Ruleset
	rulesErr         error
	hostRulesErr     error
	// forwarding and rpFilter are the container's sysctls, read as sysctlErr says.
	forwarding bool
	rpFilter   int
	sysctlErr  error
	// back is the route by which the container's kernel answers the client.
	back    route.Route
	backErr error
	// bridgeUp reports whether the bridge carries packets.
	bridgeUp bool
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
	p.inner = p.target.Address
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
	if p.ct == nil {
		return
	}
	for i := range p.ct.Docker.Containers {
		for _, addr := range p.ct.Docker.Containers[i].Addresses[p.docker.Name] {
			if addr == p.inner {
				p.box = &p.ct.Docker.Containers[i]
			}
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

// findSubnet looks for the network whose subnet has the address.
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

// aliased reports whether the target is an alias.
func (p *path) aliased() bool { return p.inner != p.target.Address }

func (p *path) networkOf(container int, name string) *network.Network {
	for i := range p.report.Networks {
		if n := &p.report.Networks[i]; n.Container == container && n.Name == name {
			return n
		}
	}
	return nil
}

// reach is the prefix by which the address is reached: the subnet, or its alias.
func (p *path) reach() netip.Prefix {
	if p.network != nil {
		for _, alias := range p.network.Aliases {
			if alias.Prefix.Contains(p.target.Address) {
				return alias.Prefix
			}
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
