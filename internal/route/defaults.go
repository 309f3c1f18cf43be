package route

import (
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Default is a next hop of a default route.
type Default struct {
	// Via is not valid where the route leaves by an interface alone.
	Via  netip.Addr
	Dev  string
	IPv6 bool
	// Metric chooses between several default routes of a table: the kernel takes the lowest.
	Table, Metric int
	// Hops is how many next hops the route has; with more than one the kernel spreads connections over them.
	Hops int
}

// toDefaults returns the next hops of all default routes that lead somewhere.
func toDefaults(routes []netlink.Route, names map[int]string) []Default {
	var out []Default
	for _, r := range routes {
		if r.Type != unix.RTN_UNICAST {
			continue
		}
		if r.Dst != nil {
			if prefix, ok := toPrefix(*r.Dst); !ok || prefix.Bits() > 0 {
				continue
			}
		}
		d := Default{IPv6: r.Family == netlink.FAMILY_V6, Table: r.Table, Metric: r.Priority, Hops: max(1, len(r.MultiPath))}
		hops := r.MultiPath
		if len(hops) == 0 {
			hops = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw}}
		}
		for _, hop := range hops {
			d.Dev, d.Via = names[hop.LinkIndex], netip.Addr{}
			if via, ok := netip.AddrFromSlice(hop.Gw); ok {
				d.Via = via.Unmap()
			}
			out = append(out, d)
		}
	}
	return out
}
