package walk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

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
