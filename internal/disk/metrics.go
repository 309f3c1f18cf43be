package disk

import (
	"slices"
	"strconv"
	"strings"

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

	MetricState          = "labd_nvme_controller_state"
	MetricQueues         = "labd_nvme_controller_queues"
	MetricHostMemory     = "labd_nvme_host_memory"
	MetricIOErrors       = "labd_nvme_io_errors_total"
	MetricCommandErrors  = "labd_nvme_command_errors_total"
	MetricHasID          = "labd_nvme_namespace_has_id"
	MetricPowerState     = "labd_nvme_power_state"
	MetricPowerSaving    = "labd_nvme_power_saving"
	MetricScrapeSuccess  = "labd_nvme_scrape_success"
	MetricScrapeDuration = "labd_nvme_scrape_duration_seconds"
)

var (
	descOK       = prometheus.NewDesc(MetricOK, "Whether an NVMe function has every rung from the PCI bus to the block device, or is passed through.", []string{"id", "device"}, nil)
	descRung     = prometheus.NewDesc(MetricRung, "The first broken rung of an NVMe function: 1 for the one it is, ok where none is.", []string{"id", "rung"}, nil)
	descInfo     = prometheus.NewDesc(MetricInfo, "What an NVMe function is; always 1.", []string{"id", "device", "pci_id", "driver", "model", "serial", "firmware", "chip", "subsystem", "port"}, nil)
	descLive     = prometheus.NewDesc(MetricLive, "Whether the function has a controller in state live.", []string{"id", "device"}, nil)
	descSize     = prometheus.NewDesc(MetricSize, "Size of a namespace's block device.", []string{"id", "device", "nsid"}, nil)
	descProblems = prometheus.NewDesc(MetricProblems, "Attributes of an NVMe function that could not be read.", []string{"id"}, nil)
	descLanes    = prometheus.NewDesc(MetricLanes, "Lanes of the PCIe link in use.", []string{"id"}, nil)
	descLanesMax = prometheus.NewDesc(MetricLanesMax, "Lanes that both the drive and its port have.", []string{"id"}, nil)
	descSpeed    = prometheus.NewDesc(MetricSpeed, "Speed of the PCIe link, per lane.", []string{"id"}, nil)
	descSpeedMax = prometheus.NewDesc(MetricSpeedMax, "Speed that both the drive and its port can do, per lane.", []string{"id"}, nil)
	descErrors   = prometheus.NewDesc(MetricErrors, "Errors of the PCIe link since boot by advanced error reporting, as the drive and as its port count them.", []string{"id", "end", "severity"}, nil)
	descReadOnly = prometheus.NewDesc(MetricReadOnly, "Whether the kernel takes a namespace's block device for read-only.", []string{"id", "device", "nsid"}, nil)
	descState    = prometheus.NewDesc(MetricState, "The state of a function's controller: 1 for the one it is in, none where there is no controller.", []string{"id", "device", "state"}, nil)
	descQueues   = prometheus.NewDesc(MetricQueues, "Queues of the controller, the admin queue included.", []string{"id", "device"}, nil)
	descHostMem  = prometheus.NewDesc(MetricHostMemory, "Whether the drive uses host memory as its buffer; absent for one that wants none.", []string{"id", "device"}, nil)
	descIOErrors = prometheus.NewDesc(MetricIOErrors, "Lines of the kernel log since boot about reads and writes of a namespace that failed.", []string{"id", "device", "nsid"}, nil)
	descCommands = prometheus.NewDesc(MetricCommandErrors, "Commands to a namespace that failed since boot, as the kernel counts them (7.x).", []string{"id", "device", "nsid"}, nil)
	descHasID    = prometheus.NewDesc(MetricHasID, "Whether a namespace has an id of its own: 0 where the kernel cleared it, or the drive has none.", []string{"id", "device", "nsid"}, nil)
	descPower    = prometheus.NewDesc(MetricPowerState, "The power state of an NVMe function: 1 for the one it is in.", []string{"id", "state"}, nil)
	descSaving   = prometheus.NewDesc(MetricPowerSaving, "Whether a way to save power is open: runtime power management, losing power as a whole (d3cold), and what the link does on its own.", []string{"id", "kind"}, nil)
	descScraped  = prometheus.NewDesc(MetricScrapeSuccess, "Whether every attribute of an NVMe function could be read at the last look.", []string{"id"}, nil)
	descTook     = prometheus.NewDesc(MetricScrapeDuration, "How long the last look at an NVMe function took.", []string{"id"}, nil)
	descObserved = prometheus.NewDesc(MetricObserved, "When the NVMe functions were last observed, in Unix time.", nil, nil)
)

// Rungs are all rungs.
func Rungs() []Rung {
	return []Rung{RungPCI, RungDriver, RungController, RungNamespace, RungBlock, RungOK}
}

