package disk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/smart"
)

// newHealth returns the keeper of what drives say of themselves; nil where that is switched off, or where sysfs is moved
// and /dev is not: the drives of another tree must not be looked for on this machine.
func newHealth(h *host.Host, policy Policy, now func() time.Time) *smart.Keeper {
	d := host.DefaultPaths()
	if !policy.Health || h.Sysfs != d.Sysfs && h.Dev == d.Dev {
		return nil
	}
	return &smart.Keeper{Every: time.Duration(policy.HealthInterval), Now: now, Open: func(path string) (smart.Device, error) {
		if info, err := os.Stat(path); err == nil && info.IsDir() && h.Dev != d.Dev {
			return smart.OpenRecorded(path)
		}
		return smart.Open(path)
	}}
}

// health asks a live controller, and waits for half of the time that its attributes may take.
func (o *Observer) health(c *Controller) {
	if o.smart == nil || c.State != "live" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.timeout/2)
	defer cancel()
	c.Health = o.smart.Get(ctx, c.healthKey(), filepath.Join(o.host.Dev, c.Name))
	if data := c.Health.Data; data != nil && data.Identity.Serial != c.Serial && data.Identity.Serial != "" {
		// The number was given to another drive between the two reads.
		c.Health = smart.Reading{Err: fmt.Errorf("the answer is of another drive, %s", data.Identity.Serial)}
	}
	if errors.Is(c.Health.Err, os.ErrNotExist) {
		c.Health.Err = nil // a fixture, or a drive that went meanwhile; sysfs tells which
	}
}

// healthKey is one drive in one place: a number that is given to another drive is another key.
func (c *Controller) healthKey() string { return c.Name + " " + c.Serial }

// forgetHealth drops the answers of drives that are gone.
func (o *Observer) forgetHealth(functions []Function) {
	if o.smart == nil {
		return
	}
	var keys []string
	for _, fn := range functions {
		for i := range fn.Controllers {
			keys = append(keys, fn.Controllers[i].healthKey())
		}
	}
	o.smart.Keep(keys)
}

// healthSource is where a health finding's evidence is from.
func healthSource(c *Controller) string { return "SMART log of " + c.Name }

// checkHealth are the findings from what the drive says of itself.
func (c *diagnosis) checkHealth(p Policy) []finding.Finding {
	ctrl := c.d.Controller()
	if ctrl == nil || ctrl.Health.Data == nil {
		return nil
	}
	data := ctrl.Health.Data
	var out []finding.Finding
	for _, check := range []func(*Controller, *smart.Data) (finding.Finding, bool){criticalWarning, readOnlyMedia, c.mediaErrors, temperature, selfTest} {
		if found, ok := check(ctrl, data); ok {
			out = append(out, found)
		}
	}
	if found, ok := c.wear(ctrl, data, p); ok {
		out = append(out, found)
	}
	return out
}

var saveData = finding.Remedy{Title: "copy what is on it to another drive, then replace it", Risk: finding.RiskNone}

func criticalWarning(ctrl *Controller, data *smart.Data) (finding.Finding, bool) {
	// The temperature and read-only media have findings of their own.
	w := data.Health.Warnings &^ (smart.WarnTemperature | smart.WarnReadOnly)
	if w == 0 {
		return finding.Finding{}, false
	}
	out := finding.Finding{
		Code: finding.NVMeCriticalWarning, Severity: finding.Fail, Title: "the drive warns of its own failure: " + strings.Join(w.Names(), ", "), Confidence: finding.Certain,
		Evidence: []finding.Evidence{{Source: healthSource(ctrl), Text: fmt.Sprintf("critical warning 0x%02x, spare %d %% (threshold %d %%), media errors %d", uint8(data.Health.Warnings), data.Health.SparePercent, data.Health.SpareThreshold, data.Health.MediaErrors)}},
		Remedies: []finding.Remedy{saveData, {Title: "see the drive's own log", Risk: finding.RiskNone, Commands: []string{"nvme smart-log /dev/" + ctrl.Name, "nvme error-log /dev/" + ctrl.Name}}},
	}
	switch {
	case w&smart.WarnReliability != 0:
		out.Cause = "errors of its media or of itself degrade its reliability"
	case w&smart.WarnSpare != 0:
		out.Cause = "its spare blocks are almost used up"
	default:
		out.Cause = "the memory that saves data at a power failure does not work"
	}
	return out, true
}

