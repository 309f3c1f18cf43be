package pve

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const guestFirewall = `[OPTIONS]

enable: 1
policy_in: DROP
ipfilter: 1

[IPSET ipfilter-net0] # who may speak

10.77.0.101
! 10.77.0.102
dc/servers

[RULES]

IN SSH(ACCEPT) -source 192.168.1.0/24 -log nolog # me
|IN ACCEPT -p tcp -dport 80
OUT DROP -i net0 -dest +blocked
GROUP web -i net0
IN ACCEPT net0 -p icmp
nonsense
IN ACCEPT -dest
`

func TestParseFirewall(t *testing.T) {
	got := ParseFirewall([]byte(guestFirewall))
	want := Firewall{
		Options: map[string]string{"enable": "1", "policy_in": "DROP", "ipfilter": "1"},
		Sets:    map[string][]string{"ipfilter-net0": {"10.77.0.101", "! 10.77.0.102", "dc/servers"}},
		Rules: []FirewallRule{
			{Text: "IN SSH(ACCEPT) -source 192.168.1.0/24 -log nolog", Direction: "IN", Macro: "SSH", Action: "ACCEPT", Options: map[string]string{"source": "192.168.1.0/24", "log": "nolog"}},
			{Text: "|IN ACCEPT -p tcp -dport 80", Disabled: true, Direction: "IN", Action: "ACCEPT", Options: map[string]string{"p": "tcp", "dport": "80"}},
			{Text: "OUT DROP -i net0 -dest +blocked", Direction: "OUT", Action: "DROP", Options: map[string]string{"i": "net0", "dest": "+blocked"}},
			{Text: "GROUP web -i net0", Direction: "GROUP", Action: "web", Options: map[string]string{"i": "net0"}},
			{Text: "IN ACCEPT net0 -p icmp", Direction: "IN", Action: "ACCEPT", Options: map[string]string{"i": "net0", "p": "icmp"}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !got.Enabled() {
		t.Error("not enabled")
	}
	if none := ParseFirewall(nil); none.Enabled() {
		t.Error("an empty file turns the firewall on")
	}
}

func FuzzParseFirewall(f *testing.F) {
	f.Add([]byte(guestFirewall))
	f.Fuzz(func(_ *testing.T, data []byte) { ParseFirewall(data) })
}
