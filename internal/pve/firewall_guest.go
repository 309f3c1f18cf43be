package pve

import (
	"net/netip"
	"strconv"
	"strings"

	"labd/internal/netfilter"
	"labd/internal/netfilter/walk"
)

// GuestFirewall is what PVE's firewall is set to do with a guest's packets: the options and rules of the datacenter and of
// the guest. It is the same in both flavours, iptables and nftables (proxmox-firewall).
type GuestFirewall struct{ Cluster, Guest Firewall }

// Inbound returns what the guest's rules and policy_in do with a packet to one of its devices ("net0").
func (g *GuestFirewall) Inbound(device string, p walk.Packet) walk.Result {
	f := netfilter.FamilyOf(p.Source.Addr())
	rs := walk.New(f)
	chain := &walk.Chain{ChainKey: walk.ChainKey{Table: "PVE's firewall", Name: "IN"}, Hook: walk.Forward}
	policy := strings.ToUpper(g.Guest.Options["policy_in"])
	if policy == "" {
		policy = "DROP" // PVE's default
	}
	// The policy is a rule of its own, so that it can be named.
	end := walk.Rule{Number: len(g.Guest.Rules) + 1, Text: "policy_in: " + policy, Action: walk.Drop}
	if policy == "ACCEPT" {
		end.Action = walk.Accept
	}
	for i, rule := range g.Guest.Rules {
		if rule.Disabled || rule.Options["i"] != "" && rule.Options["i"] != device {
			continue
		}
		if rule.Direction == "GROUP" {
			group, known := g.Cluster.Groups[strings.ToLower(rule.Action)]
			if !known {
				chain.Rules = append(chain.Rules, walk.Rule{Number: i + 1, Text: rule.Text, Action: walk.Opaque})
			}
			for _, inner := range group {
				if !inner.Disabled && inner.Direction == "IN" {
					chain.Rules = append(chain.Rules, g.rules(i+1, rule.Text+": "+inner.Text, inner, f)...)
				}
			}
			continue
		}
		if rule.Direction == "IN" {
			chain.Rules = append(chain.Rules, g.rules(i+1, rule.Text, rule, f)...)
		}
	}
	chain.Rules = append(chain.Rules, end)
	rs.Chains[chain.ChainKey] = chain
	return rs.WalkChain(chain.ChainKey, p, nil)
}

// rules returns one rule for walking, or one for each part of its macro.
func (g *GuestFirewall) rules(number int, text string, rule FirewallRule, f netfilter.Family) []walk.Rule {
	out := walk.Rule{Number: number, Text: text, Action: walk.Drop}
	if rule.Action == "ACCEPT" {
		out.Action = walk.Accept
	}
	for _, side := range []struct {
		option string
		field  walk.Field
	}{{"source", walk.FieldSource}, {"dest", walk.FieldDest}} {
		if list := rule.Options[side.option]; list != "" {
			out.Conds = append(out.Conds, g.addresses(side.field, "-"+side.option+" "+list, list))
		}
	}
	for option, value := range rule.Options {
		switch option {
		case "i", "source", "dest", "p", "proto", "dport", "sport", "log":
		default:
			out.Conds = append(out.Conds, walk.Cond{Text: "-" + option + " " + value})
		}
	}
	protocol := rule.Options["p"]
	if protocol == "" {
		protocol = rule.Options["proto"]
	}
	if sport := rule.Options["sport"]; sport != "" {
		out.Conds = append(out.Conds, portsCond(walk.FieldSourcePort, "-sport "+sport, sport))
	}
	if rule.Macro == "" {
		out.Conds = append(out.Conds, protocolConds(protocol, rule.Options["dport"], f)...)
		return []walk.Rule{out}
	}
	macro, known := firewallMacros[strings.ToLower(rule.Macro)]
	if !known {
		out.Conds = append(out.Conds, walk.Cond{Text: "macro " + rule.Macro})
		return []walk.Rule{out}
	}
	var list []walk.Rule
	for _, part := range macro {
		one := out
		one.Conds = append(append([]walk.Cond{}, out.Conds...), protocolConds(part.protocol, part.ports, f)...)
		list = append(list, one)
	}
	return list
}

func protocolConds(protocol, ports string, f netfilter.Family) []walk.Cond {
	var out []walk.Cond
	if protocol != "" {
		c := walk.Cond{Text: "-p " + protocol}
		if number, ok := protocolNumber(protocol, f); ok {
			c.Field, c.Numbers = walk.FieldProtocol, []walk.NumberRange{{From: number, To: number}}
		}
		out = append(out, c)
	}
	if ports != "" {
		out = append(out, portsCond(walk.FieldDestPort, "-dport "+ports, ports))
	}
	return out
}

func protocolNumber(name string, f netfilter.Family) (uint32, bool) {
	if n, err := strconv.ParseUint(name, 10, 8); err == nil {
		return uint32(n), true
	}
	switch strings.ToLower(name) {
	case "icmp":
		if f == netfilter.IPv6 {
			return 58, true // a macro's icmp is that of the packet's family
		}
		return 1, true
	case "icmpv6", "ipv6-icmp":
		return 58, true
	case "tcp":
		return 6, true
	case "udp":
		return 17, true
	case "gre":
		return 47, true
	case "esp":
		return 50, true
	case "ah":
		return 51, true
	case "ospf":
		return 89, true
	case "sctp":
		return 132, true
	}
	return 0, false
}

