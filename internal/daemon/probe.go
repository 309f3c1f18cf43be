package daemon

import (
	"context"
	"time"

	"labd/internal/network"
)

// Probe finds out where packets to an address end, from fresh facts.
func (d *daemon) Probe(ctx context.Context, target network.Target) (*network.Probe, error) {
	report, err := d.network.Refresh(ctx)
	if err != nil {
		return nil, err
	}
	return network.NewProber(d.host, time.Now).Probe(ctx, report, target)
}
