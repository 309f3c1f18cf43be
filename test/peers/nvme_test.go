package peers

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/node_exporter/collector"

	"labd/internal/disk"
	"labd/internal/host"
	"labd/internal/metric"
	"labd/test/fixture"
)

// nodeExporter is node_exporter's nvme collector on a sysfs tree.
type nodeExporter struct {
	collector collector.Collector
}

func newNodeExporter(b *testing.B, sysfs string) *nodeExporter {
	b.Helper()
	if _, err := kingpin.CommandLine.Parse([]string{"--path.sysfs=" + sysfs}); err != nil {
		b.Fatal(err)
	}
	c, err := collector.NewNVMeCollector(slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	return &nodeExporter{c}
}

// Describe sends nothing: what it has is known when it was read.
func (n *nodeExporter) Describe(chan<- *prometheus.Desc) {}

// Collect reads the tree, at each scrape, as node_exporter does.
func (n *nodeExporter) Collect(ch chan<- prometheus.Metric) { _ = n.collector.Update(ch) }

func serve(b *testing.B, g prometheus.Gatherer) string {
	b.Helper()
	srv := httptest.NewServer(promhttp.HandlerFor(g, promhttp.HandlerOpts{}))
	b.Cleanup(srv.Close)
	return srv.URL
}

// scraped is what came of a scrape: how many series there are, and which kinds of facts of a drive they tell.
type scraped struct {
	series int
	facts  map[string]bool
}

// notFacts are labels that say which drive or namespace a series is about.
var notFacts = []string{"id", "device", "nsid", "serial"}

func scrape(b *testing.B, url string) (took time.Duration, out scraped) {
	b.Helper()
	start := time.Now()
	resp, err := http.Get(url)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	took = time.Since(start)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	out.facts = map[string]bool{}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			out.series++
			fact := name
			for _, label := range m.GetLabel() {
				switch {
				case slices.Contains(notFacts, label.GetName()):
				case strings.HasSuffix(name, "_info"): // each label is a fact
					out.facts[name+" "+label.GetName()] = true
				default:
					fact += " " + label.GetValue()
				}
			}
			if !strings.HasSuffix(name, "_info") {
				out.facts[fact] = true
			}
		}
	}
	return took, out
}

// BenchmarkNVMeScrape scrapes labd and node_exporter's nvme collector in turn, both on a healthy tree of 64 drives with four
// namespaces each. labd serves its last report, and looks again twice a minute: that look is measured too, and the first
// scrape after it.
func BenchmarkNVMeScrape(b *testing.B) {
	dir := b.TempDir()
	if err := fixture.ManyDrives(dir, 64, 4); err != nil {
		b.Fatal(err)
	}
	paths := host.DefaultPaths()
	paths.Sysfs, paths.Procfs, paths.Dev = filepath.Join(dir, "sys"), filepath.Join(dir, "proc"), filepath.Join(dir, "dev")
	paths.Kmsg, paths.State = filepath.Join(dir, "dmesg"), filepath.Join(dir, "state")
	observer := disk.NewObserver(host.New(paths, "6.8.12-4-pve"), disk.DefaultPolicy(), disk.NewMemory(paths.State, nil), time.Now)
	var report *disk.Report
	look := func() time.Duration {
		start := time.Now()
		facts, err := observer.Observe(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		report = disk.Diagnose(facts, disk.DefaultPolicy())
		return time.Since(start)
	}
	look()
	registry := prometheus.NewRegistry()
	if err := registry.Register(newNodeExporter(b, paths.Sysfs)); err != nil {
		b.Fatal(err)
	}
	labd, node := serve(b, metric.NewGatherer(disk.NewCollector(func() *disk.Report { return report }))), serve(b, registry)

	times, last := map[string][]time.Duration{}, map[string]scraped{}
	note := func(name string, took time.Duration) { times[name] = append(times[name], took) }
	for b.Loop() {
		note("labd-look", look())
		took, _ := scrape(b, labd)
		note("labd-new-report", took)
		for range 3 {
			for name, url := range map[string]string{"labd": labd, "node_exporter": node} {
				took, out := scrape(b, url)
				note(name, took)
				last[name] = out
			}
		}
	}
	if last["node_exporter"].series < 64 || last["labd"].series < 64 {
		b.Fatalf("series: %d and %d", last["node_exporter"].series, last["labd"].series)
	}
	for name, all := range times {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "ms-"+name)
	}
	for name, out := range last {
		b.ReportMetric(float64(out.series), "series-"+name)
		b.ReportMetric(float64(len(out.facts)), "facts-"+name)
	}
}
