package walk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables/expr"
)

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
