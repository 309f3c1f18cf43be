package walk

import (
	"fmt"
	"net/netip"

	"labd/internal/netfilter"
)

// Ruleset is the packet filter of one network namespace and family.
type Ruleset struct {
	Family netfilter.Family
	// Chains are all chains, by table and name.
	Chains map[ChainKey]*Chain
	// Unread are tables that could not be read: what they do is not known.
	Unread []Unread
}

// Unread is a table that could not be read, and why.
type Unread struct {
	Table Table
	Hooks []Hook // where it has base chains; empty where that is not known either
	Why   string
}

// Table is a table: of a backend, as "iptables-nft filter", "iptables-legacy raw", "nft inet firewalld".
type Table string

// ChainKey names a chain.
type ChainKey struct {
	Table Table
	Name  string
}

// Hook is a place in the kernel at which base chains are called (enum nf_inet_hooks in linux/netfilter.h).
type Hook string

// Hooks.
const (
	Prerouting  Hook = "prerouting"
	Input       Hook = "input"
	Forward     Hook = "forward"
	Output      Hook = "output"
	Postrouting Hook = "postrouting"
	// Ingress is the hook of a device (tables netdev), before Prerouting.
	Ingress Hook = "ingress"
)

// Chain is one chain. Hook and Priority are those of a base chain, Hook is empty for others.
type Chain struct {
	ChainKey
	Hook     Hook
	Priority int
	// Drops says that the policy of a base chain is drop.
	Drops bool
	// NAT says that the chain changes addresses and decides nothing else; it is not walked.
	NAT bool
	// Device is the interface of a chain at Ingress.
	Device string
	Rules  []Rule
}

// Rule is one rule: what it does with packets that meet all of its conditions.
type Rule struct {
	// Number is its number in the chain, from 1, Text the rule as its program shows it, as near as labd can say it.
	Number int
	Text   string
	Conds  []Cond
	// Match are the conditions as arguments of iptables, where it is a rule of iptables.
	Match  []string
	Action Action
	// Chain is where a jump or goto leads.
	Chain string
	// Mark is given to the packet by SetMark: mark & ^MarkMask | MarkValue.
	MarkValue, MarkMask uint32
}

// Action is what a rule does.
type Action int

// Actions. Next lets the packet go on to the next rule.
const (
	Next Action = iota
	Accept
	Drop
	Return
	Jump
	Goto
	SetMark
	// Opaque is an action that labd cannot follow, as handing the packet to a program.
	Opaque
)

// Place is where a packet ends: a rule, or the policy of a base chain (Number 0).
type Place struct {
	ChainKey
	Number int
	Text   string
	Drops  bool
}

// String returns the place as one line: table, chain and rule.
func (p Place) String() string {
	if p.Number == 0 {
		policy := "accept"
		if p.Drops {
			policy = "drop"
		}
		return fmt.Sprintf("%s, chain %s: policy %s", p.Table, p.Name, policy)
	}
	return fmt.Sprintf("%s, chain %s: %s", p.Table, p.Name, p.Text)
}

// Packet is the first packet of a connection, or a class of such packets: with a source or destination that is a prefix
// of more than one address, any protocol, or any port. Ports and marks are those at the hook.
type Packet struct {
	// In and Out are the interfaces; empty where there is none, or it is not known yet.
	In, Out string
	// PhysIn is the bridge's port that the packet came in by, where a bridge calls the packet filter (br_netfilter).
	PhysIn       string
	Source, Dest netip.Prefix
	// OrigDest is the destination before it was mapped; the zero Prefix where it was not.
	OrigDest netip.Prefix
	// Protocol is tcp, udp, icmp, ipv6-icmp, or empty for any.
	Protocol string
	// SourcePort and DestPort are 0 for any.
	SourcePort, DestPort uint16
	Mark                 uint32
	// Local says that the destination is an address of this machine.
	Local bool
}

// Outcome is what becomes of a packet.
type Outcome int

// Outcomes. Partly is for a class of packets: Place says what becomes of most of them, Parts what of others. Unknown says
// that a match or a table that labd cannot judge decides.
const (
	Passes Outcome = iota
	Partly
	Dropped
	Unknown
)

// String returns the outcome as a word.
func (o Outcome) String() string { return [...]string{"passes", "partly", "dropped", "unknown"}[o] }

// Part is what becomes of a part of a class of packets.
type Part struct {
	Packet Packet
	Place  Place
	// Match is what the part is told by, as the rule has it.
	Match string
	// Path are the rules that lead there, that of Place last.
	Path []Rule
}

// Result is what becomes of a packet at a hook.
type Result struct {
	Outcome Outcome
	// Place is where it ends. Where all base chains let it go on, it is the last place that accepted it explicitly.
	Place Place
	// Because is the match, or the table, that cannot be judged, where the outcome is Unknown; At is the rule with it.
	Because string
	At      Place
	// Parts are narrower than the packet and end otherwise than Place.
	Parts []Part
}
