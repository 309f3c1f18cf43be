// Package router says what the LAN's router must know for the Docker networks to be reached, in the words of many kinds
// of router. It prints text for a person to paste, and changes nothing.
package router

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"labd/internal/finding"
	"labd/internal/netfilter"
	"labd/internal/network"
	"labd/internal/route"
)

// Route is one route that the LAN's router needs.
type Route struct {
	Prefix netip.Prefix
	Via    netip.Addr
	// Aggregate says that the prefix is a whole pool: networks that come later need nothing more.
	Aggregate bool
}

// Advice is what to tell the LAN's router.
type Advice struct {
	Style  string
	Routes []Route
	// Text is for pasting; what begins with the style's comment sign is for the reader.
	Text string
	// Notes are warnings: of asymmetric paths, of what the style cannot.
	Notes []string
}

// Advise says what the LAN's router must know, in the words of one of Styles. It is pure.
func Advise(r *network.Report, name string) (*Advice, error) {
	i := slices.IndexFunc(styles, func(s style) bool { return s.name == name })
	if i < 0 {
		return nil, fmt.Errorf("%q is no style: one of %v", name, Styles())
	}
	a := &Advice{Style: name}
	via := map[netfilter.Family]netip.Addr{}
	for _, family := range []netfilter.Family{netfilter.IPv4, netfilter.IPv6} {
		via[family] = uplinkAddress(r.Facts().Host, family)
		routes := routesOf(r, family, via[family])
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
	for _, route := range r.Facts().Host.Routes {
		if !route.Dst.IsValid() && route.Via.Is4() {
			gateway = route.Via
		}
	}
	styles[i].write(&advisor{advice: a, gateway: gateway})
	return a, nil
}

func (a *Advice) note(format string, args ...any) {
	a.Notes = append(a.Notes, fmt.Sprintf(format, args...))
}

// warn says what a router may stumble over.
func (a *Advice) warn(r *network.Report) {
	for _, f := range r.Findings {
		if f.Code == finding.NetAsymmetric {
			a.note("%s: %s; if TCP connections hang after some seconds, have the router pass what goes out by the interface that it came in by (pfSense, OPNsense: bypass firewall rules for traffic on the same interface), or give the containers a network of their own", f.Subject, f.Title)
		}
	}
	var pools []string
	for _, route := range a.Routes {
		if route.Aggregate && !endsNowhere(r.Facts().Host, route.Prefix) {
			pools = append(pools, route.Prefix.String())
		}
	}
	if len(pools) > 0 {
		a.note("packets for addresses of %s that no network has go back and forth between router and host until their time is over; 'ip route add unreachable PREFIX' on the host ends that, and labd lets such a route be", strings.Join(pools, ", "))
	}
}

// endsNowhere tells whether the host has a route to nowhere for all of a prefix.
func endsNowhere(h network.Host, p netip.Prefix) bool {
	return slices.ContainsFunc(h.Routes, func(r route.Route) bool {
		return r.Nowhere && r.Dst.IsValid() && r.Dst.Bits() <= p.Bits() && r.Dst.Contains(p.Addr())
	})
}

// uplinkAddress is the host's address by which the LAN reaches it.
func uplinkAddress(h network.Host, f netfilter.Family) netip.Addr {
	for _, name := range h.Uplinks {
		for _, a := range h.Addresses {
			if addr := a.Prefix.Addr(); a.Interface == name && addr.IsGlobalUnicast() && netfilter.FamilyOf(addr) == f {
				return addr
			}
		}
	}
	return netip.Addr{}
}

// routesOf are the routes of one family: a pool as a whole where it meets nothing that the router or the host has
// elsewhere, else each prefix.
func routesOf(r *network.Report, f netfilter.Family, via netip.Addr) []Route {
	var out []Route
	var pools []netip.Prefix
	for _, route := range r.Want.Routes {
		if netfilter.FamilyOf(route.Dst.Addr()) != f {
			continue
		}
		pool, whole := poolOf(r, route.Dst)
		switch {
		case !whole:
			out = append(out, Route{Prefix: route.Dst, Via: via})
		case !slices.Contains(pools, pool):
			pools = append(pools, pool)
			out = append(out, Route{Prefix: pool, Via: via, Aggregate: pool != route.Dst})
		}
	}
	slices.SortFunc(out, func(a, b Route) int { return a.Prefix.Compare(b.Prefix) })
	return out
}

// poolOf is the pool that a prefix lies in, and whether the router may send all of it to the host.
func poolOf(r *network.Report, prefix netip.Prefix) (pool netip.Prefix, whole bool) {
	for _, p := range r.Pools() {
		if route.Within([]netip.Prefix{p}, prefix) && (!pool.IsValid() || p.Bits() > pool.Bits()) {
			pool = p
		}
	}
	if !pool.IsValid() || route.Overlap(pool, r.Facts().Host.Addresses, r.Facts().Host.Routes) != "" {
		return pool, false
	}
	meets := func(p netip.Prefix) bool { return p.Overlaps(pool) }
	inCluster := slices.ContainsFunc(r.Facts().Host.Cluster, func(c network.ClusterNetwork) bool { return meets(c.Prefix) })
	return pool, !inCluster && !slices.ContainsFunc(r.Sources, meets)
}
