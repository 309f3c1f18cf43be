package route

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
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

var families = [...]int{netlink.FAMILY_V4, netlink.FAMILY_V6}

// Host returns a handle for the network namespace of labd itself.
func Host() *netlink.Handle { return &netlink.Handle{} }

// ListAddresses returns the addresses of all interfaces. names are the interfaces' names by index, as LinkNames returns
// them.
func ListAddresses(handle *netlink.Handle, names map[int]string) ([]Address, error) {
	addrs, err := dump(func() ([]netlink.Addr, error) { return handle.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
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
	return out, nil
}

// List returns the routes of all tables, those of IPv4 first, and the default routes among them with what chooses between
// them.
func List(handle *netlink.Handle, names map[int]string) ([]Route, []Default, error) {
	routes, err := list(handle, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	return toRoutes(routes, names), toDefaults(routes, names), err
}

// ListMain returns the routes of the main table, those of IPv4 first.
func ListMain(handle *netlink.Handle, names map[int]string) ([]Route, error) {
	routes, err := list(handle, &netlink.Route{Table: MainTable}, netlink.RT_FILTER_TABLE)
	return toRoutes(routes, names), err
}

// ListOwn returns the routes with labd's mark, in any table of the host.
func ListOwn() ([]Route, error) {
	names, err := LinkNames(nil)
	if err != nil {
		return nil, err
	}
	routes, err := marked()
	return toRoutes(routes, names), err
}

// marked returns the routes with labd's mark as the kernel has them, in every table.
func marked() ([]netlink.Route, error) {
	return list(Host(), &netlink.Route{Table: unix.RT_TABLE_UNSPEC, Protocol: Protocol}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
}

func list(handle *netlink.Handle, filter *netlink.Route, mask uint64) ([]netlink.Route, error) {
	var all []netlink.Route
	for _, family := range families {
		routes, err := dump(func() ([]netlink.Route, error) { return handle.RouteListFiltered(family, filter, mask) })
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		all = append(all, routes...)
	}
	return all, nil
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

// Chosen returns the route that the kernel takes to an address.
func Chosen(handle *netlink.Handle, addr netip.Addr) (Route, error) {
	routes, err := handle.RouteGet(addr.AsSlice())
	if err != nil {
		return Route{}, err
	}
	if len(routes) == 0 {
		return Route{}, unix.ENETUNREACH
	}
	link, err := handle.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return Route{}, err
	}
	out := Route{Dev: link.Attrs().Name}
	if gw, ok := netip.AddrFromSlice(routes[0].Gw); ok {
		out.Via = gw.Unmap()
	}
	return out, nil
}

// RemoveMarked takes every route and rule with labd's mark away, whoever made it. It goes on after an error and returns all
// of them.
func RemoveMarked() error {
	rules, err1 := markedRules()
	routes, err2 := marked()
	errs := []error{err1, err2}
	for i := range rules {
		if err := Host().RuleDel(&rules[i]); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("remove the rule for routing %s: %w", rules[i], err))
		}
	}
	for i := range routes {
		if err := netlink.RouteDel(&routes[i]); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("remove route %s: %w", routes[i].Dst, err))
		}
	}
	return errors.Join(errs...)
}

// CountMarked returns how many routes and rules with labd's mark there are.
func CountMarked() (int, error) {
	rules, err1 := markedRules()
	routes, err2 := marked()
	return len(rules) + len(routes), errors.Join(err1, err2)
}

// ListNeighbours returns the addresses of the host's neighbours that have answered (ip-neighbour(8)).
func ListNeighbours() ([]netip.Addr, error) {
	var out []netip.Addr
	for _, family := range families {
		list, err := dump(func() ([]netlink.Neigh, error) { return Host().NeighList(0, family) })
		if err != nil {
			return nil, fmt.Errorf("list neighbours: %w", err)
		}
		for _, n := range list {
			const answered = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE | netlink.NUD_PERMANENT
			if addr, ok := netip.AddrFromSlice(n.IP); ok && n.State&answered != 0 {
				out = append(out, addr.Unmap())
			}
		}
	}
	return out, nil
}
