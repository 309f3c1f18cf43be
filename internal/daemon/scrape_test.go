package daemon

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/collectors"

	"labd/internal/disk"
	"labd/internal/finding"
	"labd/internal/metric"
	"labd/internal/network"
	"labd/internal/server"
	"labd/internal/storage"
)

type wellHealth struct{}

func (wellHealth) Ready() error { return nil }
func (wellHealth) Alive() error { return nil }

// largeHost serves the metrics of a host with 64 drives, 200 storages, 256 networks in 16 containers and 100 findings.
func largeHost(b *testing.B) string {
	b.Helper()
	now := time.Now()
	drives := &disk.Report{At: now}
	for i := range 64 {
		drives.Drives = append(drives.Drives, disk.Drive{Rung: disk.RungOK, Verdict: disk.VerdictOK, Function: disk.Function{
			Address: fmt.Sprintf("0000:%02x:00.0", i), Vendor: 0x1e4b, Device: 0x1602, Driver: "nvme",
			Controllers: []disk.Controller{{
				Name: fmt.Sprintf("nvme%d", i), State: "live", Model: "AIGO NVMe SSD P7000Z 2TB", Serial: fmt.Sprintf("AS%012d", i), Firmware: "SN09406",
				Namespaces: []disk.Namespace{{Device: fmt.Sprintf("nvme%dn1", i), SizeBytes: 2e12}},
			}},
		}})
	}
	storages := &storage.Report{At: now, Node: "pve1", Readable: true}
	for i := range 200 {
		storages.Entries = append(storages.Entries, storage.Entry{ID: fmt.Sprintf("store%d", i), Type: "dir", Verdict: storage.VerdictOK})
	}
	networks := &network.Report{At: now}
	for i := range 256 {
		networks.Networks = append(networks.Networks, network.Network{
			Container: 100 + i/16, Name: fmt.Sprintf("project%d_default", i), Mode: network.ModeDirect, Verdict: network.VerdictOK,
		})
		if i%16 == 0 {
			networks.Containers = append(networks.Containers, network.ContainerReport{ID: 100 + i/16, OK: true})
		}
	}
	findings, err := finding.NewRegistry(now, finding.Options{Immediate: true})
	if err != nil {
		b.Fatal(err)
	}
	var found []finding.Finding
	for i := range 100 {
		found = append(found, finding.Finding{Code: finding.StorageDown, Severity: finding.Warn, Subject: finding.Storage("pve1", fmt.Sprint(i)), Title: "not usable"})
	}
	findings.Update(now, found, "storage")
	reports := metric.NewGatherer(disk.NewCollector(func() *disk.Report { return drives }), storage.NewCollector(func() *storage.Report { return storages }),
		network.NewCollector(func() *network.Report { return networks }))
	registry := reports.With(&keeper{registry: findings}, newBuildInfo("bench"), newHungReads(func() int { return 0 }), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), loopCollector(nil))
	reports.Prepare() // as the loops do with each new report
	handler, err := server.Telemetry{Node: "n1", Metrics: registry, Health: wellHealth{}}.Handler()
	if err != nil {
		b.Fatal(err)
	}
	srv := httptest.NewServer(handler)
	b.Cleanup(srv.Close)
	return srv.URL
}

// nodeExporter starts node_exporter, where it is installed, beside it.
func nodeExporter(b *testing.B) string {
	b.Helper()
	program, err := exec.LookPath("prometheus-node-exporter")
	if err != nil {
		return ""
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	ctx, stop := context.WithCancel(b.Context())
	cmd := exec.CommandContext(ctx, program, "--web.listen-address="+address)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { stop(); _ = cmd.Wait() })
	return "http://" + address
}

// BenchmarkScrapeLargeHost scrapes ten times a second, as ten Prometheus servers would, labd and node_exporter in turn.
func BenchmarkScrapeLargeHost(b *testing.B) {
	labd, node := largeHost(b), nodeExporter(b)
	times := map[string][]time.Duration{}
	bytes := map[string]int64{}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for b.Loop() {
		for range 200 {
			<-tick.C
			for name, url := range map[string]string{"labd": labd, "node_exporter": node} {
				if url == "" {
					continue
				}
				start := time.Now()
				resp, err := http.Get(url + "/metrics")
				if err != nil {
					continue // node_exporter is just starting
				}
				n, _ := io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				times[name], bytes[name] = append(times[name], time.Since(start)), n
			}
		}
	}
	for name, all := range times {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "ms-median-"+name)
		b.ReportMetric(float64(all[(len(all)*99+99)/100-1].Microseconds())/1000, "ms-p99-"+name)
		b.ReportMetric(float64(bytes[name])/1024, "KiB-"+name)
	}
}
