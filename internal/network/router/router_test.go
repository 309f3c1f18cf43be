package router

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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

var lanDefault = route.Default{Via: netip.MustParseAddr("192.168.50.254"), Dev: "eno1", Table: route.MainTable, Hops: 1}

// sampleFacts returns a host at 192.168.50.1 on eno1, with its containers in a network of their own behind vmbr0.
func sampleFacts(containers ...network.Container) *network.Facts {
	return &network.Facts{
		Host: network.Host{
			Uplinks:    []string{"eno1"},
			Addresses:  []route.Address{{Interface: "lo", Prefix: prefixes("127.0.0.1/8")[0]}, {Interface: "eno1", Prefix: netip.MustParsePrefix("192.168.50.1/24")}, {Interface: "vmbr0", Prefix: netip.MustParsePrefix("10.77.0.1/24")}},
			Routes:     []route.Route{{Via: netip.MustParseAddr("192.168.50.254"), Dev: "eno1", Table: route.MainTable, Protocol: 3}, {Dst: prefixes("10.77.0.0/24")[0], Dev: "vmbr0", Table: route.MainTable, Protocol: 2}},
			Defaults:   []route.Default{lanDefault},
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
	p.Pools = append(p.Pools, prefixes("192.168.0.0/16", "fd18::/48")...)
	p.AliasPools = prefixes("10.99.0.0/16")
	p.Modes = map[string]string{"lxc/104": network.ModeAlias}
	return network.Diagnose(f, p)
}

// golden compares with a file below testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func advise(t *testing.T, r *network.Report, req Request) *Advice {
	t.Helper()
	advice, err := Advise(r, req)
	if err != nil {
		t.Fatal(err)
	}
	return advice
}

// The texts of each style, for IPv4 and IPv6, as golden files.
func TestStyles(t *testing.T) {
	r := routerReport(t)
	for _, style := range Styles() {
		t.Run(style, func(t *testing.T) {
			var b strings.Builder
			for _, remove := range []bool{false, true} {
				advice := advise(t, r, Request{Style: style, Remove: remove})
				fmt.Fprintf(&b, "== remove %v\n%s-- notes\n%s\n", remove, advice.Text, strings.Join(advice.Notes, "\n"))
			}
			golden(t, style, b.String())
		})
	}
	if _, err := Advise(r, Request{Style: "cisco"}); !errors.Is(err, ErrStyle) {
		t.Errorf("a style that is none: %v", err)
	}
}

// Every style says how to apply it, how to test it from a client, how to undo it, and whether labd's tests run it. With
// nothing to route, none says anything but that.
func TestStylesSayHowTo(t *testing.T) {
	r := routerReport(t)
	f := sampleFacts()
	empty := network.Diagnose(f, network.DefaultPolicy())
	for _, s := range styles {
		advice := advise(t, r, Request{Style: s.name})
		for _, word := range []string{"apply: ", "test, from a client: ping ", "undo: "} {
			if !strings.Contains(advice.Text, s.sign+" "+word) {
				t.Errorf("%s does not say %q:\n%s", s.name, word, advice.Text)
			}
		}
		if s.tried == "" && !strings.Contains(advice.Text, "unproven: ") || s.tried != "" && !strings.Contains(advice.Text, "labd's tests run this text on "+s.tried) {
			t.Errorf("%s does not say how it was tried", s.name)
		}
		if nothing := advise(t, empty, Request{Style: s.name}); nothing.Text != "" || len(nothing.Notes) != 1 {
			t.Errorf("%s, with no routes: %q %v", s.name, nothing.Text, nothing.Notes)
		}
		nothing := advise(t, empty, Request{Style: s.name, Remove: true})
		if nothing.Text == "" && len(nothing.Notes) != 1 {
			t.Errorf("%s, with nothing to remove: %v", s.name, nothing.Notes)
		}
	}
}

// A router is asked to bypass its firewall, or to leave its packets alone, only where clients in the LAN are answered past it.
func TestOnlyDirectClientsNeedBypass(t *testing.T) {
	words := map[string]string{"opnsense": "Bypass firewall rules", "pfsense": "Bypass firewall rules", "mikrotik": "notrack", "openwrt": "NOTRACK", "vyos": "invalid", "edgeos": "invalid", "unifi": "invalid"}
	report := func(from string) *network.Report {
		p := network.DefaultPolicy()
		p.From = prefixes(from)
		return network.Diagnose(sampleFacts(sampleContainer(t, 101, "172.18.0.0/24")), p)
	}
	lan, far := report("192.168.50.0/24"), report("192.168.99.0/24")
	for _, style := range Styles() {
		text := func(r *network.Report) string {
			a := advise(t, r, Request{Style: style})
			return a.Text + strings.Join(a.Notes, "\n")
		}
		if word := words[style]; word != "" && !strings.Contains(text(lan), word) {
			t.Errorf("%s does not say %q for clients in the LAN", style, word)
		}
		for _, word := range []string{"Bypass", "notrack", "NOTRACK", "invalid", "one direction"} {
			if strings.Contains(text(far), word) {
				t.Errorf("%s says %q though no client is answered past the router:\n%s", style, word, text(far))
			}
		}
		if bypass := strings.Contains(text(lan), "Bypass firewall"); bypass && style != "opnsense" && style != "pfsense" {
			t.Errorf("%s speaks of another router's settings", style)
		}
	}
}

func TestRoutes(t *testing.T) {
	text := func(change func(f *network.Facts, p *network.Policy)) string {
		f, p := sampleFacts(sampleContainer(t, 101, "172.18.0.0/24"), sampleContainer(t, 102, "172.19.0.0/24")), network.DefaultPolicy()
		change(f, &p)
		advice := advise(t, network.Diagnose(f, p), Request{Style: StylePlain})
		return advice.Text + strings.Join(advice.Notes, "\n")
	}
	const both, pool = "ip route replace 172.18.0.0/24 via 192.168.50.1\nip route replace 172.19.0.0/24 via 192.168.50.1\n", "\nip route replace 172.16.0.0/12 via 192.168.50.1\n#"
	nowhere := func(prefix string) func(f *network.Facts, _ *network.Policy) {
		return func(f *network.Facts, _ *network.Policy) {
			f.Host.Routes = append(f.Host.Routes, route.Route{Dst: prefixes(prefix)[0], Nowhere: true, Table: route.MainTable})
		}
	}
	for _, tt := range []struct {
		name          string
		change        func(f *network.Facts, p *network.Policy)
		want, without string
	}{
		{"a pool", func(*network.Facts, *network.Policy) {}, pool, ""},
		{"a pool that does not end", func(*network.Facts, *network.Policy) {}, "on this host: ip route replace unreachable 172.16.0.0/12. After a reboot, too: the same behind 'post-up' below eno1 in /etc/network/interfaces", ""},
		{"a pool that ends", nowhere("172.16.0.0/12"), pool, "back to the router"},
		{"a wider one that ends", nowhere("172.0.0.0/8"), pool, "back to the router"},
		{"some of the pool leads nowhere", nowhere("172.30.0.0/16"), both, ""},
		{"the host has some of the pool elsewhere", func(f *network.Facts, _ *network.Policy) {
			f.Host.Addresses = append(f.Host.Addresses, route.Address{Interface: "vmbr3", Prefix: netip.MustParsePrefix("172.30.0.1/24")})
		}, both, ""},
		{"a VPN's halves of the default route", func(f *network.Facts, _ *network.Policy) {
			f.Host.Routes = append(f.Host.Routes, route.Route{Dst: prefixes("128.0.0.0/1")[0], Dev: "tun0", Table: route.MainTable})
		}, pool, ""},
		{"clients come from the pool", func(_ *network.Facts, p *network.Policy) { p.From = prefixes("172.31.0.0/24") }, both, ""},
		{"the cluster is in the pool", func(f *network.Facts, _ *network.Policy) {
			f.Host.Cluster = []network.ClusterNetwork{{Prefix: netip.MustParsePrefix("172.30.0.5/32"), Source: ".members"}}
		}, both, ""},
		{"the narrowest pool", func(_ *network.Facts, p *network.Policy) { p.Pools = append(p.Pools, prefixes("172.18.0.0/15")...) }, "ip route replace 172.18.0.0/15 via 192.168.50.1\n", "172.16.0.0/12"},
		{"nothing", func(f *network.Facts, _ *network.Policy) { f.Containers = nil }, "no Docker network is to be reached", "ip route"},
		{"no address", func(f *network.Facts, p *network.Policy) {
			f.Host.Uplinks, p.From = []string{"wlan0"}, prefixes("192.168.50.0/24")
		}, "the host has no IPv4 address on its uplink", "ip route"},
		{"two addresses, one with the router", func(f *network.Facts, _ *network.Policy) {
			f.Host.Addresses = append([]route.Address{{Interface: "eno1", Prefix: netip.MustParsePrefix("192.168.9.9/24")}}, f.Host.Addresses...)
		}, "via 192.168.50.1\n", "via 192.168.9.9"},
	} {
		got := text(tt.change)
		if !strings.Contains(got, tt.want) || tt.without != "" && strings.Contains(got, tt.without) {
			t.Errorf("%s: %q, want %q and not %q", tt.name, got, tt.want, tt.without)
		}
	}
}

// The default route of option 121 is what every client of the LAN uses from then on: labd names it only where it is sure.
func TestGateway(t *testing.T) {
	other := func(change func(*route.Default)) route.Default {
		d := lanDefault
		change(&d)
		return d
	}
	lte := route.Default{Via: netip.MustParseAddr("10.64.0.1"), Dev: "wwan0", Table: route.MainTable, Metric: 700, Hops: 1}
	for _, tt := range []struct {
		name     string
		defaults []route.Default
		uplinks  []string
		gateway  string
		why      string
	}{
		{"one", []route.Default{lanDefault}, nil, "192.168.50.254", ""},
		{"a backup with a higher metric, listed last", []route.Default{lanDefault, lte}, []string{"eno1", "wwan0"}, "192.168.50.254", ""},
		{"a backup with a higher metric, listed first", []route.Default{lte, lanDefault}, []string{"eno1", "wwan0"}, "192.168.50.254", ""},
		{"another table", []route.Default{lanDefault, other(func(d *route.Default) { d.Via, d.Table = netip.MustParseAddr("192.168.50.77"), 100 })}, nil, "192.168.50.254", ""},
		{"the best leaves by another interface", []route.Default{lanDefault, other(func(d *route.Default) { d.Via, d.Dev, d.Metric = netip.MustParseAddr("10.64.0.1"), "wwan0", -1 })}, []string{"eno1"}, "", "leaves by wwan0"},
		{"several next hops", []route.Default{other(func(d *route.Default) { d.Hops = 2 }), other(func(d *route.Default) { d.Hops, d.Via = 2, netip.MustParseAddr("192.168.50.253") })}, nil, "", "several next hops"},
		{"two of one metric", []route.Default{lanDefault, other(func(d *route.Default) { d.Via = netip.MustParseAddr("192.168.50.253") })}, nil, "", "several next hops"},
		{"outside the LAN", []route.Default{other(func(d *route.Default) { d.Via = netip.MustParseAddr("192.168.99.1") })}, nil, "", "not in the LAN 192.168.50.0/24"},
		{"by an interface alone", []route.Default{other(func(d *route.Default) { d.Via = netip.Addr{} })}, nil, "", "without a next hop"},
		{"none", nil, nil, "", "no default route"},
		{"only of IPv6", []route.Default{{Via: netip.MustParseAddr("fe80::1"), Dev: "eno1", Table: route.MainTable, Hops: 1, IPv6: true}}, nil, "", "no default route"},
	} {
		f := sampleFacts(sampleContainer(t, 101, "172.18.0.0/24"))
		f.Host.Defaults = tt.defaults
		if tt.uplinks != nil {
			f.Host.Uplinks = tt.uplinks
			f.Host.Addresses = append(f.Host.Addresses, route.Address{Interface: "wwan0", Prefix: netip.MustParsePrefix("10.64.0.2/30")})
		}
		p := network.DefaultPolicy()
		p.From = prefixes("192.168.50.0/24")
		r := network.Diagnose(f, p)
		for _, style := range []string{"dnsmasq-121", "openwrt-dhcp", "pihole", "adguard"} {
			advice := advise(t, r, Request{Style: style})
			ready := ""
			for line := range strings.Lines(advice.Text) {
				if !strings.HasPrefix(line, "#") {
					ready += line
				}
			}
			if tt.gateway == "" {
				if ready != "" || !strings.Contains(advice.Text, tt.why) || !strings.Contains(strings.Join(advice.Notes, "\n"), tt.why) {
					t.Errorf("%s, %s: %q\n%s%v", tt.name, style, tt.why, advice.Text, advice.Notes)
				}
				continue
			}
			want := "0.0.0.0/0," + tt.gateway + ",172.16.0.0/12,192.168.50.1"
			if style == "adguard" {
				want = "121 hex 00c0a832fe" + "0cac10c0a83201"
			}
			if !strings.Contains(ready, want) {
				t.Errorf("%s, %s: want %s\n%s%v", tt.name, style, want, advice.Text, advice.Notes)
			}
		}
	}
}

// An option has room for 255 bytes; dnsmasq refuses its whole configuration over a longer one.
func TestOption121Limit(t *testing.T) {
	report := func(pools []netip.Prefix, subnets ...string) *network.Report {
		var containers []network.Container
		for i, subnet := range subnets {
			containers = append(containers, sampleContainer(t, 101+i, subnet))
		}
		p := network.DefaultPolicy()
		p.Pools = pools
		return network.Diagnose(sampleFacts(containers...), p)
	}
	spread := func(n, step int) []string {
		var out []string
		for i := range n {
			out = append(out, fmt.Sprintf("10.%d.%d.0/24", 100+i*step/256, i*step%256))
		}
		return out
	}
	blocked := prefixes("10.96.0.0/12") // the host has an address in it, so the pool goes not as a whole
	for _, tt := range []struct {
		name    string
		subnets []string
		ready   bool
		routes  int
	}{
		{"as many as there is room for", spread(31, 2), true, 31},
		{"one more, with room between them", spread(32, 2), true, 31},
		{"neighbours", spread(64, 1), true, 31},
		{"far from each other", spread(40, 16), true, 31},
	} {
		r := report(blocked, tt.subnets...)
		r.Facts().Host.Addresses = append(r.Facts().Host.Addresses, route.Address{Interface: "vmbr3", Prefix: netip.MustParsePrefix("10.111.255.1/24")})
		advice := advise(t, r, Request{Style: "dnsmasq-121"})
		line := ""
		for l := range strings.Lines(advice.Text) {
			if strings.HasPrefix(l, "dhcp-option=") {
				line = strings.TrimSpace(l)
			}
		}
		c := classless{gateway: lanDefault.Via, routes: advice.Routes}
		if (line != "") != tt.ready || len(advice.Routes) > tt.routes || c.size() > optionLimit {
			t.Errorf("%s: %d routes, %d bytes: %q", tt.name, len(advice.Routes), c.size(), line)
		}
		for _, subnet := range tt.subnets {
			if !slices.ContainsFunc(advice.Routes, func(r Route) bool { return covers(r.Prefix, netip.MustParsePrefix(subnet)) }) {
				t.Errorf("%s: %s is not told", tt.name, subnet)
			}
		}
	}
	// Nothing may be joined: each lies between what belongs to others.
	subnets := spread(40, 2)
	r := report(blocked, subnets...)
	for i := range subnets {
		_, third := i*2/256, i*2%256+1
		r.Facts().Host.Addresses = append(r.Facts().Host.Addresses, route.Address{Interface: "vmbr3", Prefix: netip.MustParsePrefix(fmt.Sprintf("10.100.%d.1/24", third))})
	}
	advice := advise(t, r, Request{Style: "dnsmasq-121"})
	if strings.Contains(advice.Text, "\ndhcp-option") || !strings.Contains(advice.Text, "room for 255 bytes, and they need 325") {
		t.Errorf("too many: %s", advice.Text)
	}
}

func TestFritzBoxGuests(t *testing.T) {
	p := network.DefaultPolicy()
	p.Pools = prefixes("192.168.0.0/16")
	r := network.Diagnose(sampleFacts(sampleContainer(t, 101, "192.168.179.0/24"), sampleContainer(t, 102, "192.168.80.0/24")), p)
	advice := advise(t, r, Request{Style: "fritzbox"})
	if strings.Contains(advice.Text, "\nIPv4-Routen: IPv4-Netzwerk 192.168.179.0") || !strings.Contains(advice.Text, "\nIPv4-Routen: IPv4-Netzwerk 192.168.80.0") || len(advice.Notes) < 2 {
		t.Errorf("%s%v", advice.Text, advice.Notes)
	}
}

// What Tailscale and WireGuard clients take goes before, or beside, their own Docker networks: never a pool, and a warning.
func TestTunnelsGetSinglePrefixes(t *testing.T) {
	r := network.Diagnose(sampleFacts(sampleContainer(t, 101, "172.17.0.0/16"), sampleContainer(t, 102, "172.19.0.0/24")), network.DefaultPolicy())
	for style, want := range map[string]string{"tailscale": "--advertise-routes=172.17.0.0/16,172.19.0.0/24\n", "wireguard": "AllowedIPs = 172.17.0.0/16, 172.19.0.0/24\n"} {
		advice := advise(t, r, Request{Style: style})
		if !strings.Contains(advice.Text, want) || !strings.Contains(strings.Join(advice.Notes, "\n"), "docker0") {
			t.Errorf("%s: %s%v", style, advice.Text, advice.Notes)
		}
	}
}

func TestNames(t *testing.T) {
	web := sampleContainer(t, 101, "172.18.0.0/24")
	web.Name = "docker"
	web.Docker.Containers[0].Name, web.Docker.Containers[0].Project = "My_App.1", "Blog"
	same := sampleContainer(t, 102, "172.19.0.0/24")
	same.Name = "docker"
	same.Docker.Containers = append(same.Docker.Containers,
		docker.Container{Name: "a_b", State: "running", Addresses: map[string][]netip.Addr{"web": {netip.MustParseAddr("172.19.0.7")}}},
		docker.Container{Name: "a-b", State: "running", Addresses: map[string][]netip.Addr{"web": {netip.MustParseAddr("172.19.0.8")}}},
		docker.Container{Name: "__", State: "running", Addresses: map[string][]netip.Addr{"web": {netip.MustParseAddr("172.19.0.9")}}},
		docker.Container{Name: "elsewhere", State: "running", Addresses: map[string][]netip.Addr{"off": {netip.MustParseAddr("172.30.0.9")}}})
	alone := sampleContainer(t, 103, "172.18.0.0/24")
	alone.Docker.Containers[0].Project = ""
	p := network.DefaultPolicy()
	p.AliasPools, p.Modes = prefixes("10.99.0.0/16"), map[string]string{"lxc/103": network.ModeAlias}
	r := network.Diagnose(sampleFacts(web, same, alone), p)
	var b strings.Builder
	for _, format := range NamesFormats() {
		advice, err := AdviseNames(r, format)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "== %s\n%s-- notes\n%s\n", format, advice.Text, strings.Join(advice.Notes, "\n"))
	}
	golden(t, "names", b.String())
	if _, err := AdviseNames(r, "bind"); !errors.Is(err, ErrStyle) {
		t.Errorf("a format that is none: %v", err)
	}
	none, err := AdviseNames(network.Diagnose(sampleFacts(), p), "hosts")
	if err != nil || none.Text != "" || len(none.Notes) != 1 {
		t.Errorf("nothing to name: %+v %v", none, err)
	}
}
