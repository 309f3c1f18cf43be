package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"labd/internal/plan"
)

// changeRoutes adds before it removes, so that a prefix that moves is never without a route. It returns how many were
// changed.
func (c *Controller) changeRoutes(p routesParams) (changed int, err error) {
	if len(p.Add)+len(p.Remove) > 0 {
		if err := c.mayAct(); err != nil {
			return 0, err
		}
	}
	batch, err := newRouteBatch()
	if err != nil {
		return 0, err
	}
	defer batch.close()
	replaced := map[netip.Prefix]bool{}
	for _, r := range p.Add {
		replaced[r.Dst] = true
	}
	added, err := batch.add(p.Add)
	if err != nil {
		return added, err
	}
	remove := slices.DeleteFunc(slices.Clone(p.Remove), func(r Route) bool {
		// Another route to the same prefix has taken its place.
		return replaced[r.Dst] && slices.ContainsFunc(p.Add, func(a Route) bool { return a.Dst == r.Dst && a.Table == r.Table })
	})
	removed, err := batch.remove(remove)
	changed = added + removed + len(p.Remove) - len(remove)
	if err != nil {
		return changed, err
	}
	if p.Owners != nil && !maps.Equal(p.Owners, c.state.owners()) {
		return changed, c.state.setOwners(p.Owners)
	}
	return changed, nil
}

// checkRoutes is the precondition: no address and no route of others came into a prefix since the plan was made.
func (c *Controller) checkRoutes(ctx context.Context, p routesParams) error {
	h, err := observeHost(ctx, c.host, Policy{})
	if err != nil {
		return err
	}
	for _, r := range p.Add {
		if with := h.Overlap(r.Dst); with != "" {
			return &plan.RefusedError{Reason: fmt.Sprintf("%s overlaps %s by now", r.Dst, with), Hint: "labctl net plan"}
		}
	}
	return nil
}

func verifyRoutes(p routesParams) error {
	own, err := ownRoutes()
	if err != nil {
		return err
	}
	for _, r := range p.Add {
		if !slices.Contains(own, r) {
			return fmt.Errorf("route %s is not there", r)
		}
	}
	for _, r := range p.Remove {
		if slices.Contains(own, r) {
			return fmt.Errorf("route %s is still there", r)
		}
	}
	return nil
}

// markedRoutes are all routes with labd's mark as the kernel has them, IPv4 and IPv6, in every table.
func markedRoutes() ([]netlink.Route, error) {
	var all []netlink.Route
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := dump(func() ([]netlink.Route, error) {
			return netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC, Protocol: Protocol}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
		})
		if err != nil {
			return nil, fmt.Errorf("list the routes of protocol %d: %w", Protocol, err)
		}
		all = append(all, routes...)
	}
	return all, nil
}

// sweepRoutes takes every route with labd's mark away.
func sweepRoutes() error {
	routes, err := markedRoutes()
	errs := []error{err}
	for i := range routes {
		if err := netlink.RouteDel(&routes[i]); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("remove route %s: %w", routes[i].Dst, err))
		}
	}
	return errors.Join(errs...)
}
