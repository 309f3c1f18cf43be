// Package router says what the LAN's router, its DHCP server or its clients must know for the Docker networks to be
// reached, in the words of many kinds of router. It prints text for a person to paste, and changes nothing.
package router

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"labd/internal/netfilter"
	"labd/internal/network"
	"labd/internal/route"
)

// Route is one route that the LAN's router needs.
type Route struct {
	Prefix netip.Prefix
	Via    netip.Addr
	// Aggregate says that the prefix is a whole pool, or several networks as one: networks that come later need nothing
	// more.
	Aggregate bool
}

// Request says what an advice is for.
type Request struct {
	// Style is one of Styles.
	Style string
	// Remove asks for the text that takes away what the style's text made.
	Remove bool
}

// Advice is what to tell the LAN's router.
type Advice struct {
	Style  string
	Remove bool
	Routes []Route
	// Text is for pasting; what begins with the style's comment sign is for the reader. It is empty where there is nothing
	// to be told.
	Text string
	// Tried says on what the text is run in labd's own tests; empty where it was written by the maker's documentation alone.
	Tried string
	// Notes are warnings: of asymmetric paths, of what the style cannot do.
	Notes []string
}

// ErrStyle says that a style or format is not known.
var ErrStyle = errors.New("unknown style")

// Advise returns what the LAN's router must know, in the words of one style. It is pure.
func Advise(r *network.Report, req Request) (*Advice, error) {
	i := slices.IndexFunc(styles, func(s style) bool { return s.name == req.Style })
	if i < 0 {
		return nil, fmt.Errorf("%w %q: one of %s", ErrStyle, req.Style, strings.Join(Styles(), ", "))
	}
	s := styles[i]
	w := &writer{style: s, lan: lanOf(r), report: r, advice: &Advice{Style: s.name, Remove: req.Remove, Tried: s.tried}}
	for _, family := range []netfilter.Family{netfilter.IPv4, netfilter.IPv6} {
		routes := routesOf(r, family, w.lan.hop(family), !s.single)
		if len(routes) > 0 && !w.lan.hop(family).IsValid() {
			w.note("the host has no %s address on its uplink, so a router cannot be told where to send %d prefixes", family, len(routes))
			continue
		}
		w.advice.Routes = append(w.advice.Routes, routes...)
	}
	switch {
	case req.Remove:
		s.remove(w)
	case len(w.advice.Routes) == 0:
		w.note("no Docker network is to be reached, so a router needs no route")
	default:
		w.write()
	}
	return w.advice, nil
}

// routesOf returns the routes of one family: a pool as a whole where that is wanted and the pool meets nothing that the
// router or the host has elsewhere, else each prefix.
func routesOf(r *network.Report, f netfilter.Family, via netip.Addr, whole bool) []Route {
	var out []Route
	var pools []netip.Prefix
	for _, want := range r.Want.Routes {
		if netfilter.FamilyOf(want.Dst.Addr()) != f {
			continue
		}
		pool := poolOf(r, want.Dst)
		switch {
		case !whole || !pool.IsValid() || !isFree(r, pool):
			out = append(out, Route{Prefix: want.Dst, Via: via})
		case !slices.Contains(pools, pool):
			pools = append(pools, pool)
			out = append(out, Route{Prefix: pool, Via: via, Aggregate: pool != want.Dst})
		}
	}
	slices.SortFunc(out, func(a, b Route) int { return a.Prefix.Compare(b.Prefix) })
	return out
}

// poolOf returns the narrowest pool that a prefix lies in; the zero Prefix where there is none.
func poolOf(r *network.Report, prefix netip.Prefix) (pool netip.Prefix) {
	for _, p := range r.Pools() {
		if covers(p, prefix) && (!pool.IsValid() || p.Bits() > pool.Bits()) {
			pool = p
		}
	}
	return pool
}

func covers(p, inner netip.Prefix) bool { return p.Bits() <= inner.Bits() && p.Contains(inner.Addr()) }

// isFree reports whether the router may send all of a prefix to the host: no address or route of the host, no network of
// the cluster and no source of clients lies in it. A route to nowhere for all of it is no obstacle: it catches what no
// network has.
func isFree(r *network.Report, p netip.Prefix) bool {
	h := r.Facts().Host
	for _, a := range h.Addresses {
		if a.Prefix.Masked().Overlaps(p) {
			return false
		}
	}
	for _, other := range h.Routes {
		// A default route cut in two, as VPNs do, is a default route.
		isDefault := !other.Dst.IsValid() || other.Dst.Bits() <= 1
		if !isDefault && other.Dst.Overlaps(p) && (!other.Nowhere || !covers(other.Dst, p)) {
			return false
		}
	}
	inCluster := slices.ContainsFunc(h.Cluster, func(c network.ClusterNetwork) bool { return c.Prefix.Overlaps(p) })
	return !inCluster && !slices.ContainsFunc(r.Sources, p.Overlaps)
}

// endsNowhere reports whether the host has a route to nowhere for all of a prefix.
func endsNowhere(h network.Host, p netip.Prefix) bool {
	return slices.ContainsFunc(h.Routes, func(r route.Route) bool {
		return r.Nowhere && r.Dst.IsValid() && covers(r.Dst, p)
	})
}
