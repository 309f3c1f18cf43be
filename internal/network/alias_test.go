package network

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"labd/internal/docker"
	"labd/internal/finding"
	"labd/internal/netfilter"
	"labd/internal/route"
)

func aliasPolicy(pools ...string) Policy {
	p := DefaultPolicy()
	p.DefaultMode, p.AliasPools = ModeAlias, prefixes(pools...)
	return p
}

func aliases(r *Report) map[string]string {
	out := map[string]string{}
	for _, n := range r.Networks {
		for _, a := range n.Aliases {
			out[strings.TrimPrefix(string(n.Subject()), "network/")] += a.Prefix.String() + "=" + a.Subnet.String() + " "
		}
	}
	return out
}

// Equal subnets of several containers get aliases of their own, which stay the same whatever comes and goes.
func TestAliasAllocation(t *testing.T) {
	same := "172.17.0.0/16"
	f := sampleFacts(t, sampleContainer(t, 101, same), sampleContainer(t, 102, same), sampleContainer(t, 103, same))
	// Taken already: by a route of the host, and by the address of a container.
	f.Host.Routes = append(f.Host.Routes, route.Route{Dst: prefixes("10.99.0.0/23")[0], Dev: "tun0", Table: route.MainTable})
	f.Containers[2].Address = netip.MustParseAddr("10.99.3.7")
	f.Host.Addresses = append(f.Host.Addresses, route.Address{Interface: "vmbr1", Prefix: netip.MustParsePrefix("10.99.3.1/26")})
	p := aliasPolicy("10.99.0.0/16")
	r := Diagnose(f, p)
	want := map[string]string{"101/web": "10.99.2.0/24=172.17.0.0/24 ", "102/web": "10.99.4.0/24=172.17.0.0/24 ", "103/web": "10.99.5.0/24=172.17.0.0/24 "}
	if diff := cmp.Diff(want, aliases(r)); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}
	// The first is gone for a while, a new one comes: everyone keeps its own.
	g := sampleFacts(t, sampleContainer(t, 104, same), sampleContainer(t, 103, same), sampleContainer(t, 102, same))
	g.Owners = r.Want.Owners
	want = map[string]string{"102/web": want["102/web"], "103/web": want["103/web"], "104/web": "10.99.0.0/24=172.17.0.0/24 "}
	later := Diagnose(g, p)
	if diff := cmp.Diff(want, aliases(later)); diff != "" {
		t.Fatalf("later, -want +got:\n%s", diff)
	}
	if later.Want.Owners[netip.MustParsePrefix("10.99.2.0/24")] != (Owner{101, "web"}) {
		t.Errorf("the one that is stopped lost its alias: %v", later.Want.Owners)
	}
	// Another mode gives the alias back.
	g.Owners = later.Want.Owners
	p.Modes = map[string]string{"lxc/102": ModeDirect}
	if last := Diagnose(g, p); last.Want.Owners[netip.MustParsePrefix("10.99.4.0/24")] != (Owner{}) || last.Want.Owners[prefixes(same)[0]] != (Owner{102, "web"}) {
		t.Errorf("owners %v", last.Want.Owners)
	}
}

