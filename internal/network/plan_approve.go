package network

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"labd/internal/finding"
	"labd/internal/netfilter"
	"labd/internal/plan"
	"labd/internal/route"
)

const opApprove = "network.approve"

// approveParams are the parameters of opApprove: prefixes that are approved beside those that are.
type approveParams struct {
	Prefixes []netip.Prefix `json:"prefixes"`
}

// PlanApprove lets subnets outside the pools have routes: those within the prefixes named, or all that wait. It makes no
// route; that does the loop where labd is on, or labctl net apply.
func PlanApprove(r *Report, texts []string) (*plan.Plan, error) {
	var prefixes []netip.Prefix
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if err != nil || prefix != prefix.Masked() {
			return nil, &plan.RefusedError{Reason: fmt.Sprintf("%q is no prefix", text), Hint: "labctl net approve 10.118.3.0/24"}
		}
		widest, _ := limits(netfilter.FamilyOf(prefix.Addr()))
		if special(prefix.Addr()) || prefix.Bits() < widest {
			return nil, &plan.RefusedError{Reason: fmt.Sprintf("%s is too wide, or a range with a meaning of its own; no route is made for it", prefix)}
		}
		if with := route.Overlap(prefix, r.facts.Host.Addresses, r.facts.Host.Routes); with != "" {
			return nil, &plan.RefusedError{Reason: fmt.Sprintf("%s overlaps %s; what the host needs stays its own", prefix, with), Hint: "labctl net list"}
		}
		prefixes = append(prefixes, prefix)
	}
	p := &plan.Plan{Title: "Let Docker networks outside the pools be made reachable"}
	waiting := map[netip.Prefix][]string{}
	for _, n := range r.Networks {
		for _, l := range n.paths {
			if n.waits(r, l) && (len(prefixes) == 0 || route.Within(prefixes, l.subnet)) {
				waiting[l.subnet] = append(waiting[l.subnet], string(n.Subject()))
				p.Subjects = append(p.Subjects, n.Subject())
			}
		}
	}
	if len(texts) == 0 {
		for prefix := range waiting {
			prefixes = append(prefixes, prefix)
		}
	}
	slices.SortFunc(prefixes, netip.Prefix.Compare)
	prefixes = slices.Compact(slices.DeleteFunc(prefixes, func(prefix netip.Prefix) bool { return slices.Contains(r.facts.Approved, prefix) }))
	if len(prefixes) == 0 {
		p.Notes = append(p.Notes, "no Docker network waits for approval")
	}
	for _, prefix := range prefixes {
		var who []string
		for subnet, networks := range waiting {
			if route.Within([]netip.Prefix{prefix}, subnet) {
				who = append(who, networks...)
			}
		}
		slices.Sort(who)
		p.Notes = append(p.Notes, fmt.Sprintf("%s: %s", prefix, strings.Join(append(who, "and whatever Docker network has a subnet in it later"), ", ")))
	}
	if len(prefixes) > 0 {
		names := make([]string, len(prefixes))
		for i, prefix := range prefixes {
			names[i] = prefix.String()
		}
		if err := addStep(p, opApprove, approveParams{prefixes}, plan.Step{
			Title: "Remember that " + strings.Join(names, ", ") + " may have routes", How: "write " + approvedFile + " in the state directory", Verified: "read it again",
			Undone: "forget them; routes that were made since go", Risk: finding.RiskLow, Undoable: true,
		}); err != nil {
			return nil, err
		}
	}
	var err error
	p.Digest, err = plan.Digest(map[string]any{"action": "approve", "prefixes": prefixes, "subjects": p.Subjects})
	return p, err
}

// waits reports whether a subnet of the network waits for approval.
func (n Network) waits(r *Report, l subnetPath) bool {
	return slices.ContainsFunc(r.Findings, func(f finding.Finding) bool {
		return f.Code == finding.NetApproval && f.Subject == n.Subject() && strings.HasPrefix(f.Title, l.subnet.String()+" ")
	})
}

// approveOp is the operation that remembers approved prefixes.
func (c *Controller) approveOp() plan.Op {
	return plan.Typed[approveParams, []netip.Prefix]{
		CaptureFunc: func(context.Context, approveParams) ([]netip.Prefix, error) { return c.state.approved(), nil },
		DoFunc: locked(c, func(_ context.Context, p approveParams) error {
			all := slices.Concat(c.state.approved(), p.Prefixes)
			slices.SortFunc(all, netip.Prefix.Compare)
			return c.state.setApproved(slices.Compact(all))
		}),
		VerifyFunc: func(_ context.Context, p approveParams) error {
			for _, prefix := range p.Prefixes {
				if !slices.Contains(c.state.approved(), prefix) {
					return fmt.Errorf("%s is not remembered as approved", prefix)
				}
			}
			return nil
		},
		UndoFunc: func(ctx context.Context, _ approveParams, former []netip.Prefix) error {
			return locked(c, func(context.Context, []netip.Prefix) error { return c.state.setApproved(former) })(ctx, former)
		},
	}
}
