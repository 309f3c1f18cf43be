package network

import (
	"context"
	"net/netip"
	"testing"

	"labd/internal/host"
	"labd/internal/network/container"
)

// ProbeResult is what package probe, which stands above this one, says of an address.
type ProbeResult struct {
	Verdict, Network, Docker string
	// Answered says for each packet whether it was answered.
	Answered []bool
	// Hops are the states of the places on the way, Texts what is said of them.
	Hops, Texts map[string]string
	Findings    string
}

// Probe is package probe; the external tests of this package set it.
var Probe func(ctx context.Context, h *host.Host, containers container.Source, r *Report, addr netip.Addr, port uint16) (ProbeResult, error)

// probe asks package probe for ADDR or ADDR:PORT.
func (b *bed) probe(target string) ProbeResult {
	b.t.Helper()
	addr, err := netip.ParseAddr(target)
	var port uint16
	if err != nil {
		both := netip.MustParseAddrPort(target)
		addr, port = both.Addr(), both.Port()
	}
	_, r := b.look()
	out, err := Probe(b.t.Context(), b.control.host, b.containers, r, addr, port)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

func TestProbeIsSet(t *testing.T) {
	if Probe == nil {
		t.Fatal("no external test set Probe")
	}
}
