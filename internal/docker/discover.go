package docker

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
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
	// Rejected says what of the answer was left out because it cannot be true, one sentence each, maxRejected of them
	// and one that counts the others.
	Rejected []string
}

const (
	maxRejected = 32
	// maxText bounds a word that is not a name, in bytes; Docker's longest is a version with the commit of a build.
	maxText = 64
	// maxSubnets bounds the subnets of one network. Docker takes one for IPv4 and one for IPv6; other drivers some more.
	maxSubnets = 16
)

// DriverBridge is the driver of networks with a bridge in the daemon's network namespace; GatewayIsolated is the gateway
// mode of those whose bridge has no address, so that nothing leads in or out.
const (
	DriverBridge    = "bridge"
	GatewayIsolated = "isolated"
	GatewayRouted   = "routed"
	// GatewayUnprotected lets everything in.
	GatewayUnprotected = "nat-unprotected"
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
	// HostNetwork says that it has no network of its own: it listens on the addresses of the machine that Docker runs on.
	HostNetwork bool
}

// Port is a port that a container's image exposes or that is published.
type Port struct {
	Number   uint16
	Protocol string
	// PublishedOn is the address on which the port is published, as "127.0.0.1"; empty when it is not. HostPort is the port
	// there.
	PublishedOn string
	HostPort    uint16
}

