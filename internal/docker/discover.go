package docker

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
)

// FirewallBackend is what a Docker daemon programs its packet filter with: iptables, iptables+firewalld or nftables, as
// the driver in GET /info says (since API 1.49).
type FirewallBackend string

// The usual backends.
const (
	IPTables FirewallBackend = "iptables"
	NFTables FirewallBackend = "nftables"
)

// OwnTables reports whether the daemon makes nftables tables of its own, in which nobody else has a place for rules.
func (b FirewallBackend) OwnTables() bool { return strings.HasPrefix(string(b), string(NFTables)) }

// Info is what a daemon says of itself, checked.
type Info struct {
	// Version and API are the daemon's versions, "28.5.2" and "1.51".
	Version, API string
	// Podman says that the daemon is Podman's: its API does not tell the bridges of networks.
	Podman bool
	// FirewallBackend is what the daemon programs; iptables where an old one does not say.
	FirewallBackend FirewallBackend
	Networks        []Network
	Containers      []Container
	// Rejected says what of the answer was left out because it cannot be true, one sentence each.
	Rejected []string
}

// DriverBridge is the driver of networks with a bridge in the daemon's network namespace; GatewayIsolated is the gateway
// mode of those whose bridge has no address, so that nothing leads in or out.
const (
	DriverBridge    = "bridge"
	GatewayIsolated = "isolated"
)

// Network is one Docker network.
type Network struct {
	ID, Name, Driver string
	// Bridge is the interface in the daemon's network namespace; empty for other drivers than bridge, and where Podman
	// does not tell it.
	Bridge   string
	Internal bool
	// Subnets are the IPAM prefixes, masked, v4 and v6.
	Subnets []netip.Prefix
	// GatewayMode is the option com.docker.network.bridge.gateway_mode_ipv4, GatewayMode6 that of IPv6; nat where it is
	// absent.
	GatewayMode, GatewayMode6 string
	// Mode is the label labd.mode; "" where it is absent.
	Mode string
}

// States of a Container, as Docker names them; StateUnknown stands for any other.
const (
	StateRunning = "running"
	StateUnknown = "unknown"
)

// Health of a Container, as its image's or compose file's check has it; "" where there is no check.
const (
	Healthy   = "healthy"
	Unhealthy = "unhealthy"
	Starting  = "starting"
)

// Container is one Docker container, running or not. One that does not run has no addresses.
type Container struct {
	Name string
	// Project and Service are those of compose, from the labels com.docker.compose.project and .service.
	Project, Service string
	// State is created, running, paused, restarting, removing, exited, dead or unknown.
	State string
	// Health is healthy, unhealthy, starting or "".
	Health string
	// Addresses are the container's addresses by network name.
	Addresses map[string][]netip.Addr
	Ports     []Port
}

// Port is a port that a container's image exposes or that is published.
type Port struct {
	Number   uint16
	Protocol string
	// PublishedOn is the address on which the port is published, as "127.0.0.1"; empty when it is not.
	PublishedOn string
}

// describe asks the daemon for its versions and its firewall backend.
func describe(ctx context.Context, c *client.Client) (*Info, error) {
	c.NegotiateAPIVersion(ctx)
	version, err := c.ServerVersion(ctx)
	if err != nil {
		return nil, explain("ask Docker for its version", err)
	}
	info := &Info{Version: version.Version, API: version.APIVersion, FirewallBackend: IPTables}
	for _, component := range version.Components {
		info.Podman = info.Podman || component.Name == "Podman Engine"
	}
	if system, err := c.Info(ctx); err != nil {
		return nil, explain("ask Docker for its firewall backend", err)
	} else if system.FirewallBackend != nil && system.FirewallBackend.Driver != "" {
		info.FirewallBackend = FirewallBackend(system.FirewallBackend.Driver)
	}
	return info, nil
}

// list asks the daemon for its networks and containers.
func (i *Info) list(ctx context.Context, c *client.Client) error {
	networks, err := c.NetworkList(ctx, network.ListOptions{})
	if err != nil {
		return explain("list Docker's networks", err)
	}
	if len(networks) > MaxNetworks {
		return fmt.Errorf("list Docker's networks: %d of them: %w", len(networks), ErrTooMany)
	}
	containers, err := c.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return explain("list Docker's containers", err)
	}
	if len(containers) > MaxContainers {
		return fmt.Errorf("list Docker's containers: %d of them: %w", len(containers), ErrTooMany)
	}
	for _, n := range networks {
		i.addNetwork(n)
	}
	for _, ct := range containers {
		i.addContainer(ct)
	}
	return nil
}

func (i *Info) reject(format string, args ...any) {
	i.Rejected = append(i.Rejected, fmt.Sprintf(format, args...))
}

