package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"labd/internal/host"
	"labd/internal/lxc"
	"labd/internal/netfilter"
	"labd/internal/network/container"
	"labd/internal/plan"
)

// Controller changes routes and rules.
type Controller struct {
	host       *host.Host
	state      *State
	containers container.Source

	// mu keeps the operations of plans and the passes of the loop apart: those exclude all, these go side by side.
	mu       sync.RWMutex
	progress progress
}

// NewController returns a Controller of the containers of a source.
func NewController(h *host.Host, state *State, containers container.Source) *Controller {
	return &Controller{host: h, state: state, containers: containers, progress: newProgress()}
}

// locked runs do alone.
func locked[P any](c *Controller, do func(context.Context, P) error) func(context.Context, P) error {
	return func(ctx context.Context, p P) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		defer c.touched()
		return do(ctx, p)
	}
}

// Ops are the operations of this domain's plans.
func (c *Controller) Ops() plan.Ops {
	return plan.Ops{
		opSwitch: plan.Typed[switchParams, string]{
			CaptureFunc: func(context.Context, switchParams) (string, error) { return c.state.Switch() },
			DoFunc:      locked(c, func(_ context.Context, p switchParams) error { return c.state.SetSwitch(p.Value) }),
			VerifyFunc: func(_ context.Context, p switchParams) error {
				value, err := c.state.Switch()
				if err == nil && value != p.Value {
					err = fmt.Errorf("the stored switch is %q", value)
				}
				return err
			},
			FormerFunc: func(_ switchParams, former string) string {
				if former == "" {
					return "no switch was stored: the configuration decided"
				}
				return "the stored switch was " + former
			},
			UndoFunc: func(ctx context.Context, _ switchParams, former string) error {
				return locked(c, func(context.Context, string) error { return c.state.SetSwitch(former) })(ctx, former)
			},
		},
		opForward: plan.Typed[forwardParams, string]{
			CaptureFunc: func(ctx context.Context, p forwardParams) (string, error) { return c.forwarding(ctx, p.Interface) },
			DoFunc: locked(c, func(_ context.Context, p forwardParams) error {
				return errors.Join(c.setForwarding(p.Interface, "1"), c.state.noteForwarding(p.Interface, true))
			}),
			VerifyFunc: func(ctx context.Context, p forwardParams) error {
				value, err := c.forwarding(ctx, p.Interface)
				if err == nil && value != "1" {
					err = fmt.Errorf("forwarding of %s is %q", p.Interface, value)
				}
				return err
			},
			FormerFunc: func(p forwardParams, former string) string { return "forwarding of " + p.Interface + " was " + former },
			UndoFunc: func(ctx context.Context, p forwardParams, former string) error {
				return locked(c, func(context.Context, string) error {
					return errors.Join(c.setForwarding(p.Interface, former), c.state.noteForwarding(p.Interface, false))
				})(ctx, former)
			},
		},
		opRoutes: plan.Typed[routesParams, struct{}]{
			CheckFunc:  c.checkRoutes,
			DoFunc:     locked(c, func(_ context.Context, p routesParams) error { return second(c.changeRoutes(p)) }),
			VerifyFunc: func(_ context.Context, p routesParams) error { return verifyRoutes(p) },
			UndoFunc: func(ctx context.Context, p routesParams, _ struct{}) error {
				back := routesParams{Add: p.Remove, Remove: p.Add, AddRules: p.RemoveRules, RemoveRules: p.AddRules}
				if err := locked(c, func(_ context.Context, p routesParams) error { return second(c.changeRoutes(p)) })(ctx, back); err != nil {
					return err
				}
				return verifyRoutes(back)
			},
		},
		opRules: plan.Typed[rulesParams, rulesParams]{
			CheckFunc:   c.checkContainer,
			CaptureFunc: c.ownRules,
			DoFunc:      locked(c, c.setRules),
			VerifyFunc:  c.verifyRules,
			UndoFunc: func(ctx context.Context, _ rulesParams, former rulesParams) error {
				return locked(c, c.undoRules)(ctx, former)
			},
		},
		opSysctl:  c.sysctlOp(),
		opApprove: c.approveOp(),
		opCleanup: plan.Typed[struct{}, struct{}]{
			DoFunc:     func(ctx context.Context, _ struct{}) error { return c.Cleanup(ctx) },
			VerifyFunc: func(ctx context.Context, _ struct{}) error { return c.verifyCleanup(ctx) },
		},
	}
}

