package network

import (
	"fmt"
	"net/netip"
	"strconv"

	"labd/internal/finding"
	"labd/internal/netfilter"
)

// container says how the look into one container went.
func (d *diagnosis) container(c Container) {
	subject := finding.LXC(strconv.Itoa(c.ID))
	own, _ := c.Rules.Own()
	own6, _ := c.Rules6.Own()
	d.report.Containers = append(d.report.Containers, ContainerReport{
		ID: c.ID, OK: c.Err == nil && c.DockerErr == nil, RulesPresent: own.Len() + own6.Len() + c.Table.Rules,
	})
	if d.policy.ignored(string(subject)) {
		return
	}
	switch {
	case c.Err != nil:
		d.report.Notes = append(d.report.Notes, fmt.Sprintf("container %d: %v", c.ID, c.Err))
	case c.Hostile:
		d.find(finding.Finding{
			Code: finding.NetHostile, Severity: finding.Warn, Subject: subject, Title: "its Docker answers what no Docker answers; nothing of it is believed",
			Cause: "something in the container plays Docker, or a socket from outside is mounted into it", Confidence: finding.Likely,
			Evidence: []finding.Evidence{{Source: "Docker socket", Text: c.DockerErr.Error()}},
			Remedies: []finding.Remedy{{Title: "look at what listens there", Risk: finding.RiskNone, Commands: []string{fmt.Sprintf("pct exec %d -- ls -l /run/docker.sock /var/run/docker.sock", c.ID)}}},
		})
	case c.DockerErr != nil:
		d.find(finding.Finding{
			Code: finding.NetDockerUnreachable, Severity: finding.Warn, Subject: subject, Title: "its Docker does not answer",
			Cause: "the daemon is stopped or hangs", Confidence: finding.Unknown,
			Evidence: []finding.Evidence{{Source: "Docker socket", Text: c.DockerErr.Error()}},
			Remedies: []finding.Remedy{{Title: "look at the daemon in the container", Risk: finding.RiskNone, Commands: []string{fmt.Sprintf("pct exec %d -- systemctl status docker", c.ID)}}},
		})
	}
	if c.Firewall.Err != nil {
		d.report.Notes = append(d.report.Notes, fmt.Sprintf("container %d: what PVE's firewall does is not known: %v", c.ID, c.Firewall.Err))
	}
	if c.Docker != nil {
		for _, rejected := range c.Docker.Rejected {
			d.find(finding.Finding{
				Code: finding.NetHostile, Severity: finding.Warn, Subject: subject, Title: "its Docker says what cannot be true; that part is not believed",
				Cause: "something in the container plays Docker, or a name was made past Docker's own checks", Confidence: finding.Unknown,
				Evidence: []finding.Evidence{{Source: "Docker API", Text: rejected}},
				Remedies: []finding.Remedy{{Title: "look at what Docker says in the container", Risk: finding.RiskNone, Commands: []string{fmt.Sprintf("pct exec %d -- docker network ls", c.ID)}}},
			})
			break // one finding a container; the first reason stands for all
		}
	}
}

// explain says what keeps packets away from a network that is not programmed.
func (d *diagnosis) explain(n *Network, l subnetPath, routed, open bool) {
	c, route := l.candidate, l.route
	remedy := []finding.Remedy{
		{Title: "make the route and the rules", Risk: finding.RiskLow, Commands: []string{"labctl net plan", "labctl net apply"}},
		{Title: "make them and keep them so", Risk: finding.RiskLow, Commands: []string{"labctl net on"}},
	}
	subject := n.Subject()
	if !routed {
		d.find(finding.Finding{
			Code: finding.NetNoRoute, Severity: finding.Warn, Subject: subject, Title: fmt.Sprintf("the host has no route to %s", route.Dst),
			Cause: fmt.Sprintf("Docker's networks are known only inside container %d", n.Container), Confidence: finding.Certain,
			Evidence: []finding.Evidence{{Source: "routing tables", Text: fmt.Sprintf("no route to %s via %s", route.Dst, route.Via)}}, Remedies: remedy,
		})
	}
	if open || l.nftBackend() {
		return
	}
	rs, tool := c.container.rules(l.family), saveTool(l.family, c.container.Backend)
	if forward := rs.Chain("filter", "FORWARD"); forward != nil && forward.Policy == "DROP" {
		d.find(finding.Finding{
			Code: finding.NetForwardDrop, Severity: finding.Warn, Subject: subject, Title: "the container drops what comes for unpublished ports from outside",
			Cause: "Docker set the FORWARD policy to DROP when it turned forwarding on", Confidence: finding.Certain,
			Evidence: []finding.Evidence{{Source: tool, Text: ":FORWARD DROP"}}, Remedies: remedy,
		})
	} else if rule, ok := dropIn(rs, "filter", "DOCKER", c, l.target); ok {
		d.find(finding.Finding{
			Code: finding.NetForwardDrop, Severity: finding.Warn, Subject: subject, Title: "the container drops what comes for unpublished ports from outside",
			Cause: "Docker 28 and later drop what is routed to unpublished ports", Confidence: finding.Certain,
			Evidence: []finding.Evidence{{Source: tool, Text: "-A DOCKER " + rule.String()}}, Remedies: remedy,
		})
	}
	if rule, ok := dropIn(rs, "raw", "PREROUTING", c, route.Dst); ok {
		d.find(finding.Finding{
			Code: finding.NetRawDrop, Severity: finding.Warn, Subject: subject, Title: "the container drops routed packets before any filter sees them",
			Cause: "Docker 28 and later drop direct access to container addresses in the raw table", Confidence: finding.Certain,
			Evidence: []finding.Evidence{{Source: tool, Text: "-A PREROUTING " + rule.String()}}, Remedies: remedy,
		})
	}
}

// saveTool is the program that shows the rules of a container, with where it is run.
func saveTool(f netfilter.Family, backend netfilter.Backend) string {
	program := "iptables-"
	if f == netfilter.IPv6 {
		program = "ip6tables-"
	}
	return program + string(backend) + "-save in the container"
}

// dropIn is the first DROP or REJECT of a chain that packets from the uplink to the subnet may meet.
func dropIn(rs *netfilter.Ruleset, table, chain string, c candidate, subnet netip.Prefix) (netfilter.Rule, bool) {
	ch := rs.Chain(table, chain)
	if ch == nil {
		return netfilter.Rule{}, false
	}
	for _, rule := range ch.Rules {
		if target := rule.Target(); (target == "DROP" || target == "REJECT") && rule.MayMeet(c.container.Uplink, subnet) && rule.MayLeaveBy(c.network.Bridge) {
			return rule, true
		}
	}
	return netfilter.Rule{}, false
}
