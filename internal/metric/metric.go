// Package metric holds what the domains' collectors have in common: figures made of a report at scrape time.
package metric

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Collector gives figures of the last report of type R; none before there is one.
type Collector[R any] struct {
	Latest func() *R
	Descs  []*prometheus.Desc
	// Figures sends the figures of a report.
	Figures func(r *R, out Sink)
}

// Describe sends the descriptions.
func (c Collector[R]) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.Descs {
		ch <- d
	}
}

// Collect sends the figures.
func (c Collector[R]) Collect(ch chan<- prometheus.Metric) {
	if r := c.Latest(); r != nil {
		c.Figures(r, Sink{ch})
	}
}

// Report is the report that Collect would give the figures of now: the same value for as long as they are the same.
func (c Collector[R]) Report() any { return c.Latest() }

// Sink takes figures.
type Sink struct{ ch chan<- prometheus.Metric }

// Gauge sends a value. Label values may be foreign text; Prometheus takes only UTF-8.
func (s Sink) Gauge(desc *prometheus.Desc, value float64, labels ...string) {
	s.send(desc, prometheus.GaugeValue, value, labels)
}

// Counter sends a value that only grows.
func (s Sink) Counter(desc *prometheus.Desc, value float64, labels ...string) {
	s.send(desc, prometheus.CounterValue, value, labels)
}

// Truth sends 1 for true and 0 for false.
func (s Sink) Truth(desc *prometheus.Desc, value bool, labels ...string) {
	number := 0.0
	if value {
		number = 1
	}
	s.Gauge(desc, number, labels...)
}

// Time sends a time in Unix seconds; 0 for the zero time.
func (s Sink) Time(desc *prometheus.Desc, t time.Time, labels ...string) {
	seconds := 0.0
	if !t.IsZero() {
		seconds = float64(t.UnixMilli()) / 1000
	}
	s.Gauge(desc, seconds, labels...)
}

func (s Sink) send(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels []string) {
	for i, l := range labels {
		labels[i] = strings.ToValidUTF8(l, "\uFFFD")
	}
	s.ch <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
}