// second leaves the number of changes out.
func second(_ int, err error) error { return err }

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

// open takes hold of the very start of a container that the parameters were made for.
func (c *Controller) open(ctx context.Context, p rulesParams) (container.Handle, error) {
	ct, err := c.containers.Open(ctx, p.Container)
	if err != nil {
		return nil, err
	}
	if ct.NetNSID() != p.NetNS {
		return nil, errors.Join(&plan.ChangedError{What: fmt.Sprintf("container %d was restarted", p.Container)}, ct.Close())
	}
	return ct, nil
}

func (c *Controller) checkContainer(ctx context.Context, p rulesParams) error {
	ct, err := c.open(ctx, p)
	if err != nil {
		return err
	}
	return ct.Close()
}

// ownRules are labd's rules in the container as they are now.
func (c *Controller) ownRules(ctx context.Context, p rulesParams) (rulesParams, error) {
	out := rulesParams{Container: p.Container, NetNS: p.NetNS}
	ct, err := c.open(ctx, p)
	if err != nil {
		return out, err
	}
	defer ct.Close()
	space := container.Namespace(c.host, ct)
	backend, rs, err := space.Detect(ctx)
	if err != nil {
		return out, err
	}
	own, _ := rs.Own()
	out.chainParams = newChainParams(own)
	if p.IPv6 != nil {
		six, err := space.Current(ctx, backend, netfilter.IPv6)
		if err != nil {
			return out, err
		}
		own, _ := six.Own()
		params := newChainParams(own)
		out.IPv6 = &params
	}
	if p.Table != nil {
		// What was in the table cannot be told from nft's text; undo takes it away, and the loop makes it again.
		out.Table = &tableParams{}
	}
	return out, nil
}

// setRules makes labd's chains in the container hold the rules; with none the chains go.
func (c *Controller) setRules(ctx context.Context, p rulesParams) error {
	ct, err := c.open(ctx, p)
	if err != nil {
		return err
	}
	defer ct.Close()
	space := container.Namespace(c.host, ct)
	if p.len() == 0 {
		return space.Remove(ctx)
	}
	want, err := p.rules()
	if err != nil {
		return err
	}
	backend, current, err := space.Detect(ctx)
	if err != nil {
		return err
	}
	errs := []error{space.Replace(ctx, backend, netfilter.IPv4, current, want.IPv4)}
	if p.IPv6 != nil {
		six, err := space.Current(ctx, backend, netfilter.IPv6)
		if err == nil {
			err = space.Replace(ctx, backend, netfilter.IPv6, six, want.IPv6)
		}
		errs = append(errs, err)
	}
	if p.Table != nil {
		errs = append(errs, space.ReplaceTable(ctx, want.Table))
	}
	return errors.Join(errs...)
}

func (c *Controller) verifyRules(ctx context.Context, p rulesParams) error {
	ct, err := c.open(ctx, p)
	if err != nil {
		return err
	}
	defer ct.Close()
	space := container.Namespace(c.host, ct)
	want, err := p.rules()
	if err != nil {
		return err
	}
	found := Container{ID: p.Container}
	if found.Backend, found.Rules, err = space.Detect(ctx); err != nil {
		return err
	}
	if p.IPv6 != nil {
		if found.Rules6, err = space.Current(ctx, found.Backend, netfilter.IPv6); err != nil {
			return err
		}
	}
	if p.Table != nil {
		if found.Table, err = space.ReadTable(ctx); err != nil {
			return err
		}
	}
	if !found.has(want) {
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
