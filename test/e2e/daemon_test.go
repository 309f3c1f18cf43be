package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apiv1 "labd/api/v1"
	"labd/test/lab"
)

func TestDaemon(t *testing.T) {
	l := lab.New(t, "e2e-labd")
	startLabd(t, l, fixtureConfig)
	metrics, err := l.Relay(t.Context(), "127.0.0.1:9717")
	if err != nil {
		t.Fatal(err)
	}
	wait(t, l, "every job has a report", func() bool {
		resp, err := http.Get("http://" + metrics + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	t.Run("metrics", func(t *testing.T) { checkMetrics(t, metrics) })
	t.Run("host header", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+metrics+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "rebound.example"
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("a request for another host: %s", resp.Status)
		}
	})
	t.Run("readers", func(t *testing.T) { checkReaders(t, l) })
	t.Run("a second labd only reads", func(t *testing.T) {
		must(t, l, 4, "--local", "check-nvme", "--config", "/etc/labd/labd.toml")
		code, _, stderr := labctl(t, l, "--local", "net", "on", "--yes")
		if code != 5 || !strings.Contains(stderr, "another labd") {
			t.Errorf("exit %d, want 5: %s", code, stderr)
		}
	})
	t.Run("reload", func(t *testing.T) { checkReload(t, l) })
	t.Run("watchdog", func(t *testing.T) {
		if got := run(t, l, "systemctl", "show", "labd", "-p", "WatchdogTimestampMonotonic"); strings.TrimSpace(got) == "WatchdogTimestampMonotonic=0" {
			t.Error("systemd's watchdog was never fed")
		}
	})
	t.Run("stops in time", func(t *testing.T) {
		start := time.Now()
		run(t, l, "systemctl", "stop", "labd")
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("stopped after %s", took)
		}
		if got := strings.TrimSpace(run(t, l, "systemctl", "show", "labd", "-p", "Result")); got != "Result=success" {
			t.Error(got)
		}
	})
	t.Run("without a daemon", func(t *testing.T) {
		code, stdout, stderr := labctl(t, l, "--config", "/etc/labd/labd.toml", "check-nvme")
		if code != 4 || !strings.Contains(stdout, "never became ready") {
			t.Errorf("exit %d\n%s%s", code, stdout, stderr)
		}
		code, _, stderr = labctl(t, l, "status")
		if code > 4 || code == 1 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "no labd is running") {
			t.Errorf("exit %d, stderr must say in one line that none runs: %q", code, stderr)
		}
		if left := run(t, l, "sh", "-c", "ls -d /tmp/labctl-* 2>/dev/null | wc -l; pgrep -c labd || true"); strings.Join(strings.Fields(left), " ") != "0 0" {
			t.Errorf("the private labd left directories and processes: %q", left)
		}
	})
	t.Run("neither root nor daemon", func(t *testing.T) {
		out, err := l.Command(t.Context(), "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "labctl", "status").CombinedOutput()
		if err == nil || exitCode(err) != 7 || !strings.Contains(string(out), "root") {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("unknown key", func(t *testing.T) {
		if err := l.WriteFile("/etc/labd/bad.toml", []byte("[paths]\nsysfz = \"/sys\"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, program := range [][]string{{"labd", "--config", "/etc/labd/bad.toml"}, {"labctl", "--config", "/etc/labd/bad.toml", "status"}} {
			out, err := l.Command(t.Context(), program[0], program[1:]...).CombinedOutput()
			if exitCode(err) != 2 || !strings.Contains(string(out), "bad.toml:2:") || !strings.Contains(string(out), "paths.sysfs") {
				t.Errorf("%v: %v: %s", program, err, out)
			}
		}
	})
}

func exitCode(err error) int {
	exit, ok := err.(*exec.ExitError)
	if !ok {
		return 0
	}
	return exit.ExitCode()
}

// checkMetrics holds the live endpoint to Prometheus' conventions and to what must be on it.
func checkMetrics(t *testing.T, address string) {
	resp, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`labd_nvme_ok{device="",id="nvme/0000:02:00.0"} 0`, `labd_nvme_ok{device="nvme0",id="nvme/0000:01:00.0"} 1`,
		`labd_build_info{`, `labd_loop_passes_total{loop="network"}`, `labd_storage_config_readable 1`,
	} {
		if !strings.Contains(string(body), want) {
			t.Errorf("no %s on /metrics", want)
		}
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		lab.Require(t, "promtool")
	}
	// The Go runtime's own metrics are not labd's to name.
	var own bytes.Buffer
	for line := range strings.Lines(string(body)) {
		if strings.Contains(line, "labd_") {
			own.WriteString(line)
		}
	}
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = &own
	if out, err := cmd.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// checkReaders holds the socket to who may do what.
func checkReaders(t *testing.T, l *lab.Lab) {
	run(t, l, "groupadd", "labd")
	run(t, l, "systemctl", "restart", "labd") // the socket belongs to the group from its start on
	gid := strings.Split(strings.TrimSpace(run(t, l, "getent", "group", "labd")), ":")[2]
	for _, tt := range []struct {
		name   string
		groups string
		args   []string
		want   int
	}{
		{"a stranger", "--clear-groups", []string{"check-nvme"}, 6},
		{"a reader reads", "--groups=" + gid, []string{"check-nvme"}, 4},
		{"a reader changes nothing", "--groups=" + gid, []string{"net", "off", "--yes"}, 6},
	} {
		args := append([]string{"--reuid=65534", "--regid=65534", tt.groups, "labctl"}, tt.args...)
		out, err := l.Command(t.Context(), "setpriv", args...).CombinedOutput()
		if exitCode(err) != tt.want {
			t.Errorf("%s: exit %d, want %d: %s", tt.name, exitCode(err), tt.want, out)
		}
	}
}

// A machine that is no Proxmox VE host at all.
func TestNoPVE(t *testing.T) {
	lab.Require(t)
	dir := t.TempDir()
	config := filepath.Join(dir, "labd.toml")
	text := "[pve]\nnode = \"n1\"\n[paths]\n"
	for _, path := range []string{"sysfs", "dev", "etc", "pve", "lxc", "state", "run"} {
		// An empty /etc/pve would be that of a PVE host whose cluster file system is down.
		if path != "pve" {
			if err := os.MkdirAll(filepath.Join(dir, path), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		text += fmt.Sprintf("%s = %q\n", path, filepath.Join(dir, path))
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"check-nvme"}, {"fix-storage", "--dry-run"}, {"net", "list"}, {"status"}} {
		args := append([]string{"--config", config, "--local", "-o", "json"}, command...)
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "labctl"), args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%v: %v: %s", command, err, &stderr)
			continue
		}
		var envelope apiv1.Envelope[json.RawMessage]
		if err := json.Unmarshal(out, &envelope); err != nil || len(envelope.Notes) == 0 || envelope.Node != "n1" {
			t.Errorf("%v: a job with nothing to do must say so: %v\n%s", command, err, out)
		}
	}
}

// checkReload puts a wrong and a right configuration in force with systemctl reload.
func checkReload(t *testing.T, l *lab.Lab) {
	configure := func(extra string) {
		if err := l.WriteFile("/etc/labd/labd.toml", []byte(fixtureConfig+extra), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	pid := run(t, l, "systemctl", "show", "labd", "-p", "MainPID")
	configure("[storage]\ngrase = \"1h\"\n")
	if out, err := l.Run(t.Context(), "systemctl", "reload", "labd"); err == nil {
		t.Errorf("systemctl reload took a wrong configuration: %s", out)
	}
	wait(t, l, "the refusal shows in the status", func() bool {
		_, stdout, _ := labctl(t, l, "status")
		return strings.Contains(stdout, "the configuration was not reloaded")
	})
	configure("[storage]\ngrace = \"1h\"\n")
	run(t, l, "systemctl", "reload", "labd")
	wait(t, l, "the configuration is in force", func() bool { return strings.Contains(must(t, l, 0, "config"), "grace = '1h0m0s'") })
	if now := run(t, l, "systemctl", "show", "labd", "-p", "MainPID"); now != pid {
		t.Errorf("labd was restarted: %s, before %s", now, pid)
	}
}
