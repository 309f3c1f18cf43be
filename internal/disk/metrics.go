package disk

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Names of this domain's metrics.
const (
	MetricOK       = "labd_nvme_ok"
	MetricRung     = "labd_nvme_rung"
	MetricInfo     = "labd_nvme_info"
	MetricLive     = "labd_nvme_controller_live"
	MetricSize     = "labd_nvme_namespace_size_bytes"
	MetricProblems = "labd_nvme_unreadable_attributes"
	MetricObserved = "labd_nvme_observed_timestamp_seconds"
)

var (
	descOK       = prometheus.NewDesc(MetricOK, "Whether an NVMe function has every rung from the PCI bus to the block device, or is passed through.", []string{"id", "device"}, nil)
	descRung     = prometheus.NewDesc(MetricRung, "The first broken rung of an NVMe function: 1 for the one it is, ok where none is.", []string{"id", "rung"}, nil)
	descInfo     = prometheus.NewDesc(MetricInfo, "What an NVMe function is; always 1.", []string{"id", "device", "pci_id", "driver", "model", "serial", "firmware"}, nil)
	descLive     = prometheus.NewDesc(MetricLive, "Whether the function has a controller in state live.", []string{"id", "device"}, nil)
	descSize     = prometheus.NewDesc(MetricSize, "Size of a namespace's block device.", []string{"id", "device"}, nil)
	descProblems = prometheus.NewDesc(MetricProblems, "Attributes of an NVMe function that could not be read.", []string{"id"}, nil)
	descObserved = prometheus.NewDesc(MetricObserved, "When the NVMe functions were last observed, in Unix time.", nil, nil)
)

// Rungs are all rungs.
func Rungs() []string {
	return []string{RungPCI, RungDriver, RungController, RungNamespace, RungBlock, RungOK}
}

type collector struct{ latest func() *Report }

// NewCollector gives the metrics of the last report.
func NewCollector(latest func() *Report) prometheus.Collector { return collector{latest} }

func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descOK, descRung, descInfo, descLive, descSize, descProblems, descObserved} {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	r := c.latest()
	if r == nil {
		return
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	for _, d := range r.Drives {
		id, ctrl := string(d.Subject()), d.Controller()
		if ctrl == nil {
			ctrl = &Controller{}
		}
		gauge(descOK, truth(d.Rung == RungOK), id, ctrl.Name)
		for _, rung := range Rungs() {
			gauge(descRung, truth(d.Rung == rung), id, rung)
		}
		gauge(descInfo, 1, id, ctrl.Name, d.PCIID(), d.Driver, valid(ctrl.Model), valid(ctrl.Serial), valid(ctrl.Firmware))
		gauge(descLive, truth(ctrl.State == "live"), id, ctrl.Name)
		gauge(descProblems, float64(len(d.Problems)), id)
		for _, ns := range ctrl.Namespaces {
			gauge(descSize, float64(ns.SizeBytes), id, ns.Device)
		}
	}
	gauge(descObserved, float64(r.At.UnixMilli())/1000)
}

// valid makes a label value of foreign text: Prometheus takes only UTF-8.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
