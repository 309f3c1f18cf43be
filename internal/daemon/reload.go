package daemon

import (
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	apiv1 "labd/api/v1"
	"labd/internal/config"
	"labd/internal/finding"
	"labd/internal/host"
)

// Names of the metrics about the configuration; after prometheus_config_last_reload_successful.
const (
	metricReloadOK = "labd_config_last_reload_successful"
	metricReloadAt = "labd_config_last_reload_success_timestamp_seconds"
)

// reloads remembers how the last reading of the configuration went.
type reloads struct {
	mu      sync.Mutex
	tried   time.Time
	success time.Time
	err     error
}

func newReloads(now time.Time) *reloads { return &reloads{tried: now, success: now} }

func (r *reloads) note(now time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried, r.err = now, err
	if err == nil {
		r.success = now
	}
}

func (r *reloads) last() (tried, success time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tried, r.success, r.err
}

// hangup reloads the configuration as systemctl reload asks, and says how it went to whoever listens.
func (r *running) hangup() {
	r.notifyReloading()
	err := r.reload()
	r.reloads.note(time.Now(), err)
	if err != nil {
		r.log.Error("configuration not reloaded; the old one stays in force", "err", err)
		r.self.Set("config", rejected(config.FileName(r.file), err))
	} else {
		cfg := r.current.Load().cfg
		r.log.Info("configuration reloaded", "file", config.FileName(r.file), "node", cfg.PVE.Node, "metrics", cfg.Listen.Metrics)
		r.self.Set("config")
	}
	r.notifyReady()
}

// reload puts the configuration in the file in force: all of it, or none. Jobs of the new configuration have looked at
// the host before they answer, so nobody sees a labd that knows nothing.
func (r *running) reload() error {
	cfg, err := config.Load(r.file)
	if err != nil {
		return err
	}
	old := r.current.Load()
	if err := checkFixed(old.cfg, cfg); err != nil {
		return err
	}
	// The same tree keeps its host, which knows the reads that hang.
	h := old.host
	if cfg.Paths != old.cfg.Paths || cfg.Kernel != old.cfg.Kernel {
		h = host.New(cfg.Paths, cfg.Kernel.Release)
	}
	next, err := newDaemon(r.ctx, cfg, h, r.service)
	if err != nil {
		return err
	}
	inForce := false
	defer func() {
		if !inForce {
			next.close()
		}
	}()
	stopPort := r.stopPort
	if cfg.Listen.Metrics != old.cfg.Listen.Metrics {
		if stopPort, err = r.openPort(cfg.Listen); err != nil {
			return err
		}
	}
	if err := r.changes.close(r.ctx); err != nil {
		return fmt.Errorf("wait for the change that is being applied: %w", err)
	}
	defer r.changes.open()
	r.stopLoops()
	// What still looks with the old configuration must not say anything of findings any more.
	old.close()
	next.jobs.lookAgain()
	inForce = true
	r.current.Store(next)
	r.stopLoops = next.startLoops(r.ctx)
	r.notifications.Configure(cfg.Notify, cfg.PVE.Node)
	if cfg.Listen.Metrics != old.cfg.Listen.Metrics {
		r.stopPort()
		r.stopPort = stopPort
	}
	return nil
}

// checkFixed refuses a new value where the process holds something open at the old one.
func checkFixed(old, cfg config.Config) error {
	for _, key := range []struct{ name, old, value string }{
		{"paths.state", old.Paths.State, cfg.Paths.State},
		{"paths.run", old.Paths.Run, cfg.Paths.Run},
		{"listen.web_config_file", old.Listen.WebConfigFile, cfg.Listen.WebConfigFile},
		{"listen.lan", old.Listen.LAN, cfg.Listen.LAN},
	} {
		if key.old != key.value {
			return fmt.Errorf("key %q: %q in place of %q takes a restart: systemctl restart labd", key.name, key.value, key.old)
		}
	}
	return nil
}

// rejected is the finding that a changed configuration is not in force.
func rejected(file string, err error) finding.Finding {
	return finding.Finding{
		Code: finding.LabdConfigRejected, Severity: finding.Warn, Subject: finding.Labd("config"),
		Title: "the configuration was not reloaded; the old one stays in force", Cause: err.Error(), Confidence: finding.Certain,
		Evidence: []finding.Evidence{{Source: file, Text: err.Error()}},
		Remedies: []finding.Remedy{{Title: "correct the file and reload", Risk: finding.RiskNone, Commands: []string{"labd config --check --config " + file, "systemctl reload labd"}}},
	}
}

// configurationOf returns what tells the API of an effective configuration and of the last reload.
func (s *service) configurationOf(cfg config.Config) func() (apiv1.ConfigItem, error) {
	return func() (apiv1.ConfigItem, error) {
		text, err := cfg.Text()
		if err != nil {
			return apiv1.ConfigItem{}, err
		}
		tried, success, failure := s.reloads.last()
		item := apiv1.ConfigItem{File: config.FileName(s.file), Text: text, LoadedAt: success.UTC(), TriedAt: tried.UTC()}
		if failure != nil {
			item.Error = failure.Error()
		}
		return item, nil
	}
}

var (
	reloadOK = prometheus.NewDesc(metricReloadOK, "Whether the last reading of the configuration succeeded; 0 means that an older one is in force.", nil, nil)
	reloadAt = prometheus.NewDesc(metricReloadAt, "When the configuration in force was read, in Unix time.", nil, nil)
)

// Describe sends the descriptions.
func (r *reloads) Describe(ch chan<- *prometheus.Desc) {
	ch <- reloadOK
	ch <- reloadAt
}

// Collect sends the figures.
func (r *reloads) Collect(ch chan<- prometheus.Metric) {
	_, success, err := r.last()
	ok := 1.0
	if err != nil {
		ok = 0
	}
	ch <- prometheus.MustNewConstMetric(reloadOK, prometheus.GaugeValue, ok)
	ch <- prometheus.MustNewConstMetric(reloadAt, prometheus.GaugeValue, float64(success.UnixMilli())/1000)
}
