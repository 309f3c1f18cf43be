package network

import (
	"fmt"
	"net/netip"
	"slices"

	"labd/internal/finding"
	"labd/internal/netfilter"
	"labd/internal/route"
)

// mostTries bounds the search for a free alias.
const mostTries = 1 << 16

// alias gives a subnet its alias: the one that its network has had, else the first free prefix of the pools. It says why
// there is none. Who comes first is settled by the order of the candidates, and kept in the state with the owners, so
// that an alias stays the same when other networks come and go.
func (d *diagnosis) alias(l *subnetPath) *finding.Finding {
	length := l.subnet.Bits()
	if l.family == netfilter.IPv4 {
		length = max(length, d.policy.AliasLength)
	}
	l.target = netip.PrefixFrom(l.subnet.Addr(), length)
	if widest, narrowest := limits(l.family); l.subnet.Bits() < widest || l.subnet.Bits() > narrowest {
		return nil // refused for its length
	}
	for _, prefix := range sortedPrefixes(d.report.Want.Owners) {
		if d.report.Want.Owners[prefix] == l.owner() && prefix.Bits() == length && netfilter.FamilyOf(prefix.Addr()) == l.family && route.Within(d.policy.AliasPools, prefix) {
			l.reach = prefix
			return nil
		}
	}
	if prefix, ok := d.freeAlias(l.family, length); ok {
		l.reach = prefix
		return nil
	}
	pools := ofFamily(d.policy.AliasPools, l.family)
	title := fmt.Sprintf("no /%d of the alias pools is free for %s", length, l.subnet)
	if len(pools) == 0 {
		title = fmt.Sprintf("no alias pool of %s is configured, so %s has no alias", l.family, l.subnet)
	}
	return &finding.Finding{
		Code: finding.NetAliasPool, Severity: finding.Warn, Title: title, Confidence: finding.Certain,
		Cause:    "its mode is alias, and an alias is a prefix of network.alias_pools that nothing else uses",
		Evidence: []finding.Evidence{{Source: "labd.toml", Text: fmt.Sprintf("network.alias_pools = %v, network.alias_length = %d", d.policy.AliasPools, d.policy.AliasLength)}},
		Remedies: []finding.Remedy{{Title: "add a pool to network.alias_pools in labd.toml that no network of the lab uses, as 10.99.0.0/16", Risk: finding.RiskLow}},
	}
}

// freeAlias is the first prefix of a length in the pools that meets nothing else.
func (d *diagnosis) freeAlias(f netfilter.Family, length int) (netip.Prefix, bool) {
	tries := 0
	for _, pool := range ofFamily(d.policy.AliasPools, f) {
		if length < pool.Bits() {
			continue
		}
		for prefix := netip.PrefixFrom(pool.Addr(), length); pool.Contains(prefix.Addr()); {
			blocker, taken := d.meets(prefix)
			if !taken {
				return prefix, true
			}
			if tries++; tries > mostTries {
				return netip.Prefix{}, false
			}
			// On to the next one behind what is in the way.
			next := route.LastAddr(prefix).Next()
			if blocker.Bits() < length {
				next = route.LastAddr(blocker).Next()
			}
			if !next.IsValid() {
				break
			}
			prefix = netip.PrefixFrom(next, length)
		}
	}
	return netip.Prefix{}, false
}

// meets is something that a prefix would overlap: an address or route of the host, a source, an owned prefix, the address
// of a container, a network of the cluster.
func (d *diagnosis) meets(prefix netip.Prefix) (netip.Prefix, bool) {
	if d.taken == nil {
		for _, a := range d.facts.Host.Addresses {
			d.taken = append(d.taken, a.Prefix.Masked())
		}
		for _, r := range d.facts.Host.Routes {
			if r.Dst.IsValid() && r.Dst.Bits() > 1 && !r.Nowhere {
				d.taken = append(d.taken, r.Dst)
			}
		}
		for _, c := range d.facts.Host.Cluster {
			d.taken = append(d.taken, c.Prefix)
		}
		for i := range d.facts.Containers {
			for _, a := range []netip.Addr{d.facts.Containers[i].Address, d.facts.Containers[i].Address6} {
				if a.IsValid() {
					d.taken = append(d.taken, netip.PrefixFrom(a, a.BitLen()))
				}
			}
		}
		d.taken = append(d.taken, d.sources...)
	}
	for _, t := range d.taken {
		if t.Overlaps(prefix) {
			return t, true
		}
	}
	for owned := range d.report.Want.Owners {
		if owned.Overlaps(prefix) {
			return owned, true
		}
	}
	return netip.Prefix{}, false
}

func sortedPrefixes(owners Owners) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(owners))
	for p := range owners {
		out = append(out, p)
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return out
}

// disown gives up the prefixes of a network that are not its any more: those of another mode or length.
func (d *diagnosis) disown(owner Owner, keep []subnetPath) {
	for _, prefix := range d.ownedBy[owner] {
		if d.report.Want.Owners[prefix] == owner && !slices.ContainsFunc(keep, func(l subnetPath) bool { return l.reach == prefix }) {
			delete(d.report.Want.Owners, prefix)
		}
	}
}

// claim gives a prefix to a network.
func (d *diagnosis) claim(prefix netip.Prefix, owner Owner) {
	if d.report.Want.Owners[prefix] == owner {
		return
	}
	d.report.Want.Owners[prefix] = owner
	d.noteOwner(prefix, owner)
}

// noteOwner makes the owner of a prefix quick to find. What is given up later stays noted, and is asked for in the end.
func (d *diagnosis) noteOwner(prefix netip.Prefix, owner Owner) {
	d.ownedBy[owner] = append(d.ownedBy[owner], prefix)
	if i, there := slices.BinarySearchFunc(d.owned, prefix, netip.Prefix.Compare); !there {
		d.owned = slices.Insert(d.owned, i, prefix)
	}
}
