package daemon

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"labd/internal/metric"
	"labd/internal/reconcile"
)

// Names of the metrics about labd itself.
const (
	metricBuildInfo    = "labd_build_info"
	metricLoopPasses   = "labd_loop_passes_total"
	metricLoopErrors   = "labd_loop_errors_total"
	metricLoopDuration = "labd_loop_last_pass_duration_seconds"
	metricLoopSuccess  = "labd_loop_last_success_timestamp_seconds"
	metricHungReads    = "labd_hung_reads"
)

func newRegistry(version string, hung func() int, loops []*reconcile.Loop, jobs ...prometheus.Collector) *metric.Gatherer {
	return metric.NewGatherer(append(jobs, newBuildInfo(version), newHungReads(hung), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), loopCollector(loops))...)
}

func newBuildInfo(version string) prometheus.Collector {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: metricBuildInfo, Help: "Version of labd and of the Go that built it; always 1.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	return build
}

func newHungReads(hung func() int) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: metricHungReads, Help: "Reads of files that were given up and still block a thread.",
	}, func() float64 { return float64(hung()) })
}

// loopCollector gives the figures of the loops.
type loopCollector []*reconcile.Loop

var (
	loopPasses   = prometheus.NewDesc(metricLoopPasses, "Passes of a loop since labd started.", []string{"loop"}, nil)
	loopErrors   = prometheus.NewDesc(metricLoopErrors, "Passes of a loop that failed.", []string{"loop"}, nil)
	loopDuration = prometheus.NewDesc(metricLoopDuration, "How long the last pass of a loop took.", []string{"loop"}, nil)
	loopSuccess  = prometheus.NewDesc(metricLoopSuccess, "When the last pass without error ended, in Unix time; 0 for never.", []string{"loop"}, nil)
)

// Describe sends the descriptions.
func (loopCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{loopPasses, loopErrors, loopDuration, loopSuccess} {
		ch <- desc
	}
}

// Collect sends the figures.
func (c loopCollector) Collect(ch chan<- prometheus.Metric) {
	for _, loop := range c {
		s := loop.Status()
		last := 0.0
		if !s.LastSuccess.IsZero() {
			last = float64(s.LastSuccess.UnixMilli()) / 1000
		}
		ch <- prometheus.MustNewConstMetric(loopPasses, prometheus.CounterValue, float64(s.Passes), loop.Name)
		ch <- prometheus.MustNewConstMetric(loopErrors, prometheus.CounterValue, float64(s.Errors), loop.Name)
		ch <- prometheus.MustNewConstMetric(loopDuration, prometheus.GaugeValue, s.Duration.Seconds(), loop.Name)
		ch <- prometheus.MustNewConstMetric(loopSuccess, prometheus.GaugeValue, last, loop.Name)
	}
}
