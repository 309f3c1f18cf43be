package network

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"labd/internal/docker"
	"labd/internal/finding"
	"labd/internal/route"
)

// What a container claims gets a route only where nothing else can be: in the pools, or where a person said so.
func TestApproval(t *testing.T) {
	c := sampleContainer(t, 101, "192.168.20.0/24")
	f, p := sampleFacts(t, c), DefaultPolicy()
	r := Diagnose(f, p)
	if n := r.Networks[0]; n.Verdict != VerdictRefused || len(n.Routes) != 0 || !slices.Contains(finding.Codes(r.Findings, n.Subject()), "net.approval") {
		t.Fatalf("%s: %s, %v", n.Verdict, n.Reason, finding.Codes(r.Findings, n.Subject()))
	}
	plan, err := PlanApprove(r, nil)
	if err != nil || len(plan.Steps) != 1 || !strings.Contains(plan.Steps[0].Title, "192.168.20.0/24") || !strings.Contains(strings.Join(plan.Notes, " "), "network/101/web") {
		t.Fatalf("plan %+v, %v", plan, err)
	}
	f.Approved = prefixes("192.168.20.0/24")
	if n := Diagnose(f, p).Networks[0]; n.Verdict != VerdictPlanned {
		t.Errorf("approved: %s: %s", n.Verdict, n.Reason)
	}
	if plan, err := PlanApprove(Diagnose(f, p), nil); err != nil || len(plan.Steps) != 0 {
		t.Errorf("nothing waits: %+v, %v", plan, err)
	}
	for _, text := range []string{"0.0.0.0/0", "192.168.50.0/24", "10.0.0.0/8", "127.0.0.0/16", "nonsense", "192.168.20.1/24"} {
		if plan, err := PlanApprove(r, []string{text}); err == nil {
			t.Errorf("%s may be approved: %+v", text, plan)
		}
	}
	// What has a route since before this was asked keeps it.
	f.Approved = nil
	f.Owners[prefixes("192.168.20.0/24")[0]] = Owner{101, "web"}
	f.Host.Own = []route.Route{{Dst: prefixes("192.168.20.0/24")[0], Via: c.Address, Dev: "vmbr0", Table: route.MainTable, Protocol: route.Protocol}}
	if n := Diagnose(f, p).Networks[0]; len(n.Routes) != 1 {
		t.Errorf("routed before: %s: %s", n.Verdict, n.Reason)
	}
}

// Machines that the host needs or talks to are not where a container says that its network is, also within the pools.
func TestNeededMachines(t *testing.T) {
	for what, change := range map[string]func(*Host){
		"a storage server": func(h *Host) {
			h.Cluster = []ClusterNetwork{{netip.MustParsePrefix("172.18.0.9/32"), "a server of storage nas"}}
		},
		"a connection": func(h *Host) {
			h.Seen = []ClusterNetwork{{netip.MustParsePrefix("172.18.0.9/32"), "to which the host has a connection"}}
		},
	} {
		f := sampleFacts(t, sampleContainer(t, 101, "172.18.0.0/24"))
		change(&f.Host)
		r := Diagnose(f, DefaultPolicy())
		if n := r.Networks[0]; n.Verdict != VerdictRefused || !strings.Contains(n.Reason, "172.18.0.9") {
			t.Errorf("%s: %s: %s", what, n.Verdict, n.Reason)
		}
		f.Owners[prefixes("172.18.0.0/24")[0]] = Owner{101, "web"}
		if n := Diagnose(f, DefaultPolicy()).Networks[0]; (n.Verdict == VerdictRefused) != (what == "a storage server") {
			t.Errorf("%s, of the network that had the prefix before: %s: %s", what, n.Verdict, n.Reason)
		}
	}
}

