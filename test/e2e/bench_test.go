package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"labd/test/fixture"
	"labd/test/lab"
)

// benchLab is the demo's lab with labd: a container with Docker, a dead storage, a missing drive.
func benchLab(b *testing.B) *lab.Lab {
	b.Helper()
	l, err := lab.Start(b.Context(), lab.Config{Name: "bench"})
	if err != nil {
		b.Skip(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	ct, err := l.AddContainer(b.Context(), lab.Container{ID: 101})
	if err != nil {
		b.Fatal(err)
	}
	if err := ct.WaitDocker(b.Context()); err != nil {
		b.Fatal(err)
	}
	d, err := l.AddDisk(b.Context(), "usb1")
	if err != nil {
		b.Fatal(err)
	}
	server, err := l.StartPVE(b.Context(), d.StorageEntry())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(server.Close)
	if err := d.PullAndReboot(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := fixture.Materialise(filepath.Join(l.Dir(), "store/nvme"), fixture.P7000Z); err != nil {
		b.Fatal(err)
	}
	if err := l.InstallLabd(bin, unitFile, fixtureConfig); err != nil {
		b.Fatal(err)
	}
	if _, err := l.StartLabd(b.Context()); err != nil {
		b.Fatal(err)
	}
	return l
}

// reportMedian replaces the mean that the framework prints by the median and the 99th percentile.
func reportMedian(b *testing.B, times []time.Duration) {
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "ms-median")
	b.ReportMetric(float64(times[(len(times)*99+99)/100-1].Microseconds())/1000, "ms-p99")
}

// BenchmarkStatus is labctl status from its start to its end, entering the lab's namespaces included.
func BenchmarkStatus(b *testing.B) {
	l := benchLab(b)
	var times []time.Duration
	for b.Loop() {
		start := time.Now()
		_ = l.Command(b.Context(), "labctl", "status").Run() // exits 4: a drive is missing
		times = append(times, time.Since(start))
	}
	reportMedian(b, times)
}

// BenchmarkScrape is one GET of /metrics through a relay.
func BenchmarkScrape(b *testing.B) {
	l := benchLab(b)
	address, err := l.Relay(b.Context(), "127.0.0.1:9717")
	if err != nil {
		b.Fatal(err)
	}
	var times []time.Duration
	for b.Loop() {
		start := time.Now()
		resp, err := http.Get("http://" + address + "/metrics")
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		times = append(times, time.Since(start))
	}
	reportMedian(b, times)
}

// BenchmarkReady is systemctl start until labd says that it is ready, the stop before it included.
func BenchmarkReady(b *testing.B) {
	l := benchLab(b)
	var times []time.Duration
	for b.Loop() {
		if _, err := l.Run(b.Context(), "systemctl", "reset-failed", "labd"); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		if _, err := l.Run(b.Context(), "systemctl", "restart", "labd"); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(start))
	}
	reportMedian(b, times)
}

// idleFor is how long labd is watched doing nothing: four passes of each loop.
const idleFor = 2 * time.Minute

// BenchmarkIdle is what labd costs while nobody asks: resident memory, and the share of a core, its programs included.
func BenchmarkIdle(b *testing.B) {
	l := benchLab(b)
	out, err := l.Run(b.Context(), "systemctl", "show", "-P", "MainPID", "labd")
	if err != nil {
		b.Fatal(err)
	}
	proc := l.Path("/proc/" + strings.TrimSpace(out))
	for b.Loop() {
		before := cpuUsage(b, l)
		<-time.After(idleFor)
		b.ReportMetric(100*(cpuUsage(b, l)-before).Seconds()/idleFor.Seconds(), "%-of-a-core")
	}
	b.ReportMetric(residentMB(b, proc), "MB-resident")
}

// cpuUsage is the CPU time of labd and of the programs that it ran, from the control group of its unit.
func cpuUsage(b *testing.B, l *lab.Lab) time.Duration {
	b.Helper()
	data, err := os.ReadFile(l.Path("/sys/fs/cgroup/system.slice/labd.service/cpu.stat"))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return time.Duration(n) * time.Microsecond
		}
	}
	b.Fatal("no usage in cpu.stat")
	return 0
}

func residentMB(b *testing.B, proc string) float64 {
	b.Helper()
	data, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	kb := 0.0
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		b.Fatal(err)
	}
	return kb / 1024
}