func readOnlyMedia(ctrl *Controller, data *smart.Data) (finding.Finding, bool) {
	if data.Health.Warnings&smart.WarnReadOnly == 0 {
		return finding.Finding{}, false
	}
	return finding.Finding{
		Code: finding.NVMeReadOnly, Severity: finding.Fail, Title: "the drive has made its media read-only",
		Cause: "it protects the data that are still readable; it does not come back from that", Confidence: finding.Certain,
		Evidence: []finding.Evidence{{Source: healthSource(ctrl), Text: fmt.Sprintf("critical warning 0x%02x, life used %d %%", uint8(data.Health.Warnings), data.Health.UsedPercent)}},
		Remedies: []finding.Remedy{saveData},
	}, true
}

func (c *diagnosis) mediaErrors(ctrl *Controller, data *smart.Data) (finding.Finding, bool) {
	if data.Health.MediaErrors == 0 {
		return finding.Finding{}, false
	}
	out := finding.Finding{
		Code: finding.NVMeMediaErrors, Severity: finding.Warn, Title: fmt.Sprintf("the drive could not read %d times what it had written", data.Health.MediaErrors),
		Cause: "blocks that its error correction cannot restore", Confidence: finding.Certain,
		Evidence: []finding.Evidence{{Source: healthSource(ctrl), Text: fmt.Sprintf("media errors %d, error log entries %d", data.Health.MediaErrors, data.Health.ErrorLogEntries)}},
		Remedies: []finding.Remedy{
			{Title: "check that backups and redundancy are whole", Risk: finding.RiskNone, Commands: []string{"zpool status -x", "nvme error-log /dev/" + ctrl.Name}},
			{Title: "replace the drive when the count grows", Risk: finding.RiskNone},
		},
	}
	if i := slices.IndexFunc(data.Errors, func(e smart.ErrorEntry) bool { return smart.IsMediaError(e.Status) }); i >= 0 {
		e := data.Errors[i]
		out.Evidence = append(out.Evidence, finding.Evidence{
			Source: "error log of " + ctrl.Name, Text: fmt.Sprintf("newest: %s at block %d of namespace %d (entry %d)", smart.StatusText(e.Status), e.LBA, e.Namespace, e.Count),
		})
	}
	if e, ok := c.last(EventMediaError); ok {
		out.Evidence = append(out.Evidence, logEvidence(e))
	}
	return out, true
}

func temperature(ctrl *Controller, data *smart.Data) (finding.Finding, bool) {
	h, id := data.Health, data.Identity
	out := finding.Finding{
		Code: finding.NVMeTemperature, Severity: finding.Warn, Confidence: finding.Certain,
		Evidence: []finding.Evidence{{Source: healthSource(ctrl), Text: fmt.Sprintf("%d °C; the drive warns at %s and is critical at %s; so far %s and %s beyond them", h.Celsius, celsius(id.WarnCelsius), celsius(id.CriticalCelsius), h.WarningTime, h.CriticalTime)}},
		Remedies: []finding.Remedy{{Title: "give it air or a heat sink", Risk: finding.RiskNone}},
	}
	switch {
	case id.CriticalCelsius > 0 && h.Celsius >= id.CriticalCelsius:
		out.Severity, out.Title, out.Cause = finding.Fail, fmt.Sprintf("the drive has %d °C, beyond its critical limit", h.Celsius), "too little cooling; the drive may shut itself down"
	case id.WarnCelsius > 0 && h.Celsius >= id.WarnCelsius, h.Warnings&smart.WarnTemperature != 0:
		out.Title, out.Cause = fmt.Sprintf("the drive has %d °C, beyond its limit", h.Celsius), "too little cooling; the drive makes itself slower"
	default:
		return finding.Finding{}, false
	}
	return out, true
}

