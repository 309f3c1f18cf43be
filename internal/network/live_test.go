package network

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labd/internal/docker"
	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/netfilter"
	"labd/internal/network/container"
	"labd/internal/plan"
	"labd/internal/policy"
	"labd/internal/reconcile"
	"labd/internal/route"
)

// The whole way with real packets, for the rule shapes of Docker before and from 28 on, on both iptables backends.
func TestReachable(t *testing.T) {
	for _, sample := range []string{"docker-20.10", "docker-28.5", "podman"} {
		for _, backend := range []netfilter.Backend{netfilter.NFT, netfilter.Legacy} {
			if sample == "podman" && backend == netfilter.Legacy {
				continue // only a chain of Docker's tells that legacy is meant
			}
			t.Run(sample+"/"+string(backend), func(t *testing.T) { testReachable(t, sample, backend) })
		}
	}
}

func testReachable(t *testing.T, sample string, backend netfilter.Backend) {
	b := newBed(t, sample, backend)
	before := b.ct.rules(backend)
	b.wantPing("at first", false)
	f, r := b.look()
	if got := f.Containers[0].Backend; got != backend {
		t.Fatalf("backend %s, want %s", got, backend)
	}
	want := []string{"net.forward-drop", "net.no-route"}
	if sample == "docker-28.5" {
		want = append(want, "net.raw-drop")
	}
	if diff := cmp.Diff(want, finding.Codes(r.Findings, "network/101/web")); diff != "" {
		t.Fatalf("findings, -want +got:\n%s", diff)
	}
	b.wantVerdict("at first", VerdictPlanned)

	p := b.planApply(false)
	if notes := strings.Join(p.Notes, "\n"); !strings.Contains(notes, "shop") || !strings.Contains(notes, "80/tcp") || !strings.Contains(notes, "5432/tcp (published only on 127.0.0.1") {
		t.Errorf("the notes do not say what becomes reachable:\n%s", notes)
	}
	entry := b.run(p)
	b.wantPing("applied", true)
	b.wantVerdict("applied", VerdictOK)
	applied := b.ct.rules(backend)
	if again := b.planApply(false); len(again.Steps) != 0 {
		t.Errorf("applied twice: %+v", again.Steps)
	}

	// It is labd's rules that open the way, not the route alone.
	ct, err := b.containers.Open(t.Context(), ctID)
	if err != nil {
		t.Fatal(err)
	}
	defer ct.Close()
	if err := container.Namespace(b.observer.host, ct).Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.wantPing("without rules", false)
	b.wantVerdict("without rules", VerdictDrift)
	b.run(b.planApply(false))
	if diff := cmp.Diff(applied, b.ct.rules(backend)); diff != "" {
		t.Errorf("made again, -first +now:\n%s", diff)
	}

	// Others insert before labd's jumps; the loop puts them back to position 1 and keeps the others' rules.
	iptables := "iptables-" + string(backend)
	user := "DOCKER-USER"
	if sample == "podman" {
		user = "FORWARD"
	}
	b.ct.run(iptables, "-I", user, "1", "-s", "203.0.113.9/32", "-j", "RETURN")
	b.ct.run(iptables, "-t", "raw", "-I", "PREROUTING", "1", "-s", "203.0.113.9/32", "-j", "ACCEPT")
	b.wantVerdict("jump not first", VerdictDrift)
	b.policy.Mode = ModeReconcile
	b.reconcile(1)
	b.wantVerdict("reconciled", VerdictOK)
	b.wantPing("reconciled", true)
	b.host.ip("route del 172.18.0.0/24 table 176")
	b.reconcile(1)
	b.wantPing("route put back", true)
	b.reconcile(0)
	if _, r := b.look(); r.Repairs == 0 || r.RoutesPresent != 1 {
		t.Errorf("repairs %d, routes %d", r.Repairs, r.RoutesPresent)
	}

	b.off()
	b.wantPing("off", false)
	b.ct.run(iptables, "-D", user, "-s", "203.0.113.9/32", "-j", "RETURN")
	b.ct.run(iptables, "-t", "raw", "-D", "PREROUTING", "-s", "203.0.113.9/32", "-j", "ACCEPT")
	if diff := cmp.Diff(before, b.ct.rules(backend)); diff != "" {
		t.Errorf("rules of others, -before +after:\n%s", diff)
	}
	b.reconcile(0) // off survives
	b.wantPing("off and reconciled", false)

	b.run(b.planApply(true))
	b.wantPing("on", true)
	if _, err := b.runner.UndoPlan(entry.ID); err == nil {
		t.Error("undo of an entry that a later one repeated is not refused")
	}
}

