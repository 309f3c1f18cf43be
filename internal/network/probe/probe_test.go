package probe

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labd/internal/finding"
	"labd/internal/netfilter"
	"labd/internal/network"
	"labd/test/spaces"
)

// wantHops checks the states of the hops that are not ok.
func wantHops(t *testing.T, when string, p *Result, want map[string]State) {
	t.Helper()
	got := map[string]State{}
	for _, h := range p.Hops {
		if h.State != OK {
			got[h.Name] = h.State
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s: hops, -want +got:\n%s\n%+v", when, diff, p.Hops)
	}
}

func hop(t *testing.T, p *Result, name string) Hop {
	t.Helper()
	i := slices.IndexFunc(p.Hops, func(h Hop) bool { return h.Name == name })
	if i < 0 {
		t.Fatalf("no hop %s in %+v", name, p.Hops)
	}
	return p.Hops[i]
}

var box = Target{Address: netip.MustParseAddr(boxAddr)}

func TestProbe(t *testing.T) {
	b := newBed(t, "docker-28.5", netfilter.NFT)
	b.box.Serve(":80", "hello")

	p := b.probe(box)
	if p.Verdict != VerdictBlocked || p.Network != "network/101/web" || p.Docker != "shop" {
		t.Fatalf("before: %+v", p)
	}
	wantHops(t, "before", p, map[string]State{"route": Blocking, "container-raw": Blocking, "container-forward": Blocking})
	if !slices.Contains(finding.Codes(p.Findings, p.Network), "net.no-answer") {
		t.Errorf("findings %v", finding.Codes(p.Findings, p.Network))
	}

	// A route that somebody made brings the packets to where Docker drops them, and the counter tells.
	b.host.IP("route add 172.18.0.0/24 via 10.77.0.101")
	p = b.probe(box)
	raw := hop(t, p, "container-raw")
	if raw.State != Blocking || raw.Counted == 0 || !strings.Contains(raw.Rule, "-A PREROUTING -d 172.18.0.2/32 ! -i br-web -j DROP") {
		t.Errorf("raw: %+v", raw)
	}
	i := slices.IndexFunc(p.Findings, func(f finding.Finding) bool { return f.Code == finding.NetNoAnswer })
	if i < 0 || p.Findings[i].Severity != finding.Fail || !strings.Contains(p.Findings[i].Cause, "PREROUTING in table raw") {
		t.Errorf("findings %+v", p.Findings)
	}
	b.host.IP("route del 172.18.0.0/24")

	b.apply()
	p = b.probe(box)
	wantHops(t, "applied", p, map[string]State{})
	if p.Verdict != VerdictOK || len(p.Packets) != 2 || !p.Packets[0].Answered || !p.Packets[1].Answered || p.Packets[1].Result != "connected" || p.Packets[1].Port != 80 {
		t.Fatalf("applied: %+v", p)
	}
	if len(p.Findings) != 0 {
		t.Errorf("applied: findings %+v", p.Findings)
	}
	if !slices.ContainsFunc(p.Moved, func(m Moved) bool { return m.Where == "container 101" && m.Place.Chain == "LABD-FWD" }) {
		t.Errorf("labd's own rule did not count: %+v", p.Moved)
	}
	// A port where nothing listens answers all the same.
	p = b.probe(Target{Address: box.Address, Port: 81})
	if p.Verdict != VerdictOK || !strings.HasPrefix(p.Packets[1].Result, "refused") {
		t.Errorf("closed port: %+v", p.Packets)
	}
}

// Each hop that can block does, one after another, with labd's own route and rules in place: what labd did not cause
// and cannot cure is found all the same.
func TestProbeFindsTheDrop(t *testing.T) {
	b := newBed(t, "docker-28.5", netfilter.NFT)
	b.apply()
	for _, tt := range []struct {
		name, make, undo string
		where            spaces.Space
		hop              string
		state            State
	}{
		{"a rule before labd's jump", "iptables-nft -I FORWARD 1 -d 172.18.0.2 -j DROP", "iptables-nft -D FORWARD -d 172.18.0.2 -j DROP", b.ct, "container-forward", Blocking},
		{"a rule with a condition that cannot be judged", "iptables-nft -I FORWARD 1 -m length --length 0:1500 -j DROP", "iptables-nft -D FORWARD -m length --length 0:1500 -j DROP", b.ct, "container-forward", Blocking},
		{"the other backend", "iptables-legacy -t raw -I PREROUTING 1 -i eth0 -j DROP", "iptables-legacy -t raw -D PREROUTING -i eth0 -j DROP", b.ct, "container-raw", Blocking},
		{"forwarding", "sysctl -q net.ipv4.conf.eth0.forwarding=0", "sysctl -q net.ipv4.conf.eth0.forwarding=1", b.ct, "container-forwarding", Blocking},
		{"the bridge", "ip link set br-web down", "ip link set br-web up", b.ct, "bridge", Blocking},
		{"the host's FORWARD", "iptables-nft -I FORWARD 1 -d 172.18.0.0/24 -j DROP", "iptables-nft -D FORWARD -d 172.18.0.0/24 -j DROP", b.host, "host-forward", Blocking},
		{"the host's OUTPUT", "iptables-nft -I OUTPUT 1 -d 172.18.0.0/24 -j DROP", "iptables-nft -D OUTPUT -d 172.18.0.0/24 -j DROP", b.host, "host-forward", Blocking},
		{"the host's forwarding", "sysctl -q net.ipv4.conf.eno1.forwarding=0", "sysctl -q net.ipv4.conf.eno1.forwarding=1", b.host, "host-forwarding", Blocking},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fields := strings.Fields(tt.make)
			tt.where.Run(fields[0], fields[1:]...)
			defer func() {
				fields := strings.Fields(tt.undo)
				tt.where.Run(fields[0], fields[1:]...)
			}()
			p := b.probe(box)
			if got := hop(t, p, tt.hop); got.State != tt.state {
				t.Errorf("%+v\npackets %+v", got, p.Packets)
			}
			if p.Verdict != VerdictBlocked {
				t.Errorf("verdict %s", p.Verdict)
			}
			if worst := finding.Worst(p.Findings); worst < finding.Warn {
				t.Errorf("nothing is said: %+v", p.Findings)
			}
		})
	}
	// Nobody has this address.
	p := b.probe(Target{Address: netip.MustParseAddr("172.18.0.77")})
	if got := hop(t, p, "docker-container"); got.State != Blocking || p.Packets[0].Answered {
		t.Errorf("%+v, %+v", got, p.Packets)
	}
	// What is in no Docker network gets no packet.
	p = b.probe(Target{Address: netip.MustParseAddr("192.168.50.2")})
	if len(p.Packets) != 0 || p.Verdict == VerdictOK {
		t.Errorf("%+v", p)
	}
}

