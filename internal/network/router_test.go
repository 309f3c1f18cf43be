package network

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labd/internal/netfilter"
	"labd/internal/route"
)

var update = flag.Bool("update", false, "write the golden files anew")

// routerReport has direct networks in a pool that may be told as a whole and in one that may not, an alias, and IPv6.
func routerReport(t *testing.T) *Report {
	c, d, e := sampleContainer(t, 101, "172.18.0.0/24"), sampleContainer(t, 102, "172.19.0.0/24"), sampleContainer(t, 103, "192.168.60.0/24")
	c.Address6, c.Rules6 = netip.MustParseAddr("fd77::101"), &netfilter.Ruleset{}
	c.Docker.Networks[0].Subnets = append(c.Docker.Networks[0].Subnets, prefixes("fd18::/64")...)
	c.Interfaces = append(c.Interfaces, route.Address{Interface: "br-web", Prefix: netip.MustParsePrefix("fd18::1/64")})
	x := sampleContainer(t, 104, "172.18.0.0/24")
	f := sampleFacts(t, c, d, e, x)
	f.Host.Addresses = append(f.Host.Addresses, route.Address{Interface: "eno1", Prefix: netip.MustParsePrefix("fd50::1/64")}, route.Address{Interface: "vmbr0", Prefix: netip.MustParsePrefix("fd77::1/64")})
	p := DefaultPolicy()
	p.Pools = append(p.Pools, prefixes("fd18::/48")...)
	p.AliasPools = prefixes("10.99.0.0/16")
	p.Modes = map[string]string{"lxc/104": ModeAlias}
	return Diagnose(f, p)
}

// Each style's text, for IPv4 and IPv6, as golden files.
func TestRouterStyles(t *testing.T) {
	r := routerReport(t)
	for _, style := range RouterStyles() {
		t.Run(style, func(t *testing.T) {
			advice, err := AdviseRouter(r, style)
			if err != nil {
				t.Fatal(err)
			}
			got := advice.Text + "--\n" + strings.Join(advice.Notes, "\n") + "\n"
			golden := filepath.Join("testdata", "router", style+".golden")
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
	if _, err := AdviseRouter(r, "cisco"); err == nil {
		t.Error("a style that is none")
	}
}

func TestRouterRoutes(t *testing.T) {
	text := func(change func(f *Facts, p *Policy)) string {
		f, p := sampleFacts(t, sampleContainer(t, 101, "172.18.0.0/24"), sampleContainer(t, 102, "172.19.0.0/24")), DefaultPolicy()
		change(f, &p)
		advice, err := AdviseRouter(Diagnose(f, p), StylePlain)
		if err != nil {
			t.Fatal(err)
		}
		return advice.Text + strings.Join(advice.Notes, "\n")
	}
	both := "ip route add 172.18.0.0/24 via 192.168.50.1\nip route add 172.19.0.0/24 via 192.168.50.1\n"
	for _, tt := range []struct {
		name   string
		change func(f *Facts, p *Policy)
		want   string
	}{
		{"a pool", func(*Facts, *Policy) {}, "ip route add 172.16.0.0/12 via 192.168.50.1\npackets for addresses of 172.16.0.0/12 that no network has"},
		{"a pool that ends", func(f *Facts, _ *Policy) {
			f.Host.Routes = append(f.Host.Routes, route.Route{Dst: prefixes("172.16.0.0/12")[0], Nowhere: true, Table: route.MainTable})
		}, both},
		{"the host has some of the pool elsewhere", func(f *Facts, _ *Policy) {
			f.Host.Addresses = append(f.Host.Addresses, route.Address{Interface: "vmbr3", Prefix: netip.MustParsePrefix("172.30.0.1/24")})
		}, both},
		{"clients come from the pool", func(_ *Facts, p *Policy) { p.From = prefixes("172.31.0.0/24") }, both},
		{"the cluster is in the pool", func(f *Facts, _ *Policy) {
			f.Host.Cluster = []ClusterNetwork{{netip.MustParsePrefix("172.30.0.5/32"), ".members"}}
		}, both},
		{"the narrowest pool", func(_ *Facts, p *Policy) { p.Pools = append(p.Pools, prefixes("172.18.0.0/15")...) }, "ip route add 172.18.0.0/15 via 192.168.50.1\n"},
		{"nothing", func(f *Facts, _ *Policy) { f.Containers = nil }, "no Docker network is to be reached"},
		{"no address", func(f *Facts, p *Policy) {
			f.Host.Uplinks, p.From = []string{"wlan0"}, prefixes("192.168.50.0/24")
		}, "the host has no IPv4 address on its uplink"},
		{"asymmetric", func(f *Facts, _ *Policy) {
			f.Containers[0].Address = netip.MustParseAddr("192.168.50.7")
		}, "bypass firewall rules"},
	} {
		if got := text(tt.change); !strings.HasPrefix(got, tt.want) && !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
