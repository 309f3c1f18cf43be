package network

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// Names of this domain's metrics.
const (
	MetricNetworks  = "labd_network_networks"
	MetricOK        = "labd_network_ok"
	MetricRoutes    = "labd_network_routes_desired"
	MetricRules     = "labd_network_rules_desired"
	MetricDiscovery = "labd_network_discovery_success"
	MetricObserved  = "labd_network_observed_timestamp_seconds"
)

var (
	descNetworks  = prometheus.NewDesc(MetricNetworks, "Docker networks in LXC containers, by verdict.", []string{"verdict"}, nil)
	descOK        = prometheus.NewDesc(MetricOK, "Whether a Docker network that labd may make reachable has its route and rules.", []string{"id"}, nil)
	descRoutes    = prometheus.NewDesc(MetricRoutes, "Routes that labd wants on the host.", nil, nil)
	descRules     = prometheus.NewDesc(MetricRules, "Accept rules that labd wants in a container.", []string{"id"}, nil)
	descDiscovery = prometheus.NewDesc(MetricDiscovery, "Whether the last look into a container and its Docker succeeded.", []string{"id"}, nil)
	descObserved  = prometheus.NewDesc(MetricObserved, "When the networks were last observed, in Unix time.", nil, nil)
)

// Verdicts are all verdicts, so that each has a series.
func Verdicts() []string {
	return []string{VerdictOK, VerdictPlanned, VerdictRefused, VerdictDrift, VerdictUnreachable, VerdictUnknown}
}

type collector struct{ latest func() *Report }

// NewCollector gives the metrics of the last report.
func NewCollector(latest func() *Report) prometheus.Collector { return collector{latest} }

func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descNetworks, descOK, descRoutes, descRules, descDiscovery, descObserved} {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	r := c.latest()
	if r == nil {
		return
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	count := map[string]int{}
	for _, n := range r.Networks {
		count[n.Verdict]++
		if n.Mode == ModeDirect {
			gauge(descOK, truth(n.Verdict == VerdictOK), string(n.Subject()))
		}
	}
	for _, v := range Verdicts() {
		gauge(descNetworks, float64(count[v]), v)
	}
	for _, ct := range r.Containers {
		id := "lxc/" + strconv.Itoa(ct.ID)
		chains := r.Want.Chains[ct.ID]
		gauge(descRules, float64(len(chains.Raw)+len(chains.Forward)), id)
		gauge(descDiscovery, truth(ct.OK), id)
	}
	gauge(descRoutes, float64(len(r.Want.Routes)))
	gauge(descObserved, float64(r.At.UnixMilli())/1000)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
