package walk

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"

	"labd/internal/netfilter"
)

// nftSet is a set or map of nftables with its elements.
type nftSet struct {
	isMap    bool
	dynamic  bool // its elements come and go by packets
	elements []nftables.SetElement
}

// decoder takes the expressions of one rule of nftables apart. The kernel's rule is a small program: it loads values into
// registers and compares them (net/netfilter/nf_tables_core.c).
type decoder struct {
	links map[int]string     // interfaces by index
	sets  map[string]*nftSet // of the rule's table
	regs  map[uint32]value   // by register of 32 bits
	rule  Rule
	// rules are the rule with each value of a map of verdicts.
	rules []Rule
	words []string
}

// value is what a register holds.
type value struct {
	field  Field
	size   int // bytes
	prefix int // the first bits of an address, where not all of it was loaded; 0 for all
	mask   []byte
	xor    []byte
	text   string
	// native says that the number is in the order of the machine, else that of the network.
	native bool
	// index says that it is an interface by its index.
	index bool
	state bool
	data  []byte // an immediate
}

// reg32 is the register of 32 bits at which a register begins: 1 to 4 hold 16 bytes each, those from 8 on 4 bytes
// (NFT_REG32_00).
func reg32(r uint32) uint32 {
	if r < 8 {
		return (r - 1) * 4
	}
	return r - 8
}

// decodeRule returns the rules that stand for one of nftables.
func decodeRule(number int, exprs []expression, links map[int]string, sets map[string]*nftSet) []Rule {
	d := &decoder{links: links, sets: sets, regs: map[uint32]value{}, rule: Rule{Number: number}}
	for _, e := range exprs {
		d.expression(e)
	}
	out := append(d.rules, d.rule)
	text := strings.Join(d.words, " ")
	for i := range out {
		out[i].Text = text
	}
	return out
}

// expression is one expression of a rule; known is nil for kinds that labd does not take apart.
type expression struct {
	name  string
	known expr.Any
}

func (d *decoder) cond(c Cond) {
	d.rule.Conds = append(d.rule.Conds, c)
	d.words = append(d.words, c.Text)
}

func (d *decoder) say(format string, args ...any) {
	d.words = append(d.words, fmt.Sprintf(format, args...))
}

func (d *decoder) expression(e expression) {
	switch x := e.known.(type) {
	case *expr.Meta:
		d.meta(x)
	case *expr.Payload:
		d.payload(x)
	case *expr.Ct:
		d.ct(x)
	case *expr.Fib:
		d.fib(x)
	case *expr.Bitwise:
		d.bitwise(x)
	case *expr.Immediate:
		d.set(x.Register, value{size: len(x.Data), data: x.Data})
	case *expr.Cmp:
		d.cmp(x)
	case *expr.Range:
		v := d.regs[reg32(x.Register)]
		d.cond(v.between(x.FromData, x.ToData, x.Op == expr.CmpOpNeq))
	case *expr.Lookup:
		d.lookup(x)
	case *expr.Verdict:
		d.verdict(x)
	case *expr.Reject:
		d.rule.Action = Drop
		d.say("reject")
	case *expr.Queue:
		d.rule.Action = Opaque
		d.say("queue")
	default:
		switch e.name {
		case "counter", "log", "last", "notrack", "nat", "masq", "redir", "objref", "flow_offload", "dup", "secmark":
			d.say("%s", e.name) // they let the packet go on
		case "tproxy", "synproxy", "fwd":
			d.rule.Action = Opaque
			d.say("%s", e.name)
		default:
			d.cond(Cond{Text: e.name})
		}
	}
}

func (d *decoder) set(register uint32, v value) { d.regs[reg32(register)] = v }

