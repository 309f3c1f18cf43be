package disk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// exposition is what a scrape of a report gets, by series.
func exposition(t *testing.T, r *Report) map[string]string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(func() *Report { return r }))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&b, family); err != nil {
			t.Fatal(err)
		}
	}
	out := map[string]string{}
	for line := range strings.Lines(b.String()) {
		if series, value, ok := strings.Cut(strings.TrimSpace(line), "} "); ok && !strings.HasPrefix(line, "#") {
			out[strings.ReplaceAll(series+"}", `"`, "")] = value
		}
	}
	return out
}

// What should be there and is not has a series with value 0; each drive says whether and how fast it could be read.
func TestMetrics(t *testing.T) {
	dir, o := speaking(t, nil, func() time.Time { return today })
	look(t, o)
	if err := os.Remove(filepath.Join(dir, "sys/bus/pci/devices/0000:01:00.0")); err != nil {
		t.Fatal(err)
	}
	gone := look(t, o)
	for _, tt := range []struct {
		name   string
		report *Report
		want   map[string]string // * is any value but none
	}{
		{"a drive that never became ready", gone, map[string]string{
			"labd_nvme_ok{device=,id=nvme/0000:02:00.0}":                          "0",
			"labd_nvme_rung{id=nvme/0000:02:00.0,rung=driver}":                    "1",
			"labd_nvme_rung{id=nvme/0000:02:00.0,rung=ok}":                        "0",
			"labd_nvme_controller_live{device=,id=nvme/0000:02:00.0}":             "0",
			"labd_nvme_controller_state{device=,id=nvme/0000:02:00.0,state=none}": "1",
			"labd_nvme_controller_state{device=,id=nvme/0000:02:00.0,state=live}": "0",
			"labd_nvme_scrape_success{id=nvme/0000:02:00.0}":                      "1",
			"labd_nvme_scrape_duration_seconds{id=nvme/0000:02:00.0}":             "*",
			"labd_nvme_health_success{device=,id=nvme/0000:02:00.0}":              "0",
			"labd_nvme_incidents{id=nvme/0000:02:00.0,kind=not-ready}":            "1",
			"labd_nvme_incidents{id=nvme/0000:02:00.0,kind=down}":                 "0",
		}},
		{"a drive that is gone", gone, map[string]string{
			"labd_nvme_present{id=nvme/0000:01:00.0,model=Fanxiang S790 4TB,serial=FXS790234200311}": "0",
			"labd_nvme_ok{device=,id=nvme/0000:01:00.0}":                                             "0",
			"labd_nvme_rung{id=nvme/0000:01:00.0,rung=pci}":                                          "1",
		}},
		{"a drive that is here", gone, map[string]string{
			"labd_nvme_present{id=nvme/0000:03:00.0,model=HP SSD FX900 Plus M.2 4TB,serial=HBSE54170100788}": "1",
			"labd_nvme_ok{device=nvme2,id=nvme/0000:03:00.0}":                                                "1",
		}},
		{"a worn drive", lookAt(t, "worn"), map[string]string{
			"labd_nvme_critical_warning{device=nvme0,id=nvme/0000:04:00.0,warning=spare}":                   "1",
			"labd_nvme_critical_warning{device=nvme0,id=nvme/0000:04:00.0,warning=read-only}":               "0",
			"labd_nvme_life_used_ratio{device=nvme0,id=nvme/0000:04:00.0}":                                  "1.17",
			"labd_nvme_media_errors_total{device=nvme0,id=nvme/0000:04:00.0}":                               "14",
			"labd_nvme_temperature_celsius{device=nvme0,id=nvme/0000:04:00.0,sensor=composite}":             "48",
			"labd_nvme_temperature_limit_celsius{device=nvme0,id=nvme/0000:04:00.0,limit=critical}":         "85",
			"labd_nvme_temperature_exceeded_seconds_total{device=nvme0,id=nvme/0000:04:00.0,limit=warning}": "2220",
			"labd_nvme_self_test_passed{device=nvme0,id=nvme/0000:04:00.0}":                                 "0",
			"labd_nvme_health_success{device=nvme0,id=nvme/0000:04:00.0}":                                   "1",
			"labd_nvme_health_duration_seconds{device=nvme0,id=nvme/0000:04:00.0}":                          "*",
			"labd_nvme_host_memory{device=nvme0,id=nvme/0000:04:00.0}":                                      "1",
			"labd_nvme_namespace_has_id{device=nvme0,id=nvme/0000:04:00.0,nsid=1}":                          "0",
			"labd_nvme_pcie_errors_total{end=port,id=nvme/0000:04:00.0,severity=fatal}":                     "0",
		}},
		{"a slot of two lanes", lookAt(t, "x2-slot"), map[string]string{
			"labd_nvme_link_lanes{id=nvme/0000:02:00.0}":                              "2",
			"labd_nvme_link_lanes_max{id=nvme/0000:02:00.0}":                          "2",
			"labd_nvme_link_lanes{id=nvme/0000:01:00.0}":                              "1",
			"labd_nvme_link_lanes_max{id=nvme/0000:01:00.0}":                          "4",
			"labd_nvme_power_state{id=nvme/0000:02:00.0,state=D0}":                    "1",
			"labd_nvme_power_saving{id=nvme/0000:02:00.0,kind=l1_aspm}":               "1",
			"labd_nvme_power_saving{id=nvme/0000:02:00.0,kind=d3cold}":                "1",
			"labd_nvme_io_errors_total{device=nvme0,id=nvme/0000:02:00.0,nsid=1}":     "0",
			"labd_nvme_controller_queues{device=nvme0,id=nvme/0000:02:00.0}":          "5",
			"labd_nvme_unreadable_attributes{id=nvme/0000:02:00.0}":                   "0",
			"labd_nvme_namespace_read_only{device=nvme0,id=nvme/0000:02:00.0,nsid=1}": "0",
		}},
		{"a disk that could not be read", lookAt(t, "media-error-trixie"), map[string]string{
			"labd_nvme_io_errors_total{device=nvme1,id=nvme/0000:02:00.0,nsid=1}": "*",
		}},
	} {
		got := exposition(t, tt.report)
		for series, want := range tt.want {
			if value, ok := got[series]; !ok || want != "*" && value != want || want == "*" && value == "0" {
				t.Errorf("%s: %s is %q, want %q", tt.name, series, value, want)
			}
		}
	}
}
