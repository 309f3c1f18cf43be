package walk

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
)

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