func (i *Info) addNetwork(n network.Inspect) {
	if !validName(n.Name) {
		i.reject("a network is called %q", n.Name)
		return
	}
	if slices.ContainsFunc(i.Networks, func(o Network) bool { return o.Name == n.Name }) {
		i.reject("two networks are called %q", n.Name)
		return
	}
	out := Network{
		ID: n.ID, Name: n.Name, Driver: n.Driver, Internal: n.Internal, Mode: n.Labels["labd.mode"],
		GatewayMode:  cmp.Or(n.Options["com.docker.network.bridge.gateway_mode_ipv4"], "nat"),
		GatewayMode6: cmp.Or(n.Options["com.docker.network.bridge.gateway_mode_ipv6"], "nat"),
	}
	if n.Driver == DriverBridge && !i.Podman {
		if out.Bridge = bridgeName(n); !ValidInterface(out.Bridge) {
			i.reject("network %q has a bridge called %q", n.Name, out.Bridge)
			return
		}
	}
	for _, config := range n.IPAM.Config {
		if config.Subnet == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(config.Subnet)
		if err != nil || prefix.Addr().Zone() != "" || prefix.Addr().Is4In6() {
			i.reject("network %q has a subnet %q", n.Name, config.Subnet)
			return
		}
		out.Subnets = append(out.Subnets, prefix.Masked())
	}
	i.Networks = append(i.Networks, out)
}

// bridgeName is the interface of a bridge network (moby, daemon/libnetwork/drivers/bridge).
func bridgeName(n network.Inspect) string {
	if name := n.Options["com.docker.network.bridge.name"]; name != "" {
		return name
	}
	if n.Options["com.docker.network.bridge.default_bridge"] == "true" {
		return "docker0"
	}
	if len(n.ID) < 12 {
		return ""
	}
	return "br-" + n.ID[:12]
}

// ValidInterface tells whether name can be an interface and is safe in a rule: at most 15 bytes (IFNAMSIZ - 1) of
// letters, digits, dot, underscore and dash, and no option.
func ValidInterface(name string) bool {
	if name == "" || len(name) > 15 || name == "." || name == ".." || name[0] == '-' {
		return false
	}
	for _, c := range []byte(name) {
		if c >= 0x80 || !unicode.IsLetter(rune(c)) && !unicode.IsDigit(rune(c)) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// validName tells whether a name can be Docker's ([a-zA-Z0-9][a-zA-Z0-9_.-]*, moby daemon/names); Podman is no laxer.
func validName(name string) bool {
	if name == "" || len(name) > 128 || !utf8.ValidString(name) {
		return false
	}
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '_' && c != '.' && c != '-') {
			return false
		}
	}
	return true
}

var states = [...]string{"created", StateRunning, "paused", "restarting", "removing", "exited", "dead"}

// composeName is the value of one of compose's labels, "" where it is no name of compose's.
func composeName(label string) string {
	if validName(label) {
		return label
	}
	return ""
}

// health is what a status says, as "Up 2 hours (healthy)" or "Up 3 seconds (health: starting)" (moby,
// daemon/container/state.go).
func health(status string) string {
	switch {
	case strings.HasSuffix(status, "("+Healthy+")"):
		return Healthy
	case strings.HasSuffix(status, "("+Unhealthy+")"):
		return Unhealthy
	case strings.HasSuffix(status, "(health: "+Starting+")"):
		return Starting
	}
	return ""
}

func (i *Info) addContainer(ct container.Summary) {
	name := ""
	if len(ct.Names) > 0 {
		name = strings.TrimPrefix(ct.Names[0], "/")
	}
	if !validName(name) {
		i.reject("a container is called %q", name)
		return
	}
	out := Container{
		Name: name, Project: composeName(ct.Labels["com.docker.compose.project"]), Service: composeName(ct.Labels["com.docker.compose.service"]),
		State: StateUnknown, Health: health(ct.Status), Addresses: map[string][]netip.Addr{},
	}
	if slices.Contains(states[:], ct.State) {
		out.State = ct.State
	}
	if ct.NetworkSettings != nil {
		for network, endpoint := range ct.NetworkSettings.Networks {
			if endpoint == nil {
				continue
			}
			for _, text := range []string{endpoint.IPAddress, endpoint.GlobalIPv6Address} {
				if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
					out.Addresses[network] = append(out.Addresses[network], addr)
				}
			}
		}
	}
	for _, p := range ct.Ports {
		port := Port{Number: p.PrivatePort, Protocol: p.Type}
		if p.PublicPort != 0 {
			port.PublishedOn = p.IP
		}
		switch p.Type {
		case "tcp", "udp", "sctp":
			out.Ports = append(out.Ports, port)
		default:
			i.reject("container %q has a port %s/%q", name, strconv.Itoa(int(p.PrivatePort)), p.Type)
		}
	}
	i.Containers = append(i.Containers, out)
}
