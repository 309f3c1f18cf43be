package disk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"labd/test/fixture"
)

func TestOtherDisks(t *testing.T) {
	dir, o := tree(t, fixture.P7000Z, "6.8.12-4-pve")
	const sda = "sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda"
	tweak(t, dir, map[string]string{
		sda + "/size": "7814037168\n", sda + "/dev": "8:0\n", sda + "/device/model": "WDC WD40EFRX-68N \n", sda + "/sda1/dev": "8:1\n", sda + "/sda1/partition": "1\n",
		"proc/self/mountinfo": "30 1 8:1 / /mnt/pve/hdd rw - ext4 /dev/sda1 rw\n",
	})
	if err := os.MkdirAll(filepath.Join(dir, "sys/block"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda", filepath.Join(dir, "sys/block/sda")); err != nil {
		t.Fatal(err)
	}
	got := o.OtherDisks(t.Context())
	if len(got) != 1 || got[0].Transport != "sata" || got[0].Model != "WDC WD40EFRX-68N" {
		t.Fatalf("%+v", got)
	}
	if text := got[0].String(); !strings.HasPrefix(text, "sda: sata, WDC WD40EFRX-68N, 4.00 TB") || !strings.Contains(text, "mount /mnt/pve/hdd") {
		t.Errorf("%s", text)
	}
}

func TestSmartctl(t *testing.T) {
	for text, want := range map[string]string{
		`{"smart_status":{"passed":true},"serial_number":"S1","model_name":"M"}`:      "passed",
		`{"smart_status":{"passed":false}}`:                                           "failed",
		`{"smartctl":{"messages":[{"string":"Device is in STANDBY mode, exit(2)"}]}}`: "asleep",
		`{"smartctl":{"messages":[{"string":"Unknown USB bridge [0x0bda:0x9210]"}]}}`: "not known: Unknown USB bridge [0x0bda:0x9210]",
		`{}`: "not known", ``: "smartctl gave no answer that labd can read", `[1]`: "smartctl gave no answer that labd can read",
	} {
		var d OtherDisk
		if d.read([]byte(text)); d.Health != want {
			t.Errorf("%s: %q", text, d.Health)
		}
	}
}

func FuzzSmartctl(f *testing.F) {
	f.Add([]byte(`{"smart_status":{"passed":true}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		d := OtherDisk{Name: "sda"}
		if d.read(text); d.Health == "" || d.String() == "" {
			t.Errorf("%q: nothing is said", text)
		}
	})
}