// NewCollector gives the metrics of the last report.
func NewCollector(latest func() *Report) prometheus.Collector {
	return metric.Collector[Report]{Latest: latest, Figures: figures, Descs: append([]*prometheus.Desc{
		descOK, descRung, descInfo, descLive, descSize, descReadOnly, descProblems, descLanes, descLanesMax, descSpeed, descSpeedMax, descErrors, descObserved,
		descState, descQueues, descHostMem, descIOErrors, descCommands, descHasID, descPower, descSaving, descScraped, descTook,
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
			out.Truth(descRung, d.Rung == rung, id, string(rung))
		}
		if d.Missing {
			memoryFigures(d, id, out)
			continue
		}
		out.Gauge(descInfo, 1, id, ctrl.Name, d.PCIID(), d.Driver, ctrl.Model, ctrl.Serial, ctrl.Firmware, d.Chip, ctrl.Subsystem, d.Port.Address)
		out.Gauge(descProblems, float64(len(d.Problems)), id)
		out.Truth(descScraped, len(d.Problems) == 0 && !d.Unread, id)
		out.Gauge(descTook, d.Took.Seconds(), id)
		controllerFigures(ctrl, id, out)
		powerFigures(d, id, out)
		linkFigures(d, id, out)
		memoryFigures(d, id, out)
		healthFigures(d, ctrl, r.healthAsked, id, out)
	}
	out.Time(descObserved, r.At)
}

// controllerStates are the kernel's words for the state of a controller (drivers/nvme/host/sysfs.c), and none.
var controllerStates = []string{"live", "new", "resetting", "connecting", "deleting", "dead", "none"}

// controllerFigures sends what is known of a controller and its disks; ctrl is empty where there is none.
func controllerFigures(ctrl *Controller, id string, out metric.Sink) {
	out.Truth(descLive, ctrl.State == "live", id, ctrl.Name)
	state, _, _ := strings.Cut(ctrl.State, " ") // deleting (no IO)
	if ctrl.Name == "" {
		state = "none"
	}
	for _, s := range controllerStates {
		out.Truth(descState, s == state, id, ctrl.Name, s)
	}
	if ctrl.Queues > 0 {
		out.Gauge(descQueues, float64(ctrl.Queues), id, ctrl.Name)
	}
	if ctrl.HostMemory != HostMemoryNotWanted {
		out.Truth(descHostMem, ctrl.HostMemory == HostMemoryOn, id, ctrl.Name)
	}
	for _, ns := range ctrl.Namespaces {
		nsid := strconv.Itoa(ns.NSID)
		out.Gauge(descSize, float64(ns.SizeBytes), id, ctrl.Name, nsid)
		out.Truth(descReadOnly, ns.ReadOnly, id, ctrl.Name, nsid)
		out.Truth(descHasID, ns.HasID(), id, ctrl.Name, nsid)
		out.Counter(descIOErrors, float64(ns.LoggedErrors), id, ctrl.Name, nsid)
		if ns.CommandErrors != nil {
			out.Counter(descCommands, float64(*ns.CommandErrors), id, ctrl.Name, nsid)
		}
	}
}

// powerStates are the states of a PCI function (drivers/pci/pci.c), linkSavings what its link can do to save power, as the
// directory link in sysfs names it (drivers/pci/pcie/aspm.c).
var (
	powerStates = []string{"D0", "D1", "D2", "D3hot", "D3cold", "unknown"}
	linkSavings = []string{"l0s_aspm", "l1_aspm", "l1_1_aspm", "l1_2_aspm", "l1_1_pcipm", "l1_2_pcipm", "clkpm"}
)

// powerFigures sends what saves power, which is what drives that drop out are asked about first.
func powerFigures(d Drive, id string, out metric.Sink) {
	if d.Power.State == "" {
		return // an older kernel
	}
	for _, s := range powerStates {
		out.Truth(descPower, s == d.Power.State, id, s)
	}
	out.Truth(descSaving, d.Power.Control == "auto", id, "runtime")
	out.Truth(descSaving, d.Power.D3ColdAllowed, id, "d3cold")
	for _, saving := range linkSavings {
		out.Truth(descSaving, slices.Contains(d.ASPM, saving), id, saving)
	}
}

// linkFigures sends what is known of the link; the highest values only where both ends are known.
func linkFigures(d Drive, id string, out metric.Sink) {
	if n := d.Link.Current.Lanes; n > 0 {
		out.Gauge(descLanes, float64(n), id)
	}
	if v := d.Link.Current.Speed; v > 0 {
		out.Gauge(descSpeed, float64(v)*1e9, id)
	}
	if n := min(d.Link.Max.Lanes, d.Port.Link.Max.Lanes); n > 0 {
		out.Gauge(descLanesMax, float64(n), id)
	}
	if v := min(d.Link.Max.Speed, d.Port.Link.Max.Speed); v > 0 {
		out.Gauge(descSpeedMax, float64(v)*1e9, id)
	}
	for end, a := range map[string]AER{"drive": d.AER, "port": d.Port.AER} {
		if a.Known {
			out.Counter(descErrors, float64(a.Correctable), id, end, "correctable")
			out.Counter(descErrors, float64(a.NonFatal), id, end, "non-fatal")
			out.Counter(descErrors, float64(a.Fatal), id, end, "fatal")
		}
	}
}
