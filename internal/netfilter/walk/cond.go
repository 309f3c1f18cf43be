package walk

import (
	"net/netip"
	"slices"
	"strings"

	"labd/internal/netfilter"
)

// Cond is one condition of a rule.
type Cond struct {
	Field  Field
	Negate bool
	// Addrs, Numbers and Names are what the field may be; one of them suffices.
	Addrs   []AddrRange
	Numbers []NumberRange
	Names   []string // interfaces; a last "*" stands for any end
	// Mask is what of a number is compared (Mark), or which of its bits are asked for (States).
	Mask uint32
	// Any are combinations, as of a set over several fields: it suffices that all conditions of one of them hold.
	Any [][]Cond
	// Text is the condition as its program shows it.
	Text string
}

// Field is what a condition looks at.
type Field int

// Fields. Opaque ones cannot be judged.
const (
	FieldOpaque Field = iota
	FieldSource
	FieldDest
	FieldOrigDest
	FieldIn
	FieldOut
	FieldPhysIn
	FieldProtocol
	FieldSourcePort
	FieldDestPort
	FieldState    // connection tracking's states, as bits
	FieldMapped   // whether the destination was mapped
	FieldMark     // the packet's mark
	FieldAddrType // of the destination: RTN_UNICAST or RTN_LOCAL
	FieldFamily   // NFPROTO_IPV4 or NFPROTO_IPV6
	FieldNever    // a condition that no new forwarded packet meets
	FieldAny      // see Cond.Any
)

type (
	// AddrRange is a range of addresses, both ends included.
	AddrRange struct{ From, To netip.Addr }
	// NumberRange is a range of numbers, both ends included.
	NumberRange struct{ From, To uint32 }
)

// Bits of FieldState (enum ip_conntrack_info and NF_CT_STATE_BIT in linux/netfilter/nf_conntrack_common.h).
const (
	stateInvalid     = 1 << 0
	stateEstablished = 1 << 1
	stateRelated     = 1 << 2
	stateNew         = 1 << 3
	stateUntracked   = 1 << 6
)

// answer is whether a class of packets meets a condition.
type answer int

const (
	none    answer = iota // no packet of the class does
	some                  // a part of the class does, which can be told
	unclear               // it cannot be told
	all                   // every packet of the class does
)

func (a answer) not() answer {
	switch a {
	case none:
		return all
	case all:
		return none
	default:
		return a
	}
}

func yes(b bool) answer {
	if b {
		return all
	}
	return none
}

// meets judges one condition.
func (c Cond) meets(f netfilter.Family, p *Packet) answer {
	a := c.judge(f, p)
	if c.Negate {
		return a.not()
	}
	return a
}

func (c Cond) judge(f netfilter.Family, p *Packet) answer {
	switch c.Field {
	case FieldSource:
		return coveredBy(c.Addrs, p.Source)
	case FieldDest:
		return coveredBy(c.Addrs, p.Dest)
	case FieldOrigDest:
		if p.OrigDest.IsValid() {
			return coveredBy(c.Addrs, p.OrigDest)
		}
		return coveredBy(c.Addrs, p.Dest)
	case FieldIn:
		return named(c.Names, p.In)
	case FieldOut:
		return named(c.Names, p.Out)
	case FieldPhysIn:
		if p.PhysIn == "" {
			return none // not bridged
		}
		return named(c.Names, p.PhysIn)
	case FieldProtocol:
		number, known := protocols[p.Protocol]
		if !known {
			return whole(c.Numbers, 0, 255)
		}
		return whole(c.Numbers, number, number)
	case FieldSourcePort:
		return c.port(p, p.SourcePort)
	case FieldDestPort:
		return c.port(p, p.DestPort)
	case FieldState:
		return yes(c.Mask&stateNew != 0)
	case FieldMapped:
		return yes(p.OrigDest.IsValid())
	case FieldMark:
		return whole(c.Numbers, p.Mark&c.Mask, p.Mark&c.Mask)
	case FieldAddrType:
		kind := uint32(1) // RTN_UNICAST
		if p.Local {
			kind = 2 // RTN_LOCAL
		}
		return whole(c.Numbers, kind, kind)
	case FieldFamily:
		kind := uint32(2) // NFPROTO_IPV4
		if f == netfilter.IPv6 {
			kind = 10
		}
		return whole(c.Numbers, kind, kind)
	case FieldNever:
		return none
	case FieldAny:
		return c.any(f, p)
	default:
		return unclear
	}
}

func (c Cond) any(f netfilter.Family, p *Packet) answer {
	result := none
	for _, combination := range c.Any {
		one := all
		for _, cond := range combination {
			one = both(one, cond.meets(f, p))
		}
		result = max(result, one)
		if result == all {
			break
		}
	}
	return result
}

// both joins the answers to two conditions that must both hold.
func both(a, b answer) answer {
	switch {
	case a == none || b == none:
		return none
	case a == unclear || b == unclear:
		return unclear
	default:
		return min(a, b)
	}
}

