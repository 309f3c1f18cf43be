package network

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"labd/internal/docker"
)

func TestMetrics(t *testing.T) {
	two := sampleContainer(t, 102, "172.19.0.0/24")
	two.Err = fmt.Errorf("it hangs")
	f := sampleFacts(t, sampleContainer(t, 101, "172.18.0.0/24"), two)
	f.Repairs, f.Switch = 3, SwitchOn
	r := Diagnose(f, DefaultPolicy())
	var report *Report
	c := NewCollector(func() *Report { return report })
	if n := testutil.CollectAndCount(c); n != 0 {
		t.Errorf("%d series before anything was observed", n)
	}
	report = r
	problems, err := testutil.CollectAndLint(c)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	want := `
# HELP labd_network_active Whether labd keeps routes and rules so.
# TYPE labd_network_active gauge
labd_network_active 1
# HELP labd_network_discovery_success Whether the last look into a container and its Docker succeeded.
# TYPE labd_network_discovery_success gauge
labd_network_discovery_success{id="lxc/101"} 1
labd_network_discovery_success{id="lxc/102"} 0
# HELP labd_network_networks Docker networks in LXC containers, by verdict.
# TYPE labd_network_networks gauge
labd_network_networks{verdict="drift"} 0
labd_network_networks{verdict="ok"} 0
labd_network_networks{verdict="planned"} 1
labd_network_networks{verdict="refused"} 0
labd_network_networks{verdict="unknown"} 1
labd_network_networks{verdict="unreachable"} 0
# HELP labd_network_ok Whether a Docker network that labd may make reachable has its route and rules.
# TYPE labd_network_ok gauge
labd_network_ok{id="network/101/web"} 0
labd_network_ok{id="network/102/web"} 0
# HELP labd_network_repairs_total Changes of routes and rules that the reconcile loop made since labd started.
# TYPE labd_network_repairs_total counter
labd_network_repairs_total 3
# HELP labd_network_routes Routes with labd's mark that are on the host.
# TYPE labd_network_routes gauge
labd_network_routes 0
# HELP labd_network_routes_desired Routes that labd wants on the host.
# TYPE labd_network_routes_desired gauge
labd_network_routes_desired 1
# HELP labd_network_rules Accept rules that are in labd's chains in a container.
# TYPE labd_network_rules gauge
labd_network_rules{id="lxc/101"} 0
labd_network_rules{id="lxc/102"} 0
# HELP labd_network_rules_desired Accept rules that labd wants in a container.
# TYPE labd_network_rules_desired gauge
labd_network_rules_desired{id="lxc/101"} 2
labd_network_rules_desired{id="lxc/102"} 0
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), MetricActive, MetricDiscovery, MetricNetworks, MetricOK, MetricRepairs, MetricRoutes, MetricRoutesNow, MetricRules, MetricRulesNow); err != nil {
		t.Error(err)
	}
}

// How many networks there are is the container's to say; how many series, labd's.
func TestSeriesAreCapped(t *testing.T) {
	c := sampleContainer(t, 101, "172.18.0.0/24")
	for i := range docker.MaxNetworks {
		c.Docker.Networks = append(c.Docker.Networks, docker.Network{Name: fmt.Sprint("n", i), Driver: "bridge", Bridge: "b", Subnets: prefixes("172.18.0.0/24")})
	}
	r := Diagnose(sampleFacts(t, c), DefaultPolicy())
	if n := testutil.CollectAndCount(NewCollector(func() *Report { return r }), MetricOK); n != maxSeries {
		t.Errorf("%d series, want %d", n, maxSeries)
	}
}
