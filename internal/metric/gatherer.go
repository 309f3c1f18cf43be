package metric

import (
	"cmp"
	"errors"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// reporter is a collector whose metrics change only with its report.
type reporter interface {
	prometheus.Collector
	Report() any
}

// Gatherer gathers from several collectors. What comes from a report is made once for that report, however often it
// is scraped: with many drives and storages that is most of a scrape. Two collectors must not share a metric's name.
type Gatherer struct {
	live *prometheus.Registry
	// before are those of the gatherers that this one was made from.
	before  []*prometheus.Registry
	reports []*reportGatherer
}

// NewGatherer returns a gatherer over collectors. Like prometheus.MustRegister it panics when one of them describes
// its metrics wrongly.
func NewGatherer(collectors ...prometheus.Collector) *Gatherer {
	g := &Gatherer{live: prometheus.NewRegistry()}
	for _, c := range collectors {
		r, ok := c.(reporter)
		if !ok {
			g.live.MustRegister(c)
			continue
		}
		registry := prometheus.NewRegistry()
		registry.MustRegister(c)
		g.reports = append(g.reports, &reportGatherer{report: r.Report, registry: registry})
	}
	return g
}

// With returns a gatherer of collectors besides those of g, with which it shares what was made of reports.
func (g *Gatherer) With(collectors ...prometheus.Collector) *Gatherer {
	more := NewGatherer(collectors...)
	more.before = append(slices.Clone(g.before), g.live)
	more.reports = append(slices.Clone(g.reports), more.reports...)
	return more
}

// Gather implements prometheus.Gatherer.
func (g *Gatherer) Gather() ([]*dto.MetricFamily, error) {
	families, err := g.live.Gather()
	errs := []error{err}
	for _, registry := range g.before {
		more, err := registry.Gather()
		families, errs = append(families, more...), append(errs, err)
	}
	for _, r := range g.reports {
		more, err := r.gather()
		families, errs = append(families, more...), append(errs, err)
	}
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return families, errors.Join(errs...)
}

// Prepare makes what comes from new reports, so that the next scrape need not.
func (g *Gatherer) Prepare() {
	for _, r := range g.reports {
		_, _ = r.gather() // an error is the next scrape's to tell
	}
}

// reportGatherer keeps what it gathered for as long as the report is the same.
type reportGatherer struct {
	report   func() any
	registry *prometheus.Registry

	mu       sync.Mutex
	of       any
	families []*dto.MetricFamily
}

func (r *reportGatherer) gather() ([]*dto.MetricFamily, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.report()
	if r.families != nil && r.of == now {
		return r.families, nil
	}
	families, err := r.registry.Gather()
	if err != nil {
		return families, err // not kept: the next scrape tries again
	}
	// A report that came in between is gathered once more.
	r.of, r.families = now, families
	return families, nil
}
