package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"labd/internal/host"
	"labd/internal/lxc"
	"labd/internal/netfilter"
	"labd/internal/plan"
)

// Controller changes routes and rules.
type Controller struct {
	host  *host.Host
	state *State
}

// NewController returns a Controller.
func NewController(h *host.Host, state *State) *Controller { return &Controller{h, state} }

// Ops are the operations of this domain's plans.
func (c *Controller) Ops() plan.Ops {
	return plan.Ops{
		opSwitch: plan.Typed[switchParams, string]{
			CaptureFunc: func(context.Context, switchParams) (string, error) { return c.state.Switch() },
			DoFunc:      func(_ context.Context, p switchParams) error { return c.state.SetSwitch(p.Value) },
			VerifyFunc: func(_ context.Context, p switchParams) error {
				if value, err := c.state.Switch(); err != nil || value != p.Value {
					return fmt.Errorf("the stored switch is %q: %w", value, err)
				}
				return nil
			},
			UndoFunc: func(_ context.Context, _ switchParams, former string) error { return c.state.SetSwitch(former) },
		},
		opForward: plan.Typed[forwardParams, string]{
			CaptureFunc: func(ctx context.Context, p forwardParams) (string, error) { return c.forwarding(ctx, p.Interface) },
			DoFunc:      func(_ context.Context, p forwardParams) error { return c.setForwarding(p.Interface, "1") },
			VerifyFunc: func(ctx context.Context, p forwardParams) error {
				if value, err := c.forwarding(ctx, p.Interface); err != nil || value != "1" {
					return fmt.Errorf("forwarding of %s is %q: %w", p.Interface, value, err)
				}
				return nil
			},
			UndoFunc: func(_ context.Context, p forwardParams, former string) error {
				return c.setForwarding(p.Interface, former)
			},
		},
		opRoutes: plan.Typed[routesParams, struct{}]{
			DoFunc:     func(_ context.Context, p routesParams) error { return c.changeRoutes(p) },
			VerifyFunc: func(_ context.Context, p routesParams) error { return verifyRoutes(p) },
			UndoFunc: func(_ context.Context, p routesParams, _ struct{}) error {
				return c.changeRoutes(routesParams{Add: p.Remove, Remove: p.Add})
			},
		},
		opRules: plan.Typed[rulesParams, rulesParams]{
			CheckFunc:   c.checkContainer,
			CaptureFunc: c.ownRules,
			DoFunc:      c.setRules,
			VerifyFunc:  c.verifyRules,
			UndoFunc:    func(ctx context.Context, _ rulesParams, former rulesParams) error { return c.undoRules(ctx, former) },
		},
		opSweep: plan.Typed[struct{}, struct{}]{
			DoFunc:     func(ctx context.Context, _ struct{}) error { return c.Sweep(ctx) },
			VerifyFunc: func(ctx context.Context, _ struct{}) error { return c.verifySwept(ctx) },
		},
	}
}

func (c *Controller) forwarding(ctx context.Context, name string) (string, error) {
	data, err := c.host.ReadFile(ctx, forwardingFile(c.host, name))
	if err != nil {
		return "", fmt.Errorf("read forwarding of %s: %w", name, err)
	}
	return strings.TrimSpace(string(data)), nil
}

func (c *Controller) setForwarding(name, value string) error {
	if err := os.WriteFile(forwardingFile(c.host, name), []byte(value), 0); err != nil {
		return fmt.Errorf("set forwarding of %s to %s: %w", name, value, err)
	}
	return nil
}

// changeRoutes adds before it removes. A route of another protocol to the same prefix is never replaced: the kernel
// refuses the addition with EEXIST.
func (c *Controller) changeRoutes(p routesParams) error {
	for _, r := range p.Add {
		route, err := toNetlink(r)
		if err != nil {
			return fmt.Errorf("add route %s: %w", r, err)
		}
		if err := netlink.RouteAdd(route); err != nil && !hasRoute(r) {
			return fmt.Errorf("add route %s: %w", r, err)
		}
	}
	for _, r := range p.Remove {
		route, err := toNetlink(r)
		if err != nil {
			continue // its interface is gone, and the route with it
		}
		if err := netlink.RouteDel(route); err != nil && hasRoute(r) {
			return fmt.Errorf("remove route %s: %w", r, err)
		}
	}
	if len(p.Owners) > 0 {
		return c.state.setOwners(p.Owners)
	}
	return nil
}

// toNetlink is the route with everything that identifies it, so that no other route can be meant.
func toNetlink(r Route) (*netlink.Route, error) {
	link, err := netlink.LinkByName(r.Dev)
	if err != nil {
		return nil, err
	}
	return &netlink.Route{
		Dst: toIPNet(r.Dst), Gw: r.Via.AsSlice(), LinkIndex: link.Attrs().Index, Table: r.Table, Protocol: netlink.RouteProtocol(r.Protocol),
	}, nil
}

