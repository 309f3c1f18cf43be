package smart

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"
)

// ErrNoData says that a page holds only zeros, or only ones: the drive, or what stands between, did not answer. Zeros would read
// as a perfectly healthy drive, ones as one that is broken in every way.
var ErrNoData = errors.New("the page is no data: all its bits are the same")

// Warnings are the bits of the critical warning (NVM Express Base Specification, SMART / Health Information log page).
type Warnings uint8

// Bits of Warnings.
const (
	WarnSpare       Warnings = 1 << iota // available spare below its threshold
	WarnTemperature                      // a temperature beyond its threshold
	WarnReliability                      // media or internal errors degrade the subsystem
	WarnReadOnly                         // the media is read-only
	WarnBackup                           // the volatile memory's backup failed
	WarnPersistent                       // the persistent memory region is read-only or unreliable
)

var warningNames = []string{"spare", "temperature", "reliability", "read-only", "backup", "persistent-memory"}

// WarningNames are the words for all bits that mean something, from bit 0 on.
func WarningNames() []string { return slices.Clone(warningNames) }

// Names are the words for the bits that are set, in their order.
func (w Warnings) Names() []string {
	var names []string
	for i, name := range warningNames {
		if w&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if rest := w >> len(warningNames); rest != 0 {
		names = append(names, fmt.Sprintf("reserved bits 0x%02x", uint8(rest)<<len(warningNames)))
	}
	return names
}

// Health is log page 02h. Counts that do not fit are the largest that do.
type Health struct {
	Warnings Warnings
	// Celsius is the composite temperature; nil where the drive does not say, or cannot mean it. Sensors are the temperatures of
	// the sensors that the drive has, by number from 1.
	Celsius *int
	Sensors map[int]int
	// SparePercent is what is left of the spare blocks, SpareThreshold the percentage below which the drive warns.
	SparePercent, SpareThreshold int
	// UsedPercent is the manufacturer's estimate of the life used; it goes beyond 100, up to 255.
	UsedPercent               int
	BytesRead, BytesWritten   uint64
	ReadCommands, Writes      uint64
	Busy, PowerOn             time.Duration
	PowerCycles               uint64
	UnsafeShutdowns           uint64
	MediaErrors               uint64
	ErrorLogEntries           uint64
	WarningTime, CriticalTime time.Duration // with the composite temperature beyond its warning and critical limits
	// Doubts are values that cannot be right, one sentence each: nothing should be concluded from such a page.
	Doubts []string
}

const (
	healthSize   = 512
	errorSize    = 64
	firmwareSize = 512
	selfTestSize = 564
	identifySize = 4096
	dataUnit     = 1000 * 512 // bytes; the specification counts in thousands of 512-byte units
	kelvinAtZero = 273        // the field's degrees are whole kelvins; drives round 273.15 so
)

// count is a 128-bit little-endian number, the largest uint64 where it does not fit.
func count(page []byte) uint64 {
	if binary.LittleEndian.Uint64(page[8:]) != 0 {
		return math.MaxUint64
	}
	return binary.LittleEndian.Uint64(page)
}

func times(n, unit uint64) uint64 {
	high, low := bits.Mul64(n, unit)
	if high != 0 {
		return math.MaxUint64
	}
	return low
}

func duration(n uint64, unit time.Duration) time.Duration {
	if n > uint64(math.MaxInt64/unit) {
		return math.MaxInt64
	}
	return time.Duration(n) * unit
}

func zeros(page []byte) bool { return len(bytes.Trim(page, "\x00")) == 0 }

func ones(page []byte) bool { return len(bytes.Trim(page, "\xff")) == 0 }

// ParseHealth reads log page 02h, 512 bytes.
func ParseHealth(page []byte) (*Health, error) {
	if len(page) < healthSize {
		return nil, fmt.Errorf("health log: %d bytes, not %d", len(page), healthSize)
	}
	kelvin := binary.LittleEndian.Uint16(page[1:])
	if kelvin == 0 && zeros(page[128:144]) || ones(page[:192]) {
		return nil, fmt.Errorf("health log: %w", ErrNoData)
	}
	h := &Health{
		Warnings: Warnings(page[0]), SparePercent: int(page[3]), SpareThreshold: int(page[4]), UsedPercent: int(page[5]),
		BytesRead: times(count(page[32:]), dataUnit), BytesWritten: times(count(page[48:]), dataUnit),
		ReadCommands: count(page[64:]), Writes: count(page[80:]), Busy: duration(count(page[96:]), time.Minute),
		PowerCycles: count(page[112:]), PowerOn: duration(count(page[128:]), time.Hour), UnsafeShutdowns: count(page[144:]),
		MediaErrors: count(page[160:]), ErrorLogEntries: count(page[176:]),
		WarningTime:  duration(uint64(binary.LittleEndian.Uint32(page[192:])), time.Minute),
		CriticalTime: duration(uint64(binary.LittleEndian.Uint32(page[196:])), time.Minute),
		Sensors:      map[int]int{},
	}
	var impossible bool
	if h.Celsius, impossible = celsius(kelvin); impossible {
		h.doubt("a temperature of %d K", kelvin)
	}
	for i := range 8 {
		c, impossible := celsius(binary.LittleEndian.Uint16(page[200+2*i:]))
		if impossible {
			h.doubt("a temperature of %d K at sensor %d", binary.LittleEndian.Uint16(page[200+2*i:]), i+1)
		} else if c != nil {
			h.Sensors[i+1] = *c
		}
	}
	h.check()
	return h, nil
}

// Temperatures between which a drive can work and answer, in degrees Celsius, with much to spare.
const (
	coldest = -60
	hottest = 200
)

// celsius converts a temperature in kelvins; nil for 0, which stands for a sensor that is not there. impossible says that no drive
// has it.
func celsius(kelvin uint16) (c *int, impossible bool) {
	if kelvin == 0 {
		return nil, false
	}
	n := int(kelvin) - kelvinAtZero
	if n < coldest || n > hottest {
		return nil, true
	}
	return &n, false
}

func (h *Health) doubt(format string, args ...any) {
	h.Doubts = append(h.Doubts, fmt.Sprintf(format, args...))
}

// check looks for values that the specification does not have: percentages above 100 and bits that mean nothing. Life used goes
// to 255.
func (h *Health) check() {
	if rest := h.Warnings >> len(warningNames); rest != 0 {
		h.doubt("bits of the critical warning that mean nothing (0x%02x)", uint8(h.Warnings))
	}
	if h.SparePercent > 100 {
		h.doubt("%d %% of the spare blocks left", h.SparePercent)
	}
	if h.SpareThreshold > 100 {
		h.doubt("a threshold of %d %% for the spare blocks", h.SpareThreshold)
	}
	for name, n := range map[string]uint64{"power cycles": h.PowerCycles, "media errors": h.MediaErrors, "losses of power": h.UnsafeShutdowns, "error log entries": h.ErrorLogEntries} {
		if n == math.MaxUint64 {
			h.doubt("%s beyond all counting", name)
		}
	}
	if h.PowerOn > 100*365*24*time.Hour {
		h.doubt("more than 100 years of power-on")
	}
	slices.Sort(h.Doubts)
}

// since adds a doubt where a count runs backwards from an earlier page of the same drive.
func (h *Health) since(before *Health) {
	if h.PowerOn < before.PowerOn {
		h.doubt("%.0f hours of power-on after %.0f before", h.PowerOn.Hours(), before.PowerOn.Hours())
	}
	if h.BytesWritten < before.BytesWritten {
		h.doubt("fewer bytes written than before")
	}
	if h.MediaErrors < before.MediaErrors {
		h.doubt("%d media errors after %d before", h.MediaErrors, before.MediaErrors)
	}
}

// ErrorEntry is one entry of log page 01h.
type ErrorEntry struct {
	Count     uint64 // since the drive was made
	Queue     uint16
	Command   uint16
	Status    uint16 // without the phase tag
	LBA       uint64
	Namespace uint32
}

// ParseErrors reads log page 01h: the newest entry first. Unused entries are left out.
func ParseErrors(page []byte) []ErrorEntry {
	var entries []ErrorEntry
	for ; len(page) >= errorSize; page = page[errorSize:] {
		e := ErrorEntry{
			Count: binary.LittleEndian.Uint64(page), Queue: binary.LittleEndian.Uint16(page[8:]), Command: binary.LittleEndian.Uint16(page[10:]),
			Status: binary.LittleEndian.Uint16(page[12:]) >> 1, LBA: binary.LittleEndian.Uint64(page[16:]), Namespace: binary.LittleEndian.Uint32(page[24:]),
		}
		if e.Count != 0 {
			entries = append(entries, e)
		}
	}
	return entries
}

// Firmware is log page 03h.
type Firmware struct {
	Active int // slot, 1 to 7; 0 when the drive does not say
	Next   int // slot at the next reset; 0 for the active one
	Slots  map[int]string
}

// ParseFirmware reads log page 03h, 512 bytes.
func ParseFirmware(page []byte) (*Firmware, error) {
	if len(page) < firmwareSize {
		return nil, fmt.Errorf("firmware log: %d bytes, not %d", len(page), firmwareSize)
	}
	f := &Firmware{Active: int(page[0] & 7), Next: int(page[0] >> 4 & 7), Slots: map[int]string{}}
	for slot := 1; slot <= 7; slot++ {
		if text := ascii(page[8*slot : 8*slot+8]); text != "" {
			f.Slots[slot] = text
		}
	}
	if f.Active == 0 && len(f.Slots) == 0 {
		return nil, fmt.Errorf("firmware log: %w", ErrNoData)
	}
	return f, nil
}

// Results of a self-test.
const (
	TestPassed  = "passed"
	TestAborted = "aborted"
	TestFailed  = "failed"
)

// SelfTest is one result of log page 06h.
type SelfTest struct {
	Kind   string // short, extended, vendor; or the code
	Result string
	At     time.Duration // power-on time of the drive at its end
}

// SelfTests is log page 06h.
type SelfTests struct {
	Running  bool
	Percent  int // done, while one runs
	Finished []SelfTest
}

// ParseSelfTests reads log page 06h, 564 bytes: the newest result first.
func ParseSelfTests(page []byte) (*SelfTests, error) {
	if len(page) < selfTestSize {
		return nil, fmt.Errorf("self-test log: %d bytes, not %d", len(page), selfTestSize)
	}
	out := &SelfTests{Running: page[0]&0xf != 0}
	if out.Running {
		out.Percent = int(page[1] & 0x7f)
	}
	for i := range 20 {
		entry := page[4+28*i:]
		code, result := entry[0]>>4, entry[0]&0xf
		if result == 0xf || code == 0 { // never used
			continue
		}
		test := SelfTest{Kind: fmt.Sprintf("code %d", code), Result: TestAborted, At: duration(binary.LittleEndian.Uint64(entry[4:]), time.Hour)}
		switch code {
		case 1:
			test.Kind = "short"
		case 2:
			test.Kind = "extended"
		case 0xe:
			test.Kind = "vendor"
		}
		switch result {
		case 0:
			test.Result = TestPassed
		case 5, 6, 7:
			test.Result = TestFailed
		}
		out.Finished = append(out.Finished, test)
	}
	return out, nil
}

// Identity is what the drive says that it is (Identify Controller).
type Identity struct {
	Model, Serial, Firmware string
	// WarnCelsius and CriticalCelsius are the limits of the composite temperature, 0 when the drive has none.
	WarnCelsius, CriticalCelsius int
	// ErrorEntries is how many entries the error log has; SelfTest says that the drive has self-tests.
	ErrorEntries int
	SelfTest     bool
	// Bytes is the drive's capacity, 0 when it does not say.
	Bytes uint64
}

// ParseIdentity reads the data of Identify Controller, 4096 bytes.
func ParseIdentity(page []byte) (*Identity, error) {
	if len(page) < identifySize {
		return nil, fmt.Errorf("identify: %d bytes, not %d", len(page), identifySize)
	}
	if zeros(page[:280]) {
		return nil, fmt.Errorf("identify: %w", ErrNoData)
	}
	limit := func(at int) int {
		if c, _ := celsius(binary.LittleEndian.Uint16(page[at:])); c != nil {
			return *c
		}
		return 0
	}
	return &Identity{
		Serial: ascii(page[4:24]), Model: ascii(page[24:64]), Firmware: ascii(page[64:72]),
		SelfTest: page[256]&(1<<4) != 0, ErrorEntries: int(page[262]) + 1, WarnCelsius: limit(266), CriticalCelsius: limit(268), Bytes: count(page[280:]),
	}, nil
}

// ascii is a padded text field.
func ascii(field []byte) string {
	return strings.Trim(string(field), " \x00")
}
