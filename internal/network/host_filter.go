package network

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/netfilter"
	"labd/internal/netfilter/walk"
)

// readHostFilter reads the host's own packet filter, of IPv4 and, where the host has an IPv6 address, of IPv6. A labd that may
// run no programs looks at another machine's files, whose packet filter it cannot see.
func readHostFilter(ctx context.Context, h *host.Host, cache *netfilter.Cache, addresses []netip.Addr) map[netfilter.Family]*walk.Ruleset {
	out := map[netfilter.Family]*walk.Ruleset{}
	if h.ExecPATH() == "" {
		return out
	}
	space := netfilter.Namespace{Host: h, Proc: filepath.Join(h.Procfs, "self/net"), Cache: cache}
	families := []netfilter.Family{netfilter.IPv4}
	if slices.ContainsFunc(addresses, func(a netip.Addr) bool { return a.Is6() && a.IsGlobalUnicast() }) {
		families = append(families, netfilter.IPv6)
	}
	for _, f := range families {
		rules, err := walk.Read(ctx, space, f)
		if err != nil {
			rules = walk.New(f)
			rules.Unread = []walk.Unread{{Table: "the host's packet filter", Why: err.Error()}}
		}
		out[f] = rules
	}
	return out
}

// hostFilter says what the host's own packet filter does with what is forwarded to a subnet: every base chain of every table
// that such a packet meets.
func (d *diagnosis) hostFilter(n *Network, l subnetPath) {
	rules := d.facts.Host.Filter[l.family]
	if rules == nil {
		return
	}
	for _, source := range d.sourcesOf(l.family) {
		for _, uplink := range d.facts.Host.Uplinks {
			p := walk.Packet{In: uplink, Out: l.route.Dev, Source: source, Dest: l.reach}
			for _, hook := range []walk.Hook{walk.Ingress, walk.Prerouting, walk.Forward, walk.Postrouting} {
				result := rules.Walk(hook, p)
				switch {
				case result.Outcome == walk.Dropped, result.Outcome == walk.Partly && result.Place.Drops:
					d.find(HostFirewallFinding(n.Subject(), result.Place, rules, uplink, l.route.Dev, source, l.reach))
					n.worsen(VerdictUnreachable, "the host's packet filter drops what is forwarded to it: "+result.Place.String())
					return
				case result.Outcome == walk.Unknown:
					n.worsen(VerdictUnknown, fmt.Sprintf("labd cannot tell what the host's packet filter does with it: %s (%s)", result.Because, result.At.String()))
				}
			}
		}
	}
}

// HostFirewallFinding says that a place in the host's packet filter drops what one of the host's interfaces forwards to
// another, from a source to a subnet. The commands hold until the next boot where they are not PVE's.
func HostFirewallFinding(subject finding.Subject, at walk.Place, rules *walk.Ruleset, in, out string, source, dest netip.Prefix) finding.Finding {
	f := finding.Finding{
		Code: finding.NetHostFirewall, Severity: finding.Warn, Subject: subject, Title: "the host's own packet filter drops what is forwarded to it", Confidence: finding.Certain,
		Cause:    "a rule or policy of the host's, which labd does not change: an accept of labd's elsewhere would not override it",
		Evidence: []finding.Evidence{{Source: "host", Text: at.String()}},
	}
	program, _, iptables := strings.Cut(string(at.Table), " -t ")
	switch {
	case strings.Contains(string(at.Table), "proxmox-firewall") || strings.HasPrefix(at.Name, "PVEFW"):
		f.Remedies = []finding.Remedy{{
			Title: "let it through in PVE's firewall of the datacenter, direction forward", Risk: finding.RiskLow,
			Commands: []string{fmt.Sprintf("pvesh create /cluster/firewall/rules --type forward --action ACCEPT --enable 1 --source %s --dest %s", source, dest)},
		}}
	case iptables:
		chain := "FORWARD"
		if rules.Chains[walk.ChainKey{Table: walk.Table(program + " -t filter"), Name: "DOCKER-USER"}] != nil {
			chain = "DOCKER-USER"
		}
		f.Remedies = []finding.Remedy{{
			Title: "let it and its answers through before that rule; after a reboot, too, where you put these lines behind 'post-up' in /etc/network/interfaces", Risk: finding.RiskLow,
			Commands: []string{
				fmt.Sprintf("%s -I %s 1 -i %s -o %s -s %s -d %s -j ACCEPT", program, chain, in, out, source, dest),
				fmt.Sprintf("%s -I %s 1 -i %s -o %s -s %s -d %s -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", program, chain, out, in, dest, source),
			},
		}}
	default:
		place := fmt.Sprintf("%s, chain %s", at.Table, at.Name)
		f.Remedies = []finding.Remedy{{Title: fmt.Sprintf("let %s through to %s in %s, where that rule is, or by the program that made it: firewalld, ufw, a script of your own", source, dest, place), Risk: finding.RiskLow}}
	}
	return f
}
