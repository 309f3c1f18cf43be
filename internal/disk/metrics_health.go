package disk

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"labd/internal/metric"
	"labd/internal/smart"
)

// Names of the metrics about drives' health, and about what labd remembers of drives.
const (
	MetricPresent          = "labd_nvme_present"
	MetricIncidents        = "labd_nvme_incidents"
	MetricLastIncident     = "labd_nvme_last_incident_timestamp_seconds"
	MetricHealthSuccess    = "labd_nvme_health_success"
	MetricHealthDuration   = "labd_nvme_health_duration_seconds"
	MetricHealthTime       = "labd_nvme_health_timestamp_seconds"
	MetricStuck            = "labd_nvme_stuck_commands"
	MetricCriticalWarning  = "labd_nvme_critical_warning"
	MetricTemperature      = "labd_nvme_temperature_celsius"
	MetricTemperatureLimit = "labd_nvme_temperature_limit_celsius"
	MetricSpare            = "labd_nvme_spare_ratio"
	MetricSpareThreshold   = "labd_nvme_spare_threshold_ratio"
	MetricUsed             = "labd_nvme_life_used_ratio"
	MetricLifeLeft         = "labd_nvme_life_left_seconds"
	MetricRead             = "labd_nvme_read_bytes_total"
	MetricWritten          = "labd_nvme_written_bytes_total"
	MetricPowerOn          = "labd_nvme_power_on_seconds_total"
	MetricPowerCycles      = "labd_nvme_power_cycles_total"
	MetricUnsafeShutdowns  = "labd_nvme_unsafe_shutdowns_total"
	MetricMediaErrors      = "labd_nvme_media_errors_total"
	MetricErrorLog         = "labd_nvme_error_log_entries_total"
	MetricSelfTest         = "labd_nvme_self_test_passed"
	MetricBusy             = "labd_nvme_busy_seconds_total"
	MetricReads            = "labd_nvme_read_commands_total"
	MetricWrites           = "labd_nvme_write_commands_total"
	MetricHot              = "labd_nvme_temperature_exceeded_seconds_total"
)

func perDrive(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string{"id", "device"}, labels...), nil)
}

var (
	descPresent        = prometheus.NewDesc(MetricPresent, "Whether a drive that labd remembers is here; 0 until it is forgotten.", []string{"id", "model", "serial"}, nil)
	descIncidents      = prometheus.NewDesc(MetricIncidents, "Incidents in a slot that labd remembers, of the last 90 days.", []string{"id", "kind"}, nil)
	descLastIncident   = prometheus.NewDesc(MetricLastIncident, "When the last incident in a slot was, in Unix time; absent when none is remembered.", []string{"id", "kind"}, nil)
	descHealthSuccess  = perDrive(MetricHealthSuccess, "Whether the drive answered the newest question for its health.")
	descHealthDuration = perDrive(MetricHealthDuration, "How long the newest question for the drive's health took, or has taken so far.")
	descHealthTime     = perDrive(MetricHealthTime, "When the drive's account of its health was asked for, in Unix time.")
	descWarning        = perDrive(MetricCriticalWarning, "Whether a bit of the drive's critical warning is set.", "warning")
	descTemperature    = perDrive(MetricTemperature, "Temperature of the drive, by sensor.", "sensor")
	descTempLimit      = perDrive(MetricTemperatureLimit, "Limits of the composite temperature.", "limit")
	descSpare          = perDrive(MetricSpare, "Spare blocks that are left.")
	descSpareLimit     = perDrive(MetricSpareThreshold, "Spare blocks below which the drive warns.")
	descUsed           = perDrive(MetricUsed, "Share of the rated life that is used, by the drive's own estimate; goes beyond 1.")
	descLifeLeft       = perDrive(MetricLifeLeft, "Time to the end of the rated life at the pace of the last 30 days; negative beyond it, absent where they do not tell.")
	descRead           = perDrive(MetricRead, "Bytes read by the host.")
	descWritten        = perDrive(MetricWritten, "Bytes written by the host.")
	descPowerOn        = perDrive(MetricPowerOn, "Time with power, in whole hours.")
	descPowerCycles    = perDrive(MetricPowerCycles, "Power cycles.")
	descUnsafe         = perDrive(MetricUnsafeShutdowns, "Losses of power without notice.")
	descMediaErrors    = perDrive(MetricMediaErrors, "Data that the drive could not restore.")
	descErrorLog       = perDrive(MetricErrorLog, "Entries of the drive's error log over its life.")
	descBusy           = perDrive(MetricBusy, "Time that the drive worked on commands, in whole minutes.")
	descReads          = perDrive(MetricReads, "Read commands of the host.")
	descWrites         = perDrive(MetricWrites, "Write commands of the host.")
	descHot            = perDrive(MetricHot, "Time with the composite temperature beyond a limit, in whole minutes.", "limit")
	descSelfTest       = perDrive(MetricSelfTest, "Whether the last self-test that ended was passed.")
)

