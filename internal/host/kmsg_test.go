package host

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseKmsg(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     KernelRecord
		ok       bool
	}{
		{
			"kernel record with dictionary", "3,815,3328447,-;nvme nvme1: Device not ready; aborting initialisation, CSTS=0x0\n SUBSYSTEM=nvme\n DEVICE=c242:0\n",
			KernelRecord{3, 815, 3328447 * time.Microsecond, "nvme nvme1: Device not ready; aborting initialisation, CSTS=0x0"},
			true,
		},
		{"user space record", "11,816,3328448,-;nvme nvme1: Device not ready; aborting initialisation, CSTS=0x0\n", KernelRecord{}, false},
		{"escaped byte", `6,1,0,-;a\x1b[31mb` + "\n", KernelRecord{6, 1, 0, "a\x1b[31mb"}, true},
		{"no text", "6,1,0,-", KernelRecord{}, false},
		{"not numbers", "x,y,z;text", KernelRecord{}, false},
		{"negative time", "6,1,-5,-;text", KernelRecord{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := ParseKmsg([]byte(tt.in))
			if ok != tt.ok || ok && got != tt.want {
				t.Errorf("got %+v, %v; want %+v, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

func TestKernelLogFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dmesg")
	paths := DefaultPaths()
	paths.Kmsg = file
	log := New(paths, "").KernelLog()
	defer log.Close()
	if _, _, _, err := log.Poll(); err == nil {
		t.Error("no error for a missing kernel log")
	}
	text := "<3>[    3.328447] nvme nvme1: first\n<13>[    3.4] nvme nvme1: from user space\n[    4.5] bare\nno time\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	records, _, whole, err := log.Poll()
	want := []KernelRecord{{3, 0, 3328447 * time.Microsecond, "nvme nvme1: first"}, {-1, 0, 4500 * time.Millisecond, "bare"}}
	if diff := cmp.Diff(want, records); diff != "" || err != nil || !whole {
		t.Errorf("whole %v, err %v, -want +got:\n%s", whole, err, diff)
	}
	if records, _, whole, err := log.Poll(); len(records) != 0 || whole || err != nil {
		t.Errorf("unchanged file: %v, %v, %v", records, whole, err)
	}
}

// The machine's own log, where there is one: reading to its end must not block.
func TestKernelLogDevice(t *testing.T) {
	if _, err := os.ReadFile("/proc/self/status"); err != nil || os.Geteuid() != 0 {
		t.Skip("reading /dev/kmsg needs root")
	}
	log := New(DefaultPaths(), "").KernelLog()
	defer log.Close()
	first, _, whole, err := log.Poll()
	if err != nil || !whole || len(first) == 0 {
		t.Fatalf("%d records, whole %v, %v", len(first), whole, err)
	}
	if _, _, whole, err := log.Poll(); whole || err != nil {
		t.Errorf("second poll: whole %v, %v", whole, err)
	}
}

func FuzzParseKmsg(f *testing.F) {
	f.Add([]byte("3,815,3328447,-;nvme nvme1: text\n SUBSYSTEM=nvme\n"))
	f.Add([]byte(`6,1,0,-;\x1b\x`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if rec, ok := ParseKmsg(b); ok && (rec.Level < 0 || rec.Level > 7 || rec.Time < 0) {
			t.Errorf("impossible record %+v", rec)
		}
	})
}

func FuzzParseDmesg(f *testing.F) {
	f.Add([]byte("<3>[    3.328447] nvme nvme1: x\n[NaN] y\n[1e99] z"))
	f.Fuzz(func(t *testing.T, b []byte) {
		records, _, _ := ParseDmesg(bytes.NewReader(b))
		for _, rec := range records {
			if rec.Time < 0 {
				t.Errorf("negative time %+v", rec)
			}
		}
	})
}