func TestAliasRefusals(t *testing.T) {
	for _, tt := range []struct {
		name   string
		subnet string
		policy func(p *Policy)
		change func(f *Facts)
		want   string
		reason string
	}{
		{"no pool", "172.17.0.0/16", func(p *Policy) { p.AliasPools = nil }, nil, "net.alias-pool", "no alias pool of IPv4"},
		{"the pool is too small", "172.17.0.0/16", func(p *Policy) { p.AliasPools = prefixes("10.99.0.0/25") }, nil, "net.alias-pool", "no /24"},
		{"the pool is used up", "172.17.0.0/16", nil, func(f *Facts) {
			f.Owners[prefixes("10.99.0.0/24")[0]] = Owner{300, "db"}
		}, "net.alias-pool", "no /24"},
		{"containers beyond the alias", "172.17.0.0/16", nil, func(f *Facts) {
			f.Containers[0].Docker.Containers[0].Addresses = addrs("web", "172.17.5.9")
		}, "net.alias-pool,net.forward-drop,net.no-route", ""},
		{"too wide", "172.0.0.0/8", nil, nil, "net.outside-pool", "may not"},
		{"no bridge", "172.17.0.0/16", nil, func(f *Facts) { f.Containers[0].Interfaces = f.Containers[0].Interfaces[:1] }, "net.hostile", "br-web"},
		{"its alias is an address of the host by now", "172.17.0.0/16", nil, func(f *Facts) {
			f.Owners[prefixes("10.99.0.0/24")[0]] = Owner{101, "web"}
			f.Host.Addresses = append(f.Host.Addresses, route.Address{Interface: "tun0", Prefix: netip.MustParsePrefix("10.99.0.9/32")})
		}, "net.overlap", "tun0"},
		{"the user's drop behind the alias", "172.17.0.0/16", nil, func(f *Facts) {
			rs := f.Containers[0].Rules.Tables["filter"]["DOCKER-USER"]
			rs.Rules = append(rs.Rules, netfilter.Rule{Args: strings.Fields("-i eth0 -d 172.17.0.0/16 -j DROP")})
		}, "net.user-drop", "DOCKER-USER"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, p := sampleFacts(t, sampleContainer(t, 101, tt.subnet)), aliasPolicy("10.99.0.0/24")
			if tt.policy != nil {
				tt.policy(&p)
			}
			if tt.change != nil {
				tt.change(f)
			}
			r := Diagnose(f, p)
			if got := strings.Join(finding.Codes(r.Findings, "network/101/web"), ","); got != tt.want || !strings.Contains(r.Networks[0].Reason, tt.reason) {
				t.Errorf("findings %s (%s), want %s", got, r.Networks[0].Reason, tt.want)
			}
		})
	}
}

