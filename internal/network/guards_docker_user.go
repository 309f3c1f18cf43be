package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"labd/internal/docker"
	"labd/internal/finding"
	"labd/internal/netfilter"
	"labd/internal/netfilter/walk"
)

// madeByEngine are the beginnings of the chains that container engines and hypervisors make for themselves: a drop there
// is not the user's own.
var madeByEngine = [...]string{"DOCKER", "NETAVARK", "CNI-", "LIBVIRT_", "LABD-"}

// userRules is what a person's own rules in the container do with packets of one source for a subnet: in DOCKER-USER, or in
// FORWARD where there is none, in the chains that these lead to, and in the raw table. A rule of labd's stands before
// them, so it has to leave to them what they close.
type userRules struct {
	// closed says that they close the subnet: for certain, or, where unsure is set, because of a rule that labd can neither
	// judge nor leave to itself. at is that rule.
	closed, unsure bool
	at             walk.Place
	// returns are matches of packets that are left to the person's rules, accepts those that alone may come in; without any
	// accepts all may.
	returns, accepts [][]string
	// narrow are the rules that close a part.
	narrow []walk.Place
}

// userForward and userRaw are what a person's rules do in the two places where labd accepts.
func (d *diagnosis) userForward(l subnetPath, source netip.Prefix) userRules {
	start := "DOCKER-USER"
	if l.container.rules(l.family).Chain("filter", start) == nil {
		start = "FORWARD"
	}
	p := walk.Packet{In: l.container.Uplink, Out: l.network.Bridge, Source: source, Dest: l.target}
	if l.mode == ModeAlias {
		p.OrigDest = l.reach
	}
	return d.userRulesFrom(l, "filter", start, p)
}

// The raw table comes before an alias is mapped.
func (d *diagnosis) userRaw(l subnetPath, source netip.Prefix) userRules {
	return d.userRulesFrom(l, "raw", "PREROUTING", walk.Packet{In: l.container.Uplink, Source: source, Dest: l.reach})
}

func (d *diagnosis) userRulesFrom(l subnetPath, table, chain string, p walk.Packet) userRules {
	rules := d.iptables(l.container, l.family)
	if rules == nil {
		return userRules{}
	}
	key := walk.ChainKey{Table: walk.IPTables(l.family, l.container.Backend, table), Name: chain}
	if found := rules.Chains[key]; found != nil && found.Drops {
		// Its policy is Docker's, or for what nobody has ruled on.
		open := *found
		open.Drops = false
		rules.Chains[key] = &open
		defer func() { rules.Chains[key] = found }()
	}
	result := rules.WalkChain(key, p, func(_ walk.ChainKey, rule walk.Rule) bool {
		return slices.ContainsFunc(madeByEngine[:], func(prefix string) bool { return strings.HasPrefix(rule.Chain, prefix) && rule.Chain != "DOCKER-USER" }) ||
			table == "raw" && l.guardsAccess(rule)
	})
	out := userRules{closed: result.Place.Drops, at: result.Place}
	if result.Outcome == walk.Unknown && len(result.Parts) == 0 {
		return userRules{closed: true, unsure: true, at: result.At} // more rules than labd follows
	}
	for _, part := range result.Parts {
		match, ok := copyable(part)
		switch {
		case ok && part.Place.Drops:
			out.returns, out.narrow = append(out.returns, match), append(out.narrow, part.Place)
		case ok:
			out.accepts, out.closed = append(out.accepts, match), false
			out.narrow = append(out.narrow, result.Place)
		case part.Place.Drops:
			out.closed, out.unsure, out.at = true, true, part.Place
		}
	}
	return out
}

// iptables returns the container's rules of a family for walking; nil where they are not known. They are taken apart once.
func (d *diagnosis) iptables(c *Container, f netfilter.Family) *walk.Ruleset {
	saved := c.rules(f)
	if saved == nil {
		return nil
	}
	if d.walks[saved] == nil {
		rules := walk.New(f)
		rules.AddIPTables(c.Backend, saved, nil)
		if d.walks == nil {
			d.walks = map[*netfilter.Ruleset]*walk.Ruleset{}
		}
		d.walks[saved] = rules
	}
	return d.walks[saved]
}

// copied are the matches and options that labd writes into a rule of its own: they open no file and load nothing by a name
// from the container but sets that stand in its own network namespace.
var (
	copiedMatches = []string{"tcp", "udp", "icmp", "icmp6", "multiport", "conntrack", "state", "set", "iprange", "addrtype", "comment", "mark"}
	copiedOptions = map[string]int{
		"-s": 1, "-d": 1, "-i": 1, "-o": 1, "-p": 1, "--dport": 1, "--dports": 1, "--sport": 1, "--sports": 1, "--ctstate": 1, "--state": 1, "--match-set": 2, "--src-range": 1,
		"--dst-range": 1, "--dst-type": 1, "--src-type": 1, "--icmp-type": 1, "--icmpv6-type": 1, "--tcp-flags": 2, "--mark": 1, "--ctorigdst": 1,
	}
)