// portsCond is a list of ports, ranges ("80:90") and names of services.
func portsCond(field walk.Field, text, list string) walk.Cond {
	services := map[string]string{"ssh": "22", "http": "80", "https": "443", "smtp": "25", "domain": "53"}
	c := walk.Cond{Field: field, Text: text}
	for item := range strings.SplitSeq(list, ",") {
		from, to, ranged := strings.Cut(item, ":")
		if number, ok := services[from]; ok {
			from = number
		}
		if !ranged {
			to = from
		}
		low, err1 := strconv.ParseUint(from, 10, 16)
		high, err2 := strconv.ParseUint(to, 10, 16)
		if err1 != nil || err2 != nil {
			return walk.Cond{Text: text}
		}
		c.Numbers = append(c.Numbers, walk.NumberRange{From: uint32(low), To: uint32(high)})
	}
	return c
}

// addresses is a list of addresses, prefixes, ranges, aliases ("name", "dc/name", "guest/name") and one set ("+name").
func (g *GuestFirewall) addresses(field walk.Field, text, list string) walk.Cond {
	c := walk.Cond{Field: field, Text: text}
	add := func(texts []string) bool {
		for _, t := range texts {
			ranges, ok := g.ranges(t)
			if !ok {
				return false
			}
			c.Addrs = append(c.Addrs, ranges...)
		}
		return true
	}
	if name, isSet := strings.CutPrefix(list, "+"); isSet {
		entries, known := g.set(name)
		for _, entry := range entries {
			if strings.HasPrefix(entry, "!") {
				known = false // an exception within the set
			}
		}
		if !known || !add(entries) {
			return walk.Cond{Text: text}
		}
		return c
	}
	if !add(strings.Split(list, ",")) {
		return walk.Cond{Text: text}
	}
	return c
}

// set returns the entries of a set of the guest, else of the datacenter.
func (g *GuestFirewall) set(name string) ([]string, bool) {
	name = strings.ToLower(name)
	if short, ok := strings.CutPrefix(name, "dc/"); ok {
		entries, known := g.Cluster.Sets[short]
		return entries, known
	}
	name = strings.TrimPrefix(name, "guest/")
	if entries, known := g.Guest.Sets[name]; known {
		return entries, true
	}
	entries, known := g.Cluster.Sets[name]
	return entries, known
}

// ranges returns the addresses of one entry.
func (g *GuestFirewall) ranges(text string) ([]walk.AddrRange, bool) {
	text = strings.TrimSpace(text)
	if from, to, ok := strings.Cut(text, "-"); ok {
		first, err1 := netip.ParseAddr(from)
		last, err2 := netip.ParseAddr(to)
		if err1 == nil && err2 == nil {
			return []walk.AddrRange{{From: first, To: last}}, true
		}
	}
	if p, ok := parseCIDR(text); ok {
		return []walk.AddrRange{walk.RangeOf(p)}, true
	}
	name := strings.ToLower(text)
	value, known := "", false
	if short, ok := strings.CutPrefix(name, "dc/"); ok {
		value, known = g.Cluster.Aliases[short]
	} else if short, ok := strings.CutPrefix(name, "guest/"); ok {
		value, known = g.Guest.Aliases[short]
	} else if value, known = g.Guest.Aliases[name]; !known {
		value, known = g.Cluster.Aliases[name]
	}
	if p, ok := parseCIDR(value); known && ok {
		return []walk.AddrRange{walk.RangeOf(p)}, true
	}
	return nil, false
}

func parseCIDR(text string) (netip.Prefix, bool) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), true
	}
	prefix, err := netip.ParsePrefix(text)
	return prefix.Masked(), err == nil
}

// Outbound returns what ipfilter does with packets that leave a device with a source in a prefix: only what is in the set
// ipfilter-netN may, which exists by itself where the option ipfilter is on (PVE::Firewall, compile_ipsets).
func (g *GuestFirewall) Outbound(device string, source netip.Prefix) walk.Result {
	set, defined := g.Guest.Sets["ipfilter-"+device]
	on := g.Guest.Options["ipfilter"]
	if !defined && (on == "" || on == "0") {
		return walk.Result{Place: walk.Place{Text: "ipfilter is off"}}
	}
	key := walk.ChainKey{Table: "PVE's firewall", Name: "ipfilter"}
	text := "[IPSET ipfilter-" + device + "]"
	chain := &walk.Chain{ChainKey: key}
	number := 0
	// Exceptions first: they win, whatever their place.
	for _, except := range []bool{true, false} {
		for _, entry := range set {
			value, is := strings.CutPrefix(entry, "!")
			if is != except {
				continue
			}
			number++
			rule := walk.Rule{Number: number, Text: text + " " + entry, Action: walk.Accept}
			if except {
				rule.Action = walk.Drop
			}
			c := walk.Cond{Text: entry}
			if ranges, ok := g.ranges(value); ok {
				c.Field, c.Addrs = walk.FieldSource, ranges
			}
			rule.Conds = []walk.Cond{c}
			chain.Rules = append(chain.Rules, rule)
		}
	}
	chain.Rules = append(chain.Rules, walk.Rule{Number: number + 1, Text: text, Action: walk.Drop})
	rs := walk.New(netfilter.FamilyOf(source.Addr()))
	rs.Chains[key] = chain
	return rs.WalkChain(key, walk.Packet{Source: source}, nil)
}