func (d *decoder) meta(x *expr.Meta) {
	if x.SourceRegister {
		v := d.regs[reg32(x.Register)]
		if x.Key != expr.MetaKeyMARK {
			return // priority, trace: they change nothing here
		}
		d.rule.Action = SetMark
		d.say("meta mark set %s", v.text)
		switch {
		case len(v.data) == 4:
			d.rule.MarkValue, d.rule.MarkMask = binary.NativeEndian.Uint32(v.data), ^uint32(0)
			d.words[len(d.words)-1] = fmt.Sprintf("meta mark set %#x", d.rule.MarkValue)
		case v.field == FieldMark && len(v.mask) == 4 && len(v.data) == 0 && v.xor != nil:
			d.rule.MarkMask = ^binary.NativeEndian.Uint32(v.mask)
			d.rule.MarkValue = binary.NativeEndian.Uint32(v.xor)
			d.words[len(d.words)-1] = fmt.Sprintf("meta mark set meta mark & %#x | %#x", ^d.rule.MarkMask, d.rule.MarkValue)
		default:
			d.rule.Action = Opaque
		}
		return
	}
	v := value{text: "meta", size: 4, native: true}
	switch x.Key {
	case expr.MetaKeyIIFNAME:
		v = value{field: FieldIn, text: "iifname", size: 16}
	case expr.MetaKeyOIFNAME:
		v = value{field: FieldOut, text: "oifname", size: 16}
	case expr.MetaKeyIIF:
		v = value{field: FieldIn, text: "iif", size: 4, native: true, index: true}
	case expr.MetaKeyOIF:
		v = value{field: FieldOut, text: "oif", size: 4, native: true, index: true}
	case expr.MetaKeyL4PROTO:
		v = value{field: FieldProtocol, text: "meta l4proto", size: 1}
	case expr.MetaKeyNFPROTO:
		v = value{field: FieldFamily, text: "meta nfproto", size: 1}
	case expr.MetaKeyMARK:
		v = value{field: FieldMark, text: "meta mark", size: 4, native: true}
	default:
		v.text = fmt.Sprintf("meta key %d", x.Key)
	}
	d.set(x.Register, v)
}

func (d *decoder) payload(x *expr.Payload) {
	if x.OperationType == expr.PayloadWrite {
		return
	}
	v := value{size: int(x.Len), text: fmt.Sprintf("payload %d,%d,%d", x.Base, x.Offset*8, x.Len*8)}
	address := func(field Field, text string, full uint32) {
		v.field, v.text = field, text
		if x.Len < full {
			v.prefix = int(x.Len) * 8
		}
	}
	switch {
	case x.Base == expr.PayloadBaseNetworkHeader && x.Offset == 12 && x.Len <= 4:
		address(FieldSource, "ip saddr", 4)
	case x.Base == expr.PayloadBaseNetworkHeader && x.Offset == 16 && x.Len <= 4:
		address(FieldDest, "ip daddr", 4)
	case x.Base == expr.PayloadBaseNetworkHeader && x.Offset == 8 && x.Len <= 16 && x.Len > 2:
		address(FieldSource, "ip6 saddr", 16)
	case x.Base == expr.PayloadBaseNetworkHeader && x.Offset == 24 && x.Len <= 16 && x.Len > 2:
		address(FieldDest, "ip6 daddr", 16)
	case x.Base == expr.PayloadBaseNetworkHeader && x.Offset == 9 && x.Len == 1:
		v.field, v.text = FieldProtocol, "ip protocol"
	case x.Base == expr.PayloadBaseNetworkHeader && x.Offset == 6 && x.Len == 1:
		v.field, v.text = FieldProtocol, "ip6 nexthdr"
	case x.Base == expr.PayloadBaseTransportHeader && x.Offset == 0 && x.Len == 2:
		v.field, v.text = FieldSourcePort, "sport"
	case x.Base == expr.PayloadBaseTransportHeader && x.Offset == 2 && x.Len == 2:
		v.field, v.text = FieldDestPort, "dport"
	}
	d.set(x.DestRegister, v)
}

func (d *decoder) ct(x *expr.Ct) {
	if x.SourceRegister {
		return // it sets the connection's mark, zone or helper
	}
	v := value{size: 4, native: true, text: fmt.Sprintf("ct key %d", x.Key)}
	switch x.Key {
	case expr.CtKeySTATE:
		v.field, v.text, v.state = FieldState, "ct state", true
	case expr.CtKeySTATUS:
		v.field, v.text = FieldMapped, "ct status"
	case expr.CtKeyDST:
		v = value{field: FieldOrigDest, text: "ct original daddr", size: 4}
	case expr.CtKeyDIRECTION:
		v = value{size: 1, text: "ct direction"}
	}
	d.set(x.Register, v)
}

