package network

import (
	"regexp"
	"slices"
	"strings"

	"labd/internal/docker"
	"labd/internal/netfilter"
)

// bridgeNames are the names that Docker and Podman give the bridges of their networks.
var bridgeNames = regexp.MustCompile(`^(docker0|br-[0-9a-f]{12}|(cni-)?podman[0-9]{1,4})$`)

// byKernel makes of a container's interfaces what its Docker or Podman would say of its networks: for a Podman without
// its service, a Docker that listens elsewhere or hangs. Names of networks, Docker containers and ports are not known
// then; a network is called like its bridge, unless it had a prefix before.
func byKernel(c *Container, owners Owners) *docker.Info {
	info := &docker.Info{FirewallBackend: docker.IPTables}
	for _, a := range c.Interfaces {
		if !bridgeNames.MatchString(a.Interface) || a.Prefix.Addr().IsLinkLocalUnicast() || a.Interface == c.Uplink {
			continue
		}
		subnet := a.Prefix.Masked()
		i := slices.IndexFunc(info.Networks, func(n docker.Network) bool { return n.Bridge == a.Interface })
		if i < 0 {
			i = len(info.Networks)
			info.Networks = append(info.Networks, docker.Network{
				Name: a.Interface, Driver: docker.DriverBridge, Bridge: a.Interface, GatewayMode: "nat", GatewayMode6: "nat", Internal: c.closesBridge(a.Interface),
			})
		}
		n := &info.Networks[i]
		n.Subnets = append(n.Subnets, subnet)
		if owner := owners[subnet]; owner.Container == c.ID && !slices.ContainsFunc(info.Networks, func(o docker.Network) bool { return o.Name == owner.Network }) {
			n.Name = owner.Network
		}
	}
	if len(info.Networks) == 0 {
		return nil
	}
	if c.programsNFT(info.Networks) {
		info.FirewallBackend = docker.NFTables
	}
	return info
}

// findBridges finds the bridges of Podman's networks by their addresses. Podman makes a bridge when a container first uses
// the network, and takes it away with the last one.
func (c *Container) findBridges() {
	if c.Docker == nil || !c.Docker.Podman {
		return
	}
	for i := range c.Docker.Networks {
		n := &c.Docker.Networks[i]
		for _, a := range c.Interfaces {
			if n.Driver == docker.DriverBridge && n.Bridge == "" && a.Interface != c.Uplink && slices.Contains(n.Subnets, a.Prefix.Masked()) && docker.ValidInterface(a.Interface) {
				n.Bridge = a.Interface
			}
		}
	}
}

// closesBridge reports whether Docker has the rule by which it keeps an internal network to itself: what comes to its
// bridge from another network is dropped (moby, iptabler/network.go).
func (c *Container) closesBridge(bridge string) bool {
	if c.Rules == nil {
		return false
	}
	for name, chain := range c.Rules.Tables["filter"] {
		if !strings.HasPrefix(name, "DOCKER-ISOLATION") && name != "DOCKER-INTERNAL" && name != "DOCKER-FORWARD" {
			continue
		}
		for _, rule := range chain.Rules {
			if rule.Target() == "DROP" && rule.KeepsApart(bridge) {
				return true
			}
		}
	}
	return false
}

// programsNFT reports whether the bridges are a Docker's that programs nftables: it makes no chain of iptables.
func (c *Container) programsNFT(networks []docker.Network) bool {
	docker := slices.ContainsFunc(networks, func(n docker.Network) bool { return !strings.Contains(n.Bridge, "podman") })
	return docker && c.Backend == netfilter.NFT && c.Rules.Chain("filter", "DOCKER") == nil && c.Rules.Chain("filter", "DOCKER-USER") == nil
}

// withKernel puts what the interfaces tell in for a Docker that does not answer, and of which nothing better is known.
func (c *Container) withKernel(owners Owners) {
	if c.Docker != nil || c.Hostile || c.Err != nil {
		return
	}
	if info := byKernel(c, owners); info != nil {
		c.Docker, c.ByKernel, c.NoDocker = info, true, false
	}
}
