package network_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"labd/internal/host"
	"labd/internal/network"
	"labd/internal/network/container"
	"labd/internal/network/probe"
)

// The tests of package network ask package probe what it says of what they made.
var _ = func() bool {
	network.Probe = func(ctx context.Context, h *host.Host, containers container.Source, r *network.Report, addr netip.Addr, port uint16) (network.ProbeResult, error) {
		result, err := probe.New(h, containers, time.Now).Probe(ctx, r, probe.Request{Target: probe.Target{Address: addr, Port: port}})
		if err != nil {
			return network.ProbeResult{}, err
		}
		out := network.ProbeResult{
			Verdict: string(result.Verdict), Network: string(result.Network), Docker: result.Docker, Findings: fmt.Sprint(result.Findings),
			Hops: map[string]string{}, Texts: map[string]string{},
		}
		for _, p := range result.Packets {
			out.Answered = append(out.Answered, p.Answered)
		}
		for _, hop := range result.Hops {
			out.Hops[hop.Name], out.Texts[hop.Name] = string(hop.State), hop.Text
		}
		return out, nil
	}
	return true
}()
