package route

import (
	"net/netip"
	"testing"
)

func TestTranslate(t *testing.T) {
	for _, tt := range []struct{ addr, from, to, want string }{
		{"172.17.0.5", "172.17.0.0/24", "10.99.3.0/24", "10.99.3.5"},
		{"172.17.9.5", "172.17.0.0/16", "10.99.0.0/16", "10.99.9.5"},
		{"172.17.0.133", "172.17.0.128/27", "10.99.3.64/27", "10.99.3.69"},
		{"fd00:1::5", "fd00:1::/64", "fd99::/64", "fd99::5"},
	} {
		from, to := netip.MustParsePrefix(tt.from), netip.MustParsePrefix(tt.to)
		got := Translate(netip.MustParseAddr(tt.addr), from, to)
		if got.String() != tt.want || Translate(got, to, from).String() != tt.addr {
			t.Errorf("%s: %s, want %s", tt.addr, got, tt.want)
		}
	}
}

func TestLastAddr(t *testing.T) {
	for text, want := range map[string]string{"10.0.0.0/24": "10.0.0.255", "10.0.0.0/30": "10.0.0.3", "fd00::/64": "fd00::ffff:ffff:ffff:ffff", "10.0.0.1/32": "10.0.0.1"} {
		if got := LastAddr(netip.MustParsePrefix(text)).String(); got != want {
			t.Errorf("%s ends with %s, want %s", text, got, want)
		}
	}
}

func TestBest(t *testing.T) {
	p := netip.MustParsePrefix
	main := []Route{{Dev: "eno1", Table: MainTable}, {Dst: p("10.0.0.0/8"), Dev: "tun0", Table: MainTable}, {Dst: p("10.1.0.0/16"), Dev: "vmbr1", Table: 100}}
	own := []Route{{Dst: p("10.1.2.0/24"), Dev: "vmbr0", Table: MainTable}}
	for prefix, want := range map[string]string{
		"192.0.2.0/24": "eno1", "10.9.0.0/16": "tun0", "10.1.2.7/32": "vmbr0",
		"10.1.0.0/16": "tun0", // neither the route of another table nor one to a part of it
	} {
		if got, ok := Best(p(prefix), main, own); !ok || got.Dev != want {
			t.Errorf("%s: by %q, %v, want %s", prefix, got.Dev, ok, want)
		}
	}
	if got, ok := Best(p("192.0.2.0/24"), own); ok {
		t.Errorf("without a default route: %v", got)
	}
}

func TestOverlap(t *testing.T) {
	p := netip.MustParsePrefix
	addresses := []Address{{"vmbr0", p("10.77.0.1/24")}}
	routes := []Route{
		{Dev: "eno1"},
		{Dst: p("0.0.0.0/1"), Dev: "tun0"},
		{Dst: p("172.16.0.0/12"), Nowhere: true},
		{Dst: p("172.20.0.0/24"), Dev: "tun0"},
	}
	for prefix, want := range map[string]string{
		"10.77.0.128/25": "10.77.0.1/24 of the host's vmbr0",
		"10.78.0.0/24":   "", // a default route, also in two halves, is no network
		"172.18.0.0/24":  "", // the rest of a pool that goes nowhere
		"172.16.0.0/12":  "the host's route to 172.16.0.0/12",
		"172.20.0.64/26": "the host's route to 172.20.0.0/24",
	} {
		if got := Overlap(p(prefix), addresses, routes); got != want {
			t.Errorf("%s: %q, want %q", prefix, got, want)
		}
	}
}

func TestTowards(t *testing.T) {
	p := netip.MustParsePrefix
	addresses := []Address{{"vmbr0", p("10.0.0.1/8")}, {"vmbr1", p("10.1.0.1/16")}}
	for addr, want := range map[string]string{"10.1.0.9": "vmbr1", "10.2.0.9": "vmbr0", "192.0.2.1": ""} {
		if got := Towards(addresses, netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: by %q, want %q", addr, got, want)
		}
	}
}