var healthDescs = []*prometheus.Desc{
	descPresent, descIncidents, descLastIncident, descHealthSuccess, descHealthDuration, descHealthTime, descWarning, descTemperature, descTempLimit, descSpare, descSpareLimit,
	descUsed, descLifeLeft, descRead, descWritten, descPowerOn, descPowerCycles, descUnsafe, descMediaErrors, descErrorLog, descSelfTest,
	descBusy, descReads, descWrites, descHot,
}

// NewStuckCollector gives the number of drives that owe an answer.
func NewStuckCollector(stuck func() int) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: MetricStuck, Help: "Drives that owe an answer to a health command, each a goroutine that waits."},
		func() float64 { return float64(stuck()) })
}

// memoryFigures sends what labd remembers of a drive and its slot.
func memoryFigures(d Drive, id string, out metric.Sink) {
	if d.Known != nil {
		out.Truth(descPresent, !d.Missing, id, d.Known.Model, d.Known.Serial)
	}
	kinds, newest := map[EventKind]int{}, map[EventKind]float64{}
	for _, i := range d.Incidents {
		if i.Address == d.Address || d.Missing {
			kinds[i.Kind]++
			newest[i.Kind] = max(newest[i.Kind], float64(i.At.Unix()))
		}
	}
	for _, kind := range incidentKinds { // also those of which there are none, so that the first one is an increase
		out.Gauge(descIncidents, float64(kinds[kind]), id, string(kind))
		if newest[kind] > 0 {
			out.Gauge(descLastIncident, newest[kind], id, string(kind))
		}
	}
}

// healthFigures sends what a drive says of itself. One that should be asked and cannot be has a success of 0.
func healthFigures(d Drive, c *Controller, asked bool, id string, out metric.Sink) {
	reading := c.Health
	if reading.Data == nil && reading.Err == nil {
		if asked && !d.passedThrough() && !d.hides() && c.State != "live" { // a live one without answer has no device file: a fixture
			out.Truth(descHealthSuccess, false, id, c.Name)
		}
		return
	}
	out.Truth(descHealthSuccess, reading.Err == nil, id, c.Name)
	out.Gauge(descHealthDuration, reading.Took.Seconds(), id, c.Name)
	if reading.Data == nil {
		return
	}
	out.Gauge(descHealthTime, float64(reading.At.UnixMilli())/1000, id, c.Name)
	h, limits := reading.Data.Health, reading.Data.Identity
	if len(h.Doubts) > 0 {
		return // no figure of a page that cannot be right
	}
	for i, name := range smart.WarningNames() {
		out.Truth(descWarning, h.Warnings&(1<<i) != 0, id, c.Name, name)
	}
	if h.Celsius != nil {
		out.Gauge(descTemperature, float64(*h.Celsius), id, c.Name, "composite")
	}
	for sensor, celsius := range h.Sensors {
		out.Gauge(descTemperature, float64(celsius), id, c.Name, strconv.Itoa(sensor))
	}
	for limit, celsius := range map[string]int{"warning": limits.WarnCelsius, "critical": limits.CriticalCelsius} {
		if celsius != 0 {
			out.Gauge(descTempLimit, float64(celsius), id, c.Name, limit)
		}
	}
	out.Gauge(descSpare, float64(h.SparePercent)/100, id, c.Name)
	out.Gauge(descSpareLimit, float64(h.SpareThreshold)/100, id, c.Name)
	out.Gauge(descUsed, float64(h.UsedPercent)/100, id, c.Name)
	if days, ok := d.DaysLeft(); ok {
		out.Gauge(descLifeLeft, days*24*60*60, id, c.Name)
	}
	out.Counter(descRead, float64(h.BytesRead), id, c.Name)
	out.Counter(descWritten, float64(h.BytesWritten), id, c.Name)
	out.Counter(descPowerOn, h.PowerOn.Seconds(), id, c.Name)
	out.Counter(descPowerCycles, float64(h.PowerCycles), id, c.Name)
	out.Counter(descUnsafe, float64(h.UnsafeShutdowns), id, c.Name)
	out.Counter(descMediaErrors, float64(h.MediaErrors), id, c.Name)
	out.Counter(descBusy, h.Busy.Seconds(), id, c.Name)
	out.Counter(descReads, float64(h.ReadCommands), id, c.Name)
	out.Counter(descWrites, float64(h.Writes), id, c.Name)
	out.Counter(descHot, h.WarningTime.Seconds(), id, c.Name, "warning")
	out.Counter(descHot, h.CriticalTime.Seconds(), id, c.Name, "critical")
	out.Counter(descErrorLog, float64(h.ErrorLogEntries), id, c.Name)
	if test := reading.Data.LastTest(); test != nil && test.Result != smart.TestAborted {
		out.Truth(descSelfTest, test.Result == smart.TestPassed, id, c.Name)
	}
}
