package network

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"labd/internal/netfilter"
)

// outsider is an address behind the LAN's router, which is the LAN client in these tests.
const outsider = "10.9.9.9"

// withOutsiders makes the LAN client the host's router, with a network behind it, and a neighbour of the container.
func withOutsiders(t *testing.T, b *bed) (neighbour space) {
	t.Helper()
	b.lan.ip("addr add 192.168.50.254/24 dev eth0")
	b.lan.ip("addr add " + outsider + "/32 dev lo")
	neighbour = newSpace(t)
	b.host.ip("link add veth102i0 type veth peer name eth0 netns " + strconv.Itoa(neighbour.pid))
	t.Cleanup(func() { _, _ = b.host.output("", "ip", "link", "del", "veth102i0") })
	b.host.ip("link set veth102i0 master vmbr0 up")
	neighbour.ip("addr add 10.77.0.102/24 dev eth0")
	neighbour.ip("link set eth0 up")
	neighbour.ip("route add default via 10.77.0.1")
	return neighbour
}

// pings reports whether an address answers; what should answer gets more than one try, while neighbours are learned.
func (s space) pings(address, from string, want bool) bool {
	s.t.Helper()
	args := []string{"-n", "-c", "1", "-W", "0.4", address}
	if from != "" {
		args = append([]string{"-I", from}, args...)
	}
	for range 4 {
		if _, err := s.output("", "ping", args...); err == nil {
			return true
		}
		if !want {
			break
		}
	}
	return false
}

// Whoever is no source of network.from is not routed to a Docker network by labd, also where nothing in the container
// closes it: without any rule of Docker's, with Podman, with Docker up to 27.
func TestOnlySourcesAreRouted(t *testing.T) {
	for _, sample := range []string{"", "podman", "docker-20.10", "docker-28.5"} {
		t.Run(sample, func(t *testing.T) {
			b := newBed(t, sample, netfilter.NFT)
			neighbour := withOutsiders(t, b)
			if sample != "" {
				b.ct.run("iptables-nft", "-P", "FORWARD", "ACCEPT") // as where forwarding was on before Docker
			}
			want := func(when string, lan, outside, near, host bool) {
				t.Helper()
				for _, x := range []struct {
					who  string
					in   space
					from string
					want bool
				}{{"the LAN", b.lan, "192.168.50.2", lan}, {"a network behind the router", b.lan, outsider, outside}, {"a neighbour", neighbour, "", near}, {"the host", b.host, "", host}} {
					if got := x.in.pings(boxAddr, x.from, x.want); got != x.want {
						t.Errorf("%s: reached from %s: %v, want %v\n%s", when, x.who, got, x.want, b.host.run("ip", "rule")+b.host.run("ip", "route", "show", "table", "all"))
					}
				}
			}
			want("before", false, false, false, false)
			p := b.planApply(true)
			if notes := strings.Join(p.Notes, "\n"); !strings.Contains(notes, "becomes reachable from 192.168.50.0/24, this host: container shop") {
				t.Errorf("the plan does not say who may come:\n%s", notes)
			}
			b.run(p)
			hostToo := sample != "docker-28.5" // there the container's own drop stands before the host, which is no source
			want("on", true, false, false, hostToo)
			b.policy.From = prefixes(lanPrefix, outsider+"/32")
			b.run(b.planApply(true))
			want("with one more source", true, true, false, hostToo)
			b.policy.From = prefixes(outsider + "/32")
			b.run(b.planApply(true))
			want("with another source", false, true, false, hostToo)
			b.off()
			want("off", false, false, false, false)
			if left := b.host.run("ip", "rule") + b.host.run("ip", "-6", "rule"); strings.Contains(left, "176") {
				t.Errorf("rules for routing are left:\n%s", left)
			}
		})
	}
}

