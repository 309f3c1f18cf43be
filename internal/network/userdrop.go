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
func (d *diagnosis) userDrop(c candidate, subnet netip.Prefix) (foundDrop, bool) {
	start := "DOCKER-USER"
	if c.container.Rules.Chain("filter", start) == nil {
		start = "FORWARD"
	}
	if drop, ok := d.dropFrom(c, subnet, "filter", start, map[string]bool{}); ok {
		return drop, true
	}
	return d.dropFrom(c, subnet, "raw", "PREROUTING", map[string]bool{})
}

func (d *diagnosis) dropFrom(c candidate, subnet netip.Prefix, table, chain string, seen map[string]bool) (foundDrop, bool) {
	ch := c.container.Rules.Chain(table, chain)
	if ch == nil || seen[chain] {
		return foundDrop{}, false
	}
	seen[chain] = true
	for _, rule := range ch.Rules {
		target := rule.Target()
		if target == "" || !d.mayMeet(rule, c, subnet) || table == "raw" && c.guardsAccess(rule) {
			continue
		}
		if target == "DROP" || target == "REJECT" {
			return foundDrop{chain, rule}, true
		}
		if slices.ContainsFunc(madeByEngine[:], func(prefix string) bool { return strings.HasPrefix(target, prefix) }) {
			continue
		}
		if drop, ok := d.dropFrom(c, subnet, table, target, seen); ok {
			return drop, true
		}
	}
	return foundDrop{}, false
}

// mayMeet tells whether a packet from one of the sources to the subnet may match the rule.
func (d *diagnosis) mayMeet(rule netfilter.Rule, c candidate, subnet netip.Prefix) bool {
	return rule.MayMeet(c.container.Uplink, subnet) && rule.MayLeaveBy(c.network.Bridge) && slices.ContainsFunc(d.sources, rule.MayComeFrom)
}

// guardsAccess tells whether a raw rule is Docker's own against direct access: for an address or the subnet, and for
// whatever does not come in by one of its bridges (moby, daemon/libnetwork/drivers/bridge, filterDirectAccess).
func (c candidate) guardsAccess(rule netfilter.Rule) bool {
	name, ok := rule.NotIn()
	return ok && slices.ContainsFunc(c.container.Docker.Networks, func(n docker.Network) bool { return n.Bridge == name })
}
