package probe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"labd/internal/host"
	"labd/internal/netfilter"
	"labd/internal/netfilter/walk"
	"labd/internal/network/container"
	"labd/internal/route"
)

// rulesets are the rules of iptables in a namespace with their counters, by backend.
type rulesets map[netfilter.Backend]*netfilter.Ruleset

// seen is what a probe looked at beside the report. Each error says why the value before it is not known.
type seen struct {
	// in is the host's interface by which the client's packets come.
	in    string
	inErr error
	// chosen is the route that the host's kernel takes for what the host itself sends, forwarded that for the client's
	// packets that come by in.
	chosen, forwarded       route.Route
	chosenErr, forwardedErr error
	// hostFilter and filter are the packet filters of the host and of the container, by which hops are judged; hostCounts and
	// counts the counters of their iptables before labd sent its packets.
	hostFilter, filter       *walk.Ruleset
	hostFilterErr, filterErr error
	hostCounts, counts       rulesets
	hostCountsErr, countsErr error
	// forwarding and rpFilter are the container's sysctls.
	forwarding bool
	rpFilter   int
	sysctlErr  error
	// back is the route by which the container's kernel answers the client.
	back    route.Route
	backErr error
	// bridgeUp reports whether the bridge carries packets.
	bridgeUp bool
}

// errNoClient says that the policy and the host name nobody who may come.
var errNoClient = errors.New("it is not known from where clients come")

// observe reads what the report does not hold. ct is nil where the address is in no container.
func (p *Prober) observe(ctx context.Context, way *path, ct container.Handle) {
	s := &way.seen
	s.chosen, s.chosenErr = route.Chosen(route.Host(), way.target.Address)
	s.in, s.inErr = inbound(way.client)
	if way.client.IsValid() && !way.fromHost {
		s.forwarded, s.forwardedErr = lookup(route.Host(), way.target.Address, way.client, s.in)
	}
	s.hostFilter, s.hostFilterErr = walk.Read(ctx, p.hostSpace(), way.family)
	s.hostCounts, s.hostCountsErr = countAll(ctx, p.hostSpace(), way.family)
	if ct == nil {
		return
	}
	space := container.Namespace(p.host, ct)
	s.filter, s.filterErr = walk.Read(ctx, space, way.family)
	s.counts, s.countsErr = countAll(ctx, space, way.family)
	s.forwarding, s.rpFilter, s.sysctlErr = p.sysctls(ctx, ct, way)
	handle, err := ct.Netlink()
	if err != nil {
		s.backErr = err
		return
	}
	defer handle.Close()
	if s.backErr = handle.SetSocketTimeout(route.Timeout); s.backErr != nil {
		return
	}
	if link, err := handle.LinkByName(way.docker.Bridge); err == nil {
		s.bridgeUp = link.Attrs().OperState == netlink.OperUp || link.Attrs().OperState == netlink.OperUnknown
	}
	if !way.client.IsValid() {
		s.backErr = errNoClient
		return
	}
	// The answer is routed by its source and by the bridge that it comes from, where the container has rules for that.
	if way.kind == routed && way.docker.Bridge != "" {
		if s.back, s.backErr = lookup(handle, way.client, way.inner, way.docker.Bridge); s.backErr == nil {
			return
		}
	}
	s.back, s.backErr = route.Chosen(handle, way.client)
}

// inbound returns the host's interface by which a client's packets come: the one by which the host would send to it.
func inbound(client netip.Addr) (string, error) {
	if !client.IsValid() {
		return "", errNoClient
	}
	r, err := route.Chosen(route.Host(), client)
	return r.Dev, err
}

// lookup asks the kernel for the route of a packet of src that comes in by an interface.
func lookup(handle *netlink.Handle, dst, src netip.Addr, in string) (route.Route, error) {
	routes, err := handle.RouteGetWithOptions(dst.AsSlice(), &netlink.RouteGetOptions{Iif: in, SrcAddr: src.AsSlice()})
	if err != nil {
		return route.Route{}, err
	}
	if len(routes) == 0 {
		return route.Route{}, unix.ENETUNREACH
	}
	link, err := handle.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return route.Route{}, err
	}
	out := route.Route{Dev: link.Attrs().Name}
	if via, ok := netip.AddrFromSlice(routes[0].Gw); ok {
		out.Via = via.Unmap()
	}
	return out, nil
}

func (p *Prober) hostSpace() netfilter.Namespace {
	return netfilter.Namespace{Host: p.host, Proc: filepath.Join(p.host.Procfs, "self/net")}
}

func countAll(ctx context.Context, space netfilter.Namespace, family netfilter.Family) (rulesets, error) {
	backends, err := space.Backends(ctx, family)
	if err != nil {
		return nil, err
	}
	out := rulesets{}
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