func (d *decoder) fib(x *expr.Fib) {
	v := value{size: 4, native: true, text: "fib"}
	if x.ResultADDRTYPE && x.FlagDADDR && !x.FlagSADDR {
		v.field, v.text = FieldAddrType, "fib daddr type"
	}
	d.set(x.Register, v)
}

func (d *decoder) bitwise(x *expr.Bitwise) {
	v := d.regs[reg32(x.SourceRegister)]
	if len(x.Mask) != int(x.Len) || len(x.Xor) != int(x.Len) || len(v.data) > 0 {
		v = value{text: v.text + " computed", size: int(x.Len)}
	} else {
		v.mask, v.xor = x.Mask, nil
		if !bytes.Equal(x.Xor, make([]byte, len(x.Xor))) || v.field == FieldMark {
			v.xor = x.Xor
		}
	}
	d.set(x.DestRegister, v)
}

func (d *decoder) cmp(x *expr.Cmp) {
	v := d.regs[reg32(x.Register)]
	if v.index {
		c := Cond{Field: v.field, Negate: x.Op == expr.CmpOpNeq, Names: []string{v.ifaceIn(x.Data, d.links)}}
		c.Text = fmt.Sprintf("%s %s%q", v.text, map[bool]string{true: "!= "}[c.Negate], c.Names[0])
		d.cond(c)
		return
	}
	switch x.Op {
	case expr.CmpOpEq:
		d.cond(v.equal(x.Data, false))
	case expr.CmpOpNeq:
		d.cond(v.equal(x.Data, true))
	default:
		d.cond(v.compare(x.Op, x.Data))
	}
}

// verdict ends the rule.
func (d *decoder) verdict(x *expr.Verdict) {
	switch x.Kind {
	case expr.VerdictAccept:
		d.rule.Action = Accept
		d.say("accept")
	case expr.VerdictDrop:
		d.rule.Action = Drop
		d.say("drop")
	case expr.VerdictReturn:
		d.rule.Action = Return
		d.say("return")
	case expr.VerdictJump, expr.VerdictGoto:
		d.rule.Action, d.rule.Chain = Jump, x.Chain
		if x.Kind == expr.VerdictGoto {
			d.rule.Action = Goto
		}
		d.say("%s %s", map[bool]string{true: "jump", false: "goto"}[x.Kind == expr.VerdictJump], x.Chain)
	case expr.VerdictContinue, expr.VerdictBreak:
	default:
		d.rule.Action = Opaque
		d.say("queue")
	}
}

// equal is the condition that a value is, or is not, data.
func (v value) equal(data []byte, negate bool) Cond {
	op := ""
	if negate {
		op = "!= "
	}
	c := Cond{Field: v.field, Negate: negate}
	opaque := func() Cond { return Cond{Text: strings.TrimSpace(v.text + " " + op + fmt.Sprintf("%#x", data))} }
	switch v.field {
	case FieldSource, FieldDest, FieldOrigDest:
		p, ok := v.address(data)
		if !ok {
			return opaque()
		}
		c.Addrs = []AddrRange{RangeOf(p)}
		c.Text = v.text + " " + op + strings.TrimSuffix(strings.TrimSuffix(p.String(), "/32"), "/128")
	case FieldIn, FieldOut:
		c.Names = []string{v.ifaceIn(data, nil)}
		c.Text = fmt.Sprintf("%s %s%q", v.text, op, c.Names[0])
	case FieldState, FieldMapped:
		return v.bits(data, negate, opaque)
	case FieldMark:
		if v.xor != nil && !bytes.Equal(v.xor, make([]byte, len(v.xor))) || len(data) != 4 {
			return opaque()
		}
		c.Mask = ^uint32(0)
		if len(v.mask) == 4 {
			c.Mask = binary.NativeEndian.Uint32(v.mask)
		}
		n := binary.NativeEndian.Uint32(data)
		c.Numbers = []NumberRange{{n, n}}
		c.Text = fmt.Sprintf("meta mark & %#x %s%#x", c.Mask, op, n)
	case FieldProtocol, FieldSourcePort, FieldDestPort, FieldAddrType, FieldFamily:
		n, ok := v.number(data)
		if !ok {
			return opaque()
		}
		c.Numbers = []NumberRange{{n, n}}
		c.Text = v.text + " " + op + v.word(n)
	default:
		return opaque()
	}
	return c
}

