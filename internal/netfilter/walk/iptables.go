package walk

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"labd/internal/netfilter"
)

// builtIn are the base chains of iptables with their hooks and priorities (linux/netfilter_ipv4.h, enum
// nf_ip_hook_priorities).
var builtIn = map[string]struct {
	priority int
	hooks    map[string]Hook
}{
	"raw":      {-300, map[string]Hook{"PREROUTING": Prerouting, "OUTPUT": Output}},
	"mangle":   {-150, map[string]Hook{"PREROUTING": Prerouting, "INPUT": Input, "FORWARD": Forward, "OUTPUT": Output, "POSTROUTING": Postrouting}},
	"nat":      {-100, map[string]Hook{"PREROUTING": Prerouting, "INPUT": Input, "OUTPUT": Output, "POSTROUTING": Postrouting}},
	"filter":   {0, map[string]Hook{"INPUT": Input, "FORWARD": Forward, "OUTPUT": Output}},
	"security": {50, map[string]Hook{"INPUT": Input, "FORWARD": Forward, "OUTPUT": Output}},
}

// New returns a ruleset without chains.
func New(f netfilter.Family) *Ruleset {
	return &Ruleset{Family: f, Chains: map[ChainKey]*Chain{}}
}

// IPTables returns the name of a table of iptables.
func IPTables(f netfilter.Family, backend netfilter.Backend, table string) Table {
	program := "iptables-"
	if f == netfilter.IPv6 {
		program = "ip6tables-"
	}
	return Table(program + string(backend) + " -t " + table)
}

// AddIPTables adds what iptables-save printed of a backend. sets are the addresses of ipsets by name; those of a set that is
// not among them are not known.
func (r *Ruleset) AddIPTables(backend netfilter.Backend, saved *netfilter.Ruleset, sets map[string][]netip.Prefix) {
	for _, table := range saved.Unreadable {
		u := Unread{Table: IPTables(r.Family, backend, table), Why: "iptables cannot print rules that nft put there"}
		for _, hook := range builtIn[table].hooks {
			if table != "nat" {
				u.Hooks = append(u.Hooks, hook)
			}
		}
		r.Unread = append(r.Unread, u)
	}
	for table, chains := range saved.Tables {
		for name, from := range chains {
			chain := &Chain{ChainKey: ChainKey{IPTables(r.Family, backend, table), name}}
			if hook, ok := builtIn[table].hooks[name]; ok {
				chain.Hook, chain.Priority, chain.Drops, chain.NAT = hook, builtIn[table].priority, from.Policy == "DROP", table == "nat"
			}
			for i, rule := range from.Rules {
				chain.Rules = append(chain.Rules, fromSave(name, i+1, rule, chains, sets))
			}
			r.Chains[chain.ChainKey] = chain
		}
	}
}

// fromSave takes a rule of iptables-save apart.
func fromSave(chain string, number int, from netfilter.Rule, chains map[string]*netfilter.Chain, sets map[string][]netip.Prefix) Rule {
	rule := Rule{Number: number, Text: "-A " + chain + " " + from.String()}
	args := from.Args
	if i := slices.IndexFunc(args, func(a string) bool { return a == "-j" || a == "-g" }); i >= 0 {
		rule.Match = args[:i]
	}
	negate := false
	for i := 0; i < len(args); i++ {
		arg := args[i]
		value := ""
		if i+1 < len(args) {
			value = args[i+1]
		}
		if arg == "!" {
			negate = true
			continue
		}
		if arg == "-j" || arg == "-g" {
			rule.target(arg == "-g", value, args[min(i+2, len(args)):], chains)
			return rule
		}
		if arg == "-m" || arg == "--comment" {
			i++
			if arg == "-m" && value == "rpfilter" {
				rule.Conds = append(rule.Conds, Cond{Text: "-m rpfilter"})
			}
			continue
		}
		if arg == "--physdev-is-bridged" || arg == "--physdev-is-in" {
			rule.Conds = append(rule.Conds, Cond{Field: FieldPhysIn, Names: []string{"*"}, Negate: negate, Text: arg})
			negate = false
			continue
		}
		cond, known := optionCond(arg, value)
		cond.Negate, cond.Text = negate != cond.Negate, strings.TrimSpace(map[bool]string{true: "! "}[negate]+arg+" "+value)
		negate = false
		if !known {
			// A flag with or without values: skip to the next one.
			cond = Cond{Text: cond.Text}
			for i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") && args[i+1] != "!" {
				i++
			}
		} else {
			i++
			if arg == "--tcp-flags" {
				cond.Text += " " + args[min(i+1, len(args)-1)]
				cond = flagsCond(cond, value, args[min(i+1, len(args)-1)])
				i++
			}
			if arg == "--match-set" {
				cond.Text += " " + args[min(i+1, len(args)-1)]
				cond = setCond(cond, value, args[min(i+1, len(args)-1)], sets)
				i++
			}
		}
		rule.Conds = append(rule.Conds, cond)
	}
	return rule
}

