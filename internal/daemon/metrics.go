package daemon

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"labd/internal/disk"
	"labd/internal/host"
	"labd/internal/metric"
	"labd/internal/network"
	"labd/internal/reconcile"
	"labd/internal/storage"
)

// Names of the metrics about labd itself.
const (
	metricBuildInfo    = "labd_build_info"
	metricLoopPasses   = "labd_loop_passes_total"
	metricLoopErrors   = "labd_loop_errors_total"
	metricLoopDuration = "labd_loop_last_pass_duration_seconds"
	metricLoopSuccess  = "labd_loop_last_success_timestamp_seconds"
	metricLoopPanics   = "labd_loop_panics_total"
	metricQueueDepth   = "labd_queue_depth"
	metricQueueAdds    = "labd_queue_adds_total"
	metricQueueRetries = "labd_queue_retries_total"
	metricQueueWork    = "labd_queue_work_duration_seconds"
	metricQueueOldest  = "labd_queue_oldest_unfinished_seconds"
	metricQueueFailing = "labd_queue_failing_keys"
	metricHungReads    = "labd_hung_reads"
)

// newReportMetrics are the metrics that come from reports, made once for each.
func newReportMetrics(j *jobs) *metric.Gatherer {
	return metric.NewGatherer(disk.NewCollector(j.drives.job.latest), storage.NewCollector(j.storages.job.latest), network.NewCollector(j.networks.job.latest))
}

// newOwnMetrics are the metrics about labd itself and about what its jobs are doing.
func newOwnMetrics(s *service, h *host.Host, loops []*reconcile.Loop, j *jobs) []prometheus.Collector {
	return []prometheus.Collector{
		newBuildInfo(s.version), newHungReads(h.Hung), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		loopCollector(loops), s.reloads, s.keeper, s.notifications, disk.NewStuckCollector(j.drives.observer.Stuck),
		storage.NewPlanCollector(j.lastPlan.Load), network.NewFiguresCollector(j.networks.control.Figures), j.networks.prober,
	}
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
	loopPanics   = prometheus.NewDesc(metricLoopPanics, "Restarts of a loop after a panic.", []string{"loop"}, nil)
	queueDepth   = prometheus.NewDesc(metricQueueDepth, "Keys that wait for a worker.", []string{"loop"}, nil)
	queueAdds    = prometheus.NewDesc(metricQueueAdds, "How often a key that was not waiting was asked for.", []string{"loop"}, nil)
	queueRetries = prometheus.NewDesc(metricQueueRetries, "Keys that came again because their pass failed.", []string{"loop"}, nil)
	queueWork    = prometheus.NewDesc(metricQueueWork, "How long passes took.", []string{"loop"}, nil)
	queueOldest  = prometheus.NewDesc(metricQueueOldest, "How long the key that has waited or been worked on longest does so; 0 for none.", []string{"loop"}, nil)
	queueFailing = prometheus.NewDesc(metricQueueFailing, "Keys whose last pass failed.", []string{"loop"}, nil)
)

// Describe sends the descriptions.
func (loopCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		loopPasses, loopErrors, loopDuration, loopSuccess, loopPanics, queueDepth, queueAdds, queueRetries, queueWork, queueOldest, queueFailing,
	} {
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
		counter := func(desc *prometheus.Desc, value uint64) {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), loop.Name)
		}
		gauge := func(desc *prometheus.Desc, value float64) {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, loop.Name)
		}
		counter(loopPasses, s.Passes)
		counter(loopErrors, s.Errors)
		counter(loopPanics, s.Panics)
		gauge(loopDuration, s.Duration.Seconds())
		gauge(loopSuccess, last)
		gauge(queueDepth, float64(s.Depth))
		counter(queueAdds, s.Adds)
		counter(queueRetries, s.Retries)
		ch <- prometheus.MustNewConstHistogram(queueWork, s.Work.Count, s.Work.Sum.Seconds(), s.Work.Buckets, loop.Name)
		gauge(queueOldest, s.Oldest.Seconds())
		gauge(queueFailing, float64(s.Failing))
	}
}
