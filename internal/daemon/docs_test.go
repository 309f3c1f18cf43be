package daemon

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"labd/internal/config"
	"labd/internal/disk"
	"labd/internal/finding"
	"labd/internal/network"
	"labd/internal/network/probe"
	"labd/internal/notify"
	"labd/internal/plan"
	"labd/internal/storage"
)

var update = flag.Bool("update", false, "write the generated parts of the documentation")

const metricsPage = "../../docs/metrics.md"

var descPattern = regexp.MustCompile(`fqName: "([^"]+)", help: "([^"]*)", unit: "[^"]*", constLabels: \{[^}]*\}, variableLabels: \{([^}]*)\}`)

// docs/metrics.md names every metric of labd with its help and labels, and no other.
func TestMetricsPage(t *testing.T) {
	descs := make(chan *prometheus.Desc, 256)
	for _, c := range []prometheus.Collector{
		disk.NewCollector(func() *disk.Report { return nil }), storage.NewCollector(func() *storage.Report { return nil }), storage.NewPlanCollector(func() *plan.Entry { return nil }),
		network.NewCollector(func() *network.Report { return nil }), network.NewFiguresCollector(nil), probe.New(nil, nil, nil), loopCollector(nil), newBuildInfo("v"), newHungReads(func() int { return 0 }), newReloads(time.Time{}), &keeper{}, &notify.Center{},
	} {
		c.Describe(descs)
	}
	close(descs)
	var rows []string
	for d := range descs {
		m := descPattern.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("cannot read %s", d)
		}
		labels := strings.ReplaceAll(m[3], ",", ", ")
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |\n", m[1], labels, m[2]))
	}
	slices.Sort(rows)
	table := "| metric | labels | meaning |\n|---|---|---|\n" + strings.Join(rows, "")
	page, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	head, have, _ := strings.Cut(string(page), "| metric |")
	if *update {
		if err := os.WriteFile(metricsPage, []byte(head+table), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(table, "| metric |"+have); diff != "" {
		t.Errorf("docs/metrics.md is not up to date (go test ./internal/daemon -update), -want +got:\n%s", diff)
	}
}

const configurationPage = "../../docs/configuration.md"

// docs/configuration.md shows the reference that labd config --reference prints.
func TestConfigurationPage(t *testing.T) {
	page, err := os.ReadFile(configurationPage)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(page), "```toml\n")
	shown, tail, found := strings.Cut(rest, "```\n")
	if !found {
		t.Fatal("no reference in docs/configuration.md")
	}
	if *update {
		if err := os.WriteFile(configurationPage, []byte(head+"```toml\n"+config.Reference()+"```\n"+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(config.Reference(), shown); diff != "" {
		t.Errorf("docs/configuration.md is not up to date: edit internal/config/reference.toml and run go test ./internal/daemon -update, -want +got:\n%s", diff)
	}
}

const findingsPage = "../../docs/findings/README.md"

// docs/findings/README.md lists every code with its usual severity and its meaning, and no other.
func TestFindingsPage(t *testing.T) {
	table := "| code | severity | meaning |\n|---|---|---|\n"
	for _, def := range finding.Defs() {
		table += fmt.Sprintf("| [%s](%s.md) | %s | %s |\n", def.Code, def.Code, def.Severity, def.Meaning)
	}
	page, err := os.ReadFile(findingsPage)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(page), "| code |")
	shown, tail, found := strings.Cut(rest, "\n\n")
	if !found {
		t.Fatal("no table in docs/findings/README.md")
	}
	if *update {
		if err := os.WriteFile(findingsPage, []byte(head+table+"\n"+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(table, "| code |"+shown+"\n"); diff != "" {
		t.Errorf("docs/findings/README.md is not up to date (go test ./internal/daemon -update), -want +got:\n%s", diff)
	}
}

// The manual page names every flag of labd and of labd config, and no other.
func TestManualPage(t *testing.T) {
	page, err := os.ReadFile("../../packaging/labd.8")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(page), `\-`, "-")
	known := map[string]bool{}
	for _, args := range [][]string{{"-h"}, {"config", "-h"}} {
		var usage bytes.Buffer
		if code := Main(t.Context(), "v", args, Streams{strings.NewReader(""), io.Discard, &usage}); code != exitOK {
			t.Fatalf("labd %v: exit %d", args, code)
		}
		for _, m := range regexp.MustCompile(`(?m)^  (-[a-z]+)`).FindAllStringSubmatch(usage.String(), -1) {
			known[m[1]] = true
			// private is between labctl and labd, and nobody else's.
			if m[1] != "-private" && !strings.Contains(text, m[1]) {
				t.Errorf("packaging/labd.8 does not name %s", m[1])
			}
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^\.BI? "?(-[a-z]+)`).FindAllStringSubmatch(text, -1) {
		if !known[m[1]] {
			t.Errorf("packaging/labd.8 names %s, which labd does not have", m[1])
		}
	}
}
