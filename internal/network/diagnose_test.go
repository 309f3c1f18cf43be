package network

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"labd/internal/docker"
	"labd/internal/finding"
	"labd/internal/netfilter"
	"labd/internal/route"
)

func ruleset(t testing.TB, sample string) *netfilter.Ruleset {
	t.Helper()
	data, err := os.ReadFile("../netfilter/testdata/" + sample + ".save")
	if err != nil {
		t.Fatal(err)
	}
	rs, err := netfilter.ParseSave(data)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// sampleContainer is container id at 10.77.0.id with a network web on subnet.
func sampleContainer(t testing.TB, id int, subnet string) Container {
	info := webInfo()
	prefix := netip.MustParsePrefix(subnet)
	info.Networks[0].Subnets = []netip.Prefix{prefix}
	gateway := prefix.Addr().Next()
	info.Containers[0].Addresses = addrs("web", gateway.Next().String())
	address := netip.AddrFrom4([4]byte{10, 77, 0, byte(id)})
	return Container{
		ID: id, NetNS: fmt.Sprint(id), Uplink: "eth0", Address: address, Backend: netfilter.NFT, Rules: ruleset(t, "docker-28.5"), Docker: info,
		Interfaces: []route.Address{{Interface: "eth0", Prefix: netip.PrefixFrom(address, 24)}, {Interface: "br-web", Prefix: netip.PrefixFrom(gateway, prefix.Bits())}},
	}
}

func sampleFacts(t testing.TB, containers ...Container) *Facts {
	return &Facts{
		Host: Host{
			Uplinks:    []string{"eno1"},
			Addresses:  []route.Address{{Interface: "lo", Prefix: prefixes("127.0.0.1/8")[0]}, {Interface: "eno1", Prefix: netip.MustParsePrefix("192.168.50.1/24")}, {Interface: "vmbr0", Prefix: netip.MustParsePrefix("10.77.0.1/24")}},
			Routes:     []route.Route{{Via: netip.MustParseAddr("192.168.50.254"), Dev: "eno1", Table: route.MainTable, Protocol: 3}, {Dst: prefixes("10.77.0.0/24")[0], Dev: "vmbr0", Table: route.MainTable, Protocol: 2}},
			Forwarding: map[string]bool{"eno1": true, "vmbr0": true},
			PolicyRules: []route.Rule{
				route.HostRule(netfilter.IPv4), route.SourceRule(netip.MustParsePrefix("192.168.50.0/24")),
			},
		},
		Containers: containers, Owners: Owners{}, Gone: map[int]bool{},
	}
}

func verdicts(r *Report) map[string]string {
	out := map[string]string{}
	for _, n := range r.Networks {
		out[strings.TrimPrefix(string(n.Subject()), "network/")] = n.Verdict
	}
	return out
}

func TestDiagnose(t *testing.T) {
	routeTo := func(dst, via string) route.Route {
		return route.Route{Dst: netip.MustParsePrefix(dst), Via: netip.MustParseAddr(via), Dev: "vmbr0", Table: route.Table, Protocol: route.Protocol}
	}
	for _, tt := range []struct {
		name    string
		change  func(f *Facts, p *Policy)
		verdict string
		codes   []string
		reason  string
	}{
		{"nothing made yet", func(*Facts, *Policy) {}, VerdictPlanned, []string{"net.forward-drop", "net.no-route", "net.raw-drop"}, "net apply"},
		{"outside the pools", func(_ *Facts, p *Policy) { p.Pools = prefixes("10.118.0.0/16") }, VerdictRefused, []string{"net.approval"}, ""},
		{"wider than its pool", func(_ *Facts, p *Policy) { p.Pools = prefixes("172.18.0.0/25") }, VerdictRefused, []string{"net.approval"}, ""},
		{"an address of the host", func(f *Facts, _ *Policy) {
			f.Host.Addresses = append(f.Host.Addresses, route.Address{Interface: "tun0", Prefix: netip.MustParsePrefix("172.18.0.77/32")})
		}, VerdictRefused, []string{"net.overlap"}, "tun0"},
		{"within a route of the host", func(f *Facts, _ *Policy) {
			f.Host.Routes = append(f.Host.Routes, route.Route{Dst: prefixes("172.16.0.0/12")[0], Dev: "tun0", Table: route.MainTable, Protocol: 4})
		}, VerdictRefused, []string{"net.overlap"}, "172.16.0.0/12"},
		{"around a route of the host, in another table", func(f *Facts, _ *Policy) {
			f.Host.Routes = append(f.Host.Routes, route.Route{Dst: prefixes("172.18.0.8/30")[0], Dev: "tun0", Table: 52, Protocol: 4})
		}, VerdictRefused, []string{"net.overlap"}, "172.18.0.8/30"},
		{"a default route in two halves", func(f *Facts, _ *Policy) {
			f.Host.Routes = append(f.Host.Routes, route.Route{Dst: prefixes("0.0.0.0/1")[0], Dev: "tun0"}, route.Route{Dst: prefixes("128.0.0.0/1")[0], Dev: "tun0"})
		}, VerdictPlanned, []string{"net.forward-drop", "net.no-route", "net.raw-drop"}, ""},
		{"within a route to nowhere", func(f *Facts, _ *Policy) {
			f.Host.Routes = append(f.Host.Routes, route.Route{Dst: prefixes("172.16.0.0/12")[0], Dev: "lo", Table: route.MainTable, Protocol: 4, Nowhere: true})
		}, VerdictPlanned, []string{"net.forward-drop", "net.no-route", "net.raw-drop"}, ""},
		{"a route to nowhere of that very prefix", func(f *Facts, _ *Policy) {
			f.Host.Routes = append(f.Host.Routes, route.Route{Dst: prefixes("172.18.0.0/24")[0], Dev: "lo", Table: route.MainTable, Protocol: 4, Nowhere: true})
		}, VerdictRefused, []string{"net.overlap"}, "172.18.0.0/24"},
		{"the LAN of the sources", func(_ *Facts, p *Policy) { p.From = prefixes("172.18.0.0/16") }, VerdictRefused, []string{"net.overlap"}, "reached"},
		{"no source", func(f *Facts, _ *Policy) { f.Host.Uplinks = []string{"wlan0"} }, VerdictUnreachable, []string{"net.no-route"}, "source"},
		{"the host is not in the container's network", func(f *Facts, _ *Policy) { f.Host.Addresses = f.Host.Addresses[:2] }, VerdictUnreachable, []string{"net.no-route"}, "10.77.0.101"},
		{"the host's own address", func(f *Facts, _ *Policy) { f.Containers[0].Address = netip.MustParseAddr("10.77.0.1") }, VerdictRefused, []string{"net.hostile"}, "own address"},
		{"another's prefix", func(f *Facts, _ *Policy) { f.Owners[prefixes("172.18.0.0/23")[0]] = Owner{300, "db"} }, VerdictRefused, []string{"net.overlap"}, "300/db"},
		{"the prefix of one that was destroyed", func(f *Facts, _ *Policy) {
			f.Owners[prefixes("172.18.0.0/24")[0]], f.Gone[300] = Owner{300, "db"}, true
		}, VerdictPlanned, []string{"net.forward-drop", "net.no-route", "net.raw-drop"}, ""},
		{"no bridge", func(f *Facts, _ *Policy) { f.Containers[0].Interfaces = f.Containers[0].Interfaces[:1] }, VerdictRefused, []string{"net.hostile"}, "br-web"},
		{"the bridge has another address", func(f *Facts, _ *Policy) {
			f.Containers[0].Interfaces[1].Prefix = netip.MustParsePrefix("172.19.0.1/24")
		}, VerdictRefused, []string{"net.hostile"}, "br-web"},
		{"too many", func(f *Facts, p *Policy) { p.MaxNetworks = 0 }, VerdictRefused, []string{"net.hostile"}, "more than"},
		{"nftables backend", func(f *Facts, _ *Policy) { f.Containers[0].Docker.FirewallBackend = "nftables" }, VerdictUnreachable, []string{"net.nft-backend"}, ""},
		{"nftables backend, open by itself", func(f *Facts, _ *Policy) {
			f.Containers[0].Docker.FirewallBackend, f.Containers[0].Docker.Networks[0].GatewayMode = "nftables", "nat-unprotected"
			f.Containers[0].Rules = &netfilter.Ruleset{}
			f.Host.Own = []route.Route{routeTo("172.18.0.0/24", "10.77.0.101")}
		}, VerdictOK, []string{}, ""},
		{"ignored", func(_ *Facts, p *Policy) { p.Ignore = []string{"network/101/w*"} }, VerdictOK, []string{}, "ignored"},
		{"internal", func(f *Facts, _ *Policy) { f.Containers[0].Docker.Networks[0].Internal = true }, VerdictOK, []string{}, "internal"},
		{"another driver", func(f *Facts, _ *Policy) { f.Containers[0].Docker.Networks[0].Driver = "macvlan" }, VerdictOK, []string{}, "macvlan"},
		{"only IPv6", func(f *Facts, _ *Policy) { f.Containers[0].Docker.Networks[0].Subnets = prefixes("fd00::/64") }, VerdictOK, []string{}, "IPv6"},
		{"a route alone", func(f *Facts, _ *Policy) { f.Host.Own = []route.Route{routeTo("172.18.0.0/24", "10.77.0.101")} }, VerdictDrift, []string{"net.forward-drop", "net.raw-drop"}, "missing"},
		{"a route to elsewhere", func(f *Facts, _ *Policy) { f.Host.Own = []route.Route{routeTo("172.18.0.0/24", "10.77.0.9")} }, VerdictPlanned, []string{"net.forward-drop", "net.no-route", "net.raw-drop"}, ""},
		{"a user's raw drop", func(f *Facts, _ *Policy) {
			rs := f.Containers[0].Rules.Tables["raw"]["PREROUTING"]
			rs.Rules = append(rs.Rules, netfilter.Rule{Args: strings.Fields("-s 192.168.50.0/24 -j DROP")})
		}, VerdictRefused, []string{"net.user-drop"}, "PREROUTING"},
		{"a user's raw drop of one address", func(f *Facts, _ *Policy) {
			rs := f.Containers[0].Rules.Tables["raw"]["PREROUTING"]
			rs.Rules = append(rs.Rules, netfilter.Rule{Args: strings.Fields("-s 192.168.50.66/32 -j DROP")})
		}, VerdictPlanned, []string{"net.forward-drop", "net.no-route", "net.raw-drop", "net.user-drop"}, ""},
		{"an address of the cluster", func(f *Facts, _ *Policy) {
			f.Host.Cluster = []ClusterNetwork{{netip.MustParsePrefix("172.18.0.9/32"), "corosync.conf"}}
		}, VerdictRefused, []string{"net.overlap"}, "corosync.conf"},
		{"another container's address", func(f *Facts, _ *Policy) {
			f.Containers[0].Address6 = netip.Addr{}
			f.Containers[0].Address = netip.MustParseAddr("172.18.0.9")
		}, VerdictRefused, []string{"net.overlap"}, "container 101"},
		{"isolated", func(f *Facts, _ *Policy) { f.Containers[0].Docker.Networks[0].GatewayMode = "isolated" }, VerdictOK, []string{}, "isolated"},
		{"switched off for the container", func(_ *Facts, p *Policy) { p.Modes = map[string]string{"lxc/101": ModeOff} }, VerdictOK, []string{}, "labd.toml"},
		{"switched off by its label", func(f *Facts, p *Policy) { f.Containers[0].Docker.Networks[0].Mode, p.AllowLabels = ModeOff, true }, VerdictOK, []string{}, "label"},
		{"a label that is not allowed", func(f *Facts, _ *Policy) { f.Containers[0].Docker.Networks[0].Mode = ModeOff }, VerdictPlanned, []string{"net.forward-drop", "net.no-route", "net.raw-drop"}, ""},
		{"nftables backend, a mark behind the drop", func(f *Facts, _ *Policy) {
			f.Containers[0].Docker.FirewallBackend = "nftables"
			f.Containers[0].DockerTables = map[netfilter.Family]netfilter.DockerTable{netfilter.IPv4: {Accepts: map[string]netfilter.Mark{"br-web": {Value: 1, Mask: 1}}, Drops: prefixes("172.18.0.2/32")}}
		}, VerdictUnreachable, []string{"net.nft-backend"}, ""},
		{"the look failed", func(f *Facts, _ *Policy) { f.Containers[0].Err = fmt.Errorf("it hangs") }, VerdictUnknown, []string{}, "hangs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, p := sampleFacts(t, sampleContainer(t, 101, "172.18.0.0/24")), DefaultPolicy()
			tt.change(f, &p)
			r := Diagnose(f, p)
			if len(r.Networks) != 1 {
				t.Fatalf("networks %+v", r.Networks)
			}
			n := r.Networks[0]
			if n.Verdict != tt.verdict || !strings.Contains(n.Reason, tt.reason) {
				t.Errorf("verdict %s (%s), want %s (…%s…)", n.Verdict, n.Reason, tt.verdict, tt.reason)
			}
			if diff := cmp.Diff(tt.codes, finding.Codes(r.Findings, n.Subject())); diff != "" {
				t.Errorf("findings, -want +got:\n%s", diff)
			}
			for _, f := range r.Findings {
				if f.Title == "" || f.Cause == "" || f.Confidence == "" || f.Severity == 0 || len(f.Evidence) == 0 || len(f.Remedies) == 0 {
					t.Errorf("finding not told fully: %+v", f)
				}
			}
		})
	}
}

