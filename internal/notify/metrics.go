package notify

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Names of the metrics.
const (
	MetricSent    = "labd_notify_sent_total"
	MetricFailed  = "labd_notify_failed_total"
	MetricPending = "labd_notify_pending"
	MetricFailing = "labd_notify_failing"
	MetricSuccess = "labd_notify_last_success_timestamp_seconds"
)

var (
	labels      = []string{"target"}
	sentDesc    = prometheus.NewDesc(MetricSent, "Messages that a notification target took since labd started.", labels, nil)
	failedDesc  = prometheus.NewDesc(MetricFailed, "Messages that a notification target did not take since labd started.", labels, nil)
	pendingDesc = prometheus.NewDesc(MetricPending, "Findings that a notification target is still to be told of.", labels, nil)
	failingDesc = prometheus.NewDesc(MetricFailing, "Whether a notification target failed several times in a row.", labels, nil)
	successDesc = prometheus.NewDesc(MetricSuccess, "When a notification target last took a message, in Unix time; 0 for never since labd started.", labels, nil)
)

// Describe sends the descriptions.
func (c *Center) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{sentDesc, failedDesc, pendingDesc, failingDesc, successDesc} {
		ch <- desc
	}
}

// Collect sends the figures.
func (c *Center) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c.Statuses() {
		failing := 0.0
		if s.Failing {
			failing = 1
		}
		ch <- prometheus.MustNewConstMetric(sentDesc, prometheus.CounterValue, float64(s.Sent), s.Name)
		ch <- prometheus.MustNewConstMetric(failedDesc, prometheus.CounterValue, float64(s.Failed), s.Name)
		ch <- prometheus.MustNewConstMetric(pendingDesc, prometheus.GaugeValue, float64(s.Pending), s.Name)
		ch <- prometheus.MustNewConstMetric(failingDesc, prometheus.GaugeValue, failing, s.Name)
		ch <- prometheus.MustNewConstMetric(successDesc, prometheus.GaugeValue, unix(s.LastSuccess), s.Name)
	}
}

func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