// describe asks the daemon for its versions and its firewall backend.
func describe(ctx context.Context, c *client.Client) (*Info, error) {
	c.NegotiateAPIVersion(ctx)
	version, err := c.ServerVersion(ctx)
	if err != nil {
		return nil, explain("ask Docker for its version", err)
	}
	info := &Info{FirewallBackend: IPTables}
	info.Version = info.text("its version", version.Version)
	info.API = info.text("the version of its API", version.APIVersion)
	for _, component := range version.Components {
		info.Podman = info.Podman || component.Name == "Podman Engine"
	}
	if system, err := c.Info(ctx); err != nil {
		return nil, explain("ask Docker for its firewall backend", err)
	} else if system.FirewallBackend != nil && system.FirewallBackend.Driver != "" {
		backend := info.text("its firewall backend", system.FirewallBackend.Driver)
		if backend == "" {
			return nil, fmt.Errorf("ask Docker for its firewall backend: %w", ErrMalformed)
		}
		info.FirewallBackend = FirewallBackend(backend)
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
	ports := 0
	for _, ct := range containers {
		ports += len(ct.Ports)
	}
	if ports > MaxPorts {
		return fmt.Errorf("list Docker's containers: %d ports: %w", ports, ErrTooMany)
	}
	// What was left out of the daemon's own words stays; the lists of this look have a share of their own.
	look := &Info{Podman: i.Podman, Rejected: slices.Clip(i.Rejected)}
	for _, n := range networks {
		look.addNetwork(n)
	}
	for _, ct := range containers {
		look.addContainer(ct)
	}
	i.Networks, i.Containers, i.Rejected = look.Networks, look.Containers, look.told()
	return nil
}

// reject notes what is left out. Foreign text in it is cut by its format, as %.60q.
func (i *Info) reject(format string, args ...any) {
	i.Rejected = append(i.Rejected, fmt.Sprintf(format, args...))
}

// told is what was rejected, with a last sentence for what is too much to list.
func (i *Info) told() []string {
	if len(i.Rejected) <= maxRejected {
		return i.Rejected
	}
	return append(slices.Clone(i.Rejected[:maxRejected]), fmt.Sprintf("%d more things are left out", len(i.Rejected)-maxRejected))
}

// text is a word of the daemon's own, "" where it is longer than any or holds what nobody can read.
func (i *Info) text(what, s string) string {
	if len(s) <= maxText && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	i.reject("%s is %.60q", what, s)
	return ""
}

func (i *Info) addNetwork(n network.Inspect) {
	if !validName(n.Name) {
		i.reject("a network is called %.60q", n.Name)
		return
	}
	if slices.ContainsFunc(i.Networks, func(o Network) bool { return o.Name == n.Name }) {
		i.reject("two networks are called %q", n.Name)
		return
	}
	out := Network{ID: n.ID, Name: n.Name, Driver: n.Driver, Internal: n.Internal, Mode: n.Labels["labd.mode"]}
	mode, mode6 := n.Options["com.docker.network.bridge.gateway_mode_ipv4"], n.Options["com.docker.network.bridge.gateway_mode_ipv6"]
	out.GatewayMode, out.GatewayMode6 = cmp.Or(mode, "nat"), cmp.Or(mode6, "nat")
	// Each of these decides what is done with the network, so one that makes no sense speaks against all of it.
	for _, word := range []struct{ what, text string }{
		{"the id", n.ID}, {"the driver", n.Driver}, {"the label labd.mode", out.Mode}, {"the gateway mode", mode}, {"the IPv6 gateway mode", mode6},
	} {
		if !validWord(word.text) {
			i.reject("network %q has %s %.60q", n.Name, word.what, word.text)
			return
		}
	}
	if len(n.IPAM.Config) > maxSubnets {
		i.reject("network %q has %d subnets", n.Name, len(n.IPAM.Config))
		return
	}
	if n.Driver == DriverBridge && !i.Podman {
		if out.Bridge = bridgeName(n); !ValidInterface(out.Bridge) {
			i.reject("network %q has a bridge called %.60q", n.Name, out.Bridge)
			return
		}
	}
	for _, config := range n.IPAM.Config {
		if config.Subnet == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(config.Subnet)
		if err != nil || prefix.Addr().Zone() != "" || prefix.Addr().Is4In6() {
			i.reject("network %q has a subnet %.60q", n.Name, config.Subnet)
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

// ValidInterface reports whether name can be an interface and is safe in a rule: at most 15 bytes (IFNAMSIZ - 1) of
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

// validName reports whether a name can be Docker's ([a-zA-Z0-9][a-zA-Z0-9_.-]*, moby daemon/names); Podman is no laxer.
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

// validWord reports whether s is empty or one printable word of at most 128 bytes, as drivers ("local/plugin:latest"), ids and
// modes are.
func validWord(s string) bool {
	return len(s) <= 128 && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) })
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
		i.reject("a container is called %.60q", name)
		return
	}
	// A container's lists may be long; what is wrong with them is said once.
	said := false
	reject := func(format string, args ...any) {
		if !said {
			i.reject(format, args...)
		}
		said = true
	}
	out := Container{
		Name: name, Project: composeName(ct.Labels["com.docker.compose.project"]), Service: composeName(ct.Labels["com.docker.compose.service"]),
		State: StateUnknown, Health: health(ct.Status), Addresses: map[string][]netip.Addr{},
		HostNetwork: ct.HostConfig.NetworkMode == "host",
	}
	if slices.Contains(states[:], ct.State) {
		out.State = ct.State
	}
	if ct.NetworkSettings != nil {
		for network, endpoint := range ct.NetworkSettings.Networks {
			if endpoint == nil {
				continue
			}
			if !validName(network) {
				reject("container %q is in a network %.60q", name, network)
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
		if p.Type != "tcp" && p.Type != "udp" && p.Type != "sctp" {
			reject("container %q has a port %d/%.60q", name, p.PrivatePort, p.Type)
			continue
		}
		if p.PublicPort != 0 {
			addr, err := netip.ParseAddr(cmp.Or(p.IP, "0.0.0.0"))
			if err != nil {
				reject("container %q has port %d published on %.60q", name, p.PrivatePort, p.IP)
				continue
			}
			port.PublishedOn, port.HostPort = addr.WithZone("").String(), p.PublicPort
		}
		out.Ports = append(out.Ports, port)
	}
	i.Containers = append(i.Containers, out)
}
