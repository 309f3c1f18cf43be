package storage

import (
	"github.com/prometheus/client_golang/prometheus"

	"labd/internal/metric"
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

// NewCollector gives the metrics of the last report.
func NewCollector(latest func() *Report) prometheus.Collector {
	return metric.Collector[Report]{Latest: latest, Figures: figures, Descs: []*prometheus.Desc{
		descOK, descVerdict, descGoneSince, descCandidate, descReferences, descReadable, descObserved,
	}}
}

func figures(r *Report, out metric.Sink) {
	out.Truth(descReadable, r.Readable)
	out.Time(descObserved, r.At)
	for _, e := range r.Entries {
		id := string(r.Subject(e))
		out.Truth(descOK, e.Verdict == VerdictOK, id, e.Type)
		for _, v := range Verdicts() {
			out.Truth(descVerdict, e.Verdict == v, id, v)
		}
		if e.Verdict != VerdictGone {
			continue
		}
		out.Time(descGoneSince, e.GoneSince, id)
		out.Truth(descCandidate, !e.CandidateAt.IsZero() && !e.CandidateAt.After(r.At), id)
		out.Gauge(descReferences, float64(len(e.References)), id)
	}
}
