// Package probe finds out where packets to a Docker container end: it looks at every place on the way and back, sends packets,
// and says which rule counted them. It changes nothing.
package probe

import (
	"net/netip"
	"time"

	"labd/internal/finding"
	"labd/internal/netfilter"
	"labd/internal/netfilter/walk"
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

// Verdicts of a Result. VerdictOK and VerdictClosed are given only where every hop was judged.
const (
	VerdictOK Verdict = "ok"
	// VerdictClosed says that packets arrive and nothing listens on the port.
	VerdictClosed  Verdict = "closed"
	VerdictBlocked Verdict = "blocked"
	VerdictUnknown Verdict = "unknown"
)

// Verdicts returns all verdicts.
func Verdicts() []Verdict {
	return []Verdict{VerdictOK, VerdictClosed, VerdictBlocked, VerdictUnknown}
}

// PortState is what a TCP connection to a port found.
type PortState string

// States of a port: something accepted the connection, something refused it, nothing answered.
const (
	PortOpen     PortState = "open"
	PortClosed   PortState = "closed"
	PortFiltered PortState = "filtered"
)

// Target is what a probe asks for. Port 0 is none: then an echo decides.
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

// Request asks for a probe.
type Request struct {
	Target
	// From is the client for whom the way is judged; the zero Addr stands for some client that may come.
	From netip.Addr
}

// Names of hops, in the order of the way.
const (
	hopRoute          = "route"
	hopHostForwarding = "host-forwarding"
	hopHostRPFilter   = "host-rp-filter"
	hopHostForward    = "host-forward"
	hopHostOutput     = "host-output"
	hopPVEFirewall    = "pve-firewall"
	hopContainer      = "container"
	hopRaw            = "container-raw"
	hopAlias          = "container-alias"
	hopForwarding     = "container-forwarding"
	hopRPFilter       = "container-rp-filter"
	hopForward        = "container-forward"
	hopInput          = "container-input"
	hopDockerFirewall = "docker-firewall"
	hopBridge         = "bridge"
	hopDocker         = "docker-container"
	hopPort           = "port"
	hopIPFilter       = "pve-ipfilter"
	hopReturn         = "return"
)

// Hop is one place on the way to a Docker container, or back.
type Hop struct {
	// Name is stable: one of the names above.
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
	// place is the rule or policy where the packet ends.
	place walk.Place
}

// Packet is what became of what labd sent.
type Packet struct {
	// Kind is icmp or tcp.
	Kind string
	Port uint16
	// Answered says whether anything came back from the address itself; Result says what.
	Answered bool
	Result   string
	// PortState is what a TCP connection found.
	PortState PortState
	RTT       time.Duration
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
	// Docker is the name of the Docker container with the address, or with the port.
	Docker string
	// Source is the address that labd's packets came from, From the client for whom the hops were judged.
	Source, From netip.Addr
	Verdict      Verdict
	// PortState is open, closed or filtered where a port was asked for and packets were sent.
	PortState PortState
	Hops      []Hop
	Packets   []Packet
	Moved     []Moved
	Findings  []finding.Finding
	Notes     []string
}
