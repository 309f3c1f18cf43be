package walk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"labd/internal/netfilter"
	"labd/internal/route"
)

// Read reads the whole packet filter of a network namespace for one family: iptables by its save programs, what else is in
// nftables by netlink, without the nft program. What cannot be read is in the ruleset's Unread; an error says that nothing
// could be read at all. The ruleset may be shared: it must not be changed.
func Read(ctx context.Context, n netfilter.Namespace, f netfilter.Family) (*Ruleset, error) {
	return netfilter.Remembered(ctx, n, "walk "+string(f), func() (*Ruleset, error) { return load(ctx, n, f) })
}

func load(ctx context.Context, n netfilter.Namespace, f netfilter.Family) (*Ruleset, error) {
	out := New(f)
	backends, err := n.Backends(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("read the packet filter: %w", err)
	}
	var failed error
	for _, backend := range backends {
		saved, err := n.Read(ctx, backend, f)
		if err != nil {
			failed = errors.Join(failed, err)
			out.Unread = append(out.Unread, Unread{Table: IPTables(f, backend, "filter"), Why: err.Error()})
			continue
		}
		out.AddIPTables(backend, saved, nil)
	}
	if err := out.addNFTables(n.NetNS); err != nil {
		out.Unread = append(out.Unread, Unread{Table: "nft", Why: err.Error()})
		if failed != nil {
			return nil, errors.Join(failed, err)
		}
	}
	return out, nil
}

// ofIPTables reports whether a table is one of iptables-nft, which was read by its save program.
func (r *Ruleset) ofIPTables(t *nftables.Table) bool {
	if t.Family != nftables.TableFamilyIPv4 && t.Family != nftables.TableFamilyIPv6 {
		return false
	}
	if _, known := builtIn[t.Name]; !known {
		return false
	}
	// One that iptables cannot print is read as nftables.
	name := IPTables(r.Family, netfilter.NFT, t.Name)
	if i := slices.IndexFunc(r.Unread, func(u Unread) bool { return u.Table == name }); i >= 0 {
		r.Unread = slices.Delete(r.Unread, i, i+1)
		return false
	}
	for key := range r.Chains {
		if key.Table == name {
			return true
		}
	}
	return false
}

// addNFTables adds the tables of nftables.
func (r *Ruleset) addNFTables(namespace *os.File) error {
	options, config := []nftables.ConnOption{}, &netlink.Config{}
	if namespace != nil {
		options = append(options, nftables.WithNetNSFd(int(namespace.Fd())))
		config.NetNS = int(namespace.Fd())
	}
	conn, err := nftables.New(options...)
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	chains, err := conn.ListChains()
	if err != nil {
		return fmt.Errorf("list the chains of nftables: %w", err)
	}
	wanted := map[tableKey]bool{}
	for _, c := range chains {
		if key := (tableKey{c.Table.Family, c.Table.Name}); meetsFamily(c.Table.Family, r.Family) {
			if _, asked := wanted[key]; !asked {
				wanted[key] = !r.ofIPTables(c.Table)
			}
		}
	}
	if !slices.ContainsFunc(chains, func(c *nftables.Chain) bool { return wanted[tableKey{c.Table.Family, c.Table.Name}] }) {
		return nil
	}
	links, err := route.LinkNames(namespace)
	if err != nil {
		return err
	}
	rules, err := dumpRules(config)
	if err != nil {
		return fmt.Errorf("list the rules of nftables: %w", err)
	}
	sets := map[tableKey]map[string]*nftSet{}
	for _, c := range chains {
		key := tableKey{c.Table.Family, c.Table.Name}
		if !wanted[key] {
			continue
		}
		if sets[key] == nil {
			if sets[key], err = readSets(conn, c.Table); err != nil {
				return err
			}
		}
		r.addChain(c, rules[chainOf{key, c.Name}], links, sets[key])
	}
	return nil
}

type tableKey struct {
	family nftables.TableFamily
	name   string
}

type chainOf struct {
	tableKey
	chain string
}

// addChain adds a chain with its rules.
func (r *Ruleset) addChain(c *nftables.Chain, rules [][]expression, links map[int]string, sets map[string]*nftSet) {
	chain := &Chain{ChainKey: ChainKey{nftTable(c.Table.Family, c.Table.Name), c.Name}}
	if c.Hooknum != nil {
		chain.Hook = hookOf(c.Table.Family, *c.Hooknum)
		chain.NAT, chain.Device = c.Type == nftables.ChainTypeNAT, c.Device
		chain.Drops = c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
		if c.Priority != nil {
			chain.Priority = int(*c.Priority)
		}
	}
	for i, exprs := range rules {
		chain.Rules = append(chain.Rules, decodeRule(i+1, exprs, links, sets)...)
	}
	r.Chains[chain.ChainKey] = chain
}

