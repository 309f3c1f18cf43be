package storage

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"labd/internal/finding"
	"labd/internal/metric"
	"labd/internal/plan"
)

// Names of this domain's metrics.
const (
	MetricOK         = "labd_storage_ok"
	MetricVerdict    = "labd_storage_verdict"
	MetricGoneSince  = "labd_storage_gone_since_timestamp_seconds"
	MetricCandidate  = "labd_storage_candidate"
	MetricReferences = "labd_storage_references"
	MetricBlocking   = "labd_storage_blocking_references"
	MetricCandidates = "labd_storage_candidates"
	MetricReadable   = "labd_storage_config_readable"
	MetricObserved   = "labd_storage_observed_timestamp_seconds"
)

var (
	descOK         = prometheus.NewDesc(MetricOK, "Whether a storage of this node is well.", []string{"id", "type"}, nil)
	descVerdict    = prometheus.NewDesc(MetricVerdict, "The verdict on a storage: 1 for the one it has.", []string{"id", "verdict"}, nil)
	descGoneSince  = prometheus.NewDesc(MetricGoneSince, "Since when a storage has been found dead, in Unix time.", []string{"id"}, nil)
	descCandidate  = prometheus.NewDesc(MetricCandidate, "Whether a bare fix-storage would take the storage now.", []string{"id"}, nil)
	descBlocking   = prometheus.NewDesc(MetricBlocking, "Places that name a dead storage and forbid its removal, also with --fix-refs.", []string{"id"}, nil)
	descCandidates = prometheus.NewDesc(MetricCandidates, "Storages that a bare fix-storage would take now.", nil, nil)
	descReferences = prometheus.NewDesc(MetricReferences, "Places that still name a dead storage.", []string{"id"}, nil)
	descReadable   = prometheus.NewDesc(MetricReadable, "Whether storage.cfg could be read; 1 on a host without PVE, which has none.", nil, nil)
	descObserved   = prometheus.NewDesc(MetricObserved, "When the storages were last observed, in Unix time.", nil, nil)
)

// NewCollector gives the metrics of the last report.
func NewCollector(latest func() *Report) prometheus.Collector {
	return metric.Collector[Report]{Latest: latest, Figures: figures, Descs: []*prometheus.Desc{
		descOK, descVerdict, descGoneSince, descCandidate, descCandidates, descReferences, descBlocking, descReadable, descObserved,
	}}
}

func figures(r *Report, out metric.Sink) {
	out.Truth(descReadable, r.Readable || r.NoPVE)
	out.Time(descObserved, r.At)
	out.Gauge(descCandidates, float64(len(r.Candidates())))
	for _, e := range r.Entries {
		id := string(r.Subject(e))
		out.Truth(descOK, e.Verdict == VerdictOK, id, e.Type)
		for _, v := range Verdicts() {
			out.Truth(descVerdict, e.Verdict == v, id, v)
		}
		if !e.isDead() {
			continue
		}
		out.Time(descGoneSince, e.GoneSince, id)
		out.Truth(descCandidate, !e.CandidateAt.IsZero() && !e.CandidateAt.After(r.At), id)
		out.Gauge(descReferences, float64(len(e.References)), id)
		out.Gauge(descBlocking, float64(e.blocking(r.facts)), id)
	}
}

// blocking is how many references forbid the removal, whatever is allowed.
func (e *Entry) blocking(f *Facts) int {
	n := 0
	for _, r := range e.References {
		if _, can := fixOf(f, e, r); !can && !r.Kept {
			n++
		}
	}
	return n
}

// Names of the metrics about plans for storages.
const (
	MetricPlanOK   = "labd_storage_last_plan_ok"
	MetricPlanTime = "labd_storage_last_plan_timestamp_seconds"
)

var (
	descPlanOK   = prometheus.NewDesc(MetricPlanOK, "Whether the last plan for storages was carried out wholly, or an undo of it.", nil, nil)
	descPlanTime = prometheus.NewDesc(MetricPlanTime, "When the last plan for storages began, in Unix time.", nil, nil)
)

// NewPlanCollector gives the outcome of the last plan for storages; none while there was none.
func NewPlanCollector(last func() *plan.Entry) prometheus.Collector {
	return metric.Collector[plan.Entry]{Latest: last, Descs: []*prometheus.Desc{descPlanOK, descPlanTime}, Figures: func(e *plan.Entry, out metric.Sink) {
		out.Truth(descPlanOK, e.State == plan.StateApplied || e.State == plan.StateUndone)
		out.Time(descPlanTime, e.Time)
	}}
}

// LastPlan is the newest of journal entries, oldest first, that was about storages; nil when there is none.
func LastPlan(entries []*plan.Entry) *plan.Entry {
	for i := len(entries) - 1; i >= 0; i-- {
		if slices.ContainsFunc(entries[i].Plan.Subjects, func(s finding.Subject) bool { return s.IsKind(finding.KindStorage) }) {
			return entries[i]
		}
	}
	return nil
}
