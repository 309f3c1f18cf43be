package route

import (
	"fmt"
	"net"
	"net/netip"
)

// Connected returns the prefixes that an interface is directly connected to, without link-local ones.
func Connected(addresses []Address, name string) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, a := range addresses {
		if a.Interface == name && !a.Prefix.Addr().IsLinkLocalUnicast() {
			prefixes = append(prefixes, a.Prefix.Masked())
		}
	}
	return prefixes
}

// Towards returns the interface that is directly connected to addr, or "".
func Towards(addresses []Address, addr netip.Addr) string {
	best, bits := "", -1
	for _, a := range addresses {
		if a.Prefix.Contains(addr) && a.Prefix.Bits() > bits {
			best, bits = a.Interface, a.Prefix.Bits()
		}
	}
	return best
}

// Best returns the route of the main table to all of a prefix: the longest that covers it.
func Best(p netip.Prefix, lists ...[]Route) (best Route, ok bool) {
	for _, routes := range lists {
		for _, r := range routes {
			if r.Table != MainTable || r.Dst.IsValid() && (r.Dst.Bits() > p.Bits() || !r.Dst.Contains(p.Addr())) {
				continue
			}
			if !ok || bits(r.Dst) > bits(best.Dst) {
				best, ok = r, true
			}
		}
	}
	return best, ok
}

// bits is the length of a destination, -1 for the default route.
func bits(p netip.Prefix) int {
	if !p.IsValid() {
		return -1
	}
	return p.Bits()
}

// Overlap names an address or a route that a prefix overlaps, or returns "".
func Overlap(p netip.Prefix, addresses []Address, routes []Route) string {
	for _, a := range addresses {
		if a.Prefix.Masked().Overlaps(p) {
			return fmt.Sprintf("%s of the host's %s", a.Prefix, a.Interface)
		}
	}
	for _, r := range routes {
		if r.Nowhere && r.Dst.IsValid() && r.Dst.Bits() < p.Bits() {
			continue // it catches what the narrower routes leave, as for the rest of a pool
		}
		// A default route cut in two, as VPNs do, is a default route.
		if r.Dst.IsValid() && r.Dst.Bits() > 1 && r.Dst.Overlaps(p) {
			return fmt.Sprintf("the host's route to %s", r.Dst)
		}
	}
	return ""
}

// Within reports whether all of a prefix lies in one of the pools.
func Within(pools []netip.Prefix, p netip.Prefix) bool {
	for _, pool := range pools {
		if pool.Bits() <= p.Bits() && pool.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// LastAddr returns the last address of a prefix.
func LastAddr(p netip.Prefix) netip.Addr {
	bytes := p.Masked().Addr().AsSlice()
	for i := range bytes {
		for bit := range 8 {
			if i*8+bit >= p.Bits() {
				bytes[i] |= 0x80 >> bit
			}
		}
	}
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}

// Translate returns the address at the same place of another prefix of the same length.
func Translate(addr netip.Addr, from, to netip.Prefix) netip.Addr {
	bytes, base := addr.AsSlice(), to.Addr().AsSlice()
	for i := range bytes {
		host := byte(0xff) >> min(max(from.Bits()-8*i, 0), 8) // the bits behind the prefix
		bytes[i] = bytes[i]&host | base[i]&^host
	}
	out, _ := netip.AddrFromSlice(bytes)
	return out
}

func toIPNet(p netip.Prefix) *net.IPNet {
	if !p.IsValid() {
		return nil
	}
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func toPrefix(n net.IPNet) (netip.Prefix, bool) {
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	addr = addr.Unmap()
	if addr.Is4() && bits == 128 {
		ones -= 96
	}
	prefix := netip.PrefixFrom(addr, ones)
	return prefix, prefix.IsValid()
}