// IPv6 subnets have bounds of their own, and a range with a meaning is no Docker subnet, whatever the pools say.
func TestDiagnoseIPv6(t *testing.T) {
	for _, tt := range []struct {
		name, subnet string
		change       func(f *Facts, p *Policy)
		verdict      string
		codes        []string
	}{
		{"a unique local subnet", "fd18::/64", nil, VerdictPlanned, []string{"net.no-route"}},
		{"a global one", "2001:db8:1::/64", nil, VerdictPlanned, []string{"net.no-route"}},
		{"too wide", "fd18::/40", nil, VerdictRefused, []string{"net.outside-pool"}},
		{"too narrow", "fd18::/127", nil, VerdictRefused, []string{"net.outside-pool"}},
		{"link-local", "fe80::/64", nil, VerdictRefused, []string{"net.outside-pool"}},
		{"multicast", "ff05::/64", nil, VerdictRefused, []string{"net.outside-pool"}},
		{"behind a translator", "64:ff9b::/96", nil, VerdictRefused, []string{"net.outside-pool"}},
		{"outside the pools", "fd18::/64", func(_ *Facts, p *Policy) { p.Pools = prefixes("fd00::/16") }, VerdictRefused, []string{"net.approval"}},
		{"the LAN", "fd50::/64", nil, VerdictRefused, []string{"net.overlap"}},
		{"a route of the host", "fd18::/64", func(f *Facts, _ *Policy) {
			f.Host.Routes = append(f.Host.Routes, route.Route{Dst: prefixes("fd18::/48")[0], Dev: "tun0", Table: route.MainTable})
		}, VerdictRefused, []string{"net.overlap"}},
		{"no address of the container", "fd18::/64", func(f *Facts, _ *Policy) { f.Containers[0].Address6 = netip.Addr{} }, VerdictUnreachable, []string{"net.no-route"}},
		{"no source", "fd18::/64", func(_ *Facts, p *Policy) { p.From = prefixes("192.168.50.0/24") }, VerdictUnreachable, []string{"net.no-route"}},
		{"its rules cannot be read", "fd18::/64", func(f *Facts, _ *Policy) {
			f.Containers[0].Rules6, f.Containers[0].Err6 = nil, fmt.Errorf("ip6tables crashed")
		}, VerdictUnknown, []string{}},
		{"no pool of IPv6", "fd18::/64", func(_ *Facts, p *Policy) { p.Pools = DefaultPolicy().Pools }, VerdictOK, []string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := sampleContainer(t, 101, "172.18.0.0/24")
			c.Address6, c.Rules6 = netip.MustParseAddr("fd77::101"), &netfilter.Ruleset{}
			subnet := netip.MustParsePrefix(tt.subnet)
			c.Docker.Networks[0].Subnets = []netip.Prefix{subnet}
			c.Interfaces = append(c.Interfaces, route.Address{Interface: "br-web", Prefix: netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits())})
			f, p := sampleFacts(t, c), DefaultPolicy()
			f.Host.Addresses = append(f.Host.Addresses, route.Address{Interface: "eno1", Prefix: netip.MustParsePrefix("fd50::1/64")}, route.Address{Interface: "vmbr0", Prefix: netip.MustParsePrefix("fd77::1/64")})
			p.Pools = prefixes("fc00::/7", "2001:db8::/32", "fe80::/10", "ff00::/8", "64:ff9b::/96")
			if tt.change != nil {
				tt.change(f, &p)
			}
			r := Diagnose(f, p)
			if diff := cmp.Diff(tt.codes, finding.Codes(r.Findings, "network/101/web")); diff != "" || r.Networks[0].Verdict != tt.verdict {
				t.Errorf("verdict %s (%s), want %s; findings, -want +got:\n%s", r.Networks[0].Verdict, r.Networks[0].Reason, tt.verdict, diff)
			}
		})
	}
}

