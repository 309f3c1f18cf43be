package daemon

import (
	"context"
	"fmt"

	apiv1 "labd/api/v1"
	"labd/internal/config"
	"labd/internal/disk"
	"labd/internal/host"
	"labd/internal/network"
	"labd/internal/plan"
	"labd/internal/server"
	"labd/internal/setup"
	"labd/internal/storage"
)

// planner builds plans, each from fresh facts.
type planner struct {
	cfg  config.Config
	host *host.Host
	jobs *jobs
}

// Plan builds the plan of a request from fresh facts.
func (p *planner) Plan(ctx context.Context, req apiv1.Request) (*plan.Plan, error) {
	switch req := req.(type) {
	case apiv1.RescueRequest:
		report, err := p.jobs.drives.job.Refresh(ctx)
		if err != nil {
			return nil, err
		}
		return disk.PlanRescue(report, req.Address, string(req.Method))
	case apiv1.RemoveStoragesRequest:
		report, err := p.jobs.storages.job.Refresh(ctx)
		if err != nil {
			return nil, err
		}
		return p.permitted(ctx, func() (*plan.Plan, error) {
			return storage.PlanRemoval(report.Facts(), report, req.IDs, storage.Options{FixRefs: req.FixRefs})
		})
	case apiv1.DisableStoragesRequest:
		report, err := p.jobs.storages.job.Refresh(ctx)
		if err != nil {
			return nil, err
		}
		return p.permitted(ctx, func() (*plan.Plan, error) { return storage.PlanDisable(report.Facts(), report, req.IDs) })
	case apiv1.ApplyNetworksRequest:
		report, err := p.jobs.networks.job.Refresh(ctx)
		if err != nil {
			return nil, err
		}
		return network.PlanApply(report, req.Keep)
	case apiv1.ApproveNetworksRequest:
		report, err := p.jobs.networks.job.Refresh(ctx)
		if err != nil {
			return nil, err
		}
		return network.PlanApprove(report, req.Prefixes)
	case apiv1.NetworksOffRequest:
		if _, err := p.jobs.networks.job.Refresh(ctx); err != nil {
			return nil, err
		}
		return network.PlanOff(p.jobs.networks.job.lastFacts())
	case apiv1.SetupPVERequest:
		facts, err := newAccess(p.cfg, p.host).Observe(ctx)
		if err != nil {
			return nil, err
		}
		return setup.Plan(facts, req.Rotate)
	default:
		return nil, fmt.Errorf("%w: no plan is made for %T", server.ErrBadRequest, req)
	}
}

// permitted is a plan of changes to storages that PVE would let labd make: nobody is asked to agree to one that would end
// at its first step.
func (p *planner) permitted(ctx context.Context, build func() (*plan.Plan, error)) (*plan.Plan, error) {
	out, err := build()
	if err == nil {
		err = p.jobs.storages.access.Check(ctx, true)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// StoragePlan returns the one plan of some storages from the facts of the last report.
func (*planner) StoragePlan(report *storage.Report, ids ...string) (*plan.Plan, error) {
	return storage.PlanRemoval(report.Facts(), report, ids, storage.Options{})
}