// An alias opens nothing but itself: each rule names the alias.
func TestAliasRulesAreNarrow(t *testing.T) {
	f := sampleFacts(t, sampleContainer(t, 101, "172.17.0.0/16"))
	n := Diagnose(f, aliasPolicy("10.99.0.0/16")).Networks[0]
	want := netfilter.Chains{
		Forward: mustParse(t, "-s 192.168.50.0/24 -d 172.17.0.0/24 -i eth0 -o br-web -m conntrack --ctorigdst 10.99.0.0/24 -m comment --comment labd:101:web -j ACCEPT"),
		NAT:     mustParse(t, "-s 192.168.50.0/24 -d 10.99.0.0/24 -i eth0 -m comment --comment labd:101:web -j NETMAP --to 172.17.0.0/24"),
	}
	if diff := cmp.Diff(netfilter.Rules{IPv4: want}, n.Rules, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if len(n.Routes) != 1 || n.Routes[0].String() != "10.99.0.0/24 via 10.77.0.101 dev vmbr0" {
		t.Errorf("routes %v", n.Routes)
	}
}

func mustParse(t *testing.T, lines ...string) []netfilter.Rule {
	t.Helper()
	rules, err := netfilter.ParseRules(lines)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

func TestModes(t *testing.T) {
	p := DefaultPolicy()
	p.Modes = map[string]string{"lxc/101": ModeAlias, "lxc/10*": ModeDirect, "network/101/db_*": ModeOff, "network/101/db_web": ModeDirect, "lxc/200": ModeOff}
	for _, tt := range []struct {
		container, network, label string
		labels                    bool
		want                      string
	}{
		{"lxc/101", "network/101/web", "", false, ModeAlias},
		{"lxc/102", "network/102/web", "", false, ModeDirect},
		{"lxc/300", "network/300/web", "", false, ModeDirect},
		{"lxc/101", "network/101/db_x", "", false, ModeOff},
		{"lxc/101", "network/101/db_web", "", false, ModeDirect},
		{"lxc/101", "network/101/web", ModeOff, false, ModeAlias},
		{"lxc/101", "network/101/web", ModeOff, true, ModeOff},
		{"lxc/101", "network/101/web", "nonsense", true, ModeAlias},
		{"lxc/101", "network/101/db_x", ModeDirect, true, ModeOff},
		{"lxc/200", "network/200/web", ModeDirect, true, ModeOff},
	} {
		p.AllowLabels = tt.labels
		if got, _ := p.modeOf(tt.container, tt.network, tt.label); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

// Two containers with equal subnets, real packets: each box answers at its own alias, and the subnet itself leads nowhere.
func TestAliasReachable(t *testing.T) {
	for _, sample := range []string{"docker-20.10", "docker-28.5"} {
		t.Run(sample, func(t *testing.T) { testAliasReachable(t, sample) })
	}
}

func testAliasReachable(t *testing.T, sample string) {
	b := newBed(t, sample, netfilter.NFT)
	second := b.addTwin(sample)
	b.policy = aliasPolicy("10.99.0.0/16")
	before, beforeTwin := b.ct.rules(netfilter.NFT), second.rules(netfilter.NFT)
	entry := b.run(b.planApply(false))
	b.wantVerdict("applied", VerdictOK)
	if diff := cmp.Diff(map[string]string{"101/web": "10.99.0.0/24=172.18.0.0/24 ", "102/web": "10.99.1.0/24=172.18.0.0/24 "}, aliases(Diagnose(b.observe(), b.policy))); diff != "" {
		t.Fatalf("aliases, -want +got:\n%s", diff)
	}
	for alias, host := range map[string]string{"10.99.0.2": "box-101", "10.99.1.2": "box-102"} {
		if got := b.ask(alias); got != host {
			t.Errorf("at %s answers %q, want %s", alias, got, host)
		}
	}
	b.wantPing("the subnet itself", false)
	if again := b.planApply(false); len(again.Steps) != 0 {
		t.Errorf("applied twice: %+v", again.Steps)
	}
	// A direct route by hand does not open the subnet either: the accept is for what came for the alias.
	b.host.ip("route add 172.18.0.0/24 via 10.77.0.101 proto static")
	b.wantPing("the subnet with a route of somebody's", false)
	b.host.ip("route del 172.18.0.0/24")
	if p := b.probe("10.99.1.2:80"); p.Verdict != "ok" || p.Network != "network/102/web" || p.Docker != "shop" {
		t.Errorf("probe of an alias: %+v", p)
	}
	if p := b.probe("172.18.0.2"); p.Verdict != "blocked" || !strings.Contains(p.Texts["route"], "10.99.") {
		t.Errorf("probe of the subnet does not name the alias: %+v", p)
	}
	b.undo(entry.ID)
	if diff := cmp.Diff(before+beforeTwin, b.ct.rules(netfilter.NFT)+second.rules(netfilter.NFT)); diff != "" {
		t.Errorf("undone, -before +after:\n%s", diff)
	}
	b.run(b.planApply(true))
	if got := b.ask("10.99.0.2"); got != "box-101" {
		t.Errorf("after undo and on: %q", got)
	}
	// From alias to direct: what the alias had goes.
	b.policy.Modes = map[string]string{"lxc/101": ModeDirect, "lxc/102": ModeOff}
	b.policy.Mode = ModeReconcile
	b.reconcileAll()
	b.wantPing("direct", true)
	if rules := b.ct.rules(netfilter.NFT) + second.rules(netfilter.NFT); strings.Contains(rules, "NETMAP") || strings.Contains(rules, "LABD-NAT") {
		t.Errorf("the alias is still there:\n%s", rules)
	}
	b.policy.Modes = nil
	b.reconcileAll()
	b.off()
	if diff := cmp.Diff(before+beforeTwin, b.ct.rules(netfilter.NFT)+second.rules(netfilter.NFT)); diff != "" {
		t.Errorf("off, -before +after:\n%s", diff)
	}
	if routes := b.host.run("ip", "route", "show", "table", "all", "proto", "176"); routes != "" {
		t.Errorf("routes: %s", routes)
	}
	// On again, each has the alias that it had, also while the one that would come first is stopped.
	delete(b.containers.pids, ctID)
	if diff := cmp.Diff(map[string]string{"102/web": "10.99.1.0/24=172.18.0.0/24 "}, aliases(Diagnose(b.observe(), b.policy))); diff != "" {
		t.Errorf("aliases after off, -want +got:\n%s", diff)
	}
}

// addTwin adds container 102 with the very networks of container 101, and a web server in each box that says which it is.
func (b *bed) addTwin(sample string) space {
	b.t.Helper()
	const id = ctID + 1
	ct, box := newSpace(b.t), newSpace(b.t)
	b.host.ip(fmt.Sprintf("link add veth%di0 type veth peer name eth0 netns %d", id, ct.pid))
	b.t.Cleanup(func() { _, _ = b.host.output("", "ip", "link", "del", fmt.Sprintf("veth%di0", id)) })
	b.host.ip(fmt.Sprintf("link set veth%di0 master vmbr0 up", id))
	b.dockerSide(ct, box, fmt.Sprintf("10.77.0.%d/24", id), sample, netfilter.NFT)
	b.containers.pids[id] = ct.pid
	b.serve(b.box, "box-101")
	b.serve(box, "box-102")
	return ct
}

// reconcileAll makes a pass of the loop, whatever it changes.
func (b *bed) reconcileAll() {
	b.t.Helper()
	_, r := b.look()
	if _, err := b.keep(r); err != nil {
		b.t.Fatal(err)
	}
}

// IPv6 from the LAN to the box with real packets, beside IPv4, and back to what was there before.
func TestIPv6Reachable(t *testing.T) {
	for _, backend := range []netfilter.Backend{netfilter.NFT, netfilter.Legacy} {
		t.Run(string(backend), func(t *testing.T) { testIPv6Reachable(t, backend) })
	}
}

func testIPv6Reachable(t *testing.T, backend netfilter.Backend) {
	b := newBed(t, "docker-28.5", backend)
	b.dual("docker-28.5-ipv6", backend)
	before := b.ct.rules(backend)
	b.policy.Pools = append(b.policy.Pools, prefixes("fd18::/16")...)
	b.wantPingTo("at first", box6, false)
	n := b.network("web")
	_, r := b.look()
	if diff := cmp.Diff([]string{"net.forward-drop", "net.no-route", "net.raw-drop"}, unique(finding.Codes(r.Findings, n.Subject()))); diff != "" {
		t.Errorf("findings, -want +got:\n%s", diff)
	}
	b.host.sysctl("net.ipv6.conf.all.forwarding=0")
	p := b.planApply(false)
	if notes := strings.Join(p.Notes, "\n"); !strings.Contains(notes, "at "+boxAddr) || !strings.Contains(notes, "at "+box6) {
		t.Errorf("the notes do not name both addresses:\n%s", notes)
	}
	entry := b.run(p)
	b.wantPingTo("applied", box6, true)
	b.wantPing("applied", true)
	b.wantVerdict("applied", VerdictOK)
	if again := b.planApply(false); len(again.Steps) != 0 {
		t.Errorf("applied twice: %+v", again.Steps)
	}
	if got := b.host.run("ip", "-6", "route", "show", "table", "all", "proto", "176"); !strings.HasPrefix(got, "fd18::/64 via fd77::101 dev vmbr0") {
		t.Errorf("route %q", got)
	}
	b.serve(b.box, "box-101")
	if probe := b.probe("[" + box6 + "]:80"); probe.Verdict != "ok" || slices.Contains(probe.Answered, false) {
		t.Errorf("probe: %+v", probe)
	}
	// A rule that somebody deletes is seen and comes back.
	tool := "ip6tables-" + string(backend)
	b.ct.run(tool, "-t", "raw", "-F", "LABD-RAW")
	b.wantPingTo("without the raw rule", box6, false)
	if probe := b.probe(box6); probe.Verdict != "blocked" || !strings.Contains(probe.Findings, "DROP") {
		t.Errorf("probe of a drop: %+v", probe.Findings)
	}
	b.wantVerdict("without the raw rule", VerdictDrift)
	b.policy.Mode = ModeReconcile
	b.reconcile(1)
	b.wantPingTo("reconciled", box6, true)
	b.undo(entry.ID)
	if diff := cmp.Diff(before, b.ct.rules(backend)); diff != "" {
		t.Errorf("undone, -before +after:\n%s", diff)
	}
	if got := strings.TrimSpace(b.host.run("sysctl", "-n", "net.ipv6.conf.all.forwarding")); got != "0" {
		t.Errorf("forwarding of IPv6 is %s after undo", got)
	}
	b.run(b.planApply(true))
	b.off()
	b.wantPingTo("off", box6, false)
	if diff := cmp.Diff(before, b.ct.rules(backend)); diff != "" {
		t.Errorf("off, -before +after:\n%s", diff)
	}
	if got := b.host.run("ip", "-6", "route", "show", "table", "all", "proto", "176"); got != "" {
		t.Errorf("routes: %q", got)
	}
}

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if len(out) == 0 || out[len(out)-1] != s {
			out = append(out, s)
		}
	}
	return out
}

const box6 = "fd18::2"

// waitUntil waits for a condition.
func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if ok() {
			return
		}
	}
	t.Fatalf("in vain: %s", what)
}

