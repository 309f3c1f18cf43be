package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"labd/internal/plan"
	"labd/internal/route"
)

// changeRoutes adds before it removes, so that a prefix that moves is never without a route. It returns how many were
// changed.
func (c *Controller) changeRoutes(p routesParams) (changed int, err error) {
	if p.len() > 0 {
		if err := c.mayAct(); err != nil {
			return 0, err
		}
	}
	batch, err := route.NewBatch()
	if err != nil {
		return 0, err
	}
	defer batch.Close()
	replaced := map[netip.Prefix]bool{}
	for _, r := range p.Add {
		replaced[r.Dst] = true
	}
	added, err := batch.Add(p.Add)
	if err != nil {
		return added, refusedRoute(err)
	}
	// The routes are there before anyone is led to them, and before those of an earlier labd in the main table go.
	led, err := route.AddRules(p.AddRules)
	added += led
	if err != nil {
		return added, err
	}
	remove := slices.DeleteFunc(slices.Clone(p.Remove), func(r route.Route) bool {
		// Another route to the same prefix has taken its place.
		return replaced[r.Dst] && slices.ContainsFunc(p.Add, func(a route.Route) bool { return a.Dst == r.Dst && a.Table == r.Table })
	})
	removed, err := batch.Remove(remove)
	changed = added + removed + len(p.Remove) - len(remove)
	if err != nil {
		return changed, err
	}
	led, err = route.RemoveRules(p.RemoveRules)
	changed += led
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
		if with := route.Overlap(r.Dst, h.Addresses, h.Routes); with != "" {
			return &plan.RefusedError{Reason: fmt.Sprintf("%s overlaps %s by now", r.Dst, with), Hint: "labctl net plan"}
		}
	}
	return nil
}

func verifyRoutes(p routesParams) error {
	own, err := route.ListOwn()
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
	rules, err := route.ListRules()
	if err != nil {
		return err
	}
	for _, r := range p.AddRules {
		if !slices.Contains(rules, r) {
			return fmt.Errorf("the rule %q for routing is not there", r)
		}
	}
	for _, r := range p.RemoveRules {
		if slices.Contains(rules, r) {
			return fmt.Errorf("the rule %q for routing is still there", r)
		}
	}
	return nil
}

// refusedRoute says of a foreign route that it is why nothing was done.
func refusedRoute(err error) error {
	if foreign, ok := errors.AsType[*route.ForeignError](err); ok {
		return &plan.RefusedError{Reason: foreign.Error(), Hint: "ip route show " + foreign.Dst.String()}
	}
	return err
}