// Who had a prefix first keeps it; a route that is there, then use, then the lower id decide among newcomers.
func TestOwnership(t *testing.T) {
	same := "172.18.0.0/24"
	prefix := netip.MustParsePrefix(same)
	for _, tt := range []struct {
		name   string
		change func(f *Facts)
		owner  string
	}{
		{"the lower id", func(*Facts) {}, "101/web"},
		{"the one in use", func(f *Facts) { f.Containers[0].Docker.Containers = nil }, "102/web"},
		{"the one with the route", func(f *Facts) {
			f.Host.Own = []route.Route{{Dst: prefix, Via: f.Containers[1].Address, Dev: "vmbr0", Table: route.Table, Protocol: route.Protocol}}
		}, "102/web"},
		{"the first", func(f *Facts) { f.Owners[prefix] = Owner{102, "web"} }, "102/web"},
		{"the first, though stopped", func(f *Facts) { f.Owners[prefix] = Owner{103, "web"} }, "103/web"},
		{"the first, though it does not answer", func(f *Facts) {
			f.Owners[prefix] = Owner{102, "web"}
			f.Containers[1].Docker, f.Containers[1].DockerErr = nil, fmt.Errorf("it hangs")
		}, "102/web"},
		{"no more the first: its network is gone", func(f *Facts) {
			f.Owners[prefix] = Owner{102, "web"}
			f.Containers[1].Docker.Networks = nil
		}, "101/web"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := sampleFacts(t, sampleContainer(t, 101, same), sampleContainer(t, 102, same))
			tt.change(f)
			r := Diagnose(f, DefaultPolicy())
			if got := r.Want.Owners[prefix]; got.String() != tt.owner {
				t.Errorf("owner %s, want %s", got, tt.owner)
			}
			for name, verdict := range verdicts(r) {
				if (verdict == VerdictPlanned || verdict == VerdictDrift) != (name == string(tt.owner)) {
					t.Errorf("%s: %s", name, verdict)
				}
			}
		})
	}
}

