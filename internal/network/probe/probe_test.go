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

	"labd/internal/docker"
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
	// Open, closed and filtered are three answers, and an echo does not count where a port is asked for.
	if p = b.probe(Target{Address: box.Address, Port: 80}); p.Verdict != VerdictOK || p.PortState != PortOpen || len(p.Packets) != 1 {
		t.Errorf("open port: %+v", p)
	}
	if p = b.probe(Target{Address: box.Address, Port: 81}); p.Verdict != VerdictClosed || p.PortState != PortClosed || finding.Worst(p.Findings) != finding.Warn {
		t.Errorf("closed port: %+v", p)
	}
	b.box.Run("iptables-nft", "-A", "INPUT", "-p", "tcp", "--dport", "80", "-j", "DROP") // by the container's own rules, which labd does not see
	if p = b.probe(Target{Address: box.Address, Port: 80}); p.Verdict != VerdictBlocked || p.PortState != PortFiltered || finding.Worst(p.Findings) != finding.Fail {
		t.Errorf("filtered port: %+v", p)
	}
	if p = b.probe(Target{Address: box.Address}); p.Verdict != VerdictOK {
		t.Errorf("an echo: %+v", p)
	}
	b.box.Run("iptables-nft", "-F", "INPUT")
	// Someone who is no source is told so, and nobody else's answer counts for him.
	for from, want := range map[string]Verdict{"192.168.50.2": VerdictOK, "192.168.50.1": VerdictOK, "10.9.9.9": VerdictBlocked} {
		p = b.ask(Request{Target: Target{Address: box.Address, Port: 80}, From: netip.MustParseAddr(from)})
		if p.Verdict != want || p.From.String() != from || p.PortState != PortOpen {
			t.Errorf("from %s: %+v", from, p)
		}
	}
	if text := hop(t, p, "container-forward"); p.From.String() == "10.9.9.9" && text.State != Blocking {
		t.Errorf("from outside: %+v", text)
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
			if said := slices.ContainsFunc(p.Findings, func(f finding.Finding) bool { return f.Code == finding.NetHostFirewall }); said != (tt.hop == "host-forward") {
				t.Errorf("of the host's own packet filter is said: %t", said)
			}
		})
	}
	// Tables of nftables, of any name: PVE 9's firewall drops what is forwarded on the host, and labd's own packets are not.
	for _, tt := range []struct {
		where     spaces.Space
		hop, hook string
	}{{b.host, "host-forward", "forward"}, {b.host, "host-forward", "prerouting"}, {b.ct, "container-forward", "forward"}, {b.ct, "container-raw", "prerouting"}} {
		tt.where.Run("nft", "add table inet proxmox-firewall")
		tt.where.Run("nft", "add chain inet proxmox-firewall some { type filter hook "+tt.hook+" priority 5; policy accept; }")
		tt.where.Run("nft", "add rule inet proxmox-firewall some ip daddr 172.18.0.0/24 ip saddr 192.168.50.0/24 drop")
		p := b.probe(box)
		if got := hop(t, p, tt.hop); got.State != Blocking || !strings.Contains(got.Rule, "inet proxmox-firewall") || p.Verdict != VerdictBlocked {
			t.Errorf("nftables at %s: %+v, %s", tt.hook, got, p.Verdict)
		}
		tt.where.Run("nft", "delete table inet proxmox-firewall")
	}
	// What the finding says to paste opens the way: behind a Docker on the host, which sets the policy, and without one.
	for _, chain := range []string{"", "DOCKER-USER"} {
		b.host.Run("iptables-nft", "-P", "FORWARD", "DROP")
		if chain != "" {
			b.host.Run("iptables-nft", "-N", chain)
			b.host.Run("iptables-nft", "-I", "FORWARD", "-j", chain)
		}
		p := b.probe(box)
		i := slices.IndexFunc(p.Findings, func(f finding.Finding) bool { return f.Code == finding.NetHostFirewall })
		if p.Verdict != VerdictBlocked || i < 0 {
			t.Fatalf("policy DROP: %+v", p)
		}
		b.host.Shell(strings.Join(p.Findings[i].Remedies[0].Commands, "\n") + "\n")
		if p := b.probe(box); p.Verdict != VerdictOK {
			t.Errorf("after the remedy: %+v", p)
		}
		if _, err := b.lan.Output("", "ping", "-n", "-c", "2", "-i", "0.3", "-W", "1", boxAddr); err != nil {
			t.Errorf("the LAN client does not reach it after the remedy (%q): %v", chain, err)
		}
		b.host.Run("iptables-nft", "-P", "FORWARD", "ACCEPT")
		b.host.Run("iptables-nft", "-F")
		b.host.Run("iptables-nft", "-X")
	}
	// A rule that labd cannot judge makes the whole unknown, though its own packets arrive.
	b.host.Run("iptables-nft", "-I", "FORWARD", "1", "-m", "length", "--length", "0:1500", "-j", "DROP")
	if p := b.probe(box); p.Verdict != VerdictUnknown || hop(t, p, "host-forward").State != Unknown || finding.Worst(p.Findings) != finding.Warn {
		t.Errorf("a rule that cannot be judged: %+v", p)
	}
	b.host.Run("iptables-nft", "-D", "FORWARD", "-m", "length", "--length", "0:1500", "-j", "DROP")
	// A drop of labd's own packets says nothing of those of the LAN: neither that they arrive nor that they do not.
	b.host.Run("iptables-nft", "-I", "OUTPUT", "1", "-d", "172.18.0.0/24", "-j", "DROP")
	if p := b.probe(box); p.Verdict != VerdictUnknown || hop(t, p, "host-output").State != Unknown || hop(t, p, "host-forward").State != OK {
		t.Errorf("the host's OUTPUT: %+v", p)
	}
	b.host.Run("iptables-nft", "-D", "OUTPUT", "-d", "172.18.0.0/24", "-j", "DROP")
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

