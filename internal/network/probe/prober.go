package probe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/vishvananda/netlink"

	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/netfilter"
	"labd/internal/network"
	"labd/internal/network/container"
	"labd/internal/plan"
	"labd/internal/route"
)

// MetricProbes is the metric of a Prober.
const MetricProbes = "labd_network_probes_total"

var descProbes = prometheus.NewDesc(MetricProbes, "Probes that were asked for since labd started, by verdict: ok, blocked or unknown.", []string{"verdict"}, nil)

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
	for _, verdict := range []Verdict{VerdictOK, VerdictBlocked, VerdictUnknown} {
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

// Probe looks at every hop on the way to the target, then sends packets from the host and sees which rules counted.
// Packets go only to addresses in Docker networks that are known: labd is nobody's port scanner.
func (p *Prober) Probe(ctx context.Context, r *network.Report, target Target) (*Result, error) {
	if network.Special(target.Address) {
		return nil, &plan.RefusedError{Reason: fmt.Sprintf("%s is of a range with a meaning of its own; no Docker container has it", target.Address)}
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another probe to end: %w", ctx.Err())
	}
	family := netfilter.FamilyOf(target.Address)
	way := &path{target: target, family: family, report: r, facts: r.Facts(), client: clientAddress(r, family)}
	way.find()
	out := &Result{At: p.now(), Target: way.target, Source: way.client}
	if way.ct != nil {
		out.Network = way.network.Subject()
	}
	if way.box != nil {
		out.Docker = way.box.Name
	}
	var ct container.Handle
	if way.ct != nil {
		opened, err := p.containers.Open(ctx, way.ct.ID)
		if err != nil {
			way.rulesErr, way.sysctlErr, way.backErr = err, err, err
		} else {
			ct = opened
			defer ct.Close()
		}
	}
	p.observe(ctx, way, ct)
	out.Hops = way.hops()
	if way.ct != nil {
		source := way.client
		if !slices.ContainsFunc(r.Facts().Host.Addresses, func(a route.Address) bool { return a.Prefix.Addr() == source }) {
			source = netip.Addr{}
			out.Notes = append(out.Notes, "the host has no address among the allowed sources, so its packets come from another one, which labd's rules do not let in")
		}
		out.Source = source
		out.Packets = sendPackets(ctx, Target{way.target.Address, way.tcpPort()}, source)
		p.count(ctx, way, ct, out)
	} else {
		out.Notes = append(out.Notes, "no packet was sent: labd sends them only to Docker networks that it knows")
	}
	way.conclude(out)
	p.ended[out.Verdict].Add(1)
	return out, nil
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

// clientAddress is an address to judge for: the host's own among the allowed sources, else the first of them.
func clientAddress(r *network.Report, family netfilter.Family) netip.Addr {
	sources := network.OfFamily(r.Sources, family)
	for _, s := range sources {
		for _, a := range r.Facts().Host.Addresses {
			if s.Contains(a.Prefix.Addr()) {
				return a.Prefix.Addr()
			}
		}
	}
	if len(sources) > 0 {
		return sources[0].Addr().Next()
	}
	return netip.Addr{}
}

// observe reads what the report does not hold.
func (p *Prober) observe(ctx context.Context, way *path, ct container.Handle) {
	way.chosen, way.chosenErr = route.Chosen(route.Host(), way.target.Address)
	way.hostRules, way.hostRulesErr = countAll(ctx, p.hostSpace(), way.family)
	if ct == nil {
		return
	}
	way.rules, way.rulesErr = countAll(ctx, container.Namespace(p.host, ct), way.family)
	way.forwarding, way.rpFilter, way.sysctlErr = p.sysctls(ctx, ct, way)
	handle, err := ct.Netlink()
	if err != nil {
		way.backErr = err
		return
	}
	defer handle.Close()
	way.backErr = handle.SetSocketTimeout(route.Timeout)
	if way.backErr != nil {
		return
	}
	if link, err := handle.LinkByName(way.docker.Bridge); err == nil {
		way.bridgeUp = link.Attrs().OperState == netlink.OperUp || link.Attrs().OperState == netlink.OperUnknown
	}
	if !way.client.IsValid() {
		way.backErr = errors.New("it is not known from where clients come")
		return
	}
	way.back, way.backErr = route.Chosen(handle, way.client)
}

func (p *Prober) hostSpace() netfilter.Namespace {
	return netfilter.Namespace{Host: p.host, Proc: filepath.Join(p.host.Procfs, "self/net")}
}

func countAll(ctx context.Context, space netfilter.Namespace, family netfilter.Family) (map[netfilter.Backend]*netfilter.Ruleset, error) {
	backends, err := space.Backends(ctx, family)
	if err != nil {
		return nil, err
	}
	out := map[netfilter.Backend]*netfilter.Ruleset{}
	for _, b := range backends {
		if out[b], err = space.Count(ctx, b, family); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// sysctls reads whether the container forwards what comes in on its uplink, and the rp_filter in force there. The
// files below /proc/sys/net show the namespace of whoever reads them, so a program of the host reads them there.
func (p *Prober) sysctls(ctx context.Context, ct container.Handle, way *path) (forwarding bool, rpFilter int, err error) {
	uplink := way.ct.Uplink
	if way.family == netfilter.IPv6 {
		data, err := p.host.Run(ctx, host.Cmd{Name: "sysctl", Args: []string{"-n", "net/ipv6/conf/all/forwarding"}, NetNS: ct.NetNS()})
		return strings.TrimSpace(string(data)) == "1", 0, err
	}
	args := []string{"-n", "net/ipv4/conf/" + uplink + "/forwarding", "net/ipv4/conf/all/rp_filter", "net/ipv4/conf/" + uplink + "/rp_filter"}
	data, err := p.host.Run(ctx, host.Cmd{Name: "sysctl", Args: args, NetNS: ct.NetNS()})
	if err != nil {
		return false, 0, err
	}
	values := strings.Fields(string(data))
	if len(values) != 3 {
		return false, 0, fmt.Errorf("sysctl printed %d values instead of 3", len(values))
	}
	all, err1 := strconv.Atoi(values[1])
	own, err2 := strconv.Atoi(values[2])
	return values[0] == "1", max(all, own), errors.Join(err1, err2)
}

// count reads the counters again and joins what moved with the hops.
func (p *Prober) count(ctx context.Context, way *path, ct container.Handle, out *Result) {
	type space struct {
		where  string
		before map[netfilter.Backend]*netfilter.Ruleset
		after  func() (map[netfilter.Backend]*netfilter.Ruleset, error)
		packet netfilter.Packet
	}
	own := netfilter.Packet{Src: out.Source} // whatever the destination: it changes behind an alias
	if !way.aliased() {
		own.Dst = way.target.Address
	}
	spaces := []space{{"host", way.hostRules, func() (map[netfilter.Backend]*netfilter.Ruleset, error) {
		return countAll(ctx, p.hostSpace(), way.family)
	}, own}}
	if ct != nil {
		own.In = way.ct.Uplink
		spaces = append(spaces, space{way.inside(), way.rules, func() (map[netfilter.Backend]*netfilter.Ruleset, error) {
			return countAll(ctx, container.Namespace(p.host, ct), way.family)
		}, own})
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
	slices.SortStableFunc(out.Moved, func(a, b Moved) int { return strings.Compare(b.Where, a.Where) })
}

// noteCounter gives a hop what its rule counted. A drop that counted while nothing was answered is where packets die,
// whatever was judged before.
func (p *path) noteCounter(out *Result, where, text string, place netfilter.Place) {
	known := false
	for i := range out.Hops {
		if out.Hops[i].Where == where && out.Hops[i].Rule == text {
			out.Hops[i].Counted, known = place.Rule.Packets, true
			if place.Drops() && !anyAnswered(out.Packets) {
				out.Hops[i].State = Blocking
			}
		}
	}
	if known || !place.Drops() || anyAnswered(out.Packets) {
		return
	}
	name := "container-forward"
	switch {
	case where == "host":
		name = "host-forward"
	case place.Table == "raw" || place.Chain == "PREROUTING":
		name = "container-raw"
	}
	for i := range out.Hops {
		if out.Hops[i].Name == name && out.Hops[i].State != Blocking {
			out.Hops[i].State, out.Hops[i].Text, out.Hops[i].Rule, out.Hops[i].Counted = Blocking, "a rule counted labd's packets and drops them", text, place.Rule.Packets
		}
	}
}

func anyAnswered(packets []Packet) bool {
	return slices.ContainsFunc(packets, func(p Packet) bool { return p.Answered })
}

// conclude gives the verdict and the findings.
func (p *path) conclude(out *Result) {
	answered := anyAnswered(out.Packets)
	first := slices.IndexFunc(out.Hops, func(h Hop) bool { return h.State == Blocking })
	switch {
	case first >= 0:
		out.Verdict = VerdictBlocked
	case answered:
		out.Verdict = VerdictOK
	default:
		out.Verdict = VerdictUnknown
	}
	if p.ct != nil {
		for _, f := range p.report.Findings {
			if f.Subject == out.Network || f.Subject == finding.LXC(strconv.Itoa(p.ct.ID)) {
				out.Findings = append(out.Findings, f)
			}
		}
	}
	if i := slices.IndexFunc(out.Hops, func(h Hop) bool { return h.Name == "host-forward" && h.State == Blocking }); i >= 0 {
		out.Findings = append(out.Findings, p.hostFirewallFinding(out.Hops[i]))
	}
	if p.ct != nil && (!answered || first >= 0 && finding.Worst(out.Findings) < finding.Warn) {
		out.Findings = append(out.Findings, p.noAnswer(out, first, answered))
	}
	finding.Sort(out.Findings)
}

func (p *path) subject(out *Result) finding.Subject {
	if out.Network != "" {
		return out.Network
	}
	return finding.Route(p.target.Address.String())
}

func (p *path) hostFirewallFinding(h Hop) finding.Finding {
	return finding.Finding{
		Code: finding.NetHostFirewall, Severity: finding.Warn, Subject: p.subject(&Result{Network: p.networkSubject()}), Title: "the host's own packet filter drops what is forwarded to it",
		Cause: "a rule or policy of the host's, which labd does not change: an accept of labd's elsewhere would not override it", Confidence: finding.Certain,
		Evidence: []finding.Evidence{{Source: "host", Text: h.Rule}},
		Remedies: []finding.Remedy{{Title: "let it through where that rule comes from: PVE's firewall (Datacenter or node, direction forward), a Docker on the host, or a script of your own", Risk: finding.RiskLow}},
	}
}

func (p *path) networkSubject() finding.Subject {
	if p.network == nil {
		return ""
	}
	return p.network.Subject()
}

// noAnswer says that the address is not reached: not by labd's own packets, or, where those were answered, not by what
// comes from the LAN.
func (p *path) noAnswer(out *Result, first int, answered bool) finding.Finding {
	f := finding.Finding{
		Code: finding.NetNoAnswer, Severity: finding.Fail, Subject: p.subject(out), Title: fmt.Sprintf("%s does not answer", p.target), Confidence: finding.Unknown,
	}
	if answered {
		f.Severity, f.Title = finding.Warn, fmt.Sprintf("%s answers the host, and is not reached from the LAN", p.target)
	}
	for _, packet := range out.Packets {
		f.Evidence = append(f.Evidence, finding.Evidence{Source: packet.Kind, Text: packet.Result})
	}
	if first >= 0 {
		hop := out.Hops[first]
		f.Cause, f.Confidence = fmt.Sprintf("%s: %s", hop.Where, hop.Text), finding.Likely
		if hop.Counted > 0 {
			f.Confidence = finding.Certain
			f.Evidence = append(f.Evidence, finding.Evidence{Source: hop.Where, Text: fmt.Sprintf("%s (%d packets counted meanwhile)", hop.Rule, hop.Counted)})
		}
		for _, other := range out.Findings {
			if other.Severity >= finding.Warn && other.Subject == f.Subject && hopOf(other.Code) == hop.Name {
				f.DependsOn = append(f.DependsOn, other.Ref())
			}
		}
	}
	return f
}

// hopOf is the hop that a finding is about.
func hopOf(code finding.Code) string {
	switch code {
	case finding.NetNoRoute:
		return "route"
	case finding.NetRawDrop:
		return "container-raw"
	case finding.NetForwardDrop, finding.NetUserDrop:
		return "container-forward"
	case finding.NetPVEFirewall:
		return "pve-firewall"
	case finding.NetIPFilter:
		return "pve-ipfilter"
	case finding.NetHostFirewall:
		return "host-forward"
	case finding.NetNFTBackend:
		return "docker-firewall"
	default:
		return ""
	}
}
