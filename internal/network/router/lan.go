package router

import (
	"fmt"
	"net/netip"
	"slices"

	"labd/internal/netfilter"
	"labd/internal/network"
	"labd/internal/route"
)

// lan is the network between the router and the host, as far as the host knows it.
type lan struct {
	// hop4 and hop6 are the host's addresses by which the router reaches it, with the prefix of the LAN.
	hop4, hop6 netip.Prefix
	// device and device6 are their interfaces.
	device, device6 string
	// gateway is the LAN's router, as the host knows it; where it is not valid, why says the reason.
	gateway netip.Addr
	why     string
	// direct are the sources in the LAN itself: their clients are answered past the router.
	direct []netip.Prefix
}

// hop returns the next hop of a family: the zero Addr where the host has none.
func (l lan) hop(f netfilter.Family) netip.Addr {
	if f == netfilter.IPv6 {
		return l.hop6.Addr()
	}
	return l.hop4.Addr()
}

// lanOf returns what is known of the LAN.
func lanOf(r *network.Report) lan {
	h := r.Facts().Host
	var l lan
	l.hop4, l.device = nextHop(h, netfilter.IPv4)
	l.hop6, l.device6 = nextHop(h, netfilter.IPv6)
	l.gateway, l.why = gateway(h, l.hop4, l.device)
	for _, source := range r.Sources {
		if l.hop4.IsValid() && source.Overlaps(l.hop4.Masked()) || l.hop6.IsValid() && source.Overlaps(l.hop6.Masked()) {
			l.direct = append(l.direct, source)
		}
	}
	return l
}

// nextHop returns the host's address by which the LAN reaches it, and its interface. Of several it is the one that the
// default route leaves by, the best first.
func nextHop(h network.Host, f netfilter.Family) (netip.Prefix, string) {
	var first route.Address
	for _, via := range append(defaults(h, f), route.Default{}) {
		for _, name := range h.Uplinks {
			for _, a := range h.Addresses {
				addr := a.Prefix.Addr()
				if a.Interface != name || !addr.IsGlobalUnicast() || netfilter.FamilyOf(addr) != f {
					continue
				}
				if via.Dev == name && (a.Prefix.Contains(via.Via) || f == netfilter.IPv6 && via.Via.IsLinkLocalUnicast()) {
					return a.Prefix, name
				}
				if !first.Prefix.IsValid() {
					first = a
				}
			}
		}
	}
	return first.Prefix, first.Interface
}

// defaults returns the default routes of a family in the main table, the one that the kernel takes first.
func defaults(h network.Host, f netfilter.Family) []route.Default {
	var out []route.Default
	for _, d := range h.Defaults {
		if d.Table == route.MainTable && d.IPv6 == (f == netfilter.IPv6) {
			out = append(out, d)
		}
	}
	slices.SortStableFunc(out, func(a, b route.Default) int { return a.Metric - b.Metric })
	return out
}

// gateway returns the LAN's router: what the host's default route names, provided that the clients of the LAN can use it
// too. A wrong one, told to all clients, would cut them off from the internet.
func gateway(h network.Host, hop netip.Prefix, device string) (netip.Addr, string) {
	list := defaults(h, netfilter.IPv4)
	switch {
	case !hop.IsValid():
		return netip.Addr{}, "the host has no IPv4 address on its uplink"
	case len(list) == 0:
		return netip.Addr{}, "the host has no default route, so the LAN's router is not known"
	}
	best := list[0]
	switch {
	case best.Hops > 1 || len(list) > 1 && list[1].Metric == best.Metric:
		return netip.Addr{}, "the host's default route has several next hops, so it is not known which of them is the router of this LAN"
	case !best.Via.IsValid():
		return netip.Addr{}, fmt.Sprintf("the host's default route leaves by %s without a next hop", best.Dev)
	case best.Dev != device:
		return netip.Addr{}, fmt.Sprintf("the host's default route leaves by %s, while the LAN reaches it on %s", best.Dev, device)
	case !hop.Contains(best.Via):
		return netip.Addr{}, fmt.Sprintf("the host's default gateway %s is not in the LAN %s", best.Via, hop.Masked())
	case best.Via == hop.Addr():
		return netip.Addr{}, fmt.Sprintf("the host's default gateway %s is the host itself", best.Via)
	}
	return best.Via, ""
}