// The way back: what answers by another interface than the uplink is not reached, whatever the way there.
func TestProbeReturn(t *testing.T) {
	b := newBed(t, "docker-28.5", netfilter.NFT)
	b.apply()
	b.ct.IP("link add br-lan type bridge")
	b.ct.IP("addr add 192.168.50.65/24 dev br-lan")
	b.ct.IP("link set br-lan up")
	b.containers.Docker = func(context.Context, int) (*docker.Info, error) {
		info := webInfo()
		info.Networks = append(info.Networks, docker.Network{ID: "f02", Name: "clash", Driver: "bridge", Bridge: "br-lan", Subnets: []netip.Prefix{netip.MustParsePrefix("192.168.50.0/24")}, GatewayMode: "nat"})
		return info, nil
	}
	p := b.probe(box)
	back := hop(t, p, "return")
	if p.Verdict != VerdictBlocked || back.State != Blocking || !strings.Contains(back.Text, "br-lan") || !strings.Contains(back.Text, "network clash has the client's prefix") {
		t.Errorf("%+v", p)
	}
}

// A Docker container that is in the LAN itself, by macvlan; an LXC container's own address, with a published port, one on
// loopback only, and one of a container in the host's network.
func TestProbeDirect(t *testing.T) {
	b := newBed(t, "docker-28.5", netfilter.NFT)
	b.apply()
	mac := spaces.New(t)
	b.ct.IP(fmt.Sprintf("link add link eth0 name mac0 netns %d type macvlan mode bridge", mac.PID))
	mac.IP("addr add 10.77.0.201/24 dev mac0")
	mac.IP("link set mac0 up")
	mac.IP("route add default via 10.77.0.1")
	mac.Serve(":80", "macvlan")
	b.ct.Serve(":8080", "proxied")
	b.containers.Docker = func(context.Context, int) (*docker.Info, error) {
		info := webInfo()
		info.Networks = append(info.Networks, docker.Network{ID: "f03", Name: "lan", Driver: "macvlan", Subnets: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/24")}, GatewayMode: "nat"})
		info.Containers[0].State = docker.StateRunning
		info.Containers[0].Ports = append(info.Containers[0].Ports, docker.Port{Number: 80, Protocol: "tcp", PublishedOn: "0.0.0.0", HostPort: 8080}, docker.Port{Number: 5432, Protocol: "tcp", PublishedOn: "127.0.0.1", HostPort: 5432})
		info.Containers = append(info.Containers,
			docker.Container{Name: "nas", State: docker.StateRunning, Addresses: map[string][]netip.Addr{"lan": {netip.MustParseAddr("10.77.0.201")}}},
			docker.Container{Name: "proxy", State: docker.StateRunning, HostNetwork: true})
		return info, nil
	}
	for _, tt := range []struct {
		target  string
		verdict Verdict
		network finding.Subject
		docker  string
		text    string
	}{
		{"10.77.0.201:80", VerdictOK, "network/101/lan", "nas", "macvlan"},
		{"10.77.0.201:81", VerdictClosed, "network/101/lan", "nas", "macvlan"},
		{"10.77.0.101:8080", VerdictOK, "network/101/web", "shop", "published for shop"},
		{"10.77.0.101:5432", VerdictBlocked, "", "", "on 127.0.0.1 only"},
		{"10.77.0.101:9999", VerdictClosed, "", "", "no Docker container publishes it"},
		{"10.77.0.55:80", VerdictUnknown, "", "", "no Docker container"},
	} {
		both := netip.MustParseAddrPort(tt.target)
		p := b.probe(Target{both.Addr(), both.Port()})
		if p.Verdict != tt.verdict || p.Network != tt.network || p.Docker != tt.docker || !slices.ContainsFunc(p.Hops, func(h Hop) bool { return strings.Contains(h.Text, tt.text) }) {
			t.Errorf("%s: %s, network %q, container %q\n%+v\n%+v", tt.target, p.Verdict, p.Network, p.Docker, p.Hops, p.Packets)
		}
	}
	if p := b.probe(Target{Address: netip.MustParseAddr("10.77.0.101")}); p.Verdict != VerdictOK {
		t.Errorf("the LXC container itself: %+v", p)
	}
	// PVE's macfilter drops what has another MAC than the container's.
	writePVE(t, b, map[string]string{
		"lxc/101.conf":        "hostname: web\nnet0: name=eth0,bridge=vmbr0,firewall=1,hwaddr=BC:24:11:00:00:01,ip=10.77.0.101/24,type=veth\n",
		"firewall/cluster.fw": "[OPTIONS]\nenable: 1\n", "firewall/101.fw": "[OPTIONS]\nenable: 1\npolicy_in: ACCEPT\n",
	})
	if p := b.probe(Target{netip.MustParseAddr("10.77.0.201"), 80}); p.Verdict != VerdictBlocked || !slices.ContainsFunc(p.Hops, func(h Hop) bool { return h.State == Blocking && h.Rule == "macfilter: 1" }) {
		t.Errorf("macfilter: %+v", p)
	}
}

// With strict rp_filter on the uplink, the kernel lets a client of the LAN in; the probe asks it for that client's packets.
func TestProbeAsksForForwardedPackets(t *testing.T) {
	b := newBed(t, "docker-28.5", netfilter.NFT)
	b.apply()
	b.host.Sysctl("net.ipv4.conf.eno1.rp_filter=1")
	defer b.host.Sysctl("net.ipv4.conf.eno1.rp_filter=0")
	p := b.ask(Request{Target: box, From: netip.MustParseAddr("192.168.50.2")})
	if p.Verdict != VerdictOK || !strings.Contains(hop(t, p, "route").Text, "vmbr0 via 10.77.0.101") {
		t.Errorf("%+v", p)
	}
}

// No answer of a peer is taken for that to another request, and none makes the reader fail.
func FuzzEcho(f *testing.F) {
	kind := icmpOf(netip.MustParseAddr("10.0.0.1"))
	reply := echoRequest(kind, 7, 9)
	reply[0] = kind.reply
	f.Add(reply, uint16(7), uint16(9))
	f.Add([]byte{0, 0}, uint16(0), uint16(0))
	f.Fuzz(func(t *testing.T, message []byte, id, seq uint16) {
		if !isEcho(message, kind, id, seq) {
			return
		}
		if len(message) < 8 || message[0] != 0 || message[1] != 0 || uint16(message[4])<<8|uint16(message[5]) != id || uint16(message[6])<<8|uint16(message[7]) != seq {
			t.Errorf("%x is taken for the answer to %d, %d", message, id, seq)
		}
		if isEcho(message, kind, id+1, seq) || isEcho(message, kind, id, seq+1) {
			t.Errorf("%x answers two requests", message)
		}
	})
}
