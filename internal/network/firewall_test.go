package network

import (
	"net/netip"
	"testing"

	"labd/internal/netfilter/walk"
	"labd/internal/pve"
)

func TestFirewallInbound(t *testing.T) {
	d := func(rules string) *Firewall {
		var f Firewall
		f.Guest = pve.ParseFirewall([]byte("[OPTIONS]\nenable: 1\n" + rules))
		f.Cluster = pve.ParseFirewall([]byte("[ALIASES]\nhome 192.168.50.0/24\n[IPSET lan]\nhome\n[IPSET odd]\nsomething\n[group known]\nIN ACCEPT -source +lan -p tcp -dport 80\n"))
		return &f
	}
	all := walk.Packet{Source: netip.MustParsePrefix("192.168.50.0/24"), Dest: netip.MustParsePrefix("172.18.0.0/24")}
	web := walk.Packet{Source: netip.MustParsePrefix("192.168.50.2/32"), Dest: netip.MustParsePrefix("172.18.0.2/32"), Protocol: "tcp", DestPort: 80}
	for _, tt := range []struct {
		rules   string
		flow    walk.Packet
		want    passage
		because string
	}{
		{"", all, blocks, "policy_in: DROP"},
		{"policy_in: ACCEPT\n", all, passes, "policy_in: ACCEPT"},
		{"policy_in: REJECT\n", all, blocks, "policy_in: REJECT"},
		{"[RULES]\nIN ACCEPT\n", all, passes, "IN ACCEPT"},
		{"[RULES]\n|IN ACCEPT\n", all, blocks, "policy_in: DROP"},
		{"[RULES]\nIN ACCEPT -i net1\n", all, blocks, "policy_in: DROP"},
		{"[RULES]\nIN ACCEPT -source 192.168.0.0/16 -dest 172.16.0.0/12\n", all, passes, "IN ACCEPT -source 192.168.0.0/16 -dest 172.16.0.0/12"},
		{"[RULES]\nIN ACCEPT -dest 172.18.0.2\n", all, blocks, "policy_in: DROP; only a part is let in: IN ACCEPT -dest 172.18.0.2"},
		{"[RULES]\nIN ACCEPT -dest 172.18.0.2\n", web, passes, "IN ACCEPT -dest 172.18.0.2"},
		{"[RULES]\nIN ACCEPT -p tcp -dport 80\n", web, passes, "IN ACCEPT -p tcp -dport 80"},
		{"[RULES]\nIN ACCEPT -p tcp -dport 443\n", web, blocks, "policy_in: DROP"},
		{"[RULES]\nIN ACCEPT -p tcp -dport 80\n", all, blocks, "policy_in: DROP; only a part is let in: IN ACCEPT -p tcp -dport 80"},
		{"[RULES]\nIN HTTP(ACCEPT)\n", web, passes, "IN HTTP(ACCEPT)"},
		{"[RULES]\nIN SSH(ACCEPT)\n", web, blocks, "policy_in: DROP"},
		{"[RULES]\nIN SSH(ACCEPT)\n", all, blocks, "policy_in: DROP; only a part is let in: IN SSH(ACCEPT)"},
		{"[RULES]\nIN Unheard(ACCEPT)\n", web, unsure, "IN Unheard(ACCEPT)"},
		{"policy_in: ACCEPT\n[RULES]\nIN SSH(DROP)\n", all, passes, "policy_in: ACCEPT"},
		{"[RULES]\nGROUP web\n", web, unsure, "GROUP web"},
		{"[RULES]\nGROUP known -i net0\n", web, passes, "GROUP known -i net0: IN ACCEPT -source +lan -p tcp -dport 80"},
		{"[RULES]\nIN ACCEPT -source dc/home\n", web, passes, "IN ACCEPT -source dc/home"},
		{"[RULES]\nIN ACCEPT -source +dc/lan\n", all, passes, "IN ACCEPT -source +dc/lan"},
		{"[RULES]\nIN DROP -source +dc/odd\nIN ACCEPT\n", web, unsure, "IN DROP -source +dc/odd"},
		{"[ALIASES]\nmine 172.18.0.0/16\n[RULES]\nIN ACCEPT -dest mine\n", all, passes, "IN ACCEPT -dest mine"},
		{"[RULES]\nIN ACCEPT -source 192.168.50.1-192.168.50.9\n", web, passes, "IN ACCEPT -source 192.168.50.1-192.168.50.9"},
		{"[RULES]\nIN ACCEPT -source dc/lan\n", web, unsure, "IN ACCEPT -source dc/lan"},
		{"[RULES]\nIN DROP -dest 172.18.0.2\nIN ACCEPT\n", web, blocks, "IN DROP -dest 172.18.0.2"},
		{"policy_in: ACCEPT\n[RULES]\nOUT DROP\n", web, passes, "policy_in: ACCEPT"},
	} {
		got, why := d(tt.rules).inbound("net0", tt.flow)
		if got != tt.want || why != tt.because {
			t.Errorf("%q: %v because of %q", tt.rules, got, why)
		}
	}
}

func TestFirewallOutbound(t *testing.T) {
	subnet := netip.MustParsePrefix("172.18.0.0/24")
	for text, want := range map[string]passage{
		"":                                       passes,
		"[OPTIONS]\nipfilter: 1\n":               blocks,
		"[IPSET ipfilter-net0]\n":                blocks,
		"[IPSET ipfilter-net1]\n":                passes,
		"[IPSET ipfilter-net0]\n172.18.0.0/24\n": passes,
		"[IPSET ipfilter-net0]\n172.16.0.0/12\n": passes,
		"[IPSET ipfilter-net0]\n172.18.0.2\n":    blocks,
		"[IPSET ipfilter-net0]\n172.16.0.0/12\n! 172.18.0.128/25\n": blocks,
		"[IPSET ipfilter-net0]\ndc/docker\n":                        unsure,
	} {
		f := Firewall{Guest: pve.ParseFirewall([]byte(text))}
		if got, _ := f.outbound("net0", subnet); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
