package probe

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"labd/internal/host"
	"labd/internal/netfilter"
	"labd/internal/network"
	"labd/internal/network/container"
	"labd/internal/plan"
	"labd/internal/route"
)

// MetricProbes is the metric of a Prober.
const MetricProbes = "labd_network_probes_total"

var descProbes = prometheus.NewDesc(MetricProbes, "Probes that were asked for since labd started, by verdict: ok, closed, blocked or unknown.", []string{"verdict"}, nil)

// Prober finds out where packets to a Docker container end.
type Prober struct {
	host       *host.Host
	containers container.Source
	now        func() time.Time
	// one at a time: probes count packets.
	turn chan struct{}
	// by verdict, how many ended so
	ended map[Verdict]*atomic.Uint64
}

// New returns a Prober of the containers of a source.
func New(h *host.Host, containers container.Source, now func() time.Time) *Prober {
	p := &Prober{host: h, containers: containers, now: now, turn: make(chan struct{}, 1), ended: map[Verdict]*atomic.Uint64{}}
	for _, verdict := range Verdicts() {
		p.ended[verdict] = &atomic.Uint64{}
	}
	return p
}

// Describe and Collect make the Prober a collector of its results.
func (p *Prober) Describe(out chan<- *prometheus.Desc) { out <- descProbes }

// Collect gives how many probes ended with each verdict.
func (p *Prober) Collect(out chan<- prometheus.Metric) {
	for verdict, n := range p.ended {
		out <- prometheus.MustNewConstMetric(descProbes, prometheus.CounterValue, float64(n.Load()), string(verdict))
	}
}

// Timeout is the most that a probe takes.
const Timeout = 8 * time.Second

// Probe looks at every hop on the way to the target, then sends packets from the host and sees which rules counted. What only
// packets of the LAN pass, as the host's own FORWARD chain, is judged by its rules: labd's packets do not go that way.
// Packets go only to addresses of Docker containers and of the LXC containers that they run in: labd is nobody's port scanner.
func (p *Prober) Probe(ctx context.Context, r *network.Report, req Request) (*Result, error) {
	if network.Special(req.Address) {
		return nil, &plan.RefusedError{Reason: fmt.Sprintf("%s is of a range with a meaning of its own; no Docker container has it", req.Address)}
	}
	if req.From.IsValid() && (network.Special(req.From) || req.From.Is4() != req.Address.Is4()) {
		return nil, &plan.RefusedError{Reason: fmt.Sprintf("%s cannot be a client of %s", req.From, req.Address)}
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another probe to end: %w", ctx.Err())
	}
	way := &path{target: req.Target, family: netfilter.FamilyOf(req.Address), report: r, facts: r.Facts()}
	way.find()
	way.choose(req.From)
	out := &Result{At: p.now(), Target: way.target, From: way.client}
	if way.network != nil {
		out.Network = way.network.Subject()
	}
	if way.box != nil {
		out.Docker = way.box.Name
	}
	var ct container.Handle
	if way.ct != nil {
		opened, err := p.containers.Open(ctx, way.ct.ID)
		if err != nil {
			way.seen.filterErr, way.seen.sysctlErr, way.seen.backErr = err, err, err
		} else {
			ct = opened
			defer ct.Close()
		}
	}
	p.observe(ctx, way, ct)
	out.Hops = way.hops()
	if way.ct != nil {
		p.send(ctx, way, ct, out)
	} else {
		out.Notes = append(out.Notes, "no packet was sent: labd sends them only to Docker containers that it knows")
	}
	way.conclude(out)
	p.ended[out.Verdict].Add(1)
	return out, nil
}

// send sends labd's own packets and joins what counted them with the hops.
func (p *Prober) send(ctx context.Context, way *path, ct container.Handle, out *Result) {
	out.Source = way.source()
	if !out.Source.IsValid() && way.kind == routed {
		out.Notes = append(out.Notes, "the host has no address among the allowed sources, so its packets come from another one, which labd's rules do not let in")
	}
	out.Packets = sendPackets(ctx, Target{way.target.Address, way.tcpPort()}, way.target.Port == 0, out.Source)
	if way.target.Port != 0 {
		out.PortState = out.Packets[0].PortState
	}
	p.count(ctx, way, ct, out)
}

// source returns the host's own address among the sources: the client itself where that is this host.
func (p *path) source() netip.Addr {
	if p.fromHost {
		return p.client
	}
	for _, s := range network.OfFamily(p.report.Sources, p.family) {
		for _, a := range p.facts.Host.Addresses {
			if s.Contains(a.Prefix.Addr()) {
				return a.Prefix.Addr()
			}
		}
	}
	return netip.Addr{}
}

// tcpPort is the port to connect to: the one asked for, else one that the Docker container is known to use, else 0.
func (p *path) tcpPort() uint16 {
	if p.target.Port != 0 || p.box == nil {
		return p.target.Port
	}
	for _, port := range p.box.Ports {
		if port.Protocol == "tcp" {
			return port.Number
		}
	}
	return 0
}

// count reads the counters again and joins what moved with the hops.
func (p *Prober) count(ctx context.Context, way *path, ct container.Handle, out *Result) {
	type space struct {
		where  string
		before rulesets
		after  func() (rulesets, error)
		packet netfilter.Packet
	}
	own := netfilter.Packet{Src: out.Source} // whatever the destination: it changes behind an alias
	if way.inner == way.target.Address {
		own.Dst = way.target.Address
	}
	spaces := []space{{"host", way.seen.hostCounts, func() (rulesets, error) {
		return countAll(ctx, p.hostSpace(), way.family)
	}, own}}
	if ct != nil {
		own.In = way.ct.Uplink
		spaces = append(spaces, space{way.inside(), way.seen.counts, func() (rulesets, error) {
			return countAll(ctx, container.Namespace(p.host, ct), way.family)
		}, own})
	}
	for _, err := range []error{way.seen.hostCountsErr, way.seen.countsErr} {
		if err != nil {
			out.Notes = append(out.Notes, fmt.Sprintf("rules were not counted: %v", err))
		}
	}
	for _, s := range spaces {
		if s.before == nil {
			continue
		}
		after, err := s.after()
		if err != nil {
			out.Notes = append(out.Notes, fmt.Sprintf("%s: the counters could not be read again: %v", s.where, err))
			continue
		}
		for backend, rs := range after {
			for _, place := range netfilter.Moved(s.before[backend], rs, s.packet) {
				out.Moved = append(out.Moved, Moved{Where: s.where, Place: place})
				way.noteCounter(out, s.where, ruleText(way.family, backend, place), place)
			}
		}
	}
	slices.SortStableFunc(out.Moved, func(a, b Moved) int { return -cmpWhere(a.Where, b.Where) })
}

// cmpWhere puts the host behind containers.
func cmpWhere(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == "host":
		return -1
	default:
		return 1
	}
}

// isHost reports whether an address is the host's own.
func (p *path) isHost(addr netip.Addr) bool {
	return slices.ContainsFunc(p.facts.Host.Addresses, func(a route.Address) bool { return a.Prefix.Addr() == addr })
}