// reconcile makes one pass over all keys that should make so many changes.
func (b *bed) reconcile(want int) {
	b.t.Helper()
	_, r := b.look()
	n, err := b.keep(r)
	if err != nil || n != want {
		b.t.Fatalf("reconcile made %d changes, want %d; %v", n, want, err)
	}
}

func (b *bed) keep(r *Report) (changes int, err error) {
	for _, ct := range r.facts.Containers {
		n, failed := b.control.ReconcileContainer(b.t.Context(), r, ct.ID)
		changes, err = changes+n, errors.Join(err, failed)
	}
	n, failed := b.control.ReconcileRoutes(b.t.Context(), r)
	return changes + n, errors.Join(err, failed)
}

func TestUndoOfApply(t *testing.T) {
	b := newBed(t, "docker-28.5", netfilter.NFT)
	before, routes := b.ct.rules(netfilter.NFT), b.host.run("ip", "route")
	b.host.sysctl("net.ipv4.conf.eno1.forwarding=0")
	b.host.sysctl("net.ipv4.conf.vmbr0.forwarding=0")
	b.wantVerdict("at first", VerdictPlanned)
	p := b.planApply(false)
	if !strings.Contains(strings.Join(p.Notes, "\n"), "ip_forward") {
		t.Errorf("no note on forwarding: %v", p.Notes)
	}
	entry := b.run(p)
	b.wantPing("applied", true)
	off, err := PlanOff(b.observe())
	if err != nil || len(off.Notes) != 2 || !strings.Contains(off.Notes[0], "eno1") {
		t.Errorf("off does not name the forwarding that it leaves: %v, %v", off.Notes, err)
	}
	b.undo(entry.ID)
	b.wantPing("undone", false)
	if diff := cmp.Diff(before, b.ct.rules(netfilter.NFT)); diff != "" {
		t.Errorf("rules, -before +after:\n%s", diff)
	}
	if diff := cmp.Diff(routes, b.host.run("ip", "route")); diff != "" {
		t.Errorf("routes, -before +after:\n%s", diff)
	}
	if got := b.host.run("sysctl", "-n", "net.ipv4.conf.eno1.forwarding", "net.ipv4.conf.vmbr0.forwarding"); got != "0\n0\n" {
		t.Errorf("forwarding after undo: %q", got)
	}
}

