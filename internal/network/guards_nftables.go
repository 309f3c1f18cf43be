package network

import (
	"fmt"

	"labd/internal/finding"
	"labd/internal/netfilter"
)

// exampleMark is the mark that the remedies name: one bit that PVE's firewall, Docker's swarm and kube-proxy do not use.
const exampleMark = "0x1000000/0x1000000"

// refuseBackend says what is to be set where Docker programs nftables itself and leaves no place for an accept rule: an
// accept in another table does not override Docker's drop, and Docker rewrites its own tables.
func (d *diagnosis) refuseBackend(l subnetPath) *finding.Finding {
	if !l.nftBackend() || l.openByItself() {
		return nil
	}
	mark, accepted := l.container.DockerTables[l.family].Accepts[l.network.Bridge]
	if _, ok := l.mark(); ok {
		return nil
	}
	suffix := "ipv4"
	if l.family == netfilter.IPv6 {
		suffix = "ipv6"
	}
	f := &finding.Finding{
		Code: finding.NetNFTBackend, Severity: finding.Warn, Title: "Docker's nftables rules drop what is routed to this network", Confidence: finding.Certain,
		Cause:    "Docker's nftables backend has no place for an accept rule of others, and an accept in another table does not override its drop",
		Evidence: []finding.Evidence{{Source: "Docker API", Text: fmt.Sprintf("FirewallBackend nftables, gateway mode %s", l.gatewayMode())}},
	}
	daemon := fmt.Sprintf(`in the container's /etc/docker/daemon.json set "bridge-accept-fwmark": %q`, exampleMark)
	if l.mode == ModeDirect {
		daemon += ` and "allow-direct-routing": true`
	}
	if accepted {
		// The mark is there; what stands before it is the drop of direct access.
		f.Evidence = append(f.Evidence, finding.Evidence{
			Source: "nft in the container", Text: fmt.Sprintf("bridge-accept-fwmark is %#x/%#x, and raw-PREROUTING drops what is routed to %s", mark.Value, mark.Mask, l.subnet),
		})
		daemon = `in the container's /etc/docker/daemon.json set "allow-direct-routing": true`
		f.Remedies = append(f.Remedies, finding.Remedy{
			Title: fmt.Sprintf(`reach it by an alias, which Docker's drop does not see: in labd.toml [network] alias_pools = ["10.99.0.0/16"] and modes = { %q = "alias" }`, string(finding.Network(fmt.Sprint(l.container.ID), l.network.Name))), Risk: finding.RiskLow,
		})
	}
	f.Remedies = append(
		f.Remedies,
		finding.Remedy{
			Title: daemon + ", and restart Docker; labd then marks what may come in", Risk: finding.RiskHigh,
			Commands: []string{fmt.Sprintf("pct exec %d -- editor /etc/docker/daemon.json", l.container.ID), fmt.Sprintf("pct exec %d -- systemctl restart docker", l.container.ID)},
		},
		finding.Remedy{
			Title: "or make the network anew with a gateway mode that lets routed packets in", Risk: finding.RiskHigh,
			Commands: []string{fmt.Sprintf("pct exec %d -- docker network create -o com.docker.network.bridge.gateway_mode_%s=nat-unprotected NAME", l.container.ID, suffix)},
		},
	)
	return f
}
