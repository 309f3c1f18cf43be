package server

import (
	"context"
	"net/http"
	"net/netip"
	"testing"

	apiv1 "labd/api/v1"
	"labd/internal/netfilter"
	"labd/internal/network/probe"
)

// hopOnly answers each probe with one hop.
type hopOnly struct{}

func (hopOnly) Probe(_ context.Context, req probe.Request) (*probe.Result, error) {
	return &probe.Result{
		At: at, Target: req.Target, Verdict: probe.VerdictBlocked, Source: netip.MustParseAddr("192.168.50.1"),
		Hops:  []probe.Hop{{Name: "route", State: probe.Blocking, Where: "host", Counted: 2}},
		Moved: []probe.Moved{{Where: "host", Place: netfilter.Place{Table: "filter", Chain: "FORWARD", Policy: "DROP", Rule: netfilter.Rule{Packets: 2}}}},
	}, nil
}

func TestProbe(t *testing.T) {
	s := testServer(t)
	s.Prober = hopOnly{}
	var report apiv1.Envelope[apiv1.ProbeItem]
	if rec := ask(t, s, reader, "POST", "/v1/probes", `{"address":"172.18.0.2","port":80}`, &report); rec.Code != http.StatusOK {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	item := report.Items[0]
	if report.Kind != apiv1.KindProbeReport || item.ID != "172.18.0.2:80" || item.Hops[0].Packets != 2 || item.Moved[0].Rule != ":FORWARD DROP" || item.Moved[0].Packets != 2 {
		t.Errorf("%+v", report)
	}
	for _, body := range []string{`{"address":"web"}`, `{"address":"fe80::1%eth0"}`, `{"address":"1.2.3.4","port":70000}`, `{"address":"1.2.3.4","shell":"x"}`, `{}`} {
		if rec := ask(t, s, root, "POST", "/v1/probes", body, nil); rec.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", body, rec.Code)
		}
	}
	if rec := ask(t, s, stranger, "POST", "/v1/probes", `{"address":"172.18.0.2"}`, nil); rec.Code != http.StatusForbidden {
		t.Errorf("a stranger may probe: %d", rec.Code)
	}
}
