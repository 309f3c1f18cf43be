package server

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"

	apiv1 "labd/api/v1"
	"labd/internal/network/probe"
)

// Prober finds out where packets to a Docker container end, from fresh facts.
type Prober interface {
	Probe(ctx context.Context, req probe.Request) (*probe.Result, error)
}

// probe answers POST /v1/probes. It changes nothing, but it sends packets: so it is not for the TCP port.
func (s *Server) probe(w http.ResponseWriter, r *http.Request) {
	req, err := decodeBody[apiv1.ProbeRequest](r)
	if err != nil {
		s.fail(w, err)
		return
	}
	addr, err := netip.ParseAddr(req.Address)
	if err != nil || addr.Zone() != "" {
		s.fail(w, fmt.Errorf("%w: %q is no address", ErrBadRequest, req.Address))
		return
	}
	var from netip.Addr
	if req.From != "" {
		if from, err = netip.ParseAddr(req.From); err != nil || from.Zone() != "" {
			s.fail(w, fmt.Errorf("%w: the client %q is no address", ErrBadRequest, req.From))
			return
		}
	}
	result, err := s.Prober.Probe(r.Context(), probe.Request{Target: probe.Target{Address: addr.Unmap(), Port: req.Port}, From: from.Unmap()})
	if err != nil {
		s.fail(w, err)
		return
	}
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindProbeReport, result.At, []apiv1.ProbeItem{probeToAPI(result)}, s.findingsToAPI(result.Findings), result.Notes))
}

func probeToAPI(p *probe.Result) apiv1.ProbeItem {
	item := apiv1.ProbeItem{
		ID: p.Target.String(), Network: string(p.Network), DockerContainer: p.Docker, Verdict: apiv1.ProbeVerdict(p.Verdict), PortState: apiv1.PortState(p.PortState),
		Hops: []apiv1.ProbeHop{}, Packets: []apiv1.ProbePacket{}, Moved: []apiv1.ProbeCounter{},
	}
	if p.Source.IsValid() {
		item.Source = p.Source.String()
	}
	if p.From.IsValid() {
		item.From = p.From.String()
	}
	for _, h := range p.Hops {
		item.Hops = append(item.Hops, apiv1.ProbeHop{Name: apiv1.HopName(h.Name), Where: h.Where, State: apiv1.HopState(h.State), Text: h.Text, Rule: h.Rule, Packets: h.Counted, Lines: h.Lines})
	}
	for _, packet := range p.Packets {
		item.Packets = append(item.Packets, apiv1.ProbePacket{Kind: packet.Kind, Port: packet.Port, Answered: packet.Answered, Result: packet.Result, RTTSeconds: packet.RTT.Seconds()})
	}
	for _, m := range p.Moved {
		item.Moved = append(item.Moved, apiv1.ProbeCounter{Where: m.Where, Table: m.Place.Table, Rule: m.Place.String(), Packets: m.Place.Rule.Packets})
	}
	return item
}