// word is a number as nft prints it.
func (v value) word(n uint32) string {
	switch v.field {
	case FieldProtocol:
		if name := protocolName(n); name != "" {
			return name
		}
	case FieldFamily:
		if name, ok := map[uint32]string{2: "ipv4", 10: "ipv6"}[n]; ok {
			return name
		}
	case FieldAddrType:
		if name, ok := map[uint32]string{1: "unicast", 2: "local", 3: "broadcast", 5: "multicast"}[n]; ok {
			return name
		}
	}
	return fmt.Sprint(n)
}

// bits is a condition on states: that some of the bits of a mask are set ("ct state new,established" is state & mask != 0),
// or that exactly one is.
func (v value) bits(data []byte, negate bool, opaque func() Cond) Cond {
	if len(data) != 4 || v.xor != nil {
		return opaque()
	}
	n := binary.NativeEndian.Uint32(data)
	c := Cond{Field: v.field}
	switch {
	case len(v.mask) == 4 && n == 0: // a bit of the mask, or with "==" none of them
		c.Mask, c.Negate = binary.NativeEndian.Uint32(v.mask), !negate
	case len(v.mask) == 4:
		c.Mask, c.Negate = n, negate
	default:
		c.Mask, c.Negate = n, negate
	}
	if v.field == FieldMapped {
		const dstNAT = 1 << 5 // IPS_DST_NAT
		if c.Mask&dstNAT == 0 {
			return opaque()
		}
		c.Text = map[bool]string{false: "ct status dnat", true: "ct status != dnat"}[c.Negate]
		return c
	}
	var names []string
	for _, s := range []struct {
		bit  uint32
		name string
	}{{stateInvalid, "invalid"}, {stateEstablished, "established"}, {stateRelated, "related"}, {stateNew, "new"}, {stateUntracked, "untracked"}} {
		if c.Mask&s.bit != 0 {
			names = append(names, s.name)
		}
	}
	c.Text = "ct state " + map[bool]string{true: "!= "}[c.Negate] + strings.Join(names, ",")
	return c
}

// address is the prefix that data stands for, with the part of the address that was loaded or masked.
func (v value) address(data []byte) (netip.Prefix, bool) {
	if v.xor != nil {
		return netip.Prefix{}, false
	}
	full := 4
	if strings.HasPrefix(v.text, "ip6") || len(data) > 4 {
		full = 16
	}
	bits := full * 8
	if v.prefix > 0 {
		bits = v.prefix
	}
	if v.mask != nil {
		ones := 0
		for _, b := range v.mask {
			for bit := 7; bit >= 0; bit-- {
				if b&(1<<bit) != 0 {
					ones++
				}
			}
		}
		want := make([]byte, len(v.mask))
		for i := range ones {
			want[i/8] |= 0x80 >> (i % 8)
		}
		if !bytes.Equal(want, v.mask) {
			return netip.Prefix{}, false // a mask with holes
		}
		bits = min(bits, ones)
	}
	padded := make([]byte, full)
	copy(padded, data)
	addr, ok := netip.AddrFromSlice(padded)
	if !ok {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr, bits).Masked(), true
}

// ifaceIn is the interface of data: a name of less than 16 bytes without its end stands for all that begin so.
func (v value) ifaceIn(data []byte, links map[int]string) string {
	if v.index {
		if len(data) == 4 {
			index := int(binary.NativeEndian.Uint32(data))
			if name, ok := links[index]; ok {
				return name
			}
			return fmt.Sprintf("index %d", index)
		}
		return ""
	}
	name, _, ended := strings.Cut(string(data), "\x00")
	if !ended && len(data) < 16 {
		return name + "*"
	}
	return name
}

