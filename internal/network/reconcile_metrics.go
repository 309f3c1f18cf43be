package network

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Names of the metrics of the reconcile loop.
const (
	MetricChanges     = "labd_network_changes_total"
	MetricDelayed     = "labd_network_changes_delayed_total"
	MetricConvergence = "labd_network_convergence_seconds"
)

var (
	descChanges     = prometheus.NewDesc(MetricChanges, "Changes that the reconcile loop made since labd started: of a container's rules, or of a route.", []string{"kind"}, nil)
	descDelayed     = prometheus.NewDesc(MetricDelayed, "Changes that had to wait, since something takes labd's rules or routes away again and again.", nil, nil)
	descConvergence = prometheus.NewDesc(MetricConvergence, "Time from the first word of a change to the routes and rules that follow from it.", nil, nil)
)

// figuresCollector gives the metrics of a Controller.
type figuresCollector func() Figures

// NewFiguresCollector returns the collector of the metrics of the reconcile loop.
func NewFiguresCollector(figures func() Figures) prometheus.Collector {
	return figuresCollector(figures)
}

// Describe sends the descriptions.
func (figuresCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- descChanges
	ch <- descDelayed
	ch <- descConvergence
}

// Collect sends the figures.
func (c figuresCollector) Collect(ch chan<- prometheus.Metric) {
	f := c()
	ch <- prometheus.MustNewConstMetric(descChanges, prometheus.CounterValue, float64(f.Rules), "rules")
	ch <- prometheus.MustNewConstMetric(descChanges, prometheus.CounterValue, float64(f.Routes), "route")
	ch <- prometheus.MustNewConstMetric(descDelayed, prometheus.CounterValue, float64(f.Delayed))
	ch <- prometheus.MustNewConstHistogram(descConvergence, f.Convergence.Count, f.Convergence.Sum.Seconds(), f.Convergence.Buckets)
}
