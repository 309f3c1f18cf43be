package network

import (
	"errors"
	"strings"

	"labd/internal/netfilter"
	"labd/internal/route"
)

// switchParams are the parameters of opSwitch.
type switchParams struct {
	Value string `json:"value"`
}

// forwardParams are the parameters of opForward.
type forwardParams struct {
	Interface string `json:"interface"`
}

// routesParams are the parameters of opRoutes: routes to make, and routes with labd's mark to take away.
type routesParams struct {
	Add    []route.Route `json:"add"`
	Remove []route.Route `json:"remove"`
	// AddRules and RemoveRules are the rules that lead to labd's table.
	AddRules    []route.Rule `json:"addRules,omitempty"`
	RemoveRules []route.Rule `json:"removeRules,omitempty"`
	Owners      Owners       `json:"owners,omitempty"`
}

// len returns the number of changes.
func (p routesParams) len() int {
	return len(p.Add) + len(p.Remove) + len(p.AddRules) + len(p.RemoveRules)
}

// rulesParams are the parameters of opRules. NetNS pins the start of the container that the plan was made for.
type rulesParams struct {
	Container int    `json:"container"`
	NetNS     string `json:"netns"`
	chainParams
	// IPv6 are the rules of IPv6, Table those of nftables; what is absent is left as it is.
	IPv6  *chainParams `json:"ipv6,omitempty"`
	Table *tableParams `json:"table,omitempty"`
}

// chainParams are the rules of one family, as iptables-save writes them.
type chainParams struct {
	Raw     []string `json:"raw"`
	Forward []string `json:"forward"`
	NAT     []string `json:"nat,omitempty"`
}

// tableParams are the rules of labd's nftables table.
type tableParams struct {
	Mark  []string `json:"mark,omitempty"`
	Alias []string `json:"alias,omitempty"`
}

func newChainParams(c netfilter.Chains) chainParams {
	return chainParams{Raw: texts(c.Raw), Forward: texts(c.Forward), NAT: texts(c.NAT)}
}

// newRulesParams are the parameters that make a container's rules as wanted.
func newRulesParams(c *Container, want netfilter.Rules) rulesParams {
	p := rulesParams{Container: c.ID, NetNS: c.NetNS, chainParams: newChainParams(want.IPv4)}
	if c.Rules6 != nil {
		six := newChainParams(want.IPv6)
		p.IPv6 = &six
	}
	if want.Table.Len() > 0 || c.Table.There {
		p.Table = &tableParams{Mark: want.Table.Mark, Alias: want.Table.Alias}
	}
	return p
}

// rules are the parameters as rules.
func (p rulesParams) rules() (netfilter.Rules, error) {
	chains := func(c chainParams) (netfilter.Chains, error) {
		raw, err1 := netfilter.ParseRules(c.Raw)
		forward, err2 := netfilter.ParseRules(c.Forward)
		nat, err3 := netfilter.ParseRules(c.NAT)
		return netfilter.Chains{Raw: raw, Forward: forward, NAT: nat}, errors.Join(err1, err2, err3)
	}
	var out netfilter.Rules
	var err1, err2 error
	out.IPv4, err1 = chains(p.chainParams)
	if p.IPv6 != nil {
		out.IPv6, err2 = chains(*p.IPv6)
	}
	if p.Table != nil {
		out.Table = netfilter.Table{Mark: p.Table.Mark, Alias: p.Table.Alias}
	}
	return out, errors.Join(err1, err2)
}

// len is the number of rules.
func (p rulesParams) len() int {
	n := len(p.Raw) + len(p.Forward) + len(p.NAT)
	if p.IPv6 != nil {
		n += len(p.IPv6.Raw) + len(p.IPv6.Forward) + len(p.IPv6.NAT)
	}
	if p.Table != nil {
		n += len(p.Table.Mark) + len(p.Table.Alias)
	}
	return n
}

// how says how the rules get into the container.
func (p rulesParams) how() string {
	chains := func(c chainParams) []string {
		var names []string
		for _, chain := range []struct {
			name  string
			rules []string
		}{{netfilter.ChainRaw, c.Raw}, {netfilter.ChainForward, c.Forward}, {netfilter.ChainNAT, c.NAT}} {
			if len(chain.rules) > 0 {
				names = append(names, chain.name)
			}
		}
		return names
	}
	var parts []string
	if names := chains(p.chainParams); len(names) > 0 {
		parts = append(parts, "iptables-restore --noflush: chains "+strings.Join(names, ", "))
	}
	if p.IPv6 != nil {
		if names := chains(*p.IPv6); len(names) > 0 {
			parts = append(parts, "ip6tables-restore --noflush: chains "+strings.Join(names, ", "))
		}
	}
	if p.Table != nil && len(p.Table.Mark)+len(p.Table.Alias) > 0 {
		parts = append(parts, "nft: table inet labd")
	}
	if len(parts) == 0 {
		return "take labd's chains and table out of its network namespace"
	}
	return "in its network namespace, " + strings.Join(parts, "; ")
}
