package network

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"labd/internal/metric"
)

// Names of this domain's metrics.
const (
	MetricNetworks  = "labd_network_networks"
	MetricOK        = "labd_network_ok"
	MetricRoutes    = "labd_network_routes_desired"
	MetricRoutesNow = "labd_network_routes"
	MetricRules     = "labd_network_rules_desired"
	MetricRulesNow  = "labd_network_rules"
	MetricRepairs   = "labd_network_repairs_total"
	MetricActive    = "labd_network_active"
	MetricDiscovery = "labd_network_discovery_success"
	MetricObserved  = "labd_network_observed_timestamp_seconds"
	MetricModes     = "labd_network_modes"
)

var (
	descNetworks  = prometheus.NewDesc(MetricNetworks, "Docker networks in LXC containers, by verdict.", []string{"verdict"}, nil)
	descOK        = prometheus.NewDesc(MetricOK, "Whether a Docker network that labd may make reachable has its route and rules.", []string{"id"}, nil)
	descRoutes    = prometheus.NewDesc(MetricRoutes, "Routes that labd wants on the host.", nil, nil)
	descRoutesNow = prometheus.NewDesc(MetricRoutesNow, "Routes with labd's mark that are on the host.", nil, nil)
	descRulesNow  = prometheus.NewDesc(MetricRulesNow, "Accept rules that are in labd's chains in a container.", []string{"id"}, nil)
	descRepairs   = prometheus.NewDesc(MetricRepairs, "Changes of routes and rules that the reconcile loop made since labd started.", nil, nil)
	descActive    = prometheus.NewDesc(MetricActive, "Whether labd keeps routes and rules so.", nil, nil)
	descRules     = prometheus.NewDesc(MetricRules, "Accept rules that labd wants in a container.", []string{"id"}, nil)
	descDiscovery = prometheus.NewDesc(MetricDiscovery, "Whether the last look into a container and its Docker succeeded.", []string{"id"}, nil)
	descModes     = prometheus.NewDesc(MetricModes, "Docker networks in LXC containers, by mode: direct, alias or off.", []string{"mode"}, nil)
	descObserved  = prometheus.NewDesc(MetricObserved, "When the networks were last observed, in Unix time.", nil, nil)
)

// maxSeries bounds the networks of one container that have a series each: their number is the container's to say.
const maxSeries = 64

// Verdicts are all verdicts, so that each has a series.
func Verdicts() []string {
	return []string{VerdictOK, VerdictPlanned, VerdictRefused, VerdictDrift, VerdictUnreachable, VerdictUnknown}
}

// NewCollector gives the metrics of the last report.
func NewCollector(latest func() *Report) prometheus.Collector {
	return metric.Collector[Report]{Latest: latest, Figures: figures, Descs: []*prometheus.Desc{
		descNetworks, descModes, descOK, descRoutes, descRoutesNow, descRules, descRulesNow, descDiscovery, descRepairs, descActive, descObserved,
	}}
}

func figures(r *Report, out metric.Sink) {
	count, modes, series := map[string]int{}, map[string]int{}, map[int]int{}
	for _, n := range r.Networks {
		count[n.Verdict]++
		modes[n.Mode]++
		if n.Mode != ModeOff && series[n.Container] < maxSeries {
			series[n.Container]++
			out.Truth(descOK, n.Verdict == VerdictOK, string(n.Subject()))
		}
	}
	for _, v := range Verdicts() {
		out.Gauge(descNetworks, float64(count[v]), v)
	}
	for _, mode := range []string{ModeDirect, ModeAlias, ModeOff} {
		out.Gauge(descModes, float64(modes[mode]), mode)
	}
	for _, ct := range r.Containers {
		id := "lxc/" + strconv.Itoa(ct.ID)
		out.Gauge(descRules, float64(r.Want.Rules[ct.ID].Len()), id)
		out.Gauge(descRulesNow, float64(ct.RulesPresent), id)
		out.Truth(descDiscovery, ct.OK, id)
	}
	out.Gauge(descRoutes, float64(len(r.Want.Routes)))
	out.Gauge(descRoutesNow, float64(r.RoutesPresent))
	out.Truth(descActive, r.Active)
	out.Counter(descRepairs, float64(r.Repairs))
	out.Time(descObserved, r.At)
}
