package network

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"labd/internal/host"
	"labd/internal/pve"
	"labd/internal/route"
)

// observeHost reads the host's interfaces, addresses, routes and forwarding.
func observeHost(ctx context.Context, h *host.Host, policy Policy) (Host, error) {
	out := Host{Forwarding: map[string]bool{}, RPFilter: map[string]int{}}
	everywhere := rpFilter(ctx, h, "all")
	names, err := route.LinkNames(nil)
	if err != nil {
		return out, fmt.Errorf("look at the host: %w", err)
	}
	for _, name := range names {
		data, err := h.ReadFile(ctx, forwardingFile(h, name))
		out.Forwarding[name] = err == nil && strings.TrimSpace(string(data)) == "1"
		// The greater value counts (Documentation/networking/ip-sysctl.rst, rp_filter).
		out.RPFilter[name] = max(everywhere, rpFilter(ctx, h, name))
	}
	if out.Addresses, err = route.ListAddresses(route.Host(), names); err != nil {
		return out, fmt.Errorf("look at the host: %w", err)
	}
	all, defaults, err := route.List(route.Host(), names)
	if err != nil {
		return out, fmt.Errorf("look at the host: %w", err)
	}
	for _, r := range all {
		switch {
		case r.Protocol == route.Protocol:
			out.Own = append(out.Own, r)
		case r.Table != unix.RT_TABLE_LOCAL: // the local table repeats the addresses
			out.Routes = append(out.Routes, r)
		}
	}
	if out.PolicyRules, err = route.ListRules(); err != nil {
		return out, fmt.Errorf("look at the host: %w", err)
	}
	out.Defaults = defaults
	out.Uplinks = uplinks(out, policy)
	setting6 := func(interfaceName, key string) string {
		data, _ := h.ReadFile(ctx, filepath.Join(h.Procfs, "sys/net/ipv6/conf", interfaceName, key))
		return strings.TrimSpace(string(data))
	}
	out.Forwarding6 = setting6("all", "forwarding") == "1"
	out.AcceptRA6 = out.acceptRA6(func(interfaceName string) string { return setting6(interfaceName, "accept_ra") })
	out.Cluster = readCluster(ctx, h)
	return out, nil
}

// uplinks are the interfaces to the LAN: the policy's, else those of default routes, else every one with an IPv4
// address but loopback. A host that is itself the router of its lab has no default route towards its clients.
func uplinks(h Host, policy Policy) []string {
	if policy.Uplink != "" {
		return []string{policy.Uplink}
	}
	var names []string
	for _, r := range h.Routes {
		if !r.Dst.IsValid() && r.Dev != "" {
			names = append(names, r.Dev)
		}
	}
	if len(names) == 0 {
		for _, a := range h.Addresses {
			if a.Prefix.Addr().Is4() && !a.Prefix.Addr().IsLoopback() {
				names = append(names, a.Interface)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// rpFilter is the setting of one interface, or of "all"; 0 where it cannot be read.
func rpFilter(ctx context.Context, h *host.Host, name string) int {
	data, err := h.ReadFile(ctx, filepath.Join(h.Procfs, "sys/net/ipv4/conf", name, "rp_filter"))
	value, convErr := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || convErr != nil {
		return 0
	}
	return value
}

// readCluster reads the addresses and networks of PVE's cluster from /etc/pve. What cannot be read says nothing.
func readCluster(ctx context.Context, h *host.Host) []ClusterNetwork {
	var out []ClusterNetwork
	for _, name := range []string{".members", "corosync.conf", "datacenter.cfg"} {
		data, err := h.ReadFile(ctx, filepath.Join(h.PVE, name))
		if err != nil {
			continue
		}
		for _, prefix := range pve.ClusterPrefixes(name, data) {
			out = append(out, ClusterNetwork{Prefix: prefix, Source: name})
		}
	}
	return out
}

func forwardingFile(h *host.Host, name string) string {
	return filepath.Join(h.Procfs, "sys/net/ipv4/conf", name, "forwarding")
}