// number is data as a number.
func (v value) number(data []byte) (uint32, bool) {
	if v.mask != nil || v.xor != nil {
		return 0, false
	}
	switch {
	case len(data) == 1:
		return uint32(data[0]), true
	case len(data) == 2 && !v.native:
		return uint32(binary.BigEndian.Uint16(data)), true
	case len(data) == 4 && v.native:
		return binary.NativeEndian.Uint32(data), true
	case len(data) == 4:
		return binary.BigEndian.Uint32(data), true
	}
	return 0, false
}

// between is the condition that a value lies, or does not lie, in a range with both ends.
func (v value) between(from, to []byte, negate bool) Cond {
	c := Cond{Field: v.field, Negate: negate}
	op := map[bool]string{true: "!= "}[negate]
	switch v.field {
	case FieldSource, FieldDest, FieldOrigDest:
		first, ok1 := netip.AddrFromSlice(from)
		last, ok2 := netip.AddrFromSlice(to)
		if !ok1 || !ok2 || v.mask != nil || v.prefix > 0 {
			return Cond{Text: v.text + " range"}
		}
		c.Addrs = []AddrRange{{first, last}}
		c.Text = fmt.Sprintf("%s %s%s-%s", v.text, op, first, last)
	case FieldProtocol, FieldSourcePort, FieldDestPort:
		first, ok1 := v.number(from)
		last, ok2 := v.number(to)
		if !ok1 || !ok2 {
			return Cond{Text: v.text + " range"}
		}
		c.Numbers = []NumberRange{{first, last}}
		c.Text = fmt.Sprintf("%s %s%d-%d", v.text, op, first, last)
	default:
		return Cond{Text: v.text + " range"}
	}
	return c
}

// compare is a condition with an order.
func (v value) compare(op expr.CmpOp, data []byte) Cond {
	lowest, highest := make([]byte, len(data)), bytes.Repeat([]byte{0xff}, len(data))
	from, to, negate, sign := lowest, data, false, "<="
	switch op {
	case expr.CmpOpGte:
		from, to, sign = data, highest, ">="
	case expr.CmpOpLt:
		from, to, negate, sign = data, highest, true, "<"
	case expr.CmpOpGt:
		negate, sign = true, ">"
	}
	c := v.between(from, to, negate)
	switch {
	case len(c.Addrs) == 1:
		addr, _ := netip.AddrFromSlice(data)
		c.Text = fmt.Sprintf("%s %s %s", v.text, sign, addr)
	case len(c.Numbers) == 1:
		n, _ := v.number(data)
		c.Text = fmt.Sprintf("%s %s %d", v.text, sign, n)
	}
	return c
}

// lookup is a condition on a set, or the verdicts of a map.
func (d *decoder) lookup(x *expr.Lookup) {
	set := d.sets[x.SetName]
	fields, complete := d.fields(x.SourceRegister, set)
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.text
	}
	label := strings.Join(names, " . ")
	if set == nil || set.dynamic || !complete || x.IsDestRegSet && x.DestRegister != 0 {
		// A set that is filled by packets, or a map of values.
		if x.IsDestRegSet && x.DestRegister != 0 {
			d.set(x.DestRegister, value{text: "a map"})
			return
		}
		d.cond(Cond{Text: strings.TrimSpace(label + " @" + x.SetName)})
		if x.IsDestRegSet {
			d.rule.Action = Opaque
		}
		return
	}
	if x.IsDestRegSet && set.isMap {
		d.vmap(label, fields, set)
		return
	}
	c := Cond{Field: FieldAny, Negate: x.Invert, Text: label + map[bool]string{true: " !="}[x.Invert] + " @" + x.SetName}
	if len(fields) == 1 {
		c = d.oneField(c, fields[0], set)
	} else {
		for _, e := range set.elements {
			c.Any = append(c.Any, tuple(fields, e, d.links))
		}
	}
	d.cond(c)
}

