package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	apiv1 "labd/api/v1"
	"labd/internal/config"
	"labd/internal/finding"
)

// bed is a labd on empty trees, run inside the test.
type bed struct {
	t       *testing.T
	dir     string
	file    string
	service *service
	hangups chan os.Signal
	log     bytes.Buffer
}

// newBed starts a labd whose configuration is extra after the moved paths.
func newBed(t *testing.T, extra string) *bed {
	t.Helper()
	b := &bed{t: t, dir: t.TempDir(), hangups: make(chan os.Signal)}
	b.file = filepath.Join(b.dir, "labd.toml")
	b.write(extra)
	cfg, err := config.Load(b.file)
	if err != nil {
		t.Fatal(err)
	}
	b.service, err = newService(t.Context(), b.file, cfg, "test", false, slog.New(slog.NewTextHandler(&b.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// start runs the labd until the test ends.
func (b *bed) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.service.run(ctx, b.hangups) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	})
	b.until("ready", func() bool {
		select {
		case err := <-done:
			b.t.Fatalf("labd ended: %v", err)
		default:
		}
		return b.service.current.Load().Ready() == nil
	})
}

func (b *bed) write(extra string) {
	b.t.Helper()
	text := "[paths]\n"
	for _, name := range []string{"sysfs", "procfs", "dev", "etc", "pve", "lxc", "state", "run"} {
		path := filepath.Join(b.dir, name)
		text += fmt.Sprintf("%s = %q\n", name, path)
		if name == "pve" {
			continue // no PVE host
		}
		if err := os.MkdirAll(filepath.Join(path, "net"), 0o755); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(b.dir, "procfs/net/unix"), nil, 0o600); err != nil {
		b.t.Fatal(err)
	}
	text += fmt.Sprintf("kmsg = %q\n[pve]\nnode = \"n1\"\n%s", filepath.Join(b.dir, "kmsg"), extra)
	if err := os.WriteFile(b.file, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// replace edits the configuration file.
func (b *bed) replace(old, text string) {
	b.t.Helper()
	data, err := os.ReadFile(b.file)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(b.file, bytes.ReplaceAll(data, []byte(old), []byte(text)), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// reload sends a hangup and waits until it has been dealt with.
func (b *bed) reload() {
	before, _, _ := b.service.reloads.last()
	b.hangups <- syscall.SIGHUP
	b.until("reloaded", func() bool { tried, _, _ := b.service.reloads.last(); return tried != before })
}

func (b *bed) until(what string, ok func() bool) {
	b.t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			b.t.Fatalf("not %s in time; ready: %v; log:\n%s", what, b.service.current.Load().Ready(), &b.log)
		case <-tick.C:
		}
	}
}

func (b *bed) get(path string, out any) int {
	b.t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(b.dir, "run/labd.sock"))
	}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("http://labd" + path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := json.Unmarshal(data, out); err != nil {
		b.t.Fatalf("%s: %v: %s", path, err, data)
	}
	return resp.StatusCode
}

// metric is the value of a series of labd's registry, by its name, without labels.
func (b *bed) metric(name string) float64 {
	b.t.Helper()
	families, err := b.service.current.Load().metrics.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	b.t.Fatalf("no metric %s", name)
	return 0
}

func TestReload(t *testing.T) {
	b := newBed(t, "[listen]\nmetrics = \"\"\n[storage]\ngrace = \"5h\"\n")
	b.start()
	grace := func() string {
		var report apiv1.Envelope[apiv1.ConfigItem]
		b.get("/v1/config", &report)
		_, rest, _ := strings.Cut(report.Items[0].Text, "[storage]")
		_, value, _ := strings.Cut(rest, "grace = ")
		value, _, _ = strings.Cut(value, "\n")
		return strings.Trim(value, `'"`)
	}
	if got := grace(); got != "5h0m0s" {
		t.Errorf("grace %s", got)
	}
	b.write("[listen]\nmetrics = \"\"\n[storage]\ngrace = \"6h\"\n")
	b.reload()
	if got := grace(); got != "6h0m0s" {
		t.Errorf("after a reload: grace %s", got)
	}
	if b.metric(metricReloadOK) != 1 {
		t.Error("a reload that succeeded is not in the metrics")
	}
	var status apiv1.Envelope[apiv1.StatusItem]
	for _, tt := range []struct{ name, text, want string }{
		{"unknown key", "[storage]\ngrase = \"7h\"\n", "storage.grace"},
		{"state moved", "[listen]\nmetrics = \"\"\n", "systemctl restart labd"},
		{"port in use", "", "listen"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := tt.text
			if tt.name == "port in use" {
				listener, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer listener.Close()
				text = fmt.Sprintf("[listen]\nmetrics = %q\n", listener.Addr())
			}
			b.write(text)
			if tt.name == "state moved" {
				b.replace("/state\"", "/elsewhere\"")
			}
			b.reload()
			_, _, err := b.service.reloads.last()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if got := grace(); got != "6h0m0s" {
				t.Errorf("grace %s: the old configuration is not in force", got)
			}
			if b.metric(metricReloadOK) != 0 {
				t.Error("a refused configuration is not in the metrics")
			}
			b.get("/v1/status", &status)
			if len(status.Findings) != 1 || status.Findings[0].Code != string(finding.LabdConfigRejected) || !strings.Contains(status.Findings[0].Cause, tt.want) {
				t.Errorf("status: %+v", status.Findings)
			}
		})
	}
	b.write("[listen]\nmetrics = \"127.0.0.1:0\"\n")
	b.reload()
	b.get("/v1/status", &status)
	if len(status.Findings) != 0 || b.metric(metricReloadOK) != 1 {
		t.Errorf("after the correction: %+v", status.Findings)
	}
}

// A change that is being applied ends before the configuration changes under it, and none begins meanwhile.
func TestReloadWaitsForAChange(t *testing.T) {
	b := newBed(t, "[listen]\nmetrics = \"\"\n")
	b.start()
	end, err := b.service.beginChange()
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := b.service.reloads.last()
	b.hangups <- syscall.SIGHUP
	b.until("waiting", func() bool {
		b.service.changes.mu.Lock()
		defer b.service.changes.mu.Unlock()
		return b.service.changes.emptied != nil
	})
	if tried, _, _ := b.service.reloads.last(); tried != before {
		t.Error("reloaded while a change was being applied")
	}
	end()
	b.until("reloaded", func() bool { tried, _, _ := b.service.reloads.last(); return tried != before })
	if end, err = b.service.beginChange(); err != nil {
		t.Errorf("after the reload: %v", err)
	} else {
		end()
	}
	if err := b.service.changes.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.service.beginChange(); err == nil {
		t.Error("a change began during a reload")
	}
	b.service.changes.open()
}

// A thousand reloads leave neither goroutines nor file descriptors behind.
func TestReloadsDoNotLeak(t *testing.T) {
	const reloads = 1000
	b := newBed(t, "[listen]\nmetrics = \"127.0.0.1:0\"\n")
	b.start()
	texts := []string{"[listen]\nmetrics = \"127.0.0.1:0\"\n[storage]\ngrace = \"1h\"\n", "[listen]\nmetrics = \"\"\n", "[storage]\nnonsense = 1\n"}
	cycle := func(i int) {
		b.write(texts[i%len(texts)])
		b.reload()
	}
	for i := range 30 {
		cycle(i)
	}
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	for i := range reloads {
		cycle(i + 1)
	}
	b.until("back to the goroutines of before", func() bool { return runtime.NumGoroutine() <= goroutines+2 })
	b.until("back to the files of before", func() bool { return openFiles(t) <= files+2 })
	t.Logf("%d reloads: %d goroutines before, %d after; %d files before, %d after", reloads, goroutines, runtime.NumGoroutine(), files, openFiles(t))
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestConfigCommand(t *testing.T) {
	dir := t.TempDir()
	good, bad, token := filepath.Join(dir, "good.toml"), filepath.Join(dir, "bad.toml"), filepath.Join(dir, "token")
	for file, text := range map[string]string{
		good: fmt.Sprintf("[pve]\nnode = \"n1\"\ntoken_file = %q\n", token), bad: "[storage]\ngrase = \"1h\"\n", token: "labd@pve!labd=9f2c-secret",
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name     string
		args     []string
		code     int
		out, err string
	}{
		{"check", []string{"--check", "--config", good}, exitOK, "good.toml: valid", "chmod 0600"},
		{"check a wrong one", []string{"--check", "--config", bad}, exitUsage, "", `bad.toml:2: unknown key "storage.grase"; did you mean "storage.grace"?`},
		{"reference", []string{"--reference"}, exitOK, "[network]", ""},
		{"effective", []string{"--effective", "--config", good}, exitOK, "token_file = '" + token, ""},
		{"effective by default", []string{"--config", good}, exitOK, "token_file = '" + token, ""},
		{"two at once", []string{"--check", "--reference"}, exitUsage, "", "only one of"},
		{"an argument", []string{"labd.toml"}, exitUsage, "", "--config"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := Main(t.Context(), "v", append([]string{"config"}, tt.args...), Streams{strings.NewReader(""), &out, &errs})
			if code != tt.code || !strings.Contains(out.String(), tt.out) || !strings.Contains(errs.String(), tt.err) {
				t.Errorf("exit %d\n%s%s", code, &out, &errs)
			}
			if strings.Contains(out.String()+errs.String(), "9f2c-secret") {
				t.Error("the secret is printed")
			}
		})
	}
}
