package route

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"labd/internal/netfilter"
)

// Table is the routing table that holds labd's routes. Only packets that a Rule of labd's chooses are looked up there, so
// whoever is no source is routed as if there were no labd.
const Table = 176

// Priorities of labd's rules: behind the local table (0) and before the main one (32766). That of tunnels which send
// everything their way (Tailscale 5210 to 5270) comes first.
const (
	PriorityHost   = 17600
	PrioritySource = 17601
)

// Rule is a policy rule of the host (ip-rule(8)) that leads to labd's table: for packets of one source, or, without a
// source, for what the host itself sends.
type Rule struct {
	Family netfilter.Family
	// Source is whose packets are meant; the zero Prefix stands for the host itself.
	Source netip.Prefix
	// Priority is PriorityHost or PrioritySource; what is found in the kernel may have another.
	Priority int
	Table    int
}

// HostRule returns the rule for what the host itself sends.
func HostRule(f netfilter.Family) Rule { return Rule{Family: f, Priority: PriorityHost, Table: Table} }

// SourceRule returns the rule for the packets of a source.
func SourceRule(source netip.Prefix) Rule {
	return Rule{Family: netfilter.FamilyOf(source.Addr()), Source: source, Priority: PrioritySource, Table: Table}
}

// From returns whose packets are meant as a prefix, which is all of the family for the host itself.
func (r Rule) From() netip.Prefix {
	switch {
	case r.Source.IsValid():
		return r.Source
	case r.Family == netfilter.IPv6:
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	default:
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
}

// Who says whose packets are meant: "192.168.1.0/24", or "this host".
func (r Rule) Who() string {
	if r.Source.IsValid() {
		return r.Source.String()
	}
	return "this host"
}

// String returns the rule as ip rule writes it.
func (r Rule) String() string {
	if !r.Source.IsValid() {
		return fmt.Sprintf("%d: from all iif lo lookup %d (%s)", r.Priority, r.Table, r.Family)
	}
	return fmt.Sprintf("%d: from %s lookup %d", r.Priority, r.Source, r.Table)
}

func (r Rule) toKernel() *netlink.Rule {
	out := netlink.NewRule()
	out.Family, out.Priority, out.Table, out.Protocol = netlink.FAMILY_V4, r.Priority, r.Table, Protocol
	if r.Family == netfilter.IPv6 {
		out.Family = netlink.FAMILY_V6
	}
	if r.Source.IsValid() {
		out.Src = toIPNet(r.Source)
	} else {
		out.IifName = "lo"
	}
	return out
}

// ListRules returns the rules with labd's mark that have the shape that labd makes, those of IPv4 first.
func ListRules() ([]Rule, error) {
	rules, err := markedRules()
	if err != nil {
		return nil, err
	}
	var out []Rule
	for _, r := range rules {
		rule := Rule{Family: netfilter.IPv4, Priority: r.Priority, Table: r.Table}
		if r.Family == netlink.FAMILY_V6 {
			rule.Family = netfilter.IPv6
		}
		if r.Src != nil {
			rule.Source, _ = toPrefix(*r.Src)
		}
		if rule.Source.IsValid() == (r.IifName == "") && (r.IifName == "" || r.IifName == "lo") && r.Dst == nil && r.Mark == 0 && !r.Invert {
			out = append(out, rule)
		}
	}
	return out, nil
}

// markedRules returns the rules with labd's mark as the kernel has them.
func markedRules() ([]netlink.Rule, error) {
	var out []netlink.Rule
	for _, family := range families {
		rules, err := dump(func() ([]netlink.Rule, error) { return Host().RuleList(family) })
		if errors.Is(err, unix.EAFNOSUPPORT) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("list the rules for routing: %w", err)
		}
		for _, r := range rules {
			if r.Protocol == Protocol {
				r.Family = family
				out = append(out, r)
			}
		}
	}
	return out, nil
}

// AddRules adds rules and returns how many were made; one that is there is left as it is.
func AddRules(rules []Rule) (made int, err error) {
	for _, r := range rules {
		switch err := Host().RuleAdd(r.toKernel()); {
		case err == nil:
			made++
		case !errors.Is(err, unix.EEXIST):
			return made, fmt.Errorf("add the rule %q for routing: %w", r, err)
		}
	}
	return made, nil
}

// RemoveRules removes rules and returns how many were there.
func RemoveRules(rules []Rule) (removed int, err error) {
	for _, r := range rules {
		switch err := Host().RuleDel(r.toKernel()); {
		case err == nil:
			removed++
		case !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ESRCH):
			return removed, fmt.Errorf("remove the rule %q for routing: %w", r, err)
		}
	}
	return removed, nil
}