// fields are the values that a key of a set is made of. Each begins at a register of its own.
func (d *decoder) fields(register uint32, set *nftSet) (fields []value, complete bool) {
	length := 0
	if set != nil {
		for _, e := range set.elements {
			length = max(length, len(e.Key))
		}
	}
	at := reg32(register)
	for used := 0; used == 0 || used < length; {
		v, ok := d.regs[at]
		if !ok || v.size == 0 {
			return fields, false
		}
		fields = append(fields, v)
		slots := (v.size + 3) / 4
		at += uint32(slots)
		used += slots * 4
		if length <= v.size && len(fields) == 1 {
			break
		}
	}
	return fields, true
}

// oneField fills a condition on a set with one field, whose elements may be ranges.
func (d *decoder) oneField(c Cond, v value, set *nftSet) Cond {
	elements := ranges(set.elements)
	c.Field = v.field
	switch v.field {
	case FieldSource, FieldDest, FieldOrigDest:
		if v.mask != nil || v.xor != nil || v.prefix > 0 {
			return Cond{Text: c.Text}
		}
		for _, e := range elements {
			from, ok1 := netip.AddrFromSlice(e.from)
			to, ok2 := netip.AddrFromSlice(e.to)
			if !ok1 || !ok2 {
				return Cond{Text: c.Text}
			}
			c.Addrs = append(c.Addrs, AddrRange{from, to})
		}
	case FieldIn, FieldOut:
		for _, e := range elements {
			if !bytes.Equal(e.from, e.to) {
				// A range of names is a name with any end.
				c.Names = append(c.Names, strings.TrimRight(string(e.from), "\x00")+"*")
				continue
			}
			c.Names = append(c.Names, v.ifaceIn(e.from, d.links))
		}
	case FieldProtocol, FieldSourcePort, FieldDestPort, FieldAddrType, FieldFamily:
		for _, e := range elements {
			from, ok1 := v.number(e.from)
			to, ok2 := v.number(e.to)
			if !ok1 || !ok2 {
				return Cond{Text: c.Text}
			}
			c.Numbers = append(c.Numbers, NumberRange{from, to})
		}
	case FieldState:
		for _, e := range elements {
			if len(e.from) == 4 {
				c.Mask |= binary.NativeEndian.Uint32(e.from)
			}
		}
	default:
		return Cond{Text: c.Text}
	}
	return c
}

// tuple are the conditions of one element of a set over several fields.
func tuple(fields []value, e nftables.SetElement, links map[int]string) []Cond {
	var out []Cond
	at := 0
	for _, v := range fields {
		if at+v.size > len(e.Key) {
			return append(out, Cond{Text: "a short element"})
		}
		key := e.Key[at : at+v.size]
		switch {
		case len(e.KeyEnd) >= at+v.size && !bytes.Equal(key, e.KeyEnd[at:at+v.size]):
			out = append(out, v.between(key, e.KeyEnd[at:at+v.size], false))
		case v.field == FieldIn || v.field == FieldOut:
			out = append(out, Cond{Field: v.field, Names: []string{v.ifaceIn(key, links)}})
		default:
			out = append(out, v.equal(key, false))
		}
		at += (v.size + 3) / 4 * 4
	}
	return out
}

// vmap makes a rule of each verdict of a map.
func (d *decoder) vmap(label string, fields []value, set *nftSet) {
	base := d.rule
	d.say("%s vmap", label)
	words := len(d.words)
	add := func(conds []Cond, v *expr.Verdict) {
		if v == nil {
			return
		}
		r := base
		r.Conds = append(append([]Cond{}, base.Conds...), conds...)
		inner := &decoder{rule: r}
		inner.verdict(v)
		d.rules = append(d.rules, inner.rule)
	}
	if len(fields) == 1 {
		for _, e := range ranges(set.elements) {
			one := &nftSet{elements: []nftables.SetElement{{Key: e.from}, {Key: e.to}}}
			c := d.oneField(Cond{Text: label}, fields[0], one)
			if !bytes.Equal(e.from, e.to) && c.Field != FieldOpaque && len(c.Numbers) == 2 {
				c.Numbers = []NumberRange{{c.Numbers[0].From, c.Numbers[1].To}}
			}
			if !bytes.Equal(e.from, e.to) && len(c.Addrs) == 2 {
				c.Addrs = []AddrRange{{c.Addrs[0].From, c.Addrs[1].To}}
			}
			add([]Cond{c}, e.verdict)
		}
	} else {
		for _, e := range set.elements {
			add(tuple(fields, e, d.links), verdictOf(e.Val))
		}
	}
	d.words = d.words[:words]
	d.rule.Action = Next
}

