package router

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"labd/internal/network"
)

// optionLimit is how many bytes a DHCP option may have (RFC 2132, section 2). RFC 3396 lets a server split a longer one,
// which dnsmasq does not: it refuses its whole configuration.
const optionLimit = 255

// classless is the value of DHCP option 121 (RFC 3442).
type classless struct {
	// gateway is the default route, which comes first: a client that takes the option ignores the router that it is told
	// besides. It is not valid where the LAN's router is not known.
	gateway netip.Addr
	routes  []Route
}

// size returns how many bytes the option has, the default route included.
func (c classless) size() int {
	n := 5
	for _, r := range c.routes {
		n += 1 + (r.Prefix.Bits()+7)/8 + 4
	}
	return n
}

// text returns the option as dnsmasq takes it.
func (c classless) text() string {
	gateway := "ROUTER"
	if c.gateway.IsValid() {
		gateway = c.gateway.String()
	}
	parts := []string{"0.0.0.0/0", gateway}
	for _, r := range c.routes {
		parts = append(parts, r.Prefix.String(), r.Via.String())
	}
	return strings.Join(parts, ",")
}

// hex returns the option's bytes: for each route the length of its prefix, as many bytes of it as that needs, and the next
// hop.
func (c classless) hex() string {
	b := append([]byte{0}, c.gateway.AsSlice()...)
	for _, r := range c.routes {
		b = append(b, byte(r.Prefix.Bits()))
		b = append(b, r.Prefix.Addr().AsSlice()[:(r.Prefix.Bits()+7)/8]...)
		b = append(b, r.Via.AsSlice()...)
	}
	return hex.EncodeToString(b)
}

// classlessOf returns the IPv4 routes as option 121, or why they cannot be told by it. Where they are too many for it,
// neighbouring prefixes become one: first without covering anything else, then as widely as the pools leave room.
func classlessOf(r *network.Report, l lan, routes []Route) (classless, string) {
	c := classless{gateway: l.gateway}
	for _, route := range routes {
		if route.Prefix.Addr().Is4() {
			c.routes = append(c.routes, route)
		}
	}
	if c.size() > optionLimit {
		c.routes = merge(c.routes, func(netip.Prefix) bool { return false })
	}
	if c.size() > optionLimit {
		c.routes = merge(c.routes, func(p netip.Prefix) bool { return poolOf(r, p).IsValid() && isFree(r, p) })
	}
	if c.size() > optionLimit {
		return c, fmt.Sprintf("the routes are too many for one DHCP option: it has room for %d bytes, and they need %d; give the Docker networks neighbouring subnets, or one pool that nothing else lies in", optionLimit, c.size())
	}
	if !l.gateway.IsValid() {
		return c, "the default route must be in this option, and " + l.why + "; put the address of the LAN's router in the place of ROUTER"
	}
	return c, ""
}

// merge joins prefixes with the same next hop until the option has room for them: two halves of a prefix always, and what
// else a common prefix covers where mayCover agrees. The narrowest common prefix comes first.
func merge(routes []Route, mayCover func(netip.Prefix) bool) []Route {
	routes = slices.Clone(routes)
	for (classless{routes: routes}).size() > optionLimit {
		best, at := netip.Prefix{}, -1
		for i := range len(routes) - 1 {
			a, b := routes[i], routes[i+1]
			p := common(a.Prefix, b.Prefix)
			halves := a.Prefix.Bits() == b.Prefix.Bits() && p.Bits() == a.Prefix.Bits()-1
			if a.Via == b.Via && (halves || covers(a.Prefix, b.Prefix) || mayCover(p)) && (at < 0 || p.Bits() > best.Bits()) {
				best, at = p, i
			}
		}
		if at < 0 {
			return routes
		}
		routes[at] = Route{Prefix: best, Via: routes[at].Via, Aggregate: true}
		routes = slices.Delete(routes, at+1, at+2)
	}
	return routes
}

// common returns the narrowest prefix that covers both.
func common(a, b netip.Prefix) netip.Prefix {
	for bits := min(a.Bits(), b.Bits()); bits > 0; bits-- {
		if p := netip.PrefixFrom(a.Addr(), bits).Masked(); p.Contains(b.Addr()) {
			return p
		}
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}
