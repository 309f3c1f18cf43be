package daemon

import (
	"context"
	"fmt"
	"os"

	apiv1 "labd/api/v1"
	"labd/internal/config"
	"labd/internal/host"
	"labd/internal/plan"
	"labd/internal/pve"
	"labd/internal/server"
	"labd/internal/setup"
)

// newAccess is how labd gives itself access to PVE.
func newAccess(cfg config.Config, h *host.Host) *setup.Access {
	file := cfg.PVE.TokenFile
	if file == "" {
		file = tokenFile
	}
	return &setup.Access{Host: h, TokenFile: file, Try: func(ctx context.Context, token string) (pve.Permissions, error) {
		ca, err := os.ReadFile(cfg.PVE.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the certificate authority of PVE: %w", err)
		}
		client, err := pve.NewClient(pve.ClientConfig{BaseURL: cfg.PVE.API, Token: token, CA: ca, Node: cfg.PVE.Node, Timeout: pveTimeout})
		if err != nil {
			return nil, err
		}
		defer client.Close()
		return client.Permissions(ctx)
	}}
}

// planSetup is what is missing of labd's access to PVE.
func (d *daemon) planSetup(ctx context.Context, req apiv1.PlanRequest) (*plan.Plan, error) {
	if len(req.IDs) > 0 || req.Method != "" && req.Method != apiv1.MethodRotate {
		return nil, fmt.Errorf("%w: %s takes no ids, and no method but %s", server.ErrBadRequest, req.Action, apiv1.MethodRotate)
	}
	facts, err := newAccess(d.cfg, d.host).Observe(ctx)
	if err != nil {
		return nil, err
	}
	return setup.Plan(facts, req.Method == apiv1.MethodRotate)
}
