package disk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
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
	if ctrl == nil {
		return nil
	}
	if ctrl.Health.Data == nil {
		if errors.Is(ctrl.Health.Err, smart.ErrNoData) {
			return []finding.Finding{doubtful(ctrl, ctrl.Health.Err.Error())}
		}
		return nil
	}
	data := ctrl.Health.Data
	var out []finding.Finding
	if doubts := data.Health.Doubts; len(doubts) > 0 {
		// Of a page with impossible values the others are not true either.
		out = append(out, doubtful(ctrl, "it has "+strings.Join(doubts, ", and ")))
		if found, ok := selfTest(ctrl, data); ok {
			out = append(out, found)
		}
		return out
	}
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

// trusted reports whether the drive said of its health what can be right.
func (c *diagnosis) trusted() bool {
	ctrl := c.d.Controller()
	return ctrl != nil && ctrl.Health.Data != nil && len(ctrl.Health.Data.Health.Doubts) == 0
}

// doubtful returns the finding of a health page that cannot be right.
func doubtful(ctrl *Controller, why string) finding.Finding {
	return finding.Finding{
		Code: finding.NVMeHealthDoubtful, Severity: finding.Info, Title: "what the drive says of its own health cannot be right, so labd concludes nothing from it", Confidence: finding.Likely,
		Cause:    "a fault of the drive's firmware, or an adapter or a virtual machine between that does not pass the page on",
		Evidence: []finding.Evidence{{Source: healthSource(ctrl), Text: why}},
		Remedies: []finding.Remedy{{Title: "compare with what other tools read, and look for newer firmware of the drive (package nvme-cli)", Risk: finding.RiskNone, Commands: []string{"apt install nvme-cli", "nvme smart-log /dev/" + ctrl.Name}}},
	}
}

var saveData = finding.Remedy{Title: "copy what is on it to another drive, then replace it", Risk: finding.RiskNone}

func criticalWarning(ctrl *Controller, data *smart.Data) (finding.Finding, bool) {
	// The temperature and read-only media have findings of their own.
	w := data.Health.Warnings &^ (smart.WarnTemperature | smart.WarnReadOnly)
	if w == 0 {
		return finding.Finding{}, false
	}
	if ended(data.Health) {
		return wornOut(ctrl, data), true
	}
	out := finding.Finding{
		Code: finding.NVMeCriticalWarning, Severity: finding.Fail, Title: "the drive warns of its own failure: " + strings.Join(w.Names(), ", "), Confidence: finding.Likely,
		Evidence: []finding.Evidence{{Source: healthSource(ctrl), Text: fmt.Sprintf("critical warning 0x%02x, spare %d %% (threshold %d %%), media errors %d", uint8(data.Health.Warnings), data.Health.SparePercent, data.Health.SpareThreshold, data.Health.MediaErrors)}},
		Remedies: []finding.Remedy{saveData, {Title: "see the drive's own log", Risk: finding.RiskNone, Commands: []string{"nvme smart-log /dev/" + ctrl.Name, "nvme error-log /dev/" + ctrl.Name}}},
	}
	switch {
	case w&smart.WarnReliability != 0:
		out.Cause = "errors of its media or inside it degrade its reliability; the drive does not say which"
	case w&smart.WarnSpare != 0:
		out.Cause, out.Confidence = "its spare blocks are almost used up", finding.Certain
	default:
		out.Cause = "the memory that saves data at a power failure does not work"
	}
	return out, true
}

// wornOut returns the finding of a drive that reports the end of its rated life by the bit for reliability, as some makers do:
// it still works.
func wornOut(ctrl *Controller, data *smart.Data) finding.Finding {
	h := data.Health
	return finding.Finding{
		Code: finding.NVMeCriticalWarning, Severity: finding.Warn, Title: fmt.Sprintf("the drive's rated life is used up (%s), and it says so by its bit \"reliability\"", usedText(h.UsedPercent)), Confidence: finding.Likely,
		Cause:    "its cells were written as often as it is rated for; it has no media errors and works on",
		Evidence: []finding.Evidence{{Source: healthSource(ctrl), Text: fmt.Sprintf("critical warning 0x%02x, life used %s, spare %d %% (threshold %d %%), media errors 0", uint8(h.Warnings), usedText(h.UsedPercent), h.SparePercent, h.SpareThreshold)}},
		Remedies: []finding.Remedy{{Title: "plan to replace the drive, and see what writes so much; keep backups meanwhile", Risk: finding.RiskNone, Commands: []string{"apt install sysstat", "iostat -dx 5 " + ctrl.disks()}}},
	}
}