// target is what a rule does: "-j TARGET options…".
func (r *Rule) target(goes bool, name string, options []string, chains map[string]*netfilter.Chain) {
	switch name {
	case "ACCEPT":
		r.Action = Accept
	case "DROP", "REJECT":
		r.Action = Drop
	case "RETURN":
		r.Action = Return
	case "QUEUE", "NFQUEUE", "TPROXY", "SYNPROXY":
		r.Action = Opaque
	case "MARK":
		r.setMark(options)
	default:
		if chains[name] == nil {
			return // LOG, CONNMARK and others let a packet go on
		}
		r.Action, r.Chain = Jump, name
		if goes {
			r.Action = Goto
		}
	}
}

// setMark reads the options of the target MARK, as iptables-save writes them: "--set-xmark value/mask" zeroes the bits of
// the mask and then flips those of the value.
func (r *Rule) setMark(options []string) {
	r.Action = Opaque
	if len(options) < 2 || options[0] != "--set-xmark" {
		return
	}
	value, mask, ok := numberAndMask(options[1])
	if ok && value&^mask == 0 {
		r.Action, r.MarkValue, r.MarkMask = SetMark, value, mask
	}
}

func numberAndMask(text string) (value, mask uint32, ok bool) {
	v, m, masked := strings.Cut(text, "/")
	number, err1 := strconv.ParseUint(v, 0, 32)
	bits, err2 := uint64(0xffffffff), error(nil)
	if masked {
		bits, err2 = strconv.ParseUint(m, 0, 32)
	}
	return uint32(number), uint32(bits), err1 == nil && err2 == nil
}

// optionCond reads an option with its value. It reports false for those that it does not know.
func optionCond(option, value string) (Cond, bool) {
	addresses := func(field Field) (Cond, bool) {
		p, err := parsePrefix(value)
		return Cond{Field: field, Addrs: []AddrRange{RangeOf(p)}}, err == nil
	}
	ports := func(field Field) (Cond, bool) {
		c := Cond{Field: field}
		for item := range strings.SplitSeq(value, ",") {
			from, to, ranged := strings.Cut(item, ":")
			if !ranged {
				to = from
			}
			low, err1 := strconv.ParseUint(from, 10, 16)
			high, err2 := strconv.ParseUint(to, 10, 16)
			if err1 != nil || err2 != nil {
				return c, false
			}
			c.Numbers = append(c.Numbers, NumberRange{uint32(low), uint32(high)})
		}
		return c, true
	}
	span := func(field Field) (Cond, bool) {
		from, to, _ := strings.Cut(value, "-")
		first, err1 := netip.ParseAddr(from)
		last, err2 := netip.ParseAddr(to)
		return Cond{Field: field, Addrs: []AddrRange{{first, last}}}, err1 == nil && err2 == nil
	}
	switch option {
	case "-s":
		return addresses(FieldSource)
	case "-d":
		return addresses(FieldDest)
	case "--ctorigdst":
		return addresses(FieldOrigDest)
	case "--src-range":
		return span(FieldSource)
	case "--dst-range":
		return span(FieldDest)
	case "-i":
		return Cond{Field: FieldIn, Names: []string{ifacePattern(value)}}, true
	case "-o":
		return Cond{Field: FieldOut, Names: []string{ifacePattern(value)}}, true
	case "--physdev-in":
		return Cond{Field: FieldPhysIn, Names: []string{ifacePattern(value)}}, true
	case "-p":
		if value == "all" || value == "0" {
			return Cond{Field: FieldProtocol, Numbers: []NumberRange{{0, 255}}}, true
		}
		number, ok := protocols[value]
		if n, err := strconv.ParseUint(value, 10, 8); err == nil {
			number, ok = uint32(n), true
		}
		return Cond{Field: FieldProtocol, Numbers: []NumberRange{{number, number}}}, ok
	case "--dport", "--dports", "--destination-port", "--destination-ports":
		return ports(FieldDestPort)
	case "--sport", "--sports", "--source-port", "--source-ports":
		return ports(FieldSourcePort)
	case "--ctstate", "--state":
		return stateCond(value)
	case "--dst-type":
		return addrTypeCond(value)
	case "--mark":
		number, mask, ok := numberAndMask(value)
		return Cond{Field: FieldMark, Numbers: []NumberRange{{number, number}}, Mask: mask}, ok
	case "--match-set", "--tcp-flags":
		return Cond{}, true // they have a second value
	}
	return Cond{}, false
}