func hasRoute(r Route) bool {
	own, err := ownRoutes()
	return err == nil && slices.Contains(own, r)
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

// open takes hold of a container.
func (c *Controller) open(ctx context.Context, id int) (*lxc.Container, error) {
	return lxc.Open(ctx, c.host, id)
}

func netNSOf(ct *lxc.Container) string {
	id := ct.NetNSID()
	return fmt.Sprintf("%d:%d", id.Dev, id.Ino)
}

func (c *Controller) checkContainer(ctx context.Context, p rulesParams) error {
	ct, err := c.open(ctx, p.Container)
	if err != nil {
		return err
	}
	defer ct.Close()
	if netNSOf(ct) != p.NetNS {
		return &plan.ChangedError{What: fmt.Sprintf("container %d was restarted", p.Container)}
	}
	return nil
}

// ownRules are labd's rules in the container as they are now.
func (c *Controller) ownRules(ctx context.Context, p rulesParams) (rulesParams, error) {
	out := rulesParams{Container: p.Container, NetNS: p.NetNS}
	ct, err := c.open(ctx, p.Container)
	if err != nil {
		return out, err
	}
	defer ct.Close()
	_, rs, err := namespaceOf(c.host, ct).Detect(ctx)
	if err != nil {
		return out, err
	}
	own, _ := rs.Own()
	out.Raw, out.Forward = texts(own.Raw), texts(own.Forward)
	return out, nil
}

// setRules makes labd's chains in the container hold the rules; with none the chains go.
func (c *Controller) setRules(ctx context.Context, p rulesParams) error {
	ct, err := c.open(ctx, p.Container)
	if err != nil {
		return err
	}
	defer ct.Close()
	if netNSOf(ct) != p.NetNS {
		return &plan.ChangedError{What: fmt.Sprintf("container %d was restarted", p.Container)}
	}
	space := namespaceOf(c.host, ct)
	if len(p.Raw)+len(p.Forward) == 0 {
		return space.Remove(ctx)
	}
	want, err := p.chains()
	if err != nil {
		return err
	}
	backend, current, err := space.Detect(ctx)
	if err != nil {
		return err
	}
	return space.Replace(ctx, backend, current, want)
}

func (p rulesParams) chains() (netfilter.Chains, error) {
	raw, err1 := netfilter.ParseRules(p.Raw)
	forward, err2 := netfilter.ParseRules(p.Forward)
	return netfilter.Chains{Raw: raw, Forward: forward}, errors.Join(err1, err2)
}

func (c *Controller) verifyRules(ctx context.Context, p rulesParams) error {
	ct, err := c.open(ctx, p.Container)
	if err != nil {
		return err
	}
	defer ct.Close()
	_, rs, err := namespaceOf(c.host, ct).Detect(ctx)
	if err != nil {
		return err
	}
	want, err := p.chains()
	if err != nil {
		return err
	}
	own, inPlace := rs.Own()
	if len(p.Raw)+len(p.Forward) == 0 {
		inPlace = !rs.HasMark()
	}
	if !inPlace || !own.Equal(want) {
		return fmt.Errorf("the rules in container %d are not as wanted", p.Container)
	}
	return nil
}

// undoRules puts former rules back. A container that was stopped or restarted since has none of labd's any more.
func (c *Controller) undoRules(ctx context.Context, former rulesParams) error {
	err := c.setRules(ctx, former)
	var changed *plan.ChangedError
	if errors.Is(err, lxc.ErrNotRunning) || errors.As(err, &changed) {
		return nil
	}
	return err
}

// Sweep takes away everything with labd's mark: routes in every table, chains on the host and in every running
// container. It goes on after an error and returns all of them.
func (c *Controller) Sweep(ctx context.Context) error {
	errs := []error{c.hostSpace().Remove(ctx)}
	ids, err := lxc.Running(ctx, c.host)
	errs = append(errs, err)
	for _, id := range ids {
		errs = append(errs, c.sweepContainer(ctx, id))
	}
	own, err := ownRoutes()
	errs = append(errs, err, c.changeRoutes(routesParams{Remove: own}))
	return errors.Join(errs...)
}

func (c *Controller) hostSpace() netfilter.Namespace {
	return netfilter.Namespace{Host: c.host, Proc: filepath.Join(c.host.Procfs, "self/net")}
}

func (c *Controller) sweepContainer(ctx context.Context, id int) error {
	ct, err := c.open(ctx, id)
	if errors.Is(err, lxc.ErrNotRunning) {
		return nil // its namespace is gone, and all rules with it
	}
	if err != nil {
		return err
	}
	defer ct.Close()
	if err := namespaceOf(c.host, ct).Remove(ctx); err != nil {
		return fmt.Errorf("container %d: %w", id, err)
	}
	return nil
}

func (c *Controller) verifySwept(ctx context.Context) error {
	own, err := ownRoutes()
	if err != nil {
		return err
	}
	if len(own) > 0 {
		return fmt.Errorf("%d routes are still there", len(own))
	}
	ids, err := lxc.Running(ctx, c.host)
	if err != nil {
		return err
	}
	for _, id := range ids {
		ct, err := c.open(ctx, id)
		if err != nil {
			continue
		}
		_, rs, err := namespaceOf(c.host, ct).Detect(ctx)
		_ = ct.Close()
		if err != nil {
			return err
		}
		if rs.HasMark() {
			return fmt.Errorf("container %d still has chains of labd", id)
		}
	}
	return nil
}

// Reconcile makes one pass of keeping routes and rules so: what PlanApply would do, without a journal entry, since the
// mark in the kernel is the record. A container that fails does not keep the others from being served.
func (c *Controller) Reconcile(ctx context.Context, f *Facts, r *Report) (repairs int, err error) {
	var errs []error
	for _, rules := range diffRules(f, r) {
		repairs++
		if err := c.setRules(ctx, rules); err != nil {
			errs = append(errs, fmt.Errorf("container %d: %w", rules.Container, err))
		}
	}
	if routes := diffRoutes(f, r); len(routes.Add)+len(routes.Remove) > 0 {
		repairs++
		errs = append(errs, c.changeRoutes(routes))
	}
	return repairs, errors.Join(errs...)
}