// port judges a port: a packet without ports has none, and any port is a class.
func (c Cond) port(p *Packet, port uint16) answer {
	switch p.Protocol {
	case "", "tcp", "udp", "sctp", "dccp", "udplite":
	default:
		return none
	}
	if port == 0 {
		return whole(c.Numbers, 0, 65535)
	}
	return whole(c.Numbers, uint32(port), uint32(port))
}

// protocols are the numbers of protocols by their names in iptables.
var protocols = map[string]uint32{
	"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "icmpv6": 58, "sctp": 132, "udplite": 136,
}

func protocolName(number uint32) string {
	for name, n := range protocols {
		if n == number && name != "icmpv6" {
			return name
		}
	}
	return ""
}

// named judges an interface.
func named(patterns []string, name string) answer {
	for _, pattern := range patterns {
		prefix, wild := strings.CutSuffix(pattern, "*")
		switch {
		case wild && prefix == "":
			return all
		case name == "":
			return unclear
		case wild && strings.HasPrefix(name, prefix), name == pattern:
			return all
		}
	}
	if name == "" && len(patterns) > 0 {
		return unclear
	}
	return none
}

// whole judges whether the numbers of a class lie in ranges.
func whole(ranges []NumberRange, from, to uint32) answer {
	sorted := slices.SortedFunc(slices.Values(ranges), func(a, b NumberRange) int { return int(int64(a.From) - int64(b.From)) })
	met, next := false, uint64(from) // next is the first number that is not covered
	for _, r := range sorted {
		if r.To < from || r.From > to {
			continue
		}
		met = true
		if uint64(r.From) <= next {
			next = max(next, uint64(r.To)+1)
		}
	}
	return coverage(met, next > uint64(to))
}

// coveredBy judges whether the addresses of a prefix lie in ranges.
func coveredBy(ranges []AddrRange, p netip.Prefix) answer {
	if !p.IsValid() {
		return unclear
	}
	first, last := p.Masked().Addr(), lastAddr(p)
	sorted := slices.SortedFunc(slices.Values(ranges), func(a, b AddrRange) int { return a.From.Compare(b.From) })
	met, next := false, first
	for _, r := range sorted {
		if r.From.Is4() != first.Is4() || r.To.Less(first) || last.Less(r.From) {
			continue
		}
		met = true
		if !next.Less(r.From) {
			if after := r.To.Next(); !after.IsValid() || next.Less(after) {
				next = after
			}
			if !next.IsValid() {
				break // to the last address there is
			}
		}
	}
	return coverage(met, !next.IsValid() || last.Less(next))
}

func coverage(met, covered bool) answer {
	switch {
	case covered && met:
		return all
	case met:
		return some
	default:
		return none
	}
}

// lastAddr returns the last address of a prefix.
func lastAddr(p netip.Prefix) netip.Addr {
	bytes := p.Masked().Addr().AsSlice()
	for i := range bytes {
		if keep := p.Bits() - 8*i; keep < 8 {
			bytes[i] |= byte(0xff) >> max(keep, 0)
		}
	}
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}

// RangeOf returns the addresses of a prefix.
func RangeOf(p netip.Prefix) AddrRange { return AddrRange{p.Masked().Addr(), lastAddr(p)} }

// narrow returns the part of a class that meets a condition, as near as a Packet can say it.
func (c Cond) narrow(p Packet) Packet {
	if c.Negate {
		return p
	}
	switch c.Field {
	case FieldSource:
		p.Source = within(c.Addrs, p.Source)
	case FieldDest:
		p.Dest = within(c.Addrs, p.Dest)
	case FieldProtocol:
		if p.Protocol == "" && len(c.Numbers) == 1 && c.Numbers[0].From == c.Numbers[0].To {
			p.Protocol = protocolName(c.Numbers[0].From)
		}
	case FieldSourcePort:
		p.SourcePort = onePort(c.Numbers, p.SourcePort)
	case FieldDestPort:
		p.DestPort = onePort(c.Numbers, p.DestPort)
	}
	return p
}

func onePort(ranges []NumberRange, port uint16) uint16 {
	if port == 0 && len(ranges) == 1 && ranges[0].From == ranges[0].To {
		return uint16(ranges[0].From)
	}
	return port
}

// within returns the prefix of the only range that is one and lies within p, else p.
func within(ranges []AddrRange, p netip.Prefix) netip.Prefix {
	found := p
	n := 0
	for _, r := range ranges {
		if !p.Contains(r.From) {
			continue
		}
		n++
		for bits := p.Bits(); bits <= r.From.BitLen(); bits++ {
			if q := netip.PrefixFrom(r.From, bits); q == q.Masked() && lastAddr(q) == r.To {
				found = q
			}
		}
	}
	if n != 1 {
		return p
	}
	return found
}