// ended reports whether a drive says by the bit for reliability no more than that its rated life is over.
func ended(h *smart.Health) bool {
	return h.Warnings&^smart.WarnTemperature == smart.WarnReliability && h.UsedPercent >= 100 && h.MediaErrors == 0 && h.SparePercent >= h.SpareThreshold
}

// usedText is the life used in words: the field ends at 255.
func usedText(percent int) string {
	if percent >= 255 {
		return "at least 255 %, where its counter is full"
	}
	return fmt.Sprintf("%d %%", percent)
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
		Code: finding.NVMeMediaErrors, Severity: finding.Warn, Title: fmt.Sprintf("the drive met data %d times that it could not restore", data.Health.MediaErrors),
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
	for _, kind := range []EventKind{EventStatus, EventMediaError} {
		if e, ok := c.last(kind); ok {
			out.Evidence = append(out.Evidence, logEvidence(e))
		}
	}
	if since, ok := c.steady(data.Health.MediaErrors); ok {
		out.Severity = finding.Info
		out.Title += fmt.Sprintf(", none of them since %s", since.Format(time.DateOnly))
		out.Evidence = append(out.Evidence, finding.Evidence{Source: "labd's memory", Text: fmt.Sprintf("the count was the same on %s", since.Format(time.DateOnly))})
		out.Remedies = append(out.Remedies, finding.Remedy{Title: "silence this finding; it comes back as a warning when the count grows", Risk: finding.RiskNone, Commands: []string{"labctl silence nvme.media-errors nvme/" + c.d.Address}})
	}
	return out, true
}

// steadyDays is how long a count of media errors must not grow, until it is an old story.
const steadyDays = 7

// steady is since when a count of media errors has not grown, where that is long enough.
func (c *diagnosis) steady(errors uint64) (since time.Time, ok bool) {
	if c.d.Known == nil {
		return since, false
	}
	for _, s := range slices.Backward(c.d.Known.Samples) {
		if s.MediaErrors == nil || *s.MediaErrors != errors {
			break
		}
		since, ok = s.At, true
	}
	return since, ok && c.facts.At.Sub(since) >= steadyDays*24*time.Hour
}

func temperature(ctrl *Controller, data *smart.Data) (finding.Finding, bool) {
	h, id := data.Health, data.Identity
	if h.Celsius == nil {
		return finding.Finding{}, false
	}
	now := *h.Celsius
	out := finding.Finding{
		Code: finding.NVMeTemperature, Severity: finding.Warn, Confidence: finding.Certain,
		Evidence: []finding.Evidence{{Source: healthSource(ctrl), Text: fmt.Sprintf("%d °C; the drive warns at %s and is critical at %s; so far %s and %s beyond them", now, celsius(id.WarnCelsius), celsius(id.CriticalCelsius), h.WarningTime, h.CriticalTime) + sensorsText(h.Sensors)}},
		Remedies: []finding.Remedy{{Title: "give it air or a heat sink", Risk: finding.RiskNone}},
	}
	switch {
	case id.CriticalCelsius > 0 && now >= id.CriticalCelsius:
		out.Severity, out.Title, out.Cause = finding.Fail, fmt.Sprintf("the drive has %d °C, beyond its critical limit", now), "too little cooling; the drive may shut itself down"
	case id.WarnCelsius > 0 && now >= id.WarnCelsius, h.Warnings&smart.WarnTemperature != 0:
		out.Title, out.Cause = fmt.Sprintf("the drive has %d °C, beyond its limit", now), "too little cooling; the drive makes itself slower"
	default:
		return finding.Finding{}, false
	}
	return out, true
}

// sensorsText are the temperatures of the sensors behind the composite one, where there are some.
func sensorsText(sensors map[int]int) string {
	var out []string
	for _, n := range slices.Sorted(maps.Keys(sensors)) {
		out = append(out, fmt.Sprintf("sensor %d %d °C", n, sensors[n]))
	}
	if len(out) == 0 {
		return ""
	}
	return "; " + strings.Join(out, ", ")
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
	if used < p.WearPercent && !soon || ended(data.Health) {
		return finding.Finding{}, false
	}
	out := finding.Finding{
		Code: finding.NVMeWear, Severity: finding.Warn, Title: usedText(used) + " of the drive's rated life is used",
		Cause: "its cells were written so often", Confidence: finding.Certain,
		Evidence: []finding.Evidence{{Source: healthSource(ctrl), Text: fmt.Sprintf("life used %s, %.1f TB written in %.0f hours of power-on, spare %d %%", usedText(used), float64(data.Health.BytesWritten)/1e12, data.Health.PowerOn.Hours(), data.Health.SparePercent)}},
		Remedies: []finding.Remedy{{Title: "plan its replacement, and see what writes so much", Risk: finding.RiskNone, Commands: []string{"apt install sysstat", "iostat -dx 5 " + ctrl.disks()}}},
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
