// Package deploy_test checks what is beside the code for Prometheus and Grafana against the metrics that labd has.
package deploy_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"labd/docs"
	"labd/internal/finding"
	"labd/test/lab"
)

type dashboard struct {
	Title, UID    string
	SchemaVersion int
	Panels        []panel
	Templating    struct {
		List []struct{ Name, Definition string }
	}
}

type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ X, Y, W, H int }
	Targets []struct{ RefID, Expr string }
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	data, err := os.ReadFile("grafana/labd.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Record, Expr string
			Labels, Annotations map[string]string
		}
	}
}

func readRules(t *testing.T) ruleFile {
	t.Helper()
	data, err := os.ReadFile("prometheus/labd.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var f ruleFile
	if err := yaml.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// metricNames are the metrics in docs/metrics.md, which a test of the daemon keeps equal to what it serves.
func metricNames(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(labd_[a-z0-9_]+)`").FindAllStringSubmatch(string(data), -1) {
		names = append(names, m[1])
	}
	return names
}

var usedName = regexp.MustCompile(`\blabd_[a-z0-9_]+`)

func checkNames(t *testing.T, where, expr string, names []string) {
	t.Helper()
	for _, used := range usedName.FindAllString(expr, -1) {
		base := used
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			base = strings.TrimSuffix(base, suffix)
		}
		if !slices.Contains(names, used) && !slices.Contains(names, base) {
			t.Errorf("%s uses %s, which labd does not have", where, used)
		}
	}
}

// Each panel has a place of its own and queries that Prometheus can parse, on metrics that exist.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	if d.Title != "labd" || d.UID != "labd" || d.SchemaVersion < 36 {
		t.Errorf("title %q, uid %q, schema %d", d.Title, d.UID, d.SchemaVersion)
	}
	names := metricNames(t)
	ids, exprs := map[int]bool{}, map[string]string{}
	for i, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q: id %d is used twice", p.Title, p.ID)
		}
		ids[p.ID] = true
		g := p.GridPos
		if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("panel %q lies outside the grid: %+v", p.Title, g)
		}
		for _, q := range d.Panels[:i] {
			o := q.GridPos
			if g.X < o.X+o.W && o.X < g.X+g.W && g.Y < o.Y+o.H && o.Y < g.Y+g.H {
				t.Errorf("panels %q and %q overlap", p.Title, q.Title)
			}
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q asks nothing", p.Title)
		}
		for _, target := range p.Targets {
			checkNames(t, "panel "+p.Title, target.Expr, names)
			exprs[p.Title+" "+target.RefID] = target.Expr
		}
	}
	for _, row := range []string{"Findings", "Drives", "Storages", "Docker networks in LXC", "labd itself"} {
		if !slices.ContainsFunc(d.Panels, func(p panel) bool { return p.Type == "row" && p.Title == row }) {
			t.Errorf("no row %q", row)
		}
	}
	for _, v := range d.Templating.List {
		checkNames(t, "variable "+v.Name, v.Definition, names)
	}
	checkPromQL(t, exprs)
}

// checkPromQL has promtool parse expressions, as rules of a file of their own.
func checkPromQL(t *testing.T, exprs map[string]string) {
	t.Helper()
	promtool := promtool(t)
	for where, expr := range exprs {
		expr = strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h", "$instance", ".*").Replace(expr)
		data, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "g", "rules": []any{map[string]any{"record": "x", "expr": expr}}}}})
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "rules.yml")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %s\n%s", where, expr, out)
		}
	}
}

func promtool(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		lab.Require(t, "promtool")
	}
	return path
}

// Each alert names metrics that exist, says how bad it is and what to do, and has a test.
func TestRules(t *testing.T) {
	promtool := promtool(t)
	tests, err := filepath.Glob("prometheus/*.test.yml")
	if err != nil || len(tests) == 0 {
		t.Fatalf("no tests of the rules: %v", err)
	}
	var tested strings.Builder
	for _, file := range tests {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tested.Write(data)
	}
	names := metricNames(t)
	seen := map[string]bool{}
	for _, g := range readRules(t).Groups {
		for _, r := range g.Rules {
			checkNames(t, "rule "+r.Alert+r.Record, r.Expr, names)
			if r.Alert == "" {
				continue
			}
			if seen[r.Alert] {
				t.Errorf("two alerts are called %s", r.Alert)
			}
			seen[r.Alert] = true
			if s := r.Labels["severity"]; s != "warning" && s != "critical" {
				t.Errorf("alert %s has severity %q", r.Alert, s)
			}
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("alert %s does not say what is wrong and what to do", r.Alert)
			}
			if !strings.HasPrefix(r.Alert, "Labd") {
				t.Errorf("alert %s does not begin with Labd: names of alerts are one space for all rules", r.Alert)
			}
			if page, ok := strings.CutPrefix(r.Annotations["runbook_url"], "http://{{ $labels.instance }}/runbook/"); !ok {
				t.Errorf("alert %s has no runbook_url on labd's port: %q", r.Alert, r.Annotations["runbook_url"])
			} else if _, known := docs.Runbook(page); !known && page != "{{ $labels.code }}" {
				t.Errorf("alert %s leads to %s, which labd does not have", r.Alert, page)
			}
			if !regexp.MustCompile(`alertname: ` + r.Alert + `\n\s+exp_alerts:\n`).MatchString(tested.String()) {
				t.Errorf("no test in deploy/prometheus sees alert %s fire", r.Alert)
			}
		}
	}
	for _, args := range [][]string{{"check", "rules", "prometheus/labd.rules.yml"}, append([]string{"test", "rules"}, tests...)} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// Every finding that is a warning or worse fires an alert: the general one, or one of its own that honours its silence.
func TestEveryFindingAlerts(t *testing.T) {
	left := regexp.MustCompile(`code!~"([^"]+)"`)
	silenced := regexp.MustCompile(`state="silenced",code=~"([^"]+)"`)
	own := map[string]bool{}
	excluded := map[string]int{}
	for _, g := range readRules(t).Groups {
		for _, r := range g.Rules {
			for _, m := range left.FindAllStringSubmatch(r.Expr, -1) {
				for _, code := range strings.Split(m[1], "|") {
					excluded[code]++
				}
			}
			for _, m := range silenced.FindAllStringSubmatch(r.Expr, -1) {
				for _, code := range strings.Split(m[1], "|") {
					own[code] = true
				}
			}
			if m := regexp.MustCompile(`labd_finding\{code=~"([^"]+)"[^}]*state="active"`).FindStringSubmatch(r.Expr); m != nil {
				for _, code := range strings.Split(m[1], "|") {
					own[code] = true
				}
			}
		}
	}
	own[string(finding.LabdNotifyFailing)] = true // by a metric that no silence reaches
	known := map[string]bool{}
	for _, def := range finding.Defs() {
		known[string(def.Code)] = true
	}
	for code, n := range excluded {
		if !known[code] {
			t.Errorf("%s is left out of the general alerts and is no finding", code)
		}
		if n != 2 {
			t.Errorf("%s is left out of one general alert and not of the other", code)
		}
		if !own[code] {
			t.Errorf("%s is left out of the general alerts, and no alert of its own honours its silence", code)
		}
	}
	if len(excluded) == 0 {
		t.Error("no general alert")
	}
}