// What an earlier labd had in the main table moves to labd's own, and no packet is lost on the way.
func TestMoveFromTheMainTable(t *testing.T) {
	b := newBed(t, "docker-28.5", netfilter.NFT)
	b.policy.Mode = ModeReconcile
	b.reconcile(4) // rules in the container, the route, and the two rules that lead to it
	b.host.ip("route add 172.18.0.0/24 via 10.77.0.101 proto 176")
	b.host.ip("rule del priority 17600")
	b.host.ip("rule del priority 17601")
	b.host.ip("route flush table 176")
	b.wantPing("as it was", true)
	if n := b.network("web"); n.Verdict != VerdictDrift {
		t.Errorf("verdict %s: %s", n.Verdict, n.Reason)
	}
	summary := b.startPing()
	b.reconcile(4)
	if lost := summary(); !strings.Contains(lost, " 0% packet loss") {
		t.Errorf("packets were lost: %s", lost)
	}
	if got := b.host.run("ip", "route", "show", "table", "all", "proto", "176"); got != "172.18.0.0/24 via 10.77.0.101 dev vmbr0 table 176 \n" {
		t.Errorf("routes %q", got)
	}
	b.reconcile(0)
	b.wantPing("moved", true)
	b.wantVerdict("moved", VerdictOK)
}

func TestPolicyRulesOfUndecided(t *testing.T) {
	c := sampleContainer(t, 101, "172.18.0.0/24")
	f := sampleFacts(t, c)
	r := Diagnose(f, DefaultPolicy())
	f.Host.Own = r.Want.Routes
	if got := diffRoutes(f, r); got.len() != 0 {
		t.Errorf("all is there, and to do is %+v", got)
	}
	f.Containers[0].Docker, f.Containers[0].DockerErr = nil, errors.New("it hangs")
	if got := diffRoutes(f, Diagnose(f, DefaultPolicy())); got.len() != 0 {
		t.Errorf("its Docker does not answer, and to do is %+v", got)
	}
	p := DefaultPolicy()
	p.From = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	if got := diffRoutes(f, Diagnose(f, p)); len(got.AddRules) != 1 || len(got.RemoveRules) != 1 {
		t.Errorf("another source, and to do is %+v", got)
	}
}

// What the host's own packet filter drops is said by the list, with table, chain and rule, whatever its name.
func TestHostFilter(t *testing.T) {
	b := newBed(t, "docker-28.5", netfilter.NFT)
	b.run(b.planApply(true))
	b.wantPing("on", true)
	b.wantVerdict("on", VerdictOK)
	t.Cleanup(func() {
		for _, table := range []string{"inet proxmox-firewall", "inet other"} {
			_, _ = b.host.output("", "nft", strings.Fields("delete table "+table)...)
		}
		_, _ = b.host.output("", "iptables-nft", "-P", "FORWARD", "ACCEPT")
	})
	if _, err := b.host.output("table inet proxmox-firewall {\n chain forward {\n type filter hook forward priority 0; policy accept;\n ct state established,related accept\n jump host-forward\n }\n chain host-forward {\n drop\n }\n}\n", "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	b.wantPing("dropped by PVE's firewall", false)
	n := b.network("web")
	if n.Verdict != VerdictUnreachable || !strings.Contains(n.Reason, "nft inet proxmox-firewall, chain host-forward: drop") {
		t.Errorf("%s: %s", n.Verdict, n.Reason)
	}
	b.host.run("nft", "delete", "table", "inet", "proxmox-firewall")
	b.wantPing("without it", true)
	b.wantVerdict("without it", VerdictOK)

	b.host.run("iptables-nft", "-P", "FORWARD", "DROP")
	b.wantPing("dropped by a policy", false)
	if n := b.network("web"); n.Verdict != VerdictUnreachable || !strings.Contains(n.Reason, "FORWARD: policy drop") {
		t.Errorf("%s: %s", n.Verdict, n.Reason)
	}
	b.host.run("iptables-nft", "-P", "FORWARD", "ACCEPT")

	// What it does with others is no matter; what cannot be judged is not well.
	if _, err := b.host.output("table inet other {\n chain c {\n type filter hook forward priority 5; policy accept;\n ip saddr 203.0.113.0/24 drop\n tcp dport 25 drop\n }\n}\n", "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	b.wantVerdict("drops of others", VerdictOK)
	b.host.run("nft", "add rule inet other c limit rate over 1000/second drop")
	b.wantVerdict("a rate", VerdictUnknown)
}
