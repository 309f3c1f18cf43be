package disk

import (
	"github.com/prometheus/client_golang/prometheus"

	"labd/internal/metric"
)

// Names of this domain's metrics.
const (
	MetricOK       = "labd_nvme_ok"
	MetricRung     = "labd_nvme_rung"
	MetricInfo     = "labd_nvme_info"
	MetricLive     = "labd_nvme_controller_live"
	MetricSize     = "labd_nvme_namespace_size_bytes"
	MetricProblems = "labd_nvme_unreadable_attributes"
	MetricLanes    = "labd_nvme_link_lanes"
	MetricLanesMax = "labd_nvme_link_lanes_max"
	MetricSpeed    = "labd_nvme_link_transfers_per_second"
	MetricSpeedMax = "labd_nvme_link_transfers_per_second_max"
	MetricErrors   = "labd_nvme_pcie_errors_total"
	MetricReadOnly = "labd_nvme_namespace_read_only"
	MetricObserved = "labd_nvme_observed_timestamp_seconds"
)

var (
	descOK       = prometheus.NewDesc(MetricOK, "Whether an NVMe function has every rung from the PCI bus to the block device, or is passed through.", []string{"id", "device"}, nil)
	descRung     = prometheus.NewDesc(MetricRung, "The first broken rung of an NVMe function: 1 for the one it is, ok where none is.", []string{"id", "rung"}, nil)
	descInfo     = prometheus.NewDesc(MetricInfo, "What an NVMe function is; always 1.", []string{"id", "device", "pci_id", "driver", "model", "serial", "firmware"}, nil)
	descLive     = prometheus.NewDesc(MetricLive, "Whether the function has a controller in state live.", []string{"id", "device"}, nil)
	descSize     = prometheus.NewDesc(MetricSize, "Size of a namespace's block device.", []string{"id", "device"}, nil)
	descProblems = prometheus.NewDesc(MetricProblems, "Attributes of an NVMe function that could not be read.", []string{"id"}, nil)
	descLanes    = prometheus.NewDesc(MetricLanes, "Lanes of the PCIe link in use.", []string{"id"}, nil)
	descLanesMax = prometheus.NewDesc(MetricLanesMax, "Lanes that both the drive and its port have.", []string{"id"}, nil)
	descSpeed    = prometheus.NewDesc(MetricSpeed, "Speed of the PCIe link, per lane.", []string{"id"}, nil)
	descSpeedMax = prometheus.NewDesc(MetricSpeedMax, "Speed that both the drive and its port can do, per lane.", []string{"id"}, nil)
	descErrors   = prometheus.NewDesc(MetricErrors, "Errors of the PCIe link since boot by advanced error reporting, as the drive and as its port count them.", []string{"id", "end", "severity"}, nil)
	descReadOnly = prometheus.NewDesc(MetricReadOnly, "Whether the kernel takes a namespace's block device for read-only.", []string{"id", "device"}, nil)
	descObserved = prometheus.NewDesc(MetricObserved, "When the NVMe functions were last observed, in Unix time.", nil, nil)
)

// Rungs are all rungs.
func Rungs() []string {
	return []string{RungPCI, RungDriver, RungController, RungNamespace, RungBlock, RungOK}
}

// NewCollector gives the metrics of the last report.
func NewCollector(latest func() *Report) prometheus.Collector {
	return metric.Collector[Report]{Latest: latest, Figures: figures, Descs: append([]*prometheus.Desc{
		descOK, descRung, descInfo, descLive, descSize, descReadOnly, descProblems, descLanes, descLanesMax, descSpeed, descSpeedMax, descErrors, descObserved,
	}, healthDescs...)}
}

func figures(r *Report, out metric.Sink) {
	for _, d := range r.Drives {
		id, ctrl := string(d.Subject()), d.Controller()
		if ctrl == nil {
			ctrl = &Controller{}
		}
		out.Truth(descOK, d.Rung == RungOK, id, ctrl.Name)
		for _, rung := range Rungs() {
			out.Truth(descRung, d.Rung == rung, id, rung)
		}
		if d.Missing {
			memoryFigures(d, id, out)
			continue
		}
		out.Gauge(descInfo, 1, id, ctrl.Name, d.PCIID(), d.Driver, ctrl.Model, ctrl.Serial, ctrl.Firmware)
		out.Truth(descLive, ctrl.State == "live", id, ctrl.Name)
		out.Gauge(descProblems, float64(len(d.Problems)), id)
		for _, ns := range ctrl.Namespaces {
			out.Gauge(descSize, float64(ns.SizeBytes), id, ns.Device)
			out.Truth(descReadOnly, ns.ReadOnly, id, ns.Device)
		}
		linkFigures(d, id, out)
		memoryFigures(d, id, out)
		healthFigures(d, ctrl, id, out)
	}
	out.Time(descObserved, r.At)
}

// linkFigures sends what is known of the link; the highest values only where both ends are known.
func linkFigures(d Drive, id string, out metric.Sink) {
	if n := lanes(d.Link.CurrentWidth); n > 0 {
		out.Gauge(descLanes, float64(n), id)
	}
	if v := speed(d.Link.CurrentSpeed); v > 0 {
		out.Gauge(descSpeed, v*1e9, id)
	}
	if n := min(lanes(d.Link.MaxWidth), lanes(d.Port.Link.MaxWidth)); n > 0 {
		out.Gauge(descLanesMax, float64(n), id)
	}
	if v := min(speed(d.Link.MaxSpeed), speed(d.Port.Link.MaxSpeed)); v > 0 {
		out.Gauge(descSpeedMax, v*1e9, id)
	}
	for end, a := range map[string]AER{"drive": d.AER, "port": d.Port.AER} {
		if a.Known {
			out.Counter(descErrors, float64(a.Correctable), id, end, "correctable")
			out.Counter(descErrors, float64(a.NonFatal), id, end, "non-fatal")
			out.Counter(descErrors, float64(a.Fatal), id, end, "fatal")
		}
	}
}