func stateCond(list string) (Cond, bool) {
	bits := map[string]uint32{"INVALID": stateInvalid, "ESTABLISHED": stateEstablished, "RELATED": stateRelated, "NEW": stateNew, "UNTRACKED": stateUntracked}
	c := Cond{Field: FieldState}
	mapped := false
	for name := range strings.SplitSeq(list, ",") {
		switch bit, ok := bits[name]; {
		case ok:
			c.Mask |= bit
		case name == "DNAT":
			mapped = true
		case name == "SNAT": // the first packet is not yet
		default:
			return c, false
		}
	}
	if mapped {
		return Cond{Field: FieldAny, Any: [][]Cond{{c}, {{Field: FieldMapped}}}}, true
	}
	return c, true
}

func addrTypeCond(list string) (Cond, bool) {
	kinds := map[string]uint32{"UNICAST": 1, "LOCAL": 2, "BROADCAST": 3, "ANYCAST": 4, "MULTICAST": 5, "BLACKHOLE": 6, "UNREACHABLE": 7, "PROHIBIT": 8}
	c := Cond{Field: FieldAddrType}
	for name := range strings.SplitSeq(list, ",") {
		kind, ok := kinds[name]
		if !ok {
			return c, false
		}
		c.Numbers = append(c.Numbers, NumberRange{kind, kind})
	}
	return c, true
}

// flagsCond is a condition on the flags of TCP: "--tcp-flags MASK SET". The first packet of a connection has SYN alone.
func flagsCond(c Cond, mask, set string) Cond {
	want := "NONE"
	if mask == "ALL" || slices.Contains(strings.Split(mask, ","), "SYN") {
		want = "SYN"
	}
	c.Field = FieldNever
	if set == want {
		c.Field, c.Any = FieldAny, [][]Cond{{}}
	}
	return c
}

// setCond is a condition on an ipset of addresses, where its content is known: "--match-set NAME src".
func setCond(c Cond, name, direction string, sets map[string][]netip.Prefix) Cond {
	members, known := sets[name]
	if !known || direction != "src" && direction != "dst" {
		return Cond{Text: c.Text}
	}
	c.Field = FieldSource
	if direction == "dst" {
		c.Field = FieldDest
	}
	for _, m := range members {
		c.Addrs = append(c.Addrs, RangeOf(m))
	}
	return c
}

// ifacePattern is an interface of iptables, where a last "+" stands for any end.
func ifacePattern(name string) string {
	if prefix, ok := strings.CutSuffix(name, "+"); ok {
		return prefix + "*"
	}
	return name
}

func parsePrefix(text string) (netip.Prefix, error) {
	if addr, mask, ok := strings.Cut(text, "/"); ok && strings.ContainsAny(mask, ".:") {
		// A mask that is written out.
		m, err := netip.ParseAddr(mask)
		if err != nil {
			return netip.Prefix{}, err
		}
		bits := 0
		for _, b := range m.AsSlice() {
			for ; b&0x80 != 0; b <<= 1 {
				bits++
			}
			if b != 0 {
				return netip.Prefix{}, fmt.Errorf("%s has holes", mask)
			}
		}
		text = addr + "/" + strconv.Itoa(bits)
	}
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		return addr.Prefix(addr.BitLen())
	}
	return netip.ParsePrefix(text)
}