// writePVE writes files below /etc/pve.
func writePVE(t *testing.T, b *bed, files map[string]string) {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.machine.PVE = root
	b.machine.Exec = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

func TestProbePVEFirewall(t *testing.T) {
	b := newBed(t, "docker-28.5", netfilter.NFT)
	b.apply()
	const conf = "hostname: web\nnet0: name=eth0,bridge=vmbr0,firewall=1,hwaddr=BC:24:11:00:00:01,ip=10.77.0.101/24,type=veth\n"
	files := map[string]string{"lxc/101.conf": conf, "firewall/cluster.fw": "[OPTIONS]\nenable: 1\n", "firewall/101.fw": "[OPTIONS]\nenable: 1\nipfilter: 1\n"}
	writePVE(t, b, files)
	p := b.probe(box)
	wantHops(t, "closed", p, map[string]State{"pve-firewall": Blocking, "pve-ipfilter": Blocking})
	if diff := cmp.Diff([]string{"/etc/pve/firewall/101.fw", "[RULES]", "IN ACCEPT -source 192.168.50.0/24 -dest 172.18.0.0/24 -log nolog"}, hop(t, p, "pve-firewall").Lines); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"/etc/pve/firewall/101.fw", "[IPSET ipfilter-net0]", "10.77.0.101", "172.18.0.0/24"}, hop(t, p, "pve-ipfilter").Lines); diff != "" {
		t.Error(diff)
	}
	if got := finding.Codes(p.Findings, p.Network); !slices.Contains(got, "net.pve-firewall") || !slices.Contains(got, "net.ipfilter") {
		t.Errorf("findings %v", got)
	}
	b.wantVerdict("closed", network.VerdictUnreachable)

	// The very lines that the probe names open it.
	files["firewall/101.fw"] += "[IPSET ipfilter-net0]\n" + strings.Join(hop(t, p, "pve-ipfilter").Lines[2:], "\n") + "\n[RULES]\n" + hop(t, p, "pve-firewall").Lines[2] + "\n"
	writePVE(t, b, files)
	wantHops(t, "with the lines", b.probe(box), map[string]State{})
	b.wantVerdict("with the lines", network.VerdictOK)
}

// The kernel's own ping answers what labd's echo request asks.
func TestEchoRequest(t *testing.T) {
	got := fmt.Sprintf("%x", echoRequest(icmpOf(netip.MustParseAddr("10.0.0.1")), 0x1234, 1))
	if got != "0800170512340001"+"6c616264" {
		t.Errorf("echo request %s", got)
	}
	spaces.Need(t)
	spaces.Space{T: t}.IP("link set lo up")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for _, addr := range []string{"127.0.0.1", "::1"} {
		if p := sendEcho(ctx, netip.MustParseAddr(addr), netip.Addr{}); !p.Answered {
			t.Errorf("loopback does not answer: %+v", p)
		}
	}
}
