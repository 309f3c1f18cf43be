package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"labd/internal/finding"
	"labd/internal/netfilter"
	"labd/internal/route"
)

// RouterRoute is one route that the LAN's router needs.
type RouterRoute struct {
	Prefix netip.Prefix
	Via    netip.Addr
	// Aggregate says that the prefix is a whole pool: networks that come later need nothing more.
	Aggregate bool
}

// RouterAdvice is what to tell the LAN's router.
type RouterAdvice struct {
	Style  string
	Routes []RouterRoute
	// Text is for pasting; what begins with the style's comment sign is for the reader.
	Text string
	// Notes are warnings: of asymmetric paths, of what the style cannot.
	Notes []string
}

// AdviseRouter says what the LAN's router must know, in the words of one of RouterStyles. It is pure.
func AdviseRouter(r *Report, style string) (*RouterAdvice, error) {
	i := slices.IndexFunc(routerStyles, func(s routerStyle) bool { return s.name == style })
	if i < 0 {
		return nil, fmt.Errorf("%q is no style: one of %v", style, RouterStyles())
	}
	a := &RouterAdvice{Style: style}
	via := map[netfilter.Family]netip.Addr{}
	for _, family := range []netfilter.Family{netfilter.IPv4, netfilter.IPv6} {
		via[family] = r.facts.Host.uplinkAddress(family)
		routes := r.routerRoutes(family, via[family])
		if len(routes) > 0 && !via[family].IsValid() {
			a.note("the host has no %s address on its uplink, so a router cannot be told where to send %d prefixes", family, len(routes))
			continue
		}
		a.Routes = append(a.Routes, routes...)
	}
	if len(a.Routes) == 0 {
		a.note("no Docker network is to be reached, so a router needs no route")
	}
	a.warn(r)
	gateway := netip.Addr{}
	for _, route := range r.facts.Host.Routes {
		if !route.Dst.IsValid() && route.Via.Is4() {
			gateway = route.Via
		}
	}
	routerStyles[i].write(&advisor{advice: a, gateway: gateway})
	return a, nil
}

func (a *RouterAdvice) note(format string, args ...any) {
	a.Notes = append(a.Notes, fmt.Sprintf(format, args...))
}

// warn says what a router may stumble over.
func (a *RouterAdvice) warn(r *Report) {
	for _, f := range r.Findings {
		if f.Code == finding.NetAsymmetric {
			a.note("%s: %s; if TCP connections hang after some seconds, have the router pass what goes out by the interface that it came in by (pfSense, OPNsense: bypass firewall rules for traffic on the same interface), or give the containers a network of their own", f.Subject, f.Title)
		}
	}
	var pools []string
	for _, route := range a.Routes {
		if route.Aggregate && !r.facts.Host.endsNowhere(route.Prefix) {
			pools = append(pools, route.Prefix.String())
		}
	}
	if len(pools) > 0 {
		a.note("packets for addresses of %s that no network has go back and forth between router and host until their time is over; 'ip route add unreachable PREFIX' on the host ends that, and labd lets such a route be", strings.Join(pools, ", "))
	}
}

// endsNowhere tells whether the host has a route to nowhere for all of a prefix.
func (h Host) endsNowhere(p netip.Prefix) bool {
	return slices.ContainsFunc(h.Routes, func(r route.Route) bool {
		return r.Nowhere && r.Dst.IsValid() && r.Dst.Bits() <= p.Bits() && r.Dst.Contains(p.Addr())
	})
}

// uplinkAddress is the host's address by which the LAN reaches it.
func (h Host) uplinkAddress(f netfilter.Family) netip.Addr {
	for _, name := range h.Uplinks {
		for _, a := range h.Addresses {
			if addr := a.Prefix.Addr(); a.Interface == name && addr.IsGlobalUnicast() && netfilter.FamilyOf(addr) == f {
				return addr
			}
		}
	}
	return netip.Addr{}
}

// routerRoutes are the routes of one family: a pool as a whole where it meets nothing that the router or the host has
// elsewhere, else each prefix.
func (r *Report) routerRoutes(f netfilter.Family, via netip.Addr) []RouterRoute {
	var out []RouterRoute
	var pools []netip.Prefix
	for _, route := range r.Want.Routes {
		if netfilter.FamilyOf(route.Dst.Addr()) != f {
			continue
		}
		pool, whole := r.poolOf(route.Dst)
		switch {
		case !whole:
			out = append(out, RouterRoute{Prefix: route.Dst, Via: via})
		case !slices.Contains(pools, pool):
			pools = append(pools, pool)
			out = append(out, RouterRoute{Prefix: pool, Via: via, Aggregate: pool != route.Dst})
		}
	}
	slices.SortFunc(out, func(a, b RouterRoute) int { return a.Prefix.Compare(b.Prefix) })
	return out
}

// poolOf is the pool that a prefix lies in, and whether the router may send all of it to the host.
func (r *Report) poolOf(prefix netip.Prefix) (pool netip.Prefix, whole bool) {
	for _, p := range r.pools {
		if route.Within([]netip.Prefix{p}, prefix) && (!pool.IsValid() || p.Bits() > pool.Bits()) {
			pool = p
		}
	}
	if !pool.IsValid() || route.Overlap(pool, r.facts.Host.Addresses, r.facts.Host.Routes) != "" {
		return pool, false
	}
	meets := func(p netip.Prefix) bool { return p.Overlaps(pool) }
	inCluster := slices.ContainsFunc(r.facts.Host.Cluster, func(c ClusterNetwork) bool { return meets(c.Prefix) })
	return pool, !inCluster && !slices.ContainsFunc(r.Sources, meets)
}
