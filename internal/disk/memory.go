package disk

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"labd/internal/layer"
	"labd/internal/smart"
	"labd/internal/statefile"
)

// memoryVersion is the format of nvme-drives.json.
const memoryVersion = 1

// Bounds of the memory, so that no drive can fill the disk.
const (
	maxKnown     = 256
	maxIncidents = 64 // of one slot
	maxSamples   = 32 // of one drive, one a day
	incidentAge  = 90 * 24 * time.Hour
	sampleAge    = 30 * 24 * time.Hour
	// saveEvery is how often the memory is written for the sake of last-seen times alone.
	saveEvery = time.Hour
)

// Known is a drive that was seen on this host. Its identity is model and serial number: namespace ids vanish on quirky
// drives.
type Known struct {
	Model    string `json:"model"`
	Serial   string `json:"serial"`
	Firmware string `json:"firmware,omitempty"`
	PCIID    string `json:"pciId"`
	// Address is the PCI function that it was last seen at.
	Address string    `json:"address"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	// Port is the port that it was plugged into, Release the kernel under which it was last seen; "" in what former versions
	// wrote.
	Port    string `json:"port,omitempty"`
	Release string `json:"release,omitempty"`
	// Contents are what was on it.
	Contents []layer.Layer `json:"contents,omitempty"`
	Samples  []Sample      `json:"samples,omitempty"`
}

// Sample is the wear of a drive on one day.
type Sample struct {
	At           time.Time `json:"at"`
	UsedPercent  int       `json:"usedPercent"`
	BytesWritten uint64    `json:"bytesWritten"`
	// MediaErrors is the count of media errors; nil in what former versions wrote.
	MediaErrors *uint64 `json:"mediaErrors,omitempty"`
}

// Incident is something that happened to a drive, kept by slot and by drive.
type Incident struct {
	At      time.Time     `json:"at"`
	Boot    string        `json:"boot,omitempty"` // boot id
	Since   time.Duration `json:"since"`          // since that boot, in nanoseconds
	Address string        `json:"address"`
	// Serial is the drive's, where it was known.
	Serial string    `json:"serial,omitempty"`
	Kind   EventKind `json:"kind"`
	Text   string    `json:"text"`
}

// Memory remembers drives and incidents across restarts, in nvme-drives.json below the state directory.
type Memory struct {
	file     *statefile.File
	mayWrite func() bool // nil: always

	mu      sync.Mutex
	read    bool
	loadErr error // why what was remembered cannot be read
	data    memoryData
	saved   time.Time
	boot    string // the boot's id of the last observation
}

type memoryData struct {
	Drives    []Known    `json:"drives"`
	Incidents []Incident `json:"incidents,omitempty"`
	Forgotten []place    `json:"forgotten,omitempty"`
}

// place is where a drive was that was forgotten, and in which boot: that boot's log still names it.
type place struct {
	Boot    string `json:"boot"`
	Address string `json:"address"`
}

// Remembered is a copy of what is remembered.
type Remembered struct {
	Drives    []Known
	Incidents []Incident
	// Forgotten are the PCI addresses of drives that were forgotten in this boot.
	Forgotten []string
}

// NewMemory returns the memory below dir. mayWrite reports whether this labd may write it; nil stands for always.
func NewMemory(dir string, mayWrite func() bool) *Memory {
	return &Memory{mayWrite: mayWrite, file: statefile.New(filepath.Join(dir, "nvme-drives.json"), memoryVersion)}
}

func (m *Memory) load() {
	if m.read {
		return
	}
	m.read = true
	m.loadErr = m.file.Load(func(_ int, data []byte) error { return json.Unmarshal(data, &m.data) })
}

// Recall returns what is remembered, and why not all of it can be read.
func (m *Memory) Recall() (Remembered, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.load()
	return m.copy(), m.loadErr
}

// copy is deep enough: what it points to is never changed, only exchanged.
func (m *Memory) copy() Remembered {
	out := Remembered{Drives: slices.Clone(m.data.Drives), Incidents: slices.Clone(m.data.Incidents)}
	for _, p := range m.data.Forgotten {
		if p.Boot == m.boot {
			out.Forgotten = append(out.Forgotten, p.Address)
		}
	}
	return out
}

// Note takes what an observation saw into the memory. It writes when something new was seen, else once an hour.
func (m *Memory) Note(f *Facts) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.load()
	changed := false
	m.boot = f.Boot
	for i := range f.Functions {
		fn := &f.Functions[i]
		for j := range fn.Controllers {
			changed = m.noteDrive(f, fn, &fn.Controllers[j]) || changed
		}
	}
	changed = m.noteIncidents(f) || changed
	if !changed && f.At.Sub(m.saved) < saveEvery && !f.At.Before(m.saved) {
		return nil
	}
	m.saved = f.At
	if m.mayWrite != nil && !m.mayWrite() {
		return nil
	}
	if len(m.data.Drives) == 0 && len(m.data.Incidents) == 0 && len(m.data.Forgotten) == 0 {
		return nil
	}
	if err := m.file.Save(m.data); err != nil {
		return fmt.Errorf("remember NVMe drives: %w", err)
	}
	return nil
}

// knows reports whether a drive was last seen at an address.
func (m *Memory) knows(address string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.load()
	return slices.ContainsFunc(m.data.Drives, func(k Known) bool { return k.Address == address })
}

func (m *Memory) find(model, serial string) *Known {
	for i := range m.data.Drives {
		if m.data.Drives[i].Model == model && m.data.Drives[i].Serial == serial {
			return &m.data.Drives[i]
		}
	}
	return nil
}

// noteDrive reports whether something other than the time is new.
func (m *Memory) noteDrive(f *Facts, fn *Function, c *Controller) (changed bool) {
	at := f.At
	if c.Serial == "" {
		return false
	}
	k := m.find(c.Model, c.Serial)
	if k == nil {
		if len(m.data.Drives) >= maxKnown {
			return false
		}
		m.data.Drives = append(m.data.Drives, Known{Model: c.Model, Serial: c.Serial, First: at})
		k, changed = &m.data.Drives[len(m.data.Drives)-1], true
	}
	changed = changed || k.Address != fn.Address || k.Firmware != c.Firmware || k.PCIID != pciID(*fn) || k.Port != fn.Port.Address || k.Release != f.Release
	k.Port, k.Release = fn.Port.Address, f.Release
	k.Address, k.Firmware, k.PCIID, k.Last = fn.Address, c.Firmware, pciID(*fn), at
	// What was on it stays known while it cannot be read.
	if contents := c.contents(); len(contents) > 0 && !slices.Equal(contents, k.Contents) {
		k.Contents, changed = contents, true
	}
	if data := c.Health.Data; data != nil && len(data.Health.Doubts) == 0 {
		changed = k.sample(at, data.Health) || changed
	}
	return changed
}

// sample keeps one value a day.
func (k *Known) sample(at time.Time, h *smart.Health) bool {
	if n := len(k.Samples); n > 0 && at.Sub(k.Samples[n-1].At) < 24*time.Hour {
		if at.Before(k.Samples[n-1].At) { // the clock was set back
			k.Samples = nil
		} else {
			return false
		}
	}
	errors := h.MediaErrors
	k.Samples = append(slices.Clone(k.Samples), Sample{at, h.UsedPercent, h.BytesWritten, &errors}) // a copy, since what Recall gave is never changed
	k.Samples = slices.DeleteFunc(k.Samples, func(s Sample) bool { return at.Sub(s.At) > sampleAge })
	if n := len(k.Samples); n > maxSamples {
		k.Samples = slices.Clone(k.Samples[n-maxSamples:])
	}
	return true
}

// incidentKinds are the events that are kept.
var incidentKinds = []EventKind{
	EventDown, EventDisabled, EventInaccessible, EventPowerRefused, EventBusError, EventInternalError, EventNotReady, EventTimeout, EventMediaError, EventIOError,
}

// incidentKey tells one incident from another: the kernel log and the journal have it with the same time since boot.
type incidentKey struct {
	boot, address string
	kind          EventKind
	since         time.Duration
}

func (m *Memory) noteIncidents(f *Facts) (changed bool) {
	seen := map[incidentKey]bool{}
	m.data.Incidents = slices.DeleteFunc(m.data.Incidents, func(i Incident) bool { return f.At.Sub(i.At) > incidentAge })
	for _, i := range m.data.Incidents {
		seen[incidentKey{i.Boot, i.Address, i.Kind, i.Since}] = true
	}
	note := func(e Event, boot string, at time.Time, serial func() string) {
		k := incidentKey{boot, e.Address, e.Kind, e.Time}
		if e.Address == "" || !slices.Contains(incidentKinds, e.Kind) || e.Kind == EventTimeout && e.Operation == "completion polled" || seen[k] || f.At.Sub(at) > incidentAge {
			return
		}
		seen[k], changed = true, true
		m.data.Incidents = append(m.data.Incidents, Incident{At: at, Boot: boot, Since: e.Time, Address: e.Address, Serial: serial(), Kind: e.Kind, Text: e.Text})
	}
	for _, e := range f.Past {
		if e.Boot != f.Boot { // this boot's are in the kernel log, with what the journal adds to it
			note(e.Event, e.Boot, e.At, func() string { return m.serialThen(e.Address, e.At) })
		}
	}
	for _, e := range f.Log {
		note(e, f.Boot, f.at(e), func() string { return m.serialAt(f, e.Address) })
	}
	if changed {
		m.data.Incidents = newest(m.data.Incidents)
	}
	return changed
}

// newest sorts incidents by time and keeps the newest of each slot.
func newest(incidents []Incident) []Incident {
	slices.SortStableFunc(incidents, func(a, b Incident) int { return a.At.Compare(b.At) })
	slots := map[string]int{}
	var out []Incident
	for _, i := range slices.Backward(incidents) {
		if slots[i.Address]++; slots[i.Address] <= maxIncidents {
			out = append(out, i)
		}
	}
	slices.Reverse(out)
	return out
}

// at is when an event happened by the clock; the time of the observation where the uptime is not known.
func (f *Facts) at(e Event) time.Time {
	if f.System.Uptime < e.Time {
		return f.At
	}
	return f.At.Add(e.Time - f.System.Uptime).Round(time.Second)
}

// serialAt is the serial number of the drive in a slot: of the one that is there, else of the one that was there last.
func (m *Memory) serialAt(f *Facts, address string) string {
	for _, fn := range f.Functions {
		if fn.Address == address && len(fn.Controllers) > 0 && fn.Controllers[0].Serial != "" {
			return fn.Controllers[0].Serial
		}
	}
	last := Known{}
	for _, k := range m.data.Drives {
		if k.Address == address && k.Last.After(last.Last) {
			last = k
		}
	}
	return last.Serial
}

// Forget drops a drive that is gone for good, by serial number; its incidents stay with the slot. It fails with
// ErrNotRemembered.
func (m *Memory) Forget(serial string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.load()
	keep := slices.DeleteFunc(slices.Clone(m.data.Drives), func(k Known) bool { return k.Serial == serial })
	if serial == "" || len(keep) == len(m.data.Drives) {
		return fmt.Errorf("%w with serial number %q", ErrNotRemembered, serial)
	}
	before := m.data
	for _, k := range m.data.Drives {
		if k.Serial == serial {
			m.data.Forgotten = append(slices.DeleteFunc(slices.Clone(m.data.Forgotten), func(p place) bool { return p.Boot != m.boot }), place{m.boot, k.Address})
		}
	}
	m.data.Drives = keep
	if err := m.file.Save(m.data); err != nil {
		m.data = before
		return fmt.Errorf("forget drive %s: %w", serial, err)
	}
	return nil
}

// serialThen is the serial number of the drive that was in a slot at a time: the one that was last seen there and was
// known by then; "" when none is remembered, as of a time before labd.
func (m *Memory) serialThen(address string, at time.Time) string {
	for _, k := range m.data.Drives {
		if k.Address == address && !at.Before(k.First) && !at.After(k.Last) {
			return k.Serial
		}
	}
	return ""
}