// Of a thousand containers that claim what they like, none takes an address that the host needs: its own, its LANs', the
// cluster's, storages', resolvers', those that it talks to, or any outside the pools.
func TestClaimsTakeNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(17, 3))
	anything := func() netip.Prefix {
		var bytes [4]byte
		for i := range bytes {
			bytes[i] = byte(random.IntN(256))
		}
		switch random.IntN(5) {
		case 0:
			bytes[0], bytes[1] = 192, 168
		case 1:
			bytes[0] = 10
		case 2:
			bytes[0], bytes[1] = 172, byte(16+random.IntN(16))
		case 3:
			bytes = [4]byte{172, 18, byte(random.IntN(4)), 0}
		}
		return netip.PrefixFrom(netip.AddrFrom4(bytes), random.IntN(33)).Masked()
	}
	f := sampleFacts(t)
	needed := prefixes("192.168.50.0/24", "10.77.0.0/24", "172.18.1.7/32", "172.18.2.0/25", "172.20.0.53/32", "172.21.4.4/32", "10.0.0.0/8", "192.168.0.0/16")
	f.Host.Cluster = []ClusterNetwork{{needed[2], "a server of storage nas"}, {needed[3], "datacenter.cfg"}, {needed[4], "a resolver in resolv.conf"}}
	f.Host.Seen = []ClusterNetwork{{needed[5], "to which the host has a connection"}}
	for id := range 1000 {
		c := sampleContainer(t, 101, "172.18.0.0/24")
		c.ID, c.Address = 1000+id, netip.AddrFrom4([4]byte{10, 77, byte(id / 250), byte(2 + id%250)})
		c.Docker.Networks, c.Interfaces = nil, c.Interfaces[:1]
		for i := range 1 + random.IntN(3) {
			subnet := anything()
			bridge := fmt.Sprintf("br-%d", i)
			c.Docker.Networks = append(c.Docker.Networks, docker.Network{Name: fmt.Sprintf("n%d", i), Driver: "bridge", Bridge: bridge, Subnets: []netip.Prefix{subnet}, GatewayMode: "nat"})
			c.Interfaces = append(c.Interfaces, route.Address{Interface: bridge, Prefix: netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits())})
		}
		f.Containers = append(f.Containers, c)
	}
	r := Diagnose(f, DefaultPolicy())
	if len(r.Want.Routes) == 0 {
		t.Fatal("none of the claims is honest")
	}
	for _, made := range r.Want.Routes {
		for _, n := range needed {
			if n.Overlaps(made.Dst) {
				t.Errorf("%s takes %s", made, n)
			}
		}
		if !route.Within(DefaultPolicy().Pools, made.Dst) {
			t.Errorf("%s lies outside the pools", made)
		}
	}
	for _, rule := range r.Want.PolicyRules {
		if rule.Source.IsValid() && rule.Source != prefixes(lanPrefix)[0] {
			t.Errorf("%s leads others there", rule)
		}
	}
}

// What one container has, however much, makes no report that cannot be read.
func TestReportIsBounded(t *testing.T) {
	c := sampleContainer(t, 101, "172.18.0.0/24")
	for i := range 10_000 {
		c.Interfaces = append(c.Interfaces, route.Address{Interface: "br-web", Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 66, byte(i / 250), byte(i % 250)}), 32)})
	}
	c.Docker.Networks = nil
	for i := range 512 {
		c.Docker.Networks = append(c.Docker.Networks, docker.Network{Name: fmt.Sprintf("n%d", i), Driver: "bridge", Bridge: "br-none", Subnets: prefixes(fmt.Sprintf("172.%d.%d.0/24", 20+i/256, i%256)), GatewayMode: "nat"})
	}
	r := Diagnose(sampleFacts(t, c), DefaultPolicy())
	data, err := json.Marshal(r.Findings)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > 200_000 || len(r.Findings) > maxRefusals+8 {
		t.Errorf("%d findings of %d bytes", len(r.Findings), len(data))
	}
	if !strings.Contains(strings.Join(r.Notes, " "), "448 more") {
		t.Errorf("what is left out is not said: %v", r.Notes)
	}
}

// A Docker network with the addresses of the LAN takes the way back from all networks of its container.
func TestLANClash(t *testing.T) {
	c := sampleContainer(t, 101, "172.18.0.0/24")
	c.Interfaces = append(c.Interfaces, route.Address{Interface: "br-lan", Prefix: netip.MustParsePrefix("192.168.50.1/24")})
	f := sampleFacts(t, c)
	r := Diagnose(f, DefaultPolicy())
	if n := r.Networks[0]; n.Verdict != VerdictUnreachable || !strings.Contains(n.Reason, "br-lan") || !slices.Contains(finding.Codes(r.Findings, "lxc/101"), "net.lan-clash") {
		t.Errorf("%s: %s; %v", n.Verdict, n.Reason, finding.Codes(r.Findings, "lxc/101"))
	}
	// Its own bridge to the LAN is no clash.
	c.Interfaces[2].Interface = "eth0"
	if r := Diagnose(sampleFacts(t, c), DefaultPolicy()); slices.Contains(finding.Codes(r.Findings, "lxc/101"), "net.lan-clash") {
		t.Error("the uplink is no clash")
	}
}

func TestParsePeers(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue
   0: 00000000:0016 00000000:0000 0A 00000000:00000000
   1: 0132A8C0:1F46 0514A8C0:D2F0 01 00000000:00000000
   2: 0000000000000000FFFF00000132A8C0:1F46 0000000000000000FFFF00000614A8C0:D2F0 01 00000000:00000000
   3: short
`
	got, err := parsePeers(strings.NewReader(table))
	if err != nil || fmt.Sprint(got) != "[192.168.20.5 192.168.20.6]" {
		t.Errorf("%v, %v", got, err)
	}
}

func FuzzParsePeers(f *testing.F) {
	f.Add("  1: 0132A8C0:1F46 0514A8C0:D2F0 01 0\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = parsePeers(strings.NewReader(text))
	})
}