func hookOf(f nftables.TableFamily, number nftables.ChainHook) Hook {
	if f == nftables.TableFamilyNetdev {
		if number == 0 {
			return Ingress
		}
		return "egress"
	}
	hooks := []Hook{Prerouting, Input, Forward, Output, Postrouting, Ingress}
	if int(number) < len(hooks) {
		return hooks[number]
	}
	return "unknown"
}

// maxElements is how many elements of a set are read; one with more is not known.
const maxElements = 20_000

func readSets(conn *nftables.Conn, t *nftables.Table) (map[string]*nftSet, error) {
	out := map[string]*nftSet{}
	list, err := conn.GetSets(t)
	if err != nil {
		return nil, fmt.Errorf("list the sets of table %s: %w", t.Name, err)
	}
	for _, s := range list {
		// What packets fill, as the lists of fail2ban with a timeout do not, changes without any rule.
		set := &nftSet{isMap: s.IsMap, dynamic: s.Dynamic}
		if !s.Dynamic {
			elements, err := conn.GetSetElements(s)
			if err != nil {
				return nil, fmt.Errorf("read the set %s of table %s: %w", s.Name, t.Name, err)
			}
			if set.elements = elements; len(elements) > maxElements {
				set.dynamic, set.elements = true, nil
			}
		}
		out[s.Name] = set
	}
	return out, nil
}

// Attributes of a rule (enum nft_rule_attributes, nft_list_attributes and nft_expr_attributes in
// linux/netfilter/nf_tables.h).
const (
	attrRuleTable = 1
	attrRuleChain = 2
	attrRuleExprs = 4
	attrExprName  = 1
	attrExprData  = 2
	genHead       = 4 // struct nfgenmsg
)

// dumpRules lists the rules of all tables in their order. The library's list leaves out expressions that it does not know,
// and a rule without one of its conditions would be another rule.
func dumpRules(config *netlink.Config) (map[chainOf][][]expression, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, config)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	messages, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETRULE, Flags: netlink.Request | netlink.Dump},
		Data:   make([]byte, genHead),
	})
	if err != nil {
		return nil, err
	}
	out := map[chainOf][][]expression{}
	for _, m := range messages {
		key, exprs, err := parseRule(m.Data)
		if err != nil {
			return nil, err
		}
		out[key] = append(out[key], exprs)
	}
	return out, nil
}

// parseRule reads one rule of a dump.
func parseRule(data []byte) (key chainOf, exprs []expression, err error) {
	if len(data) < genHead {
		return key, nil, errors.New("a short rule")
	}
	key.family = nftables.TableFamily(data[0])
	ad, err := netlink.NewAttributeDecoder(data[genHead:])
	if err != nil {
		return key, nil, err
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		switch ad.Type() {
		case attrRuleTable:
			key.name = ad.String()
		case attrRuleChain:
			key.chain = ad.String()
		case attrRuleExprs:
			ad.Nested(func(list *netlink.AttributeDecoder) error {
				for list.Next() {
					e, err := parseExpression(byte(key.family), list.Bytes())
					if err != nil {
						return err
					}
					exprs = append(exprs, e)
				}
				return nil
			})
		}
	}
	return key, exprs, ad.Err()
}

// parseExpression reads one expression. Of kinds that labd does not take apart only the name is read.
func parseExpression(family byte, data []byte) (expression, error) {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return expression{}, err
	}
	var e expression
	var body []byte
	for ad.Next() {
		switch ad.Type() {
		case attrExprName:
			e.name = ad.String()
		case attrExprData:
			body = ad.Bytes()
		}
	}
	if err := ad.Err(); err != nil {
		return e, err
	}
	known := map[string]func() expr.Any{
		"meta": func() expr.Any { return &expr.Meta{} }, "payload": func() expr.Any { return &expr.Payload{} }, "ct": func() expr.Any { return &expr.Ct{} },
		"fib": func() expr.Any { return &expr.Fib{} }, "bitwise": func() expr.Any { return &expr.Bitwise{} }, "immediate": func() expr.Any { return &expr.Immediate{} },
		"cmp": func() expr.Any { return &expr.Cmp{} }, "range": func() expr.Any { return &expr.Range{} }, "lookup": func() expr.Any { return &expr.Lookup{} },
		"reject": func() expr.Any { return &expr.Reject{} }, "queue": func() expr.Any { return &expr.Queue{} },
	}[e.name]
	if known == nil {
		return e, nil
	}
	e.known = known()
	if err := expr.Unmarshal(family, body, e.known); err != nil {
		return expression{name: e.name}, nil // it is there, and cannot be judged
	}
	// An immediate without data is a verdict.
	if imm, ok := e.known.(*expr.Immediate); ok && imm.Register == unix.NFT_REG_VERDICT {
		verdict := &expr.Verdict{}
		if err := expr.Unmarshal(family, body, verdict); err != nil {
			return expression{name: "verdict"}, nil
		}
		e.known = verdict
	}
	return e, nil
}
