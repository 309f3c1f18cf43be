package probe

import (
	"fmt"
	"slices"
	"strconv"

	"labd/internal/finding"
	"labd/internal/netfilter"
	"labd/internal/network"
)

// noteCounter gives a hop what its rule counted. A drop in the container that counted while nothing was answered is where
// packets die, whatever was judged before. A drop of the host's that counted stopped labd's own packets only: those of the
// LAN take another way.
func (p *path) noteCounter(out *Result, where, text string, place netfilter.Place) {
	dropped := place.Drops() && !answered(out)
	known := false
	for i := range out.Hops {
		if h := &out.Hops[i]; h.Where == where && h.Rule == text {
			h.Counted, known = place.Rule.Packets, true
			if dropped && where != "host" {
				h.State = Blocking
			}
		}
	}
	switch {
	case !dropped:
	case where == "host":
		if !known || place.Chain != "FORWARD" {
			out.Hops = append(out.Hops, Hop{
				Name: hopHostOutput, Where: "host", State: Unknown, Rule: text, Counted: place.Rule.Packets,
				Text: "the host drops labd's own packets, so they say nothing of those of the LAN",
			})
		}
	case !known:
		name := hopForward
		switch {
		case place.Table == "raw" || place.Chain == "PREROUTING":
			name = hopRaw
		case p.kind == own && p.box == nil:
			name = hopInput
		}
		for i := range out.Hops {
			if h := &out.Hops[i]; h.Name == name && h.State != Blocking {
				h.State, h.Text, h.Rule, h.Counted = Blocking, "a rule counted labd's packets and drops them", text, place.Rule.Packets
			}
		}
	}
}

// answered reports whether packets came back from the address.
func answered(out *Result) bool {
	return slices.ContainsFunc(out.Packets, func(p Packet) bool { return p.Answered })
}

// conclude gives the verdict and the findings.
func (p *path) conclude(out *Result) {
	came := answered(out)
	if came {
		p.proven(out)
	}
	first := slices.IndexFunc(out.Hops, func(h Hop) bool { return h.State == Blocking })
	doubt := slices.IndexFunc(out.Hops, func(h Hop) bool { return h.State == Unknown })
	switch {
	case first >= 0:
		out.Verdict = VerdictBlocked
	case doubt >= 0 || p.ct == nil:
		out.Verdict = VerdictUnknown
	case out.PortState == PortClosed:
		out.Verdict = VerdictClosed
	case came:
		out.Verdict = VerdictOK
	case p.kind == routed && !out.Source.IsValid():
		out.Verdict = VerdictUnknown // labd's packets come from where nobody is let in
	default:
		out.Verdict = VerdictBlocked // nothing on the way that labd can see drops it: the Docker container itself does
	}
	for _, f := range p.report.Findings {
		if p.ct != nil && (f.Subject == out.Network || f.Subject == finding.LXC(strconv.Itoa(p.ct.ID))) {
			out.Findings = append(out.Findings, f)
		}
	}
	if i := slices.IndexFunc(out.Hops, func(h Hop) bool { return h.Name == hopHostForward && h.State == Blocking }); i >= 0 {
		out.Findings = append(out.Findings, p.hostFirewallFinding(out, out.Hops[i])...)
	}
	if out.Verdict != VerdictOK && p.ct != nil {
		out.Findings = append(out.Findings, p.noAnswer(out, first, doubt))
	}
	finding.Sort(out.Findings)
}

// proven settles what an answer proves: that the address is there, whatever labd knows of it.
func (p *path) proven(out *Result) {
	for i := range out.Hops {
		h := &out.Hops[i]
		if h.State != Unknown {
			continue
		}
		switch h.Name {
		case hopContainer, hopBridge, hopDocker:
			h.State = OK
			h.Text += "; it answered"
		case hopRoute:
			// Only where labd's packets go the client's way.
			if p.fromHost || p.kind != routed {
				h.State = OK
				h.Text += "; it answered"
			}
		}
	}
}

func (p *path) subject(out *Result) finding.Subject {
	switch {
	case out.Network != "":
		return out.Network
	case p.ct != nil:
		return finding.LXC(strconv.Itoa(p.ct.ID))
	default:
		return finding.Route(p.target.Address.String())
	}
}

