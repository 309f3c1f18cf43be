package daemon

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"labd/internal/finding"
	"labd/internal/statefile"
)

// keepInterval is how often findings settle, silences end and the history is put on disk.
const keepInterval = 5 * time.Second

// maxFindingSeries is how many findings get a series of their own; more are counted only.
const maxFindingSeries = 500

// newFindings returns the findings as the state directory remembers them. A labd for one command shows them at once.
func newFindings(state string, private bool, log *slog.Logger) *finding.Registry {
	registry, err := finding.NewRegistry(time.Now(), finding.Options{
		Immediate: private,
		History:   statefile.New(filepath.Join(state, "findings.json"), finding.HistoryVersion),
		Silences:  statefile.New(filepath.Join(state, "silences.json"), finding.SilencesVersion),
	})
	if err != nil {
		log.Warn("not all of the findings' history and silences could be read", "err", err)
	}
	return registry
}

// keeper lets time pass for the findings and puts their history on disk.
type keeper struct {
	registry *finding.Registry
	log      *slog.Logger
	failed   atomic.Uint64
	broken   bool // the last write failed, and that was logged
}

func (k *keeper) run(ctx context.Context) {
	ticker := time.NewTicker(keepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			k.flush()
			return
		case now := <-ticker.C:
			k.registry.Tick(now)
			k.flush()
		}
	}
}

// flush writes the history. A disk that is full or read-only costs the memory over a restart, and one line of log.
func (k *keeper) flush() {
	err := k.registry.Flush()
	switch {
	case err != nil && !k.broken:
		k.log.Error("history of findings not on disk; labd goes on without", "err", err)
	case err == nil && k.broken:
		k.log.Info("history of findings on disk again")
	}
	k.broken = err != nil
	if err != nil {
		k.failed.Add(1)
	}
}

// Names of the metrics about findings.
const (
	metricFinding      = "labd_finding"
	metricFindings     = "labd_findings"
	metricFindingSince = "labd_finding_since_timestamp_seconds"
	metricSilences     = "labd_silences"
	metricStateErrors  = "labd_state_write_errors_total"
)

var (
	findingDesc  = prometheus.NewDesc(metricFinding, "A finding that is there; always 1. The state is active, pending, consequence or silenced.", []string{"code", "id", "severity", "state"}, nil)
	sinceDesc    = prometheus.NewDesc(metricFindingSince, "Since when a finding has been there, in Unix time.", []string{"code", "id"}, nil)
	findingsDesc = prometheus.NewDesc(metricFindings, "Findings, by severity and state.", []string{"severity", "state"}, nil)
	silencesDesc = prometheus.NewDesc(metricSilences, "Silences in force.", nil, nil)
	stateDesc    = prometheus.NewDesc(metricStateErrors, "Writes of the findings' history that failed since labd started.", nil, nil)
)

// Describe sends the descriptions.
func (k *keeper) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{findingDesc, sinceDesc, findingsDesc, silencesDesc, stateDesc} {
		ch <- desc
	}
}

// Collect sends the figures.
func (k *keeper) Collect(ch chan<- prometheus.Metric) {
	now := time.Now()
	type class struct {
		severity finding.Severity
		state    finding.State
	}
	counts := map[class]int{}
	for i, f := range k.registry.Current(now) {
		counts[class{f.Severity, f.State}]++
		if i >= maxFindingSeries {
			continue
		}
		code, id := string(f.Code), strings.ToValidUTF8(string(f.Subject), "\uFFFD")
		ch <- prometheus.MustNewConstMetric(findingDesc, prometheus.GaugeValue, 1, code, id, f.Severity.String(), string(f.State))
		ch <- prometheus.MustNewConstMetric(sinceDesc, prometheus.GaugeValue, float64(f.Since.Unix()), code, id)
	}
	for _, severity := range finding.Severities() {
		for _, state := range finding.States() {
			ch <- prometheus.MustNewConstMetric(findingsDesc, prometheus.GaugeValue, float64(counts[class{severity, state}]), severity.String(), string(state))
		}
	}
	ch <- prometheus.MustNewConstMetric(silencesDesc, prometheus.GaugeValue, float64(len(k.registry.Silences(now))))
	ch <- prometheus.MustNewConstMetric(stateDesc, prometheus.CounterValue, float64(k.failed.Load()))
}
