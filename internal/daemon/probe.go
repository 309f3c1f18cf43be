package daemon

import (
	"context"

	"labd/internal/network/probe"
)

// Probe finds out where packets to an address end, from fresh facts.
func (d *daemon) Probe(ctx context.Context, target probe.Target) (*probe.Result, error) {
	report, err := d.network.Refresh(ctx)
	if err != nil {
		return nil, err
	}
	return d.prober.Probe(ctx, report, target)
}
