package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"labd/internal/host"
	"labd/internal/pve"
)

// dumpTries is how often a dump that the kernel interrupted is repeated.
const dumpTries = 5

// dump lists kernel objects and repeats an interrupted list, which may lack some: absence must never be concluded
// from it (netlink.ErrDumpInterrupted).
func dump[T any](list func() ([]T, error)) (items []T, err error) {
	for range dumpTries {
		if items, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return items, err
		}
	}
	return nil, err
}

// observeHost reads the host's interfaces, addresses, routes and forwarding.
func observeHost(ctx context.Context, h *host.Host, policy Policy) (Host, error) {
	out := Host{Forwarding: map[string]bool{}, RPFilter: map[string]int{}}
	everywhere := rpFilter(ctx, h, "all")
	links, err := dump(netlink.LinkList)
	if err != nil {
		return out, fmt.Errorf("list the host's interfaces: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		name := l.Attrs().Name
		names[l.Attrs().Index] = name
		data, err := h.ReadFile(ctx, forwardingFile(h, name))
		out.Forwarding[name] = err == nil && strings.TrimSpace(string(data)) == "1"
		// The greater value counts (Documentation/networking/ip-sysctl.rst, rp_filter).
		out.RPFilter[name] = max(everywhere, rpFilter(ctx, h, name))
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return out, fmt.Errorf("list the host's addresses: %w", err)
	}
	out.Addresses = addresses(addrs, names)
	all, err := listRoutes(names)
	if err != nil {
		return out, err
	}
	for _, r := range all {
		switch {
		case r.Protocol == Protocol:
			out.Own = append(out.Own, r)
		case r.Table != unix.RT_TABLE_LOCAL: // the local table repeats the addresses
			out.Routes = append(out.Routes, r)
		}
	}
	out.Uplinks = uplinks(out, policy)
	setting6 := func(interfaceName, key string) string {
		data, _ := h.ReadFile(ctx, filepath.Join(h.Procfs, "sys/net/ipv6/conf", interfaceName, key))
		return strings.TrimSpace(string(data))
	}
	out.Forwarding6 = setting6("all", "forwarding") == "1"
	out.AcceptRA6 = out.acceptRA6(func(interfaceName string) string { return setting6(interfaceName, "accept_ra") })
	out.Cluster = readCluster(ctx, h)
	return out, nil
}

// listRoutes lists the routes of all tables, IPv4 and IPv6.
func listRoutes(names map[int]string) ([]Route, error) {
	var all []Route
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := dump(func() ([]netlink.Route, error) {
			return netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return nil, fmt.Errorf("list the host's routes: %w", err)
		}
		all = append(all, toRoutes(routes, names)...)
	}
	return all, nil
}

// ownRoutes are the routes with labd's mark, in any table.
func ownRoutes() ([]Route, error) {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list the host's interfaces: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	all, err := listRoutes(names)
	return slices.DeleteFunc(all, func(r Route) bool { return r.Protocol != Protocol }), err
}

func toIPNet(p netip.Prefix) *net.IPNet {
	if !p.IsValid() {
		return nil
	}
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// uplinks are the interfaces to the LAN: the policy's, else those of default routes, else every one with an IPv4
// address but loopback. A host that is itself the router of its lab has no default route towards its clients.
func uplinks(h Host, policy Policy) []string {
	if policy.Uplink != "" {
		return []string{policy.Uplink}
	}
	var names []string
	for _, r := range h.Routes {
		if !r.Dst.IsValid() && r.Dev != "" {
			names = append(names, r.Dev)
		}
	}
	if len(names) == 0 {
		for _, a := range h.Addresses {
			if a.Prefix.Addr().Is4() && !a.Prefix.Addr().IsLoopback() {
				names = append(names, a.Interface)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// rpFilter is the setting of one interface, or of "all"; 0 where it cannot be read.
func rpFilter(ctx context.Context, h *host.Host, name string) int {
	data, err := h.ReadFile(ctx, filepath.Join(h.Procfs, "sys/net/ipv4/conf", name, "rp_filter"))
	value, convErr := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || convErr != nil {
		return 0
	}
	return value
}

// readCluster reads the addresses and networks of PVE's cluster from /etc/pve. What cannot be read says nothing.
func readCluster(ctx context.Context, h *host.Host) []ClusterNetwork {
	var out []ClusterNetwork
	for _, name := range []string{".members", "corosync.conf", "datacenter.cfg"} {
		data, err := h.ReadFile(ctx, filepath.Join(h.PVE, name))
		if err != nil {
			continue
		}
		for _, prefix := range pve.ClusterPrefixes(name, data) {
			out = append(out, ClusterNetwork{Prefix: prefix, Source: name})
		}
	}
	return out
}

func forwardingFile(h *host.Host, name string) string {
	return filepath.Join(h.Procfs, "sys/net/ipv4/conf", name, "forwarding")
}

func addresses(addrs []netlink.Addr, names map[int]string) []Address {
	var out []Address
	for _, a := range addrs {
		// A temporary address of IPv6 (RFC 8981) is no name for anything, and shares its prefix with a lasting one.
		if a.IPNet == nil || a.Flags&unix.IFA_F_TEMPORARY != 0 && a.IP.To4() == nil {
			continue
		}
		if prefix, ok := toPrefix(*a.IPNet); ok {
			out = append(out, Address{Interface: names[a.LinkIndex], Prefix: prefix})
		}
	}
	return out
}

func toRoutes(routes []netlink.Route, names map[int]string) []Route {
	var out []Route
	for _, r := range routes {
		route := Route{Dev: names[r.LinkIndex], Table: r.Table, Protocol: int(r.Protocol)}
		route.Nowhere = r.Type == unix.RTN_UNREACHABLE || r.Type == unix.RTN_BLACKHOLE || r.Type == unix.RTN_PROHIBIT
		if r.Dst != nil {
			prefix, ok := toPrefix(*r.Dst)
			if !ok {
				continue
			}
			if prefix.Bits() > 0 {
				route.Dst = prefix.Masked()
			}
		}
		if gw, ok := netip.AddrFromSlice(r.Gw); ok {
			route.Via = gw.Unmap()
		}
		out = append(out, route)
	}
	return out
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