// dual gives the bed IPv6 beside IPv4, and the container Docker's rules for it.
func (b *bed) dual(sample string, backend netfilter.Backend) {
	b.t.Helper()
	for _, s := range []space{b.host, b.lan, b.ct, b.box} {
		s.sysctl("net.ipv6.conf.default.accept_dad=0")
		s.sysctl("net.ipv6.conf.all.accept_dad=0")
	}
	add := func(s space, addr, dev string) { b.t.Helper(); s.ip("-6 addr add " + addr + " dev " + dev + " nodad") }
	add(b.host, "fd50::1/64", "eno1")
	add(b.host, "fd77::1/64", "vmbr0")
	add(b.lan, "fd50::2/64", "eth0")
	b.lan.ip("-6 route add default via fd50::1")
	add(b.ct, "fd77::101/64", "eth0")
	b.ct.ip("-6 route add default via fd77::1")
	add(b.ct, "fd18::1/64", "br-web")
	b.ct.sysctl("net.ipv6.conf.all.forwarding=1")
	add(b.box, box6+"/64", "eth0")
	b.box.ip("-6 route add default via fd18::1")
	b.host.sysctl("net.ipv6.conf.all.forwarding=1")
	// Neighbours are asked with the link-local address, which must be known to be nobody else's first.
	for _, s := range []space{b.host, b.lan, b.ct, b.box} {
		waitUntil(b.t, "no address is tentative", func() bool { return s.run("ip", "-6", "addr", "show", "tentative") == "" })
	}
	data, err := os.ReadFile("../netfilter/testdata/" + sample + ".save")
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.ct.output(string(data), "ip6tables-"+string(backend)+"-restore"); err != nil {
		b.t.Fatal(err)
	}
	b.containers.docker = func(context.Context, int) (*docker.Info, error) {
		info := webInfo()
		info.Networks[0].Subnets = append(info.Networks[0].Subnets, prefixes("fd18::/64")...)
		info.Containers[0].Addresses = addrs("web", boxAddr, box6)
		return info, nil
	}
}
