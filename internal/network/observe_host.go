package network

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
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
	out.Cluster, out.Seen = readCluster(ctx, h), observeSeen(ctx, h, out.Addresses)
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
	for _, d := range h.Defaults { // those with several next hops, too
		if d.Dev != "" {
			names = append(names, d.Dev)
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

// readCluster reads the addresses and networks of PVE's cluster, of storage servers and of resolvers. What cannot be read
// says nothing.
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
	for _, s := range pve.StorageServers(readOr(ctx, h, filepath.Join(h.PVE, "storage.cfg"))) {
		out = append(out, ClusterNetwork{Prefix: netip.PrefixFrom(s.Address, s.Address.BitLen()), Source: "a server of storage " + s.Storage})
	}
	for line := range strings.Lines(string(readOr(ctx, h, filepath.Join(h.Etc, "resolv.conf")))) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "nameserver" {
			if addr, err := netip.ParseAddr(words[1]); err == nil && !addr.IsLoopback() {
				addr = addr.WithZone("")
				out = append(out, ClusterNetwork{Prefix: netip.PrefixFrom(addr, addr.BitLen()), Source: "a resolver in resolv.conf"})
			}
		}
	}
	return out
}

// readOr reads a file, or nothing.
func readOr(ctx context.Context, h *host.Host, path string) []byte {
	data, err := h.ReadFile(ctx, path)
	if err != nil {
		return nil
	}
	return data
}

// maxSeen bounds the machines that the host is seen to talk to.
const maxSeen = 1024

// observeSeen finds the machines that the host talks to: its neighbours, and the other ends of its TCP connections. Those in
// a network that the host is connected to are left out, since no subnet may overlap that.
func observeSeen(ctx context.Context, h *host.Host, addresses []route.Address) []ClusterNetwork {
	seen := map[netip.Addr]string{}
	add := func(addr netip.Addr, source string) {
		addr = addr.Unmap()
		if seen[addr] == "" && len(seen) < maxSeen && addr.IsValid() && !special(addr) && route.Towards(addresses, addr) == "" {
			seen[addr] = source
		}
	}
	if neighbours, err := route.ListNeighbours(); err == nil {
		for _, n := range neighbours {
			add(n, "a neighbour of the host")
		}
	}
	for _, name := range []string{"tcp", "tcp6"} {
		peers, err := host.ReadTable(ctx, h, filepath.Join(h.Procfs, "self/net", name), parsePeers)
		if err != nil {
			continue // what cannot be read says nothing
		}
		for _, p := range peers {
			add(p, "to which the host has a connection")
		}
	}
	out := make([]ClusterNetwork, 0, len(seen))
	for addr, source := range seen {
		out = append(out, ClusterNetwork{Prefix: netip.PrefixFrom(addr, addr.BitLen()), Source: source})
	}
	slices.SortFunc(out, func(a, b ClusterNetwork) int { return a.Prefix.Compare(b.Prefix) })
	return out
}

// parsePeers reads the other ends of established connections from a table of /proc/net (net/ipv4/tcp_ipv4.c,
// tcp4_seq_show): addresses as words of the machine's byte order, state 01.
func parsePeers(table io.Reader) ([]netip.Addr, error) {
	var out []netip.Addr
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 4 || words[3] != "01" {
			continue
		}
		text, _, _ := strings.Cut(words[2], ":")
		raw, err := hex.DecodeString(text)
		if err != nil || len(raw)%4 != 0 {
			continue
		}
		for i := 0; i+4 <= len(raw); i += 4 {
			binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
		}
		if addr, ok := netip.AddrFromSlice(raw); ok {
			out = append(out, addr.Unmap())
		}
	}
	return out, lines.Err()
}

func forwardingFile(h *host.Host, name string) string {
	return filepath.Join(h.Procfs, "sys/net/ipv4/conf", name, "forwarding")
}
