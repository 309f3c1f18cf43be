package metric

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

type report struct{ value float64 }

// Figures are made once for a report and anew for the next; what does not come from a report is made each time.
func TestGatherer(t *testing.T) {
	var latest *report
	made := 0
	desc := prometheus.NewDesc("labd_b", "From a report.", nil, nil)
	reports := Collector[report]{Latest: func() *report { return latest }, Descs: []*prometheus.Desc{desc}, Figures: func(r *report, out Sink) {
		made++
		out.Gauge(desc, r.value)
	}}
	asked := 0.0
	live := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "labd_a", Help: "Live."}, func() float64 { asked++; return asked })
	g := NewGatherer(reports, live)
	values := func() map[string]float64 {
		families, err := g.Gather()
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]float64{}
		var before string
		for _, f := range families {
			if f.GetName() <= before {
				t.Errorf("%s comes after %s", f.GetName(), before)
			}
			before = f.GetName()
			for _, m := range f.GetMetric() {
				out[f.GetName()] = value(m)
			}
		}
		return out
	}
	if got := values(); len(got) != 1 {
		t.Errorf("without a report: %v", got)
	}
	latest = &report{1}
	for range 3 {
		if got := values(); got["labd_b"] != 1 {
			t.Errorf("first report: %v", got)
		}
	}
	if made != 1 {
		t.Errorf("the figures of one report were made %d times", made)
	}
	latest = &report{2}
	g.Prepare()
	if made != 2 {
		t.Errorf("prepared: made %d times", made)
	}
	if got := values(); got["labd_b"] != 2 || got["labd_a"] != asked {
		t.Errorf("second report: %v, asked %v times", got, asked)
	}
	if made != 2 {
		t.Errorf("the figures of the second report were made %d times", made-1)
	}
}

func value(m *dto.Metric) float64 { return m.GetGauge().GetValue() }