// copyable returns the match of a part of packets as arguments for a rule of labd's own. It reports false where there is a
// condition that labd does not copy, or none at all.
func copyable(part walk.Part) ([]string, bool) {
	var all [][]string
	for _, rule := range part.Path {
		match, ok := copyMatch(rule.Match)
		if !ok {
			return nil, false
		}
		if len(match) > 0 {
			all = append(all, match)
		}
	}
	if len(all) == 0 {
		return nil, false
	}
	joined := slices.Concat(all...)
	seen := map[string]bool{}
	for _, arg := range joined {
		if _, option := copiedOptions[arg]; option && seen[arg] {
			// No rule can say both; the last is wider than the two.
			return all[len(all)-1], true
		}
		seen[arg] = true
	}
	return joined, true
}

// copyMatch returns a match without its comments.
func copyMatch(args []string) ([]string, bool) {
	var out []string
	for i := 0; i < len(args); i++ {
		values := 0
		switch arg := args[i]; {
		case arg == "!":
		case arg == "--comment":
			i++
			continue
		case arg == "-m":
			if i+1 >= len(args) || !slices.Contains(copiedMatches, args[i+1]) {
				return nil, false
			}
			if values = 1; args[i+1] == "comment" {
				i++
				continue
			}
		default:
			n, known := copiedOptions[arg]
			if !known {
				return nil, false
			}
			values = n
		}
		if i+values >= len(args) {
			return nil, false
		}
		out = append(out, args[i:i+values+1]...)
		i += values
	}
	return out, true
}

// userClosed finds a source whose packets a person's rules keep out of a subnet.
func (d *diagnosis) userClosed(l subnetPath) (userRules, bool) {
	for _, source := range d.sourcesOf(l.family) {
		for _, u := range []userRules{d.userForward(l, source), d.userRaw(l, source)} {
			if u.closed {
				return u, true
			}
		}
	}
	return userRules{}, false
}

// userDropFinding says which rule of a person's own closes a subnet.
func (d *diagnosis) userDropFinding(l subnetPath, u userRules) *finding.Finding {
	f := &finding.Finding{
		Code: finding.NetUserDrop, Severity: finding.Warn, Title: fmt.Sprintf("a rule of the user's own in %s drops what would come; labd respects it", u.at.Name), Confidence: finding.Likely,
		Cause:    "someone closed this network on purpose",
		Evidence: []finding.Evidence{{Source: saveTool(l.family, l.container.Backend), Text: u.at.Text}},
		Remedies: []finding.Remedy{
			{Title: "remove the rule in the container if it is no longer meant", Risk: finding.RiskLow},
			{Title: "have labd open the network all the same: network.override_user_drop = true in labd.toml", Risk: finding.RiskLow},
		},
	}
	if u.unsure {
		f.Title = fmt.Sprintf("a rule of the user's own in %s may drop what would come, and labd cannot tell for whom; it leaves the network alone", u.at.Name)
		f.Confidence = finding.Unknown
	}
	return f
}

// userNarrow says which rules of a person's own close a part of a network that labd opens.
func (d *diagnosis) userNarrow(n *Network, l subnetPath) {
	if d.policy.OverrideUserDrop || l.nftBackend() {
		return
	}
	var evidence []finding.Evidence
	for _, source := range d.sourcesOf(l.family) {
		for _, u := range []userRules{d.userForward(l, source), d.userRaw(l, source)} {
			places := u.narrow
			if u.closed {
				places = append(places, u.at)
			}
			for _, place := range places {
				e := finding.Evidence{Source: saveTool(l.family, l.container.Backend), Text: place.Text}
				if !slices.Contains(evidence, e) && place.Number > 0 && len(evidence) < maxEvidence {
					evidence = append(evidence, e)
				}
			}
		}
	}
	if len(evidence) == 0 {
		return
	}
	u, closed := d.userClosed(l)
	f := finding.Finding{
		Code: finding.NetUserDrop, Severity: finding.Info, Subject: n.Subject(), Title: "rules of the user's own close a part of it; labd leaves that closed", Confidence: finding.Likely,
		Cause:    "someone closed a source, a port or an address on purpose",
		Evidence: evidence,
		Remedies: []finding.Remedy{{Title: "remove the rules in the container if they are no longer meant", Risk: finding.RiskLow}},
	}
	if closed {
		f.Severity, f.Title = finding.Warn, "rules of the user's own close it since labd opened it; labd keeps its route and leaves that closed"
		n.worsen(VerdictUnreachable, "closed by a rule of the user's own in "+u.at.Name)
	}
	d.find(f)
}

// maxEvidence bounds how many lines one finding has from rules or interfaces of a container.
const maxEvidence = 8

// guardsAccess reports whether a raw rule is Docker's own against direct access: for an address or the subnet, and for
// whatever does not come in by one of its bridges (moby, daemon/libnetwork/drivers/bridge, filterDirectAccess).
func (c candidate) guardsAccess(rule walk.Rule) bool {
	for _, cond := range rule.Conds {
		if cond.Field == walk.FieldIn && cond.Negate && slices.ContainsFunc(c.container.Docker.Networks, func(n docker.Network) bool { return slices.Contains(cond.Names, n.Bridge) }) {
			return true
		}
	}
	return false
}
