package walk

import (
	"net/netip"
	"strings"
	"testing"

	"labd/internal/netfilter"
)

func saved(t *testing.T, text string) *Ruleset {
	t.Helper()
	rs, err := netfilter.ParseSave([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	out := New(netfilter.IPv4)
	out.AddIPTables(netfilter.NFT, rs, map[string][]netip.Prefix{"lan": {netip.MustParsePrefix("10.0.0.0/24")}})
	return out
}

const ufwDocker = `:ufw-user-forward - [0:0]
:ufw-docker-logging-deny - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A DOCKER-USER -j ufw-user-forward
-A DOCKER-USER -s 10.0.0.0/8 -j RETURN
-A DOCKER-USER -s 172.16.0.0/12 -j RETURN
-A DOCKER-USER -s 192.168.0.0/16 -j RETURN
-A DOCKER-USER -p udp -m udp --sport 53 --dport 1024:65535 -j RETURN
-A DOCKER-USER -d 192.168.0.0/16 -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j ufw-docker-logging-deny
-A DOCKER-USER -d 172.16.0.0/12 -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j ufw-docker-logging-deny
-A DOCKER-USER -d 172.16.0.0/12 -p udp -m udp --dport 0:32767 -j ufw-docker-logging-deny
-A DOCKER-USER -j RETURN
-A ufw-docker-logging-deny -m limit --limit 3/min -j LOG --log-prefix "[UFW DOCKER BLOCK] "
-A ufw-docker-logging-deny -j DROP
`

func TestWalkIPTables(t *testing.T) {
	for _, tt := range []struct{ name, rules, packet, want string }{
		{"policy", ":FORWARD DROP [0:0]\n", "10.0.0.1 172.18.0.2", "dropped iptables-nft -t filter, chain FORWARD: policy drop"},
		{"the order counts", "-A FORWARD -s 10.0.0.0/8 -j RETURN\n-A FORWARD -j DROP\n", "10.0.0.1 172.18.0.2", "passes"},
		{"a new connection is not invalid", "-A FORWARD -m conntrack --ctstate INVALID -j DROP\n", "10.0.0.1 172.18.0.2", "passes"},
		{"a set that is not known", "-A FORWARD -m set --match-set crowdsec-blacklists src -j DROP\n", "10.0.0.1 172.18.0.2", "unknown --match-set crowdsec-blacklists src"},
		{"a set that is known", "-A FORWARD -m set --match-set lan src -j DROP\n", "10.0.0.1 172.18.0.2", "dropped iptables-nft -t filter, chain FORWARD: -A FORWARD -m set --match-set lan src -j DROP"},
		{"not in the set", "-A FORWARD -m set ! --match-set lan src -j DROP\n", "10.0.0.1 172.18.0.2", "passes"},
		{"one port", "-A FORWARD -p tcp -m tcp --dport 5432 -j DROP\n", "10.0.0.1 172.18.0.2", "partly"},
		{"another port", "-A FORWARD -p tcp -m tcp --dport 5432 -j DROP\n", "10.0.0.1 172.18.0.2 tcp:80", "passes"},
		{"that port", "-A FORWARD -p tcp -m multiport --dports 80,5432 -j REJECT\n", "10.0.0.1 172.18.0.2 tcp:5432", "dropped iptables-nft -t filter, chain FORWARD: -A FORWARD -p tcp -m multiport --dports 80,5432 -j REJECT"},
		{"ufw-docker, a client of the LAN", ufwDocker, "10.0.0.1 172.18.0.2", "passes"},
		{"ufw-docker, a client from elsewhere", ufwDocker, "203.0.113.9 172.18.0.2 udp:53", "dropped iptables-nft -t filter, chain ufw-docker-logging-deny: -A ufw-docker-logging-deny -j DROP"},
		{"ufw-docker, the first packet of TCP", ufwDocker, "203.0.113.9 172.18.0.2 tcp:80", "dropped iptables-nft -t filter, chain ufw-docker-logging-deny: -A ufw-docker-logging-deny -j DROP"},
		{"an answer of TCP", "-A FORWARD -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j DROP\n", "10.0.0.1 172.18.0.2 tcp:80", "passes"},
		{"a doubt that changes nothing", "-A FORWARD -m limit --limit 3/min -j ACCEPT\n", "10.0.0.1 172.18.0.2", "passes"},
		{"a rate", "-A FORWARD -m hashlimit --hashlimit-above 3/min --hashlimit-name x -j DROP\n", "10.0.0.1 172.18.0.2", "unknown --hashlimit-above 3/min"},
		{"bridged only", "-A FORWARD -m physdev --physdev-in fwln+ -j DROP\n", "10.0.0.1 172.18.0.2", "passes"},
		{"a mark", "-A FORWARD -j MARK --set-xmark 0x2/0xff\n-A FORWARD -m mark --mark 0x2/0xff -j DROP\n", "10.0.0.1 172.18.0.2", "dropped"},
		{"a chain that is gone to", ":X - [0:0]\n-A FORWARD -g X\n-A FORWARD -j DROP\n-A X -s 192.0.2.1 -j DROP\n", "10.0.0.1 172.18.0.2", "passes"},
		{"given to a program", "-A FORWARD -j NFQUEUE --queue-num 0\n", "10.0.0.1 172.18.0.2", "unknown -A FORWARD -j NFQUEUE --queue-num 0"},
		{"every protocol apart", "-A FORWARD -p tcp -j ACCEPT\n-A FORWARD -j DROP\n", "10.0.0.1 172.18.0.2", "partly iptables-nft -t filter, chain FORWARD: -A FORWARD -j DROP"},
		{"a part of the sources", "-A FORWARD -s 10.0.0.64/26 -j DROP\n", "10.0.0.0/24 172.18.0.0/16", "partly"},
		{"all but the sources", "-A FORWARD ! -s 10.0.0.0/24 -j DROP\n", "10.0.0.0/24 172.18.0.0/16", "passes"},
		{"a loop", ":X - [0:0]\n:Y - [0:0]\n-A FORWARD -j X\n-A X -j Y\n-A Y -j X\n", "10.0.0.1 172.18.0.2", "passes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			policy := ":FORWARD ACCEPT [0:0]\n"
			if strings.Contains(tt.rules, ":FORWARD ") {
				policy = ""
			}
			// Chains stand before rules.
			var chains, rules string
			for line := range strings.Lines(tt.rules) {
				if line[0] == ':' {
					chains += line
				} else {
					rules += line
				}
			}
			got := saved(t, "*filter\n"+policy+chains+rules+"COMMIT\n").Walk(Forward, packet(t, tt.packet))
			text := got.Outcome.String()
			switch {
			case got.Outcome == Unknown:
				text += " " + got.Because
			case got.Place.Table != "":
				text += " " + got.Place.String()
			}
			if !strings.HasPrefix(text, tt.want) {
				t.Errorf("%s, want %s\n%+v", text, tt.want, got)
			}
		})
	}
}

// What is narrower than the question is named with what tells it.
func TestParts(t *testing.T) {
	got := saved(t, "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p tcp -m tcp --dport 5432 -j DROP\nCOMMIT\n").Walk(Forward, packet(t, "10.0.0.0/24 172.18.0.0/16"))
	if got.Outcome != Partly || got.Place.Drops || len(got.Parts) != 1 {
		t.Fatalf("%+v", got)
	}
	part := got.Parts[0]
	if part.Packet.Protocol != "tcp" || part.Packet.DestPort != 5432 || part.Match != "-p tcp --dport 5432" || !part.Place.Drops || len(part.Path) != 1 {
		t.Errorf("%+v", part)
	}
}

// Tables that cannot be read make the whole unknown, unless something else drops for certain.
func TestUnreadTables(t *testing.T) {
	text := "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n# Table `mangle' is incompatible, use 'nft' tool.\n"
	if got := saved(t, text).Walk(Forward, packet(t, "10.0.0.1 172.18.0.2")); got.Outcome != Unknown {
		t.Errorf("%+v", got)
	}
	text = strings.Replace(text, "ACCEPT", "DROP", 1)
	if got := saved(t, text).Walk(Forward, packet(t, "10.0.0.1 172.18.0.2")); got.Outcome != Dropped {
		t.Errorf("%+v", got)
	}
}

func FuzzWalkIPTables(f *testing.F) {
	f.Add("*filter\n:FORWARD DROP [0:0]\n:X - [0:0]\n-A FORWARD -s 10.0.0.0/8 ! -i eth+ -p tcp -m multiport --dports 1,2:3 -j X\n-A X -g X\nCOMMIT\n")
	f.Fuzz(func(t *testing.T, text string) {
		rs, err := netfilter.ParseSave([]byte(text))
		if err != nil {
			return
		}
		all := New(netfilter.IPv4)
		all.AddIPTables(netfilter.NFT, rs, nil)
		p := Packet{In: "eth0", Source: netip.MustParsePrefix("10.0.0.0/24"), Dest: netip.MustParsePrefix("172.18.0.2/32")}
		got := all.Walk(Forward, p)
		if got.Outcome == Dropped && !got.Place.Drops || got.Outcome == Unknown && got.Because == "" {
			t.Errorf("%+v", got)
		}
	})
}

func FuzzParseRule(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 8, 0, 1, 0, 't', 0, 0, 0, 8, 0, 2, 0, 'c', 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		_, exprs, err := parseRule(data)
		if err != nil {
			return
		}
		decodeRule(1, exprs, map[int]string{}, map[string]*nftSet{})
	})
}