// What carries the mark goes, wherever it is and whatever the state directory says; nothing else does.
func TestOffFindsTheMark(t *testing.T) {
	b := newBed(t, "docker-20.10", netfilter.NFT)
	b.host.ip("route add 198.51.100.0/24 via 10.77.0.101 proto static")
	foreign := b.host.run("ip", "route", "show", "table", "all", "type", "unicast")
	rules, legacy := b.ct.rules(netfilter.NFT), b.ct.rules(netfilter.Legacy)
	b.run(b.planApply(false))
	b.host.ip("route add 198.51.100.128/25 via 10.77.0.101 proto 176 table 1000")
	b.host.ip("route add blackhole 203.0.113.0/24 proto 176")
	b.host.ip("-6 route add blackhole 2001:db8::/32 proto 176")
	for _, program := range []string{"iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"} {
		for _, s := range []space{b.host, b.ct} {
			_, _ = s.output("", program, "-N", netfilter.ChainForward)
			s.run(program, "-I", "FORWARD", "1", "-m", "comment", "--comment", "labd:7:old", "-j", netfilter.ChainForward)
			s.run(program, "-t", "nat", "-N", netfilter.ChainNAT)
		}
	}
	b.ct.run("nft", "add", "table", "inet", "labd")
	if err := os.RemoveAll(b.observer.state.dir); err != nil {
		t.Fatal(err)
	}
	if err := b.control.Off(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(foreign, b.host.run("ip", "route", "show", "table", "all", "type", "unicast")); diff != "" {
		t.Errorf("routes, -before +after:\n%s", diff)
	}
	for backend, before := range map[netfilter.Backend]string{netfilter.NFT: rules, netfilter.Legacy: legacy} {
		if diff := cmp.Diff(before, b.ct.rules(backend)); diff != "" {
			t.Errorf("%s rules, -before +after:\n%s", backend, diff)
		}
		if got := b.host.rules(backend); got != "" {
			t.Errorf("%s rules of the host: %s", backend, got)
		}
	}
	if tables := b.ct.run("nft", "list", "tables"); strings.Contains(tables, "labd") {
		t.Errorf("tables: %s", tables)
	}
	if value, err := b.observer.state.Switch(); err != nil || value != SwitchOff {
		t.Errorf("switch %q, %v", value, err)
	}
	if err := b.control.Off(t.Context()); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

// A route of another protocol is never replaced and never removed.
func TestForeignRouteStays(t *testing.T) {
	b := newBed(t, "docker-20.10", netfilter.NFT)
	stale := b.planApply(false)
	b.host.ip("route add 172.18.0.0/24 via 10.77.0.250 proto static")
	if n := b.network("web"); n.Verdict != VerdictRefused || !strings.Contains(n.Reason, "overlaps") {
		t.Errorf("verdict %s: %s", n.Verdict, n.Reason)
	}
	var refused *plan.RefusedError
	if _, err := b.runner.Apply(t.Context(), stale, "test"); !errors.As(err, &refused) {
		t.Errorf("the plan from before: %v", err)
	}
	b.host.ip("route del 172.18.0.0/24")
	b.host.ip("route add 172.18.0.0/24 via 10.77.0.250 proto static table 176")
	if err := addRoute(stale2route(t, b)); !errors.As(err, &refused) {
		t.Errorf("adding it at the last moment: %v", err)
	}
	b.host.ip("route del 172.18.0.0/24 table 176")
	// What else stands in labd's table would be reached by its rules.
	b.host.ip("route add 198.51.100.0/24 via 10.77.0.250 proto static table 176")
	if n := b.network("web"); n.Verdict != VerdictRefused || !strings.Contains(n.Reason, "table 176") {
		t.Errorf("a foreign route in labd's table: verdict %s: %s", n.Verdict, n.Reason)
	}
	b.host.ip("route del 198.51.100.0/24 table 176")
	b.host.ip("route add 172.18.0.128/25 dev vmbr0 proto static table 1000")
	if n := b.network("web"); n.Verdict != VerdictRefused || !strings.Contains(n.Reason, "172.18.0.128/25") {
		t.Errorf("a route in another table: verdict %s: %s", n.Verdict, n.Reason)
	}
	b.host.ip("route add 172.18.0.0/24 via 10.77.0.250 proto static")
	b.off()
	if got := b.host.run("ip", "route", "show", "172.18.0.0/24"); !strings.Contains(got, "10.77.0.250") {
		t.Errorf("the route of others: %q", got)
	}
}

func stale2route(t *testing.T, b *bed) route.Route {
	t.Helper()
	return route.Route{Dst: prefixes("172.18.0.0/24")[0], Via: b.observe().Containers[0].Address, Dev: "vmbr0", Table: route.Table, Protocol: route.Protocol}
}

// The container's address changes, as with DHCP: the route moves with it.
func TestRouteFollowsTheContainer(t *testing.T) {
	b := newBed(t, "docker-28.5", netfilter.NFT)
	b.run(b.planApply(true))
	b.ct.ip("addr flush dev eth0")
	b.ct.ip("addr add 10.77.0.55/24 dev eth0")
	b.ct.ip("route replace default via 10.77.0.1")
	b.reconcile(2) // the new one in, the old one out
	b.wantPing("moved", true)
	if got := b.host.run("ip", "route", "show", "table", "all", "proto", "176"); strings.Count(got, "\n") != 1 || !strings.Contains(got, "10.77.0.55") {
		t.Errorf("routes: %q", got)
	}
	// It stops: its routes go. Its prefix stays its own.
	pids := b.containers.pids
	b.containers.pids = map[int]int{}
	b.reconcile(3) // with the two rules that lead to it
	if got := b.host.run("ip", "route", "show", "table", "all", "proto", "176"); got != "" {
		t.Errorf("routes of a stopped container: %q", got)
	}
	if f := b.observe(); f.Owners[prefixes("172.18.0.0/24")[0]] != (Owner{101, "web"}) {
		t.Errorf("owners %v", f.Owners)
	}
	b.containers.pids = pids
	b.reconcile(3)
	b.wantPing("running again", true)
	b.containers.docker = func(context.Context, int) (*docker.Info, error) {
		return &docker.Info{FirewallBackend: "iptables"}, nil
	}
	b.reconcile(4)
	if rules := b.ct.rules(netfilter.NFT); strings.Contains(rules, "LABD") {
		t.Errorf("the network is gone and its rules are not:\n%s", rules)
	}
}

// A Docker that hangs costs its own container's facts, in bounded time, and what is there stays there.
func TestDockerHangs(t *testing.T) {
	b := newBed(t, "docker-28.5", netfilter.NFT)
	b.observer.policy.Timeout = policy.Duration(300 * time.Millisecond)
	b.run(b.planApply(true))
	release := make(chan struct{})
	defer close(release)
	b.containers.docker = func(ctx context.Context, _ int) (*docker.Info, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	start := time.Now()
	f, r := b.look()
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
	if !f.Containers[0].LastGood || !slices.Contains(finding.Codes(r.Findings, "lxc/101"), "net.docker-unreachable") {
		t.Errorf("container %+v, findings %+v", f.Containers[0], r.Findings)
	}
	b.wantVerdict("for a while", VerdictOK)
	b.clock = lastGoodFor + time.Minute
	b.wantVerdict("too long", VerdictUnknown)
	b.reconcile(0)
	b.wantPing("Docker hangs", true)

	// A daemon that restarts has no socket for a moment. After a while it is gone, and its rules with it.
	b.containers.docker = func(context.Context, int) (*docker.Info, error) { return nil, container.ErrNoSocket }
	b.clock = 0
	b.wantVerdict("no socket", VerdictOK)
	b.clock = lastGoodFor + time.Minute
	if _, r := b.look(); len(r.Networks) != 0 || len(r.Findings) != 0 {
		t.Errorf("no socket any more: %+v", r)
	}
	b.clock = 0

	// Not even the deadline is kept: the look is given up, and not repeated before it ends.
	b.containers.docker = func(context.Context, int) (*docker.Info, error) {
		<-release
		return nil, errors.New("late")
	}
	for range 2 {
		if f := b.observe(); f.Containers[0].Err == nil {
			t.Error("no error")
		}
	}
	b.reconcile(0)
	b.wantPing("the look hangs", true)
}

// The user's own drop is respected; one that cannot meet the packets does not matter.
func TestUserDrop(t *testing.T) {
	b := newBed(t, "docker-28.5", netfilter.NFT)
	b.ct.run("iptables-nft", "-I", "DOCKER-USER", "-i", "eth0", "!", "-s", lanPrefix, "-j", "DROP")
	b.wantVerdict("a drop of other sources", VerdictPlanned)
	b.ct.run("iptables-nft", "-N", "mine")
	b.ct.run("iptables-nft", "-A", "mine", "-d", "172.18.0.0/16", "-j", "REJECT")
	b.ct.run("iptables-nft", "-I", "DOCKER-USER", "-i", "eth0", "-j", "mine")
	n := b.network("web")
	_, r := b.look()
	if n.Verdict != VerdictRefused || !slices.Contains(finding.Codes(r.Findings, n.Subject()), "net.user-drop") || len(b.planApply(false).Steps) != 0 {
		t.Errorf("verdict %s (%s), findings %v", n.Verdict, n.Reason, r.Findings)
	}
	b.policy.OverrideUserDrop = true
	b.run(b.planApply(false))
	b.wantPing("overridden", true)
}

// A person's rules that come while labd is on win as far as they go, and nothing that runs is taken away because of them.
func TestUsersRulesWin(t *testing.T) {
	b := newBed(t, "docker-28.5", netfilter.NFT)
	b.serve(b.box, "box")
	b.run(b.planApply(true))
	b.wantPing("on", true)
	b.ct.run("ipset", "create", "banned", "hash:ip")
	b.ct.run("ipset", "add", "banned", "192.168.50.77")
	rule := func(op string, args string) {
		t.Helper()
		b.ct.run("iptables-nft", append([]string{op, "DOCKER-USER"}, strings.Fields(args)...)...)
		_, r := b.look()
		if n, err := b.keep(r); n > 1 || err != nil {
			t.Errorf("%s %s: %d changes, %v", op, args, n, err)
		}
		b.reconcile(0)
		if !strings.Contains(b.host.run("ip", "route", "show", "table", "all", "proto", "176"), "172.18.0.0/24") {
			t.Errorf("%s %s: the route was taken away", op, args)
		}
	}
	const set = "-m set --match-set banned src -j DROP"
	rule("-I", set)
	b.wantPing("another source is in the set", true)
	b.wantVerdict("another source is in the set", VerdictOK)
	b.ct.run("ipset", "add", "banned", "192.168.50.2")
	b.wantPing("the source is in the set", false)
	b.ct.run("ipset", "del", "banned", "192.168.50.2")
	b.wantPing("out of the set again", true)
	rule("-D", set)

	const invalid = "-m conntrack --ctstate INVALID -j DROP"
	rule("-I", invalid)
	b.wantPing("what is invalid is dropped", true)
	b.wantVerdict("what is invalid is dropped", VerdictOK)

	for port, want := range map[string]string{"5432": "box", "80": "exit status"} {
		match := "-p tcp -m tcp --dport " + port + " -j REJECT"
		rule("-I", match)
		if got := b.ask(boxAddr); !strings.Contains(got, want) {
			t.Errorf("port 80 while %s is closed: %q, want %q", port, got, want)
		}
		b.wantPing("a port is closed", true)
		b.wantVerdict("a port is closed", VerdictOK)
		rule("-D", match)
	}
	if got := b.ask(boxAddr); got != "box" {
		t.Errorf("opened again: %q", got)
	}

	const all = "-s " + lanPrefix + " -j DROP"
	rule("-I", all)
	b.wantPing("closed", false)
	b.wantVerdict("closed", VerdictUnreachable)
	rule("-D", all)
	b.wantPing("opened again", true)
	b.wantVerdict("opened again", VerdictOK)

	// ufw-docker's block, and then an allow for the LAN before it.
	b.ct.run("iptables-nft", "-A", "DOCKER-USER", "-d", "172.16.0.0/12", "-p", "tcp", "-m", "tcp", "--tcp-flags", "FIN,SYN,RST,ACK", "SYN", "-j", "DROP")
	rule("-I", "-s 192.168.0.0/16 -j RETURN")
	if got := b.ask(boxAddr); got != "box" {
		t.Errorf("allowed before the block: %q", got)
	}
	b.wantVerdict("allowed before the block", VerdictOK)
}

// Facts from before a change are no ground to act on.
func TestReconcileIgnoresOldFacts(t *testing.T) {
	b := newBed(t, "docker-20.10", netfilter.NFT)
	b.policy.Mode = ModeReconcile
	_, r := b.look()
	b.off()
	if n, err := b.keep(r); n != 0 || err != nil {
		t.Errorf("after off: %d changes, %v", n, err)
	}
	if err := b.observer.state.SetSwitch(SwitchOn); err != nil {
		t.Fatal(err)
	}
	var later *reconcile.LaterError
	if n, err := b.keep(r); n != 0 || !errors.As(err, &later) {
		t.Errorf("facts from before: %d changes, %v", n, err)
	}
	b.reconcile(4)
}

// A labd that looks at moved trees leaves the machine that it runs on alone.
func TestMovedPathsChangeNothing(t *testing.T) {
	b := newBed(t, "docker-20.10", netfilter.NFT)
	p := b.planApply(false)
	b.run(p)
	paths := b.observer.host.Paths
	paths.PVE = t.TempDir()
	moved := NewController(host.New(paths, ""), b.observer.state, b.containers)
	if err := moved.Cleanup(t.Context()); !errors.Is(err, host.ErrNoPrograms) {
		t.Errorf("sweep: %v", err)
	}
	if _, err := moved.changeRoutes(routesParams{Remove: b.observe().Host.Own}); !errors.Is(err, host.ErrNoPrograms) {
		t.Errorf("routes: %v", err)
	}
	b.wantPing("moved paths", true)
}

// addRoute adds one route, as the batch does.
func addRoute(r route.Route) error {
	batch, err := route.NewBatch()
	if err != nil {
		return err
	}
	defer batch.Close()
	_, err = batch.Add([]route.Route{r})
	return refusedRoute(err)
}
