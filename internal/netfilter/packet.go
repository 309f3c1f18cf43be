package netfilter

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Packet is the first packet of a connection at one place in the kernel. An empty field is not known yet, as Out
// before routing.
type Packet struct {
	In, Out  string
	Src, Dst netip.Addr
	// Protocol is tcp, udp, icmp; DstPort its destination port, 0 where there is none.
	Protocol string
	DstPort  uint16
}

// Place is one rule where it stands, or the policy of a base chain (Policy, with a Rule without arguments).
type Place struct {
	Table, Chain string
	// Number is the rule's number in its chain, counted from 1 as iptables does; 0 for a policy.
	Number int
	Policy string
	Rule   Rule
}

// String is the place as iptables-save writes it.
func (p Place) String() string {
	if p.Number == 0 {
		return ":" + p.Chain + " " + p.Policy
	}
	return "-A " + p.Chain + " " + p.Rule.String()
}

// Drops reports whether a packet ends here.
func (p Place) Drops() bool {
	target := p.Rule.Target()
	return p.Number == 0 && p.Policy == "DROP" || target == "DROP" || target == "REJECT"
}

// match is whether a packet matches: a condition that is not understood may do so.
type match int

const (
	no match = iota
	maybe
	yes
)

// MayMatch reports whether the packet can match the rule.
func (r Rule) MayMatch(p Packet) bool { return r.matches(p) != no }

// matches judges a rule's conditions. A packet is the first of its connection, unmarked, and for nobody on this machine.
func (r Rule) matches(p Packet) match {
	result := yes
	negated := false
	for i := 0; i < len(r.Args); i++ {
		arg := r.Args[i]
		if arg == "!" {
			negated = true
			continue
		}
		value := ""
		if i+1 < len(r.Args) {
			value = r.Args[i+1]
		}
		var hit match
		switch arg {
		case "-j", "-g":
			return result // options of the target follow
		case "-m", "--comment":
			hit = yes
		case "-i":
			hit = onInterface(value, p.In)
		case "-o":
			hit = onInterface(value, p.Out)
		case "-s":
			hit = within(value, p.Src)
		case "-d":
			hit = within(value, p.Dst)
		case "-p":
			hit = ofProtocol(value, p.Protocol)
		case "--dport", "--dports":
			hit = ofPort(value, p.DstPort)
		case "--ctstate", "--state":
			hit = truth(slices.Contains(strings.Split(value, ","), "NEW"))
		case "--dst-type":
			hit = truth(value == "UNICAST")
		default:
			// A flag with or without a value: skip to the next one.
			for i+1 < len(r.Args) && !strings.HasPrefix(r.Args[i+1], "-") && r.Args[i+1] != "!" {
				i++
			}
			result, negated = min(result, maybe), false
			continue
		}
		if negated && hit != maybe {
			hit = yes - hit
		}
		result, negated = min(result, hit), false
		i++
	}
	return result
}

func truth(b bool) match {
	if b {
		return yes
	}
	return no
}

func onInterface(pattern, name string) match {
	if name == "" {
		return maybe
	}
	if prefix, ok := strings.CutSuffix(pattern, "+"); ok {
		return truth(strings.HasPrefix(name, prefix))
	}
	return truth(pattern == name)
}

func within(text string, addr netip.Addr) match {
	prefix, err := parsePrefix(text)
	if err != nil || !addr.IsValid() {
		return maybe
	}
	return truth(prefix.Contains(addr))
}

func ofProtocol(pattern, protocol string) match {
	if protocol == "" {
		return maybe
	}
	return truth(pattern == protocol || pattern == "all" || protocol == "icmp" && pattern == "ipv6-icmp")
}

// ofPort judges a list of ports and ranges, "80,8000:8080".
func ofPort(list string, port uint16) match {
	if port == 0 {
		return no
	}
	for item := range strings.SplitSeq(list, ",") {
		from, to, ranged := strings.Cut(item, ":")
		if !ranged {
			to = from
		}
		low, err1 := strconv.ParseUint(from, 10, 16)
		high, err2 := strconv.ParseUint(to, 10, 16)
		if err1 != nil || err2 != nil {
			return maybe
		}
		if uint64(port) >= low && uint64(port) <= high {
			return yes
		}
	}
	return no
}

// Moved are the rules and policies whose counter grew from before to after, where the packet may match; with what they
// counted in between.
func Moved(before, after *Ruleset, p Packet) []Place {
	if before == nil || after == nil {
		return nil
	}
	var moved []Place
	for table, chains := range after.Tables {
		for name, chain := range chains {
			old := before.Chain(table, name)
			if old == nil {
				continue
			}
			if chain.Packets > old.Packets {
				moved = append(moved, Place{Table: table, Chain: name, Policy: chain.Policy, Rule: Rule{Packets: chain.Packets - old.Packets}})
			}
			for i, rule := range chain.Rules {
				if i < len(old.Rules) && old.Rules[i].Equal(rule) && rule.Packets > old.Rules[i].Packets && rule.MayMatch(p) {
					counted := rule
					counted.Packets -= old.Rules[i].Packets
					moved = append(moved, Place{Table: table, Chain: name, Number: i + 1, Rule: counted})
				}
			}
		}
	}
	slices.SortFunc(moved, func(a, b Place) int {
		if c := strings.Compare(a.Table+" "+a.Chain, b.Table+" "+b.Chain); c != 0 {
			return c
		}
		return a.Number - b.Number
	})
	return moved
}
