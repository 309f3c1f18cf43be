package network

import (
	"net/netip"
	"slices"
	"strings"

	"labd/internal/docker"
	"labd/internal/netfilter"
)

// foundDrop is a DROP or REJECT with the chain that it stands in.
type foundDrop struct {
	chain string
	rule  netfilter.Rule
}

// madeByEngine are the beginnings of the chains that container engines and hypervisors make for themselves: a drop there
// is not the user's own.
var madeByEngine = [...]string{"DOCKER", "NETAVARK", "CNI-", "LIBVIRT_", "LABD-"}

// userDrop finds a DROP or REJECT of the user's own that packets for the subnet may meet, and which a rule of labd's
// before it would undo: in DOCKER-USER, or in FORWARD where there is none, in the chains that these lead to, and in
// the raw table. It errs to yes.
func (d *diagnosis) userDrop(l subnetPath) (foundDrop, bool) {
	start := "DOCKER-USER"
	if l.container.rules(l.family).Chain("filter", start) == nil {
		start = "FORWARD"
	}
	if drop, ok := d.dropFrom(l, l.subnet, "filter", start, map[string]bool{}); ok {
		return drop, true
	}
	// The raw table comes before an alias is mapped.
	return d.dropFrom(l, l.reach, "raw", "PREROUTING", map[string]bool{})
}

func (d *diagnosis) dropFrom(l subnetPath, to netip.Prefix, table, chain string, seen map[string]bool) (foundDrop, bool) {
	ch := l.container.rules(l.family).Chain(table, chain)
	if ch == nil || seen[chain] {
		return foundDrop{}, false
	}
	seen[chain] = true
	for _, rule := range ch.Rules {
		target := rule.Target()
		if target == "" || !d.mayMeet(rule, l, to) || table == "raw" && l.guardsAccess(rule) {
			continue
		}
		if target == "DROP" || target == "REJECT" {
			return foundDrop{chain, rule}, true
		}
		if slices.ContainsFunc(madeByEngine[:], func(prefix string) bool { return strings.HasPrefix(target, prefix) }) {
			continue
		}
		if drop, ok := d.dropFrom(l, to, table, target, seen); ok {
			return drop, true
		}
	}
	return foundDrop{}, false
}

// mayMeet reports whether a packet from one of the sources to the prefix may match the rule.
func (d *diagnosis) mayMeet(rule netfilter.Rule, l subnetPath, to netip.Prefix) bool {
	return rule.MayMeet(l.container.Uplink, to) && rule.MayLeaveBy(l.network.Bridge) && slices.ContainsFunc(d.sourcesOf(l.family), rule.MayComeFrom)
}

// guardsAccess reports whether a raw rule is Docker's own against direct access: for an address or the subnet, and for
// whatever does not come in by one of its bridges (moby, daemon/libnetwork/drivers/bridge, filterDirectAccess).
func (c candidate) guardsAccess(rule netfilter.Rule) bool {
	name, ok := rule.NotIn()
	return ok && slices.ContainsFunc(c.container.Docker.Networks, func(n docker.Network) bool { return n.Bridge == name })
}