// hostFirewallFinding says where the host drops the client's packet, unless the report says it of the whole network.
func (p *path) hostFirewallFinding(out *Result, h Hop) []finding.Finding {
	if slices.ContainsFunc(out.Findings, func(f finding.Finding) bool { return f.Code == finding.NetHostFirewall }) {
		return nil
	}
	source := single(p.client)
	for _, s := range p.report.Sources {
		if s.Contains(p.client) {
			source = s
		}
	}
	taken, _ := p.taken()
	f := network.HostFirewallFinding(p.subject(out), h.place, p.seen.hostFilter, p.uplink(), taken.Dev, source, p.reach())
	f.Evidence[0].Text = h.Rule
	return []finding.Finding{f}
}

// noAnswer says that the address is not reached, that labd cannot tell whether it is, or that nothing listens there.
func (p *path) noAnswer(out *Result, first, doubt int) finding.Finding {
	f := finding.Finding{
		Code: finding.NetNoAnswer, Severity: finding.Fail, Subject: p.subject(out), Title: fmt.Sprintf("%s does not answer", p.target), Confidence: finding.Unknown,
	}
	came := answered(out)
	switch {
	case out.Verdict == VerdictClosed:
		f.Severity, f.Title = finding.Warn, fmt.Sprintf("%s refuses: the port is closed", p.target)
		f.Cause, f.Confidence = "nothing listens on the port, or a rule rejects it: packets arrive", finding.Likely
	case out.Verdict == VerdictUnknown:
		f.Severity = finding.Warn
		f.Title = fmt.Sprintf("labd cannot tell whether %s is reached", p.target)
		if came {
			f.Title = fmt.Sprintf("%s answers this host; labd cannot tell whether the LAN reaches it", p.target)
		}
		if doubt >= 0 {
			f.Cause = fmt.Sprintf("%s: %s", out.Hops[doubt].Where, out.Hops[doubt].Text)
			if rule := out.Hops[doubt].Rule; rule != "" {
				f.Evidence = append(f.Evidence, finding.Evidence{Source: out.Hops[doubt].Where, Text: rule})
			}
		}
	case came:
		f.Severity, f.Title = finding.Warn, fmt.Sprintf("%s answers the host, and is not reached from the LAN", p.target)
	case out.PortState == PortFiltered:
		f.Title = fmt.Sprintf("%s does not answer: the port is filtered", p.target)
	}
	for _, packet := range out.Packets {
		f.Evidence = append(f.Evidence, finding.Evidence{Source: packet.Kind, Text: packet.Result})
	}
	switch {
	case first >= 0:
		hop := out.Hops[first]
		f.Cause, f.Confidence = fmt.Sprintf("%s: %s", hop.Where, hop.Text), finding.Likely
		switch {
		case hop.Counted > 0:
			f.Confidence = finding.Certain
			f.Evidence = append(f.Evidence, finding.Evidence{Source: hop.Where, Text: fmt.Sprintf("%s (%d packets counted meanwhile)", hop.Rule, hop.Counted)})
		case hop.Rule != "":
			f.Evidence = append(f.Evidence, finding.Evidence{Source: hop.Where, Text: hop.Rule})
		}
		for _, other := range out.Findings {
			if other.Severity >= finding.Warn && other.Subject == f.Subject && hopOf(other.Code) == hop.Name {
				f.DependsOn = append(f.DependsOn, other.Ref())
			}
		}
	case out.Verdict == VerdictBlocked:
		f.Cause = "nothing on the way drops it, as far as labd can see: the Docker container itself may, by rules of its own, or its program hangs"
	}
	return f
}

// hopOf is the hop that a finding is about.
func hopOf(code finding.Code) string {
	switch code {
	case finding.NetNoRoute:
		return hopRoute
	case finding.NetRawDrop:
		return hopRaw
	case finding.NetForwardDrop, finding.NetUserDrop:
		return hopForward
	case finding.NetPVEFirewall:
		return hopPVEFirewall
	case finding.NetIPFilter:
		return hopIPFilter
	case finding.NetHostFirewall:
		return hopHostForward
	case finding.NetNFTBackend:
		return hopDockerFirewall
	default:
		return ""
	}
}
