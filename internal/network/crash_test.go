package network

import (
	"errors"
	"strings"
	"testing"

	"labd/internal/netfilter"
	"labd/internal/plan"
	"labd/test/crash"
)

// labd killed at every point of net apply and of net on, and of their undo, on real routes and rules.
func TestNetworkKilledAnywhere(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes some dozens of networks")
	}
	for name, on := range map[string]bool{"apply": false, "on": true} {
		t.Run(name, func(t *testing.T) {
			crash.Everywhere(t, func(t *testing.T) crash.World {
				b := newBed(t, "docker-28.5", netfilter.NFT)
				return crash.World{
					Runner: b.runner,
					Plan: func() (*plan.Plan, error) {
						_, r := b.look()
						p, err := PlanApply(r, on)
						var refused *plan.RefusedError
						if errors.As(err, &refused) {
							return nil, nil // nothing is left to do
						}
						return p, err
					},
					State: func() any {
						return map[string]string{
							"routes": b.host.run("ip", "route", "show", "table", "all", "proto", "176"),
							"rules":  b.host.run("ip", "rule"),
							"chains": b.ct.rules(netfilter.NFT),
							"ahead":  strings.TrimSpace(b.host.run("sysctl", "-n", "net.ipv4.ip_forward")),
						}
					},
				}
			})
		})
	}
}
