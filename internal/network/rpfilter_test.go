package network

import (
	"net/netip"
	"slices"
	"testing"

	"labd/internal/finding"
	"labd/internal/route"
)

func TestReversePath(t *testing.T) {
	far := prefixes("10.9.0.0/16")[0]
	for _, tt := range []struct {
		name   string
		change func(f *Facts)
		want   bool
	}{
		{"by the default route", func(*Facts) {}, false},
		{"by another interface, loose", func(f *Facts) {
			f.Host.Routes = append(f.Host.Routes, route.Route{Dst: far, Dev: "vmbr1", Table: route.MainTable})
			f.Host.RPFilter["eno1"] = 2
		}, false},
		{"by another interface", func(f *Facts) {
			f.Host.Routes = append(f.Host.Routes, route.Route{Dst: far, Dev: "vmbr1", Table: route.MainTable})
		}, true},
		{"a part of it by another interface", func(f *Facts) {
			f.Host.Routes = append(f.Host.Routes, route.Route{Dst: prefixes("10.9.1.0/24")[0], Dev: "vmbr1", Table: route.MainTable})
		}, false},
		{"in another table", func(f *Facts) { f.Host.Routes = append(f.Host.Routes, route.Route{Dst: far, Dev: "vmbr1", Table: 52}) }, false},
		{"two uplinks, one of them right", func(f *Facts) {
			f.Host.Uplinks = append(f.Host.Uplinks, "vmbr1")
			f.Host.Routes = append(f.Host.Routes, route.Route{Dst: far, Dev: "vmbr1", Table: route.MainTable})
		}, false},
	} {
		f := sampleFacts(t, sampleContainer(t, 101, "172.18.0.0/24"))
		f.Host.RPFilter = map[string]int{"eno1": strict, "vmbr0": strict, "vmbr1": strict}
		policy := DefaultPolicy()
		policy.From = []netip.Prefix{far}
		tt.change(f)
		r := Diagnose(f, policy)
		got := slices.ContainsFunc(r.Findings, func(f finding.Finding) bool { return f.Code == finding.NetRPFilter })
		if got != tt.want {
			t.Errorf("%s: found %v", tt.name, got)
		}
	}
}

func TestAsymmetric(t *testing.T) {
	for from, want := range map[string]bool{"10.77.0.0/24": true, "192.168.50.0/24": false} {
		f := sampleFacts(t, sampleContainer(t, 101, "172.18.0.0/24"))
		policy := DefaultPolicy()
		policy.From = prefixes(from)
		r := Diagnose(f, policy)
		if got := slices.Contains(finding.Codes(r.Findings, "lxc/101"), "net.asymmetric"); got != want {
			t.Errorf("from %s: found %v", from, got)
		}
	}
}

// A default route with several next hops names no interface of its own; its next hops do. Without that every interface of the
// host would count as one to the LAN, and its networks as sources.
func TestUplinksOfSeveralNextHops(t *testing.T) {
	h := sampleFacts(t).Host
	h.Routes = []route.Route{{Table: route.MainTable}}
	h.Defaults = []route.Default{{Via: netip.MustParseAddr("192.168.50.254"), Dev: "eno1", Table: route.MainTable, Hops: 2}, {Via: netip.MustParseAddr("192.168.50.253"), Dev: "eno1", Table: route.MainTable, Hops: 2}}
	if got := uplinks(h, DefaultPolicy()); !slices.Equal(got, []string{"eno1"}) {
		t.Errorf("uplinks %v", got)
	}
}
