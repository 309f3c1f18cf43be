package router

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"labd/internal/docker"
	"labd/internal/netfilter"
	"labd/internal/network"
	"labd/internal/route"
)

var update = flag.Bool("update", false, "write the golden files again")

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

// sampleContainer returns container id at 10.77.0.id with a Docker network web on subnet and one Docker container in it.
func sampleContainer(t *testing.T, id int, subnet string) network.Container {
	t.Helper()
	data, err := os.ReadFile("../../netfilter/testdata/docker-28.5.save")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := netfilter.ParseSave(data)
	if err != nil {
		t.Fatal(err)
	}
	prefix := netip.MustParsePrefix(subnet)
	gateway := prefix.Addr().Next()
	address := netip.AddrFrom4([4]byte{10, 77, 0, byte(id)})
	return network.Container{
		ID: id, NetNS: strconv.Itoa(id), Uplink: "eth0", Address: address, Backend: netfilter.NFT, Rules: rules,
		Interfaces: []route.Address{{Interface: "eth0", Prefix: netip.PrefixFrom(address, 24)}, {Interface: "br-web", Prefix: netip.PrefixFrom(gateway, prefix.Bits())}},
		Docker: &docker.Info{
			Version: "28.5.2", FirewallBackend: "iptables",
			Networks:   []docker.Network{{ID: "f00", Name: "web", Driver: "bridge", Bridge: "br-web", Subnets: []netip.Prefix{prefix}, GatewayMode: "nat"}},
			Containers: []docker.Container{{Name: "shop", Project: "blog", State: "running", Addresses: map[string][]netip.Addr{"web": {gateway.Next()}}}},
		},
	}
}

// sampleFacts returns a host at 192.168.50.1 on eno1, with its containers in a network of their own behind vmbr0.
func sampleFacts(containers ...network.Container) *network.Facts {
	return &network.Facts{
		Host: network.Host{
			Uplinks:    []string{"eno1"},
			Addresses:  []route.Address{{Interface: "lo", Prefix: prefixes("127.0.0.1/8")[0]}, {Interface: "eno1", Prefix: netip.MustParsePrefix("192.168.50.1/24")}, {Interface: "vmbr0", Prefix: netip.MustParsePrefix("10.77.0.1/24")}},
			Routes:     []route.Route{{Via: netip.MustParseAddr("192.168.50.254"), Dev: "eno1", Table: unix.RT_TABLE_MAIN, Protocol: 3}, {Dst: prefixes("10.77.0.0/24")[0], Dev: "vmbr0", Table: unix.RT_TABLE_MAIN, Protocol: 2}},
			Forwarding: map[string]bool{"eno1": true, "vmbr0": true},
		},
		Containers: containers, Owners: network.Owners{}, Gone: map[int]bool{},
	}
}

// routerReport has direct networks in a pool that may be told as a whole and in one that may not, an alias, and IPv6.
func routerReport(t *testing.T) *network.Report {
	c, d, e := sampleContainer(t, 101, "172.18.0.0/24"), sampleContainer(t, 102, "172.19.0.0/24"), sampleContainer(t, 103, "192.168.60.0/24")
	c.Address6, c.Rules6 = netip.MustParseAddr("fd77::101"), &netfilter.Ruleset{}
	c.Docker.Networks[0].Subnets = append(c.Docker.Networks[0].Subnets, prefixes("fd18::/64")...)
	c.Interfaces = append(c.Interfaces, route.Address{Interface: "br-web", Prefix: netip.MustParsePrefix("fd18::1/64")})
	x := sampleContainer(t, 104, "172.18.0.0/24")
	f := sampleFacts(c, d, e, x)
	f.Host.Addresses = append(f.Host.Addresses, route.Address{Interface: "eno1", Prefix: netip.MustParsePrefix("fd50::1/64")}, route.Address{Interface: "vmbr0", Prefix: netip.MustParsePrefix("fd77::1/64")})
	p := network.DefaultPolicy()
	p.Pools = append(p.Pools, prefixes("fd18::/48")...)
	p.AliasPools = prefixes("10.99.0.0/16")
	p.Modes = map[string]string{"lxc/104": network.ModeAlias}
	return network.Diagnose(f, p)
}

// Each style's text, for IPv4 and IPv6, as golden files.
func TestRouterStyles(t *testing.T) {
	r := routerReport(t)
	for _, style := range Styles() {
		t.Run(style, func(t *testing.T) {
			advice, err := Advise(r, style)
			if err != nil {
				t.Fatal(err)
			}
			got := advice.Text + "--\n" + strings.Join(advice.Notes, "\n") + "\n"
			golden := filepath.Join("testdata", style+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	if _, err := Advise(r, "cisco"); err == nil {
		t.Error("a style that is none")
	}
}

func TestRouterRoutes(t *testing.T) {
	text := func(change func(f *network.Facts, p *network.Policy)) string {
		f, p := sampleFacts(sampleContainer(t, 101, "172.18.0.0/24"), sampleContainer(t, 102, "172.19.0.0/24")), network.DefaultPolicy()
		change(f, &p)
		advice, err := Advise(network.Diagnose(f, p), StylePlain)
		if err != nil {
			t.Fatal(err)
		}
		return advice.Text + strings.Join(advice.Notes, "\n")
	}
	both := "ip route add 172.18.0.0/24 via 192.168.50.1\nip route add 172.19.0.0/24 via 192.168.50.1\n"
	for _, tt := range []struct {
		name   string
		change func(f *network.Facts, p *network.Policy)
		want   string
	}{
		{"a pool", func(*network.Facts, *network.Policy) {}, "ip route add 172.16.0.0/12 via 192.168.50.1\npackets for addresses of 172.16.0.0/12 that no network has"},
		{"a pool that ends", func(f *network.Facts, _ *network.Policy) {
			f.Host.Routes = append(f.Host.Routes, route.Route{Dst: prefixes("172.16.0.0/12")[0], Nowhere: true, Table: unix.RT_TABLE_MAIN})
		}, both},
		{"the host has some of the pool elsewhere", func(f *network.Facts, _ *network.Policy) {
			f.Host.Addresses = append(f.Host.Addresses, route.Address{Interface: "vmbr3", Prefix: netip.MustParsePrefix("172.30.0.1/24")})
		}, both},
		{"clients come from the pool", func(_ *network.Facts, p *network.Policy) { p.From = prefixes("172.31.0.0/24") }, both},
		{"the cluster is in the pool", func(f *network.Facts, _ *network.Policy) {
			f.Host.Cluster = []network.ClusterNetwork{{Prefix: netip.MustParsePrefix("172.30.0.5/32"), Source: ".members"}}
		}, both},
		{"the narrowest pool", func(_ *network.Facts, p *network.Policy) { p.Pools = append(p.Pools, prefixes("172.18.0.0/15")...) }, "ip route add 172.18.0.0/15 via 192.168.50.1\n"},
		{"nothing", func(f *network.Facts, _ *network.Policy) { f.Containers = nil }, "no Docker network is to be reached"},
		{"no address", func(f *network.Facts, p *network.Policy) {
			f.Host.Uplinks, p.From = []string{"wlan0"}, prefixes("192.168.50.0/24")
		}, "the host has no IPv4 address on its uplink"},
		{"asymmetric", func(f *network.Facts, _ *network.Policy) {
			f.Containers[0].Address = netip.MustParseAddr("192.168.50.7")
		}, "bypass firewall rules"},
	} {
		if got := text(tt.change); !strings.HasPrefix(got, tt.want) && !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