// span is one element, or the range from one to the next where the set has ranges.
type span struct {
	from, to []byte
	verdict  *expr.Verdict
}

// ranges joins the elements of a set with intervals: each end is an element of its own, one past the last value, and the
// kernel lists them from the last to the first (net/netfilter/nft_set_rbtree.c). Others have KeyEnd.
func ranges(elements []nftables.SetElement) []span {
	sorted := make([]nftables.SetElement, len(elements))
	copy(sorted, elements)
	sortElements(sorted)
	intervals := false
	for _, e := range sorted {
		intervals = intervals || e.IntervalEnd
	}
	var out []span
	for i, e := range sorted {
		switch {
		case e.IntervalEnd:
		case len(e.KeyEnd) > 0:
			out = append(out, span{e.Key, e.KeyEnd, verdictOf(e.Val)})
		case !intervals:
			out = append(out, span{e.Key, e.Key, verdictOf(e.Val)})
		case i+1 < len(sorted):
			out = append(out, span{e.Key, before(sorted[i+1].Key), verdictOf(e.Val)})
		default: // to the last value there is
			out = append(out, span{e.Key, bytes.Repeat([]byte{0xff}, len(e.Key)), verdictOf(e.Val)})
		}
	}
	return out
}

// verdictOf reads the verdict of an element of a map: attributes with the code and the chain (enum nft_verdict_attributes).
func verdictOf(data []byte) *expr.Verdict {
	const code, chain = 1, 2
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return nil
	}
	ad.ByteOrder = binary.BigEndian
	var out *expr.Verdict
	for ad.Next() {
		switch ad.Type() {
		case code:
			out = &expr.Verdict{Kind: expr.VerdictKind(int32(ad.Uint32()))}
		case chain:
			if out != nil {
				out.Chain = ad.String()
			}
		}
	}
	if ad.Err() != nil {
		return nil
	}
	return out
}

// before is the value before one, as a number in the order of the network.
func before(key []byte) []byte {
	out := bytes.Clone(key)
	for i := len(out) - 1; i >= 0; i-- {
		out[i]--
		if out[i] != 0xff {
			break
		}
	}
	return out
}

func sortElements(elements []nftables.SetElement) {
	// An end comes before a beginning at the same value.
	order := func(e nftables.SetElement) int {
		if e.IntervalEnd {
			return 0
		}
		return 1
	}
	slices.SortFunc(elements, func(a, b nftables.SetElement) int {
		return cmp.Or(bytes.Compare(a.Key, b.Key), order(a)-order(b))
	})
}

// nftTable names a table of nftables.
func nftTable(family nftables.TableFamily, name string) Table {
	return Table("nft " + familyName(family) + " " + name)
}

func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	case nftables.TableFamilyINet:
		return "inet"
	case nftables.TableFamilyNetdev:
		return "netdev"
	case nftables.TableFamilyBridge:
		return "bridge"
	default:
		return "arp"
	}
}

// meetsFamily reports whether packets of a family meet the tables of another.
func meetsFamily(t nftables.TableFamily, f netfilter.Family) bool {
	switch t {
	case nftables.TableFamilyIPv4:
		return f == netfilter.IPv4
	case nftables.TableFamilyIPv6:
		return f == netfilter.IPv6
	case nftables.TableFamilyINet, nftables.TableFamilyNetdev:
		return true
	}
	return false
}
