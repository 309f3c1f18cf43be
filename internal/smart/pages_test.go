package smart

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// healthPage is a log page 02h with a few fields set.
func healthPage(set func(page []byte)) []byte {
	page := make([]byte, healthSize)
	binary.LittleEndian.PutUint16(page[1:], 318) // 45 °C
	page[3], page[4], page[5] = 100, 10, 3
	binary.LittleEndian.PutUint64(page[32:], 2)
	binary.LittleEndian.PutUint64(page[48:], 4)
	binary.LittleEndian.PutUint64(page[112:], 17)
	binary.LittleEndian.PutUint64(page[128:], 8760)
	binary.LittleEndian.PutUint64(page[144:], 5)
	binary.LittleEndian.PutUint16(page[200:], 320)
	if set != nil {
		set(page)
	}
	return page
}

func TestParseHealth(t *testing.T) {
	h, err := ParseHealth(healthPage(func(page []byte) {
		page[0] = 0x09
		page[5] = 130
		binary.LittleEndian.PutUint64(page[160:], 7)
		binary.LittleEndian.PutUint32(page[192:], 12)
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := &Health{
		Warnings: WarnSpare | WarnReadOnly, Celsius: new(45), Sensors: map[int]int{1: 47}, SparePercent: 100, SpareThreshold: 10, UsedPercent: 130,
		BytesRead: 1024000, BytesWritten: 2048000, PowerCycles: 17, PowerOn: 8760 * time.Hour, UnsafeShutdowns: 5, MediaErrors: 7, WarningTime: 12 * time.Minute,
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"spare", "read-only"}, h.Warnings.Names()); diff != "" {
		t.Error(diff)
	}
}

// Counts of 128 bits and times that no Duration holds stop at the largest.
func TestHealthSaturates(t *testing.T) {
	h, err := ParseHealth(healthPage(func(page []byte) {
		page[56] = 1                                               // 2^64 units
		binary.LittleEndian.PutUint64(page[32:], math.MaxUint64/2) // times the unit
		binary.LittleEndian.PutUint64(page[128:], math.MaxUint64)
	}))
	if err != nil {
		t.Fatal(err)
	}
	if h.BytesWritten != math.MaxUint64 || h.BytesRead != math.MaxUint64 || h.PowerOn != math.MaxInt64 {
		t.Errorf("got %d, %d, %d", h.BytesWritten, h.BytesRead, h.PowerOn)
	}
}

// Zeros are no healthy drive.
func TestNoData(t *testing.T) {
	if _, err := ParseHealth(make([]byte, healthSize)); !errors.Is(err, ErrNoData) {
		t.Errorf("health: %v", err)
	}
	if _, err := ParseIdentity(make([]byte, identifySize)); !errors.Is(err, ErrNoData) {
		t.Errorf("identity: %v", err)
	}
	if _, err := ParseFirmware(make([]byte, firmwareSize)); !errors.Is(err, ErrNoData) {
		t.Errorf("firmware: %v", err)
	}
	if entries := ParseErrors(make([]byte, 4*errorSize)); len(entries) != 0 {
		t.Errorf("errors: %v", entries)
	}
	for _, short := range []int{0, 1, healthSize - 1} {
		if _, err := ParseHealth(make([]byte, short)); err == nil || errors.Is(err, ErrNoData) {
			t.Errorf("%d bytes: %v", short, err)
		}
	}
}

func TestParseSelfTests(t *testing.T) {
	page := make([]byte, selfTestSize)
	for i := range 20 {
		page[4+28*i] = 0xf // never used
	}
	page[0], page[1] = 0x2, 0x80|40
	page[4] = 0x27
	binary.LittleEndian.PutUint64(page[8:], 100)
	page[32] = 0x10
	page[60] = 0x11
	got, err := ParseSelfTests(page)
	if err != nil {
		t.Fatal(err)
	}
	want := &SelfTests{Running: true, Percent: 40, Finished: []SelfTest{{"extended", TestFailed, 100 * time.Hour}, {"short", TestPassed, 0}, {"short", TestAborted, 0}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParseIdentityAndFirmware(t *testing.T) {
	id := make([]byte, identifySize)
	copy(id[4:], "S1                  ")
	copy(id[24:], "AIGO NVMe SSD P7000Z 2TB                ")
	copy(id[64:], "SN12345 ")
	id[256], id[262] = 1<<4, 63
	binary.LittleEndian.PutUint16(id[266:], 363)
	got, err := ParseIdentity(id)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Identity{Model: "AIGO NVMe SSD P7000Z 2TB", Serial: "S1", Firmware: "SN12345", WarnCelsius: 90, ErrorEntries: 64, SelfTest: true}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	slots := make([]byte, firmwareSize)
	slots[0] = 0x21
	copy(slots[8:], "SN12345 ")
	copy(slots[16:], "SN12346 ")
	fw, err := ParseFirmware(slots)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Firmware{Active: 1, Next: 2, Slots: map[int]string{1: "SN12345", 2: "SN12346"}}, fw); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParseErrors(t *testing.T) {
	page := make([]byte, 2*errorSize)
	binary.LittleEndian.PutUint64(page, 9)
	binary.LittleEndian.PutUint16(page[12:], 0x4005) // phase tag set
	binary.LittleEndian.PutUint32(page[24:], 1)
	if diff := cmp.Diff([]ErrorEntry{{Count: 9, Status: 0x2002, Namespace: 1}}, ParseErrors(page)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func FuzzPages(f *testing.F) {
	f.Add(healthPage(nil))
	f.Add(make([]byte, identifySize))
	f.Fuzz(func(t *testing.T, page []byte) {
		if h, err := ParseHealth(page); err == nil && (h.SparePercent > 255 || h.Busy < 0 || h.PowerOn < 0) {
			t.Errorf("impossible %+v", h)
		}
		_, _ = ParseIdentity(page)
		_, _ = ParseFirmware(page)
		_, _ = ParseSelfTests(page)
		_ = ParseErrors(page)
	})
}