// A container that does not answer keeps what it has; what is known to be of nobody goes.
func TestUnknownIsKept(t *testing.T) {
	one, two := sampleContainer(t, 101, "172.18.0.0/24"), sampleContainer(t, 102, "172.19.0.0/24")
	two.Docker, two.DockerErr = nil, fmt.Errorf("it hangs")
	f := sampleFacts(t, one, two)
	own := func(dst, via string) route.Route {
		return route.Route{Dst: netip.MustParsePrefix(dst), Via: netip.MustParseAddr(via), Dev: "vmbr0", Table: route.Table, Protocol: route.Protocol}
	}
	f.Host.Own = []route.Route{own("172.19.0.0/24", "10.77.0.102"), own("172.20.0.0/24", "10.77.0.103"), own("172.21.0.0/24", "10.77.0.102")}
	f.Owners[prefixes("172.21.0.0/24")[0]] = Owner{104, "web"}
	r := Diagnose(f, DefaultPolicy())
	routes := diffRoutes(f, r)
	want := routesParams{
		Add: []route.Route{own("172.18.0.0/24", "10.77.0.101")}, Remove: []route.Route{own("172.20.0.0/24", "10.77.0.103"), own("172.21.0.0/24", "10.77.0.102")},
		Owners: r.Want.Owners,
	}
	if diff := cmp.Diff(want, routes, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if rules := diffRules(f, r); len(rules) != 1 || rules[0].Container != 101 {
		t.Errorf("rules %+v", rules)
	}
}

func TestEveryAcceptIsNarrow(t *testing.T) {
	f := sampleFacts(t, sampleContainer(t, 101, "172.18.0.0/24"))
	p := DefaultPolicy()
	p.From = append(prefixes("192.168.60.0/24", "192.168.50.7/32"), netip.MustParsePrefix("fd00::/8"))
	want := []string{
		"-s 192.168.50.7/32 -d 172.18.0.0/24 -i eth0 -o br-web -m comment --comment labd:101:web -j ACCEPT",
		"-s 192.168.60.0/24 -d 172.18.0.0/24 -i eth0 -o br-web -m comment --comment labd:101:web -j ACCEPT",
	}
	n := Diagnose(f, p).Networks[0]
	if diff := cmp.Diff(want, texts(n.Rules.IPv4.Forward)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for i := range want {
		want[i] = strings.Replace(want[i], " -o br-web", "", 1)
	}
	if diff := cmp.Diff(want, texts(n.Rules.IPv4.Raw)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Whatever containers say, no wanted route covers an address or a route of the host, lies outside the pools, or meets
// another wanted route.
func TestNoRouteTakesAnything(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	prefix := func() netip.Prefix {
		a := [4]byte{172, byte(16 + random.IntN(18)), byte(random.IntN(4)), byte(random.IntN(256))}
		switch random.IntN(6) {
		case 0:
			a[0], a[1] = 192, 168
		case 1:
			a[0], a[1] = 10, 77
		case 2:
			a = [4]byte{byte(random.IntN(256)), byte(random.IntN(256)), 0, 0}
		}
		return netip.PrefixFrom(netip.AddrFrom4(a), random.IntN(33))
	}
	rules := ruleset(t, "docker-20.10")
	wanted := 0
	for range 3000 {
		f := sampleFacts(t)
		for range random.IntN(4) {
			f.Host.Addresses = append(f.Host.Addresses, route.Address{Interface: "vmbr9", Prefix: prefix()})
			f.Host.Routes = append(f.Host.Routes, route.Route{Dst: prefix().Masked(), Dev: "vmbr9", Table: 100 + random.IntN(200), Protocol: 4})
		}
		for id := 100; id < 100+random.IntN(4); id++ {
			c := sampleContainer(t, id, "172.18.0.0/24")
			c.Rules = rules
			c.Docker = &docker.Info{FirewallBackend: "iptables"}
			for n := range random.IntN(6) {
				bridge, subnet := fmt.Sprintf("br-%d", n), prefix()
				c.Docker.Networks = append(c.Docker.Networks, docker.Network{Name: bridge, Driver: "bridge", Bridge: bridge, Subnets: []netip.Prefix{subnet.Masked()}})
				c.Interfaces = append(c.Interfaces, route.Address{Interface: bridge, Prefix: subnet})
				if random.IntN(3) == 0 {
					f.Owners[prefix().Masked()] = Owner{99 + random.IntN(5), bridge}
				}
			}
			f.Containers = append(f.Containers, c)
		}
		p := DefaultPolicy()
		routes := Diagnose(f, p).Want.Routes
		wanted += len(routes)
		for i, r := range routes {
			inside := slices.ContainsFunc(p.Pools, func(pool netip.Prefix) bool { return pool.Contains(r.Dst.Addr()) && pool.Bits() <= r.Dst.Bits() })
			if !inside || r.Dst.Bits() < widestPrefix || r.Dst.Bits() > narrowestPrefix || r.Protocol != route.Protocol || r.Dst != r.Dst.Masked() {
				t.Fatalf("route %s", r)
			}
			for _, a := range f.Host.Addresses {
				if r.Dst.Contains(a.Prefix.Addr()) {
					t.Fatalf("route %s covers the address %s", r, a.Prefix)
				}
			}
			for _, other := range f.Host.Routes {
				if other.Dst.IsValid() && other.Dst.Bits() > 1 && other.Dst.Overlaps(r.Dst) {
					t.Fatalf("route %s meets the route to %s", r, other.Dst)
				}
			}
			for _, other := range routes[i+1:] {
				if other.Dst.Overlaps(r.Dst) {
					t.Fatalf("routes %s and %s meet", r, other)
				}
			}
		}
	}
	if wanted < 500 {
		t.Errorf("only %d routes were wanted: the facts are too unlikely to prove anything", wanted)
	}
}

func TestPlanDigest(t *testing.T) {
	digest := func(change func(f *Facts)) string {
		f := sampleFacts(t, sampleContainer(t, 101, "172.18.0.0/24"))
		change(f)
		p, err := PlanApply(Diagnose(f, DefaultPolicy()), false)
		if err != nil {
			t.Fatal(err)
		}
		return p.Digest
	}
	same := digest(func(*Facts) {})
	if got := digest(func(f *Facts) { f.Repairs, f.Containers[0].Docker.Version = 7, "29" }); got != same {
		t.Error("the digest depends on what no guard reads")
	}
	for name, change := range map[string]func(*Facts){
		"a new container":   func(f *Facts) { f.Containers[0].Docker.Containers[0].Name = "other" },
		"a new port":        func(f *Facts) { f.Containers[0].Docker.Containers[0].Ports = nil },
		"a restart":         func(f *Facts) { f.Containers[0].NetNS = "other" },
		"another address":   func(f *Facts) { f.Containers[0].Address = netip.MustParseAddr("10.77.0.9") },
		"forwarding is off": func(f *Facts) { f.Host.Forwarding["eno1"] = false },
		"the switch":        func(f *Facts) { f.Switch = SwitchOff },
		"a refusal":         func(f *Facts) { f.Containers = append(f.Containers, sampleContainer(t, 102, "172.18.0.0/25")) },
	} {
		if digest(change) == same {
			t.Errorf("%s does not change the digest", name)
		}
	}
}

// In whatever order the networks got their prefixes, the rules stand in the same one: else every pass would repair.
func TestOrderOfRules(t *testing.T) {
	two := func(owners Owners) Desired {
		c := sampleContainer(t, 101, "172.18.0.0/24")
		c.Docker.Networks = append(c.Docker.Networks, docker.Network{Name: "bridge", Driver: "bridge", Bridge: "docker0", Subnets: prefixes("172.17.0.0/16")})
		c.Interfaces = append(c.Interfaces, route.Address{Interface: "docker0", Prefix: netip.MustParsePrefix("172.17.0.1/16")})
		f := sampleFacts(t, c)
		f.Owners = owners
		return Diagnose(f, DefaultPolicy()).Want
	}
	first := two(Owners{})
	if diff := cmp.Diff(first, two(first.Owners), cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" || len(first.Routes) != 2 {
		t.Errorf("-first +later:\n%s", diff)
	}
}

// 64 containers with 16 networks each, nothing to do: what every pass of the loop costs without I/O.
func BenchmarkDiagnose(b *testing.B) {
	f := sampleFacts(b)
	rules := ruleset(b, "docker-20.10")
	for id := range 64 {
		c := sampleContainer(b, 100+id, "172.18.0.0/24")
		c.Rules = rules
		c.Docker = &docker.Info{FirewallBackend: "iptables"}
		for n := range 16 {
			bridge, subnet := fmt.Sprintf("br-%d", n), netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(16 + n), byte(id), 1}), 24)
			c.Docker.Networks = append(c.Docker.Networks, docker.Network{Name: bridge, Driver: "bridge", Bridge: bridge, Subnets: []netip.Prefix{subnet.Masked()}})
			c.Interfaces = append(c.Interfaces, route.Address{Interface: bridge, Prefix: subnet})
		}
		f.Containers = append(f.Containers, c)
	}
	p := DefaultPolicy()
	want := Diagnose(f, p).Want
	if len(want.Routes) != 64*16 {
		b.Fatalf("%d routes", len(want.Routes))
	}
	f.Host.Own, f.Owners = want.Routes, want.Owners
	b.ReportAllocs()
	for b.Loop() {
		r := Diagnose(f, p)
		diffRoutes(f, r)
		diffRules(f, r)
	}
}
