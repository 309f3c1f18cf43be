package daemon

import (
	"context"

	"labd/internal/network"
)

// Probe finds out where packets to an address end, from fresh facts.
func (d *daemon) Probe(ctx context.Context, target network.Target) (*network.Probe, error) {
	report, err := d.network.Refresh(ctx)
	if err != nil {
		return nil, err
	}
	return d.prober.Probe(ctx, report, target)
}