func celsius(limit int) string {
	if limit == 0 {
		return "-"
	}
	return fmt.Sprintf("%d °C", limit)
}

func selfTest(ctrl *Controller, data *smart.Data) (finding.Finding, bool) {
	test := data.LastTest()
	if test == nil || test.Result != smart.TestFailed {
		return finding.Finding{}, false
	}
	return finding.Finding{
		Code: finding.NVMeSelfTest, Severity: finding.Fail, Title: fmt.Sprintf("the drive failed its last self-test (%s)", test.Kind),
		Cause: "the drive found a fault in itself", Confidence: finding.Certain,
		Evidence: []finding.Evidence{{Source: healthSource(ctrl), Text: fmt.Sprintf("failed after %.0f hours of power-on; now %.0f", test.At.Hours(), data.Health.PowerOn.Hours())}},
		Remedies: []finding.Remedy{saveData, {Title: "test again", Risk: finding.RiskLow, Commands: []string{"nvme device-self-test /dev/" + ctrl.Name + " --self-test-code=2"}}},
	}, true
}

// wear returns the finding of a drive whose rated life is used up, or will be soon.
func (c *diagnosis) wear(ctrl *Controller, data *smart.Data, p Policy) (finding.Finding, bool) {
	used := data.Health.UsedPercent
	days, forecast := c.d.DaysLeft()
	soon := forecast && days < float64(p.WearDays)
	if used < p.WearPercent && !soon {
		return finding.Finding{}, false
	}
	out := finding.Finding{
		Code: finding.NVMeWear, Severity: finding.Warn, Title: fmt.Sprintf("%d %% of the drive's rated life is used", used),
		Cause: "its cells were written so often", Confidence: finding.Certain,
		Evidence: []finding.Evidence{{Source: healthSource(ctrl), Text: fmt.Sprintf("life used %d %%, %.1f TB written in %.0f hours of power-on, spare %d %%", used, float64(data.Health.BytesWritten)/1e12, data.Health.PowerOn.Hours(), data.Health.SparePercent)}},
		Remedies: []finding.Remedy{{Title: "plan its replacement, and see what writes so much", Risk: finding.RiskNone, Commands: []string{"iostat -dx 5 " + ctrl.disks()}}},
	}
	if forecast {
		out.Evidence = append(out.Evidence, finding.Evidence{Source: "labd's memory", Text: fmt.Sprintf("%.2f %% a day lately: %.0f days to 100 %%", c.d.wearPerDay(), max(0, days))})
	}
	return out, true
}

// disks are the names of a controller's block devices; its own where it has none.
func (c *Controller) disks() string {
	var names []string
	for _, ns := range c.Namespaces {
		names = append(names, ns.Device)
	}
	return cmp.Or(strings.Join(names, " "), c.Name)
}

// wearPerDay is how many percent of the rated life a day took, by the samples of the last 30 days; 0 when they do not tell.
func (d Drive) wearPerDay() float64 {
	if d.Known == nil || len(d.Known.Samples) < 2 {
		return 0
	}
	first, last := d.Known.Samples[0], d.Known.Samples[len(d.Known.Samples)-1]
	days := last.At.Sub(first.At).Hours() / 24
	if days < 1 || last.UsedPercent <= first.UsedPercent {
		return 0
	}
	return float64(last.UsedPercent-first.UsedPercent) / days
}

// WearPerDay is the percentage of the rated life that a day takes lately; ok is false where that is not known.
func (d Drive) WearPerDay() (percent float64, ok bool) {
	v := d.wearPerDay()
	return v, v > 0
}

// DaysLeft is how many days are left to 100 % of the rated life, at the pace of the last 30 days; ok is false where they do
// not tell.
func (d Drive) DaysLeft() (days float64, ok bool) {
	pace := d.wearPerDay()
	if pace == 0 {
		return 0, false
	}
	return float64(100-d.Known.Samples[len(d.Known.Samples)-1].UsedPercent) / pace, true
}
