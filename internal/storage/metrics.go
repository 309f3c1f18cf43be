package storage

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Names of this domain's metrics.
const (
	MetricOK         = "labd_storage_ok"
	MetricVerdict    = "labd_storage_verdict"
	MetricGoneSince  = "labd_storage_gone_since_timestamp_seconds"
	MetricCandidate  = "labd_storage_candidate"
	MetricReferences = "labd_storage_references"
	MetricReadable   = "labd_storage_config_readable"
	MetricObserved   = "labd_storage_observed_timestamp_seconds"
)

var (
	descOK         = prometheus.NewDesc(MetricOK, "Whether a storage of this node is well.", []string{"id", "type"}, nil)
	descVerdict    = prometheus.NewDesc(MetricVerdict, "The verdict on a storage: 1 for the one it has.", []string{"id", "verdict"}, nil)
	descGoneSince  = prometheus.NewDesc(MetricGoneSince, "Since when a storage's device has been found gone, in Unix time.", []string{"id"}, nil)
	descCandidate  = prometheus.NewDesc(MetricCandidate, "Whether a bare fix-storage would take the storage now.", []string{"id"}, nil)
	descReferences = prometheus.NewDesc(MetricReferences, "Places that still name a storage whose device is gone.", []string{"id"}, nil)
	descReadable   = prometheus.NewDesc(MetricReadable, "Whether storage.cfg could be read.", nil, nil)
	descObserved   = prometheus.NewDesc(MetricObserved, "When the storages were last observed, in Unix time.", nil, nil)
)

type collector struct{ latest func() *Report }

// NewCollector gives the metrics of the last report.
func NewCollector(latest func() *Report) prometheus.Collector { return collector{latest} }

func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descOK, descVerdict, descGoneSince, descCandidate, descReferences, descReadable, descObserved} {
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
	gauge(descReadable, truth(r.Readable))
	gauge(descObserved, float64(r.At.UnixMilli())/1000)
	for _, e := range r.Entries {
		id := string(r.Subject(e))
		gauge(descOK, truth(e.Verdict == VerdictOK), id, e.Type)
		for _, v := range Verdicts() {
			gauge(descVerdict, truth(e.Verdict == v), id, v)
		}
		if e.Verdict != VerdictGone {
			continue
		}
		gauge(descGoneSince, float64(e.GoneSince.UnixMilli())/1000, id)
		gauge(descCandidate, truth(!e.CandidateAt.IsZero() && !e.CandidateAt.After(r.At)), id)
		gauge(descReferences, float64(len(e.References)), id)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
