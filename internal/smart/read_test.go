package smart

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// The kernel checks these sizes by the number of the ioctl.
func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(passthru{}); n != 72 {
		t.Errorf("struct nvme_passthru_cmd has 72 bytes, not %d", n)
	}
	if n := unsafe.Sizeof(passthru64{}); n != 80 {
		t.Errorf("struct nvme_passthru_cmd64 has 80 bytes, not %d", n)
	}
}

// record writes answers as a fixture tree has them.
func record(t *testing.T, pages map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, page := range pages {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(hex.EncodeToString(page)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func identity() []byte {
	id := make([]byte, 270)
	copy(id[4:], "S1")
	return id
}

// A page that the drive does not know is no problem; its health is what counts.
func TestReadRecorded(t *testing.T) {
	d, err := OpenRecorded(record(t, map[string][]byte{"identify": identity(), "log-02": healthPage(nil)}))
	if err != nil {
		t.Fatal(err)
	}
	data, err := Read(d)
	if err != nil || data.Health.Celsius == nil || *data.Health.Celsius != 45 || data.Identity.Serial != "S1" || data.Firmware != nil || len(data.Problems) != 0 {
		t.Errorf("got %+v, %v", data, err)
	}
	var status StatusError
	if d, err = OpenRecorded(record(t, map[string][]byte{"identify": identity()})); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(d); !errors.As(err, &status) {
		t.Errorf("without health: %v", err)
	}
	if d, err = OpenRecorded(record(t, map[string][]byte{"identify": identity(), "log-02": make([]byte, healthSize)})); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(d); !errors.Is(err, ErrNoData) {
		t.Errorf("health of zeros: %v", err)
	}
}

// A file that is no drive refuses the ioctl.
func TestOpenNoDrive(t *testing.T) {
	file := filepath.Join(t.TempDir(), "nvme0")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := Read(d); err == nil {
		t.Error("a file answered")
	}
	if _, err := Open(file + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// stuckDevice answers when it is let go.
type stuckDevice struct{ release chan struct{} }

func (stuckDevice) Close() error { return nil }

func (d stuckDevice) Admin(Command, []byte) error {
	<-d.release
	return errors.New("gone")
}

// A drive that does not answer is asked once, however often somebody wants to know, and costs each no more than their time.
func TestKeeperStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var opened atomic.Int32
		release := make(chan struct{})
		k := &Keeper{Every: time.Minute, Now: time.Now, Open: func(string) (Device, error) { opened.Add(1); return stuckDevice{release}, nil }}
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			start := time.Now()
			if r := k.Get(ctx, "S1", "/dev/nvme0"); !errors.Is(r.Err, ErrStuck) || time.Since(start) > time.Second {
				t.Errorf("got %v after %s", r.Err, time.Since(start))
			}
			cancel()
			<-time.After(5 * time.Minute) // fake clock
		}
		if opened.Load() != 1 || k.Stuck() != 1 {
			t.Errorf("opened %d times, %d stuck", opened.Load(), k.Stuck())
		}
		k.Keep(nil)
		if k.Stuck() != 1 {
			t.Error("a question without answer was forgotten")
		}
		close(release)
		synctest.Wait()
		if k.Stuck() != 0 {
			t.Error("still stuck after the answer")
		}
		k.Keep(nil)
		if len(k.drives) != 0 {
			t.Error("a drive that is gone is kept")
		}
	})
}

// Answers are kept for their time; a failure keeps the data that were there.
func TestKeeperAge(t *testing.T) {
	dir := record(t, map[string][]byte{"identify": identity(), "log-02": healthPage(nil)})
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	var opened atomic.Int32
	k := &Keeper{Every: time.Minute, Now: func() time.Time { return now }, Open: func(string) (Device, error) { opened.Add(1); return OpenRecorded(dir) }}
	for range 3 {
		if r := k.Get(t.Context(), "S1", ""); r.Err != nil || r.Data.Health.UsedPercent != 3 {
			t.Fatalf("got %+v", r)
		}
	}
	if opened.Load() != 1 {
		t.Errorf("asked %d times within the time", opened.Load())
	}
	if err := os.Remove(filepath.Join(dir, "log-02")); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Minute)
	if r := k.Get(t.Context(), "S1", ""); r.Err == nil || r.Data == nil || !r.At.Equal(now.Add(-2*time.Minute)) {
		t.Errorf("after a failure: %+v", r)
	}
}
