package netfilter

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var toBox = Packet{
	In: "eth0", Out: "br-web", Src: netip.MustParseAddr("192.168.50.2"), Dst: netip.MustParseAddr("172.18.0.2"), Protocol: "tcp", DstPort: 80,
}

func TestRuleMatches(t *testing.T) {
	for _, tt := range []struct {
		rule string
		want match
	}{
		{"-j DROP", yes},
		{"-i eth0 -o br-web -j DROP", yes},
		{"-i eth+ -j DROP", yes},
		{"! -i eth0 -j DROP", no},
		{"! -i br-web -o br-web -j DROP", yes},
		{"-s 192.168.50.0/24 -d 172.18.0.2/32 -p tcp -m tcp --dport 80 -j ACCEPT", yes},
		{"-p tcp -m tcp --dport 81 -j ACCEPT", no},
		{"-p tcp -m multiport --dports 22,79:81 -j ACCEPT", yes},
		{"-p tcp -m multiport --dports 22,http -j ACCEPT", maybe},
		{"-p udp -j ACCEPT", no},
		{"-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", no},
		{"-m conntrack --ctstate INVALID,NEW -j DROP", yes},
		{"! -s 10.0.0.0/8 -j DROP", yes},
		{"-m set --match-set PVEFW-0-management-v4 src -j DROP", maybe},
		{"-m physdev --physdev-out fwln101i0 --physdev-is-bridged -j DROP", maybe},
		{"-m mark --mark 0x1 -d 10.0.0.0/8 -j DROP", no},
		{"-m comment --comment -j -j DROP", yes},
		{"-s nonsense -j DROP", maybe},
	} {
		if got := mustRules(t, tt.rule)[0].matches(toBox); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.rule, got, tt.want)
		}
	}
}

func TestWalk(t *testing.T) {
	for _, tt := range []struct {
		name, rules string
		dropped     bool
		end, maybe  string
	}{
		{"policy", ":FORWARD DROP [7:420]\n", true, ":FORWARD DROP", ""},
		{"accepted before", ":FORWARD DROP [0:0]\n-A FORWARD -i eth0 -j ACCEPT\n", false, "-A FORWARD -i eth0 -j ACCEPT", ""},
		{"in a chain, and back out of another", ":FORWARD ACCEPT [0:0]\n:A - [0:0]\n:B - [0:0]\n-A FORWARD -j A\n-A FORWARD -j B\n-A A -j RETURN\n-A A -j ACCEPT\n-A B -d 172.18.0.2/32 -j REJECT\n", true, "-A B -d 172.18.0.2/32 -j REJECT", ""},
		{"a goto does not come back", ":FORWARD ACCEPT [0:0]\n:A - [0:0]\n-A FORWARD -g A\n-A FORWARD -j DROP\n-A A -j LOG\n", false, ":FORWARD ACCEPT", ""},
		{"perhaps dropped", ":FORWARD ACCEPT [0:0]\n-A FORWARD -m set --match-set x dst -j DROP\n", false, ":FORWARD ACCEPT", "-A FORWARD -m set --match-set x dst -j DROP"},
		{"perhaps dropped in a chain", ":FORWARD ACCEPT [0:0]\n:A - [0:0]\n-A FORWARD -m set --match-set x dst -j A\n-A A -j DROP\n", false, ":FORWARD ACCEPT", "-A A -j DROP"},
		{"perhaps accepted", ":FORWARD DROP [0:0]\n-A FORWARD -m mark --mark 0x1 -j ACCEPT\n", true, ":FORWARD DROP", "-A FORWARD -m mark --mark 0x1 -j ACCEPT"},
		{"no chain", "", false, ":FORWARD ACCEPT", ""},
	} {
		rs, err := ParseSave([]byte("*filter\n" + tt.rules + "COMMIT\n"))
		if err != nil {
			t.Fatal(err)
		}
		fate := rs.Walk("filter", "FORWARD", toBox)
		may := ""
		if fate.Maybe != nil {
			may = fate.Maybe.String()
		}
		if fate.Dropped != tt.dropped || fate.End.String() != tt.end || may != tt.maybe {
			t.Errorf("%s: dropped %v by %q, maybe %q", tt.name, fate.Dropped, fate.End, may)
		}
	}
}

// What Docker makes of itself: dropped in raw from 28 on, before that by FORWARD's policy.
func TestWalkDocker(t *testing.T) {
	toWeb := toBox
	toWeb.DstPort = 81
	for name, want := range map[string][2]bool{"docker-20.10": {false, true}, "docker-28.5": {true, true}} {
		rs := readSave(t, name)
		early := toWeb
		early.Out = ""
		if got := rs.Walk("raw", "PREROUTING", early).Dropped; got != want[0] {
			t.Errorf("%s: raw drops: %v", name, got)
		}
		if got := rs.Walk("filter", "FORWARD", toWeb).Dropped; got != want[1] {
			t.Errorf("%s: FORWARD drops: %v", name, got)
		}
	}
}

// Chains that lead twice into the next one double the way each time.
func TestWalkEnds(t *testing.T) {
	var b strings.Builder
	b.WriteString("*filter\n:FORWARD ACCEPT [0:0]\n")
	const chains = 30
	for i := range chains {
		fmt.Fprintf(&b, ":C%d - [0:0]\n", i)
	}
	b.WriteString("-A FORWARD -j C0\n")
	for i := range chains - 1 {
		fmt.Fprintf(&b, "-A C%d -j C%d\n-A C%d -j C%d\n", i, i+1, i, i+1)
	}
	fmt.Fprintf(&b, "-A C%d -j FORWARD\nCOMMIT\n", chains-1)
	rs, err := ParseSave([]byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if fate := rs.Walk("filter", "FORWARD", toBox); fate.Maybe == nil {
		t.Error("a way that was not followed to its end counts as certain")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestMoved(t *testing.T) {
	counted := func(drop, policy int) *Ruleset {
		rs, err := ParseSave([]byte(fmt.Sprintf("*filter\n:FORWARD ACCEPT [%d:60]\n[%d:60] -A FORWARD -i eth0 -j DROP\n[%d:60] -A FORWARD -i eth9 -j DROP\nCOMMIT\n", policy, drop, drop)))
		if err != nil {
			t.Fatal(err)
		}
		return rs
	}
	got := Moved(counted(3, 5), counted(7, 5), toBox)
	if len(got) != 1 || got[0].Number != 1 || got[0].Rule.Packets != 4 {
		t.Errorf("moved %+v", got)
	}
	if got := Moved(counted(3, 5), counted(3, 6), toBox); len(got) != 1 || got[0].Number != 0 || got[0].Rule.Packets != 1 {
		t.Errorf("moved %+v", got)
	}
}
