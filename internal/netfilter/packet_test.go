package netfilter

import (
	"fmt"
	"net/netip"
	"testing"
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
