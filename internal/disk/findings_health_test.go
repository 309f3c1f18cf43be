package disk

import (
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/smart"
	"labd/test/fixture"
)

// answers records what nvme0 of a tree answers: its identity and a health log in which set changes what it likes.
func answers(t *testing.T, dir string, set func(health, identity []byte)) {
	t.Helper()
	identity, health := make([]byte, 280), make([]byte, 512)
	copy(identity[4:24], "FXS790234200311     ")
	binary.LittleEndian.PutUint16(identity[266:], 358) // 85 °C
	binary.LittleEndian.PutUint16(identity[268:], 363)
	binary.LittleEndian.PutUint16(health[1:], 318)
	health[3], health[4], health[5] = 100, 10, 3
	binary.LittleEndian.PutUint64(health[128:], 4000)
	if set != nil {
		set(health, identity)
	}
	tweak(t, dir, map[string]string{"dev/nvme0/identify": hex.EncodeToString(identity), "dev/nvme0/log-02": hex.EncodeToString(health)})
}

// speaking is a tree whose drives can be asked.
func speaking(t *testing.T, memory *Memory, now func() time.Time) (dir string, o *Observer) {
	t.Helper()
	dir, _ = tree(t, fixture.P7000Z, "6.8.12-4-pve")
	paths := host.DefaultPaths()
	paths.Sysfs, paths.Kmsg, paths.Procfs, paths.Dev = filepath.Join(dir, "sys"), filepath.Join(dir, "dmesg"), filepath.Join(dir, "proc"), filepath.Join(dir, "dev")
	if memory == nil {
		memory = NewMemory(filepath.Join(dir, "state"), nil)
	}
	return dir, NewObserver(host.New(paths, "6.8.12-4-pve"), DefaultPolicy(), memory, now)
}

func TestHealth(t *testing.T) {
	for _, tt := range []struct {
		name    string
		set     func(health, identity []byte)
		codes   string
		verdict Verdict
		text    string
	}{
		{"healthy", nil, "", VerdictOK, ""},
		{"spare used up", func(h, _ []byte) { h[0], h[3] = 1, 5 }, "nvme.critical-warning", VerdictFail, "spare"},
		{"not reliable", func(h, _ []byte) { h[0] = 4 }, "nvme.critical-warning", VerdictFail, "reliability"},
		{"read-only media", func(h, _ []byte) { h[0] = 8 }, "nvme.read-only", VerdictFail, "read-only"},
		{"read-only and not reliable", func(h, _ []byte) { h[0] = 12 }, "nvme.critical-warning,nvme.read-only", VerdictFail, ""},
		{"media errors", func(h, _ []byte) { h[160] = 2 }, "nvme.media-errors", VerdictWarn, "2 times"},
		{"warm", func(h, _ []byte) { binary.LittleEndian.PutUint16(h[1:], 359) }, "nvme.temperature", VerdictWarn, "86 °C"},
		{"too hot", func(h, _ []byte) { binary.LittleEndian.PutUint16(h[1:], 364) }, "nvme.temperature", VerdictFail, "critical"},
		{"warns of its temperature without limits", func(h, id []byte) { h[0] = 2; clear(id[266:270]) }, "nvme.temperature", VerdictWarn, "45 °C"},
		{"almost worn", func(h, _ []byte) { h[5] = 79 }, "", VerdictOK, ""},
		{"worn", func(h, _ []byte) { h[5] = 80 }, "nvme.wear", VerdictWarn, "80 %"},
		{"beyond its life", func(h, _ []byte) { h[5] = 255 }, "nvme.wear", VerdictWarn, "255 %"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, o := speaking(t, nil, time.Now)
			answers(t, dir, tt.set)
			r := look(t, o)
			d := r.Drives[0]
			if got := codesOf(r, d); got != tt.codes || d.Verdict != tt.verdict || d.Rung != RungOK {
				t.Errorf("%s %s %q, want %s %q", d.Rung, d.Verdict, got, tt.verdict, tt.codes)
			}
			text := ""
			for _, f := range r.Findings {
				if f.Subject == d.Subject() {
					text += f.Title
				}
			}
			if !strings.Contains(text, tt.text) {
				t.Errorf("no %q in %q", tt.text, text)
			}
		})
	}
}

// What the drive does not say is not known, and said so; it is no healthy drive and no sick one.
func TestHealthUnknown(t *testing.T) {
	dir, o := speaking(t, nil, time.Now)
	answers(t, dir, func(health, _ []byte) { clear(health) })
	r := look(t, o)
	if c := r.Drives[0].Controller(); c.Health.Data != nil || c.Health.Err == nil || codesOf(r, r.Drives[0]) != "nvme.health-doubtful" || r.Drives[0].Verdict != VerdictInfo {
		t.Errorf("a log of zeros: %+v", c.Health)
	}
	if c := r.Drives[2].Controller(); c.Health.Data != nil || c.Health.Err != nil {
		t.Errorf("no device node: %+v", c.Health)
	}
	dir, o = speaking(t, nil, time.Now)
	answers(t, dir, func(_, identity []byte) { copy(identity[4:24], "ANOTHER             ") })
	if c := look(t, o).Drives[0].Controller(); c.Health.Data != nil || c.Health.Err == nil {
		t.Errorf("the answer of another drive: %+v", c.Health)
	}
}

func TestWearForecast(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC) }
	for _, tt := range []struct {
		name    string
		samples []Sample
		days    float64
		ok      bool
	}{
		{"half a percent a day", []Sample{{day(1), 50, 0, nil}, {day(11), 55, 0, nil}}, 90, true},
		{"no wear", []Sample{{day(1), 50, 0, nil}, {day(11), 50, 0, nil}}, 0, false},
		{"one day", []Sample{{day(1), 50, 0, nil}}, 0, false},
		{"beyond its life", []Sample{{day(1), 100, 0, nil}, {day(11), 110, 0, nil}}, -10, true},
		{"another drive with its name", []Sample{{day(1), 50, 0, nil}, {day(11), 3, 0, nil}}, 0, false},
	} {
		d := Drive{Known: &Known{Samples: tt.samples}}
		if days, ok := d.DaysLeft(); days != tt.days || ok != tt.ok {
			t.Errorf("%s: %f %v, want %f %v", tt.name, days, ok, tt.days, tt.ok)
		}
	}
	if _, ok := (Drive{}).DaysLeft(); ok {
		t.Error("a drive without memory has a forecast")
	}
}

// A drive whose days are counted is worn, whatever its percentage.
func TestWearSoon(t *testing.T) {
	memory := NewMemory(t.TempDir(), nil)
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	dir, o := speaking(t, memory, func() time.Time { return now })
	var r *Report
	for i := range 11 {
		answers(t, dir, func(h, _ []byte) { h[5] = byte(20 + i) })
		r = look(t, o)
		now = now.Add(24 * time.Hour)
	}
	if got := codesOf(r, r.Drives[0]); got != "nvme.wear" {
		t.Fatalf("got %q; samples %+v", got, r.Drives[0].Known.Samples)
	}
	if days, ok := r.Drives[0].DaysLeft(); !ok || days != 70 {
		t.Errorf("%f days left, %v", days, ok)
	}
}

// A drive that was here and is gone stays in the report until it is forgotten, also after a restart.
func TestMissing(t *testing.T) {
	state := t.TempDir()
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	dir, o := speaking(t, NewMemory(state, nil), clock)
	tweak(t, dir, map[string]string{"proc/1/mountinfo": "36 35 259:8 / /mnt/pve/fast rw - ext4 /dev/nvme0n1p1 rw\n"})
	look(t, o)
	if err := os.Remove(filepath.Join(dir, "sys/bus/pci/devices/0000:01:00.0")); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	memory := NewMemory(state, nil) // after a restart
	o.memory = memory
	r := look(t, o)
	gone := r.Drives[0]
	if !gone.Missing || gone.Rung != RungPCI || gone.Verdict != VerdictFail || codesOf(r, gone) != "nvme.missing" || gone.Known.Serial != "FXS790234200311" {
		t.Fatalf("got %s, missing %v, %q", ladder(gone), gone.Missing, codesOf(r, gone))
	}
	if f := r.Findings[0]; !strings.Contains(f.Evidence[1].Text, "mount /mnt/pve/fast") || f.Confidence != finding.Unknown {
		t.Errorf("finding %+v", f)
	}
	if err := memory.Forget("NOSUCH"); err == nil {
		t.Error("a drive that never was is forgotten")
	}
	if err := memory.Forget("FXS790234200311"); err != nil {
		t.Fatal(err)
	}
	o.memory = NewMemory(state, nil)
	if r = look(t, o); len(r.Drives) != 2 || codesOf(r, r.Drives[1]) != "" {
		t.Errorf("after it was forgotten: %d drives", len(r.Drives))
	}
}

// A drive that cannot tell who it is is known by its slot, or by its PCI ids after slots were renumbered; it is not missing.
func TestSilentDriveIsKnown(t *testing.T) {
	for _, address := range []string{"0000:01:00.0", "0000:05:00.0"} {
		dir, o := speaking(t, nil, time.Now)
		look(t, o)
		function := filepath.Join(dir, "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0")
		link := filepath.Join(dir, "sys/bus/pci/devices")
		for _, err := range []error{
			os.RemoveAll(filepath.Join(function, "nvme")), os.Remove(filepath.Join(function, "driver")),
			os.Rename(filepath.Join(link, "0000:01:00.0"), filepath.Join(link, address)),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		r := look(t, o)
		for _, d := range r.Drives {
			if d.Missing {
				t.Errorf("%s: %s is missing", address, d.Known.Serial)
			}
			if d.Address == address && (d.Known == nil || d.Known.Serial != "FXS790234200311") {
				t.Errorf("%s is %+v", address, d.Known)
			}
			for _, f := range r.Findings {
				if d.Address == address && f.Subject == d.Subject() && !strings.Contains(f.Evidence[len(f.Evidence)-1].Text, "FXS790234200311") {
					t.Errorf("%s: %+v", address, f.Evidence)
				}
			}
		}
	}
}

// Another drive in the slot of one that is gone: both are told apart.
func TestMissingBesideItsSuccessor(t *testing.T) {
	dir, o := speaking(t, nil, time.Now)
	look(t, o)
	tweak(t, dir, map[string]string{"sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/nvme/nvme0/serial": "NEW1\n"})
	r := look(t, o)
	var ids []string
	for _, d := range r.Drives {
		ids = append(ids, string(d.Subject()))
	}
	if got := strings.Join(ids, " "); got != "nvme/0000:01:00.0 nvme/0000:01:00.0#FXS790234200311 nvme/0000:02:00.0 nvme/0000:03:00.0" {
		t.Errorf("got %s", got)
	}
}

// Two drives in turn that drop out in one slot point to the slot.
func TestIncidentsPointToTheSlot(t *testing.T) {
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	dir, o := speaking(t, nil, func() time.Time { return now })
	const down = "[ 1.0] nvme nvme0: pci function 0000:01:00.0\n[ 9.0] nvme nvme0: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0x10\n"
	tweak(t, dir, map[string]string{"dmesg": down, "proc/sys/kernel/random/boot_id": "first\n", "proc/uptime": "100.0 1.0\n"})
	r := look(t, o)
	cause := func(d Drive) (cause string) {
		for _, f := range r.Findings {
			if f.Subject == d.Subject() {
				cause += f.Cause
			}
		}
		return cause
	}
	if got := cause(r.Drives[0]); !strings.Contains(got, "firmware crashed") {
		t.Fatalf("first drive: %q", got)
	}
	if i := r.Drives[0].Incidents; len(i) != 1 || !i[0].At.Equal(now.Add(-91*time.Second)) {
		t.Errorf("incidents %+v", i)
	}
	look(t, o) // the same log again is no new incident
	now = now.Add(24 * time.Hour)
	tweak(t, dir, map[string]string{
		"sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/nvme/nvme0/serial": "NEW1\n", "proc/sys/kernel/random/boot_id": "second\n",
	})
	_, again := speakingAt(t, dir, o.memory, func() time.Time { return now })
	r = look(t, again)
	d := r.Drives[0]
	if len(d.Incidents) != 2 {
		t.Errorf("%d incidents: %+v", len(d.Incidents), d.Incidents)
	}
	if got := cause(d); !strings.Contains(got, "2 drives in turn") {
		t.Errorf("cause %q", got)
	}
}

// speakingAt is a new labd on a tree that is there.
func speakingAt(t *testing.T, dir string, memory *Memory, now func() time.Time) (string, *Observer) {
	t.Helper()
	paths := host.DefaultPaths()
	paths.Sysfs, paths.Kmsg, paths.Procfs, paths.Dev = filepath.Join(dir, "sys"), filepath.Join(dir, "dmesg"), filepath.Join(dir, "proc"), filepath.Join(dir, "dev")
	return dir, NewObserver(host.New(paths, "6.8.12-4-pve"), DefaultPolicy(), memory, now)
}

// A drive that does not answer its health command delays nobody beyond its time.
func TestHealthHangs(t *testing.T) {
	dir, o := speaking(t, nil, time.Now)
	answers(t, dir, nil)
	log := filepath.Join(dir, "dev/nvme0/log-02")
	if err := os.Remove(log); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(log, 0o600); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	r := look(t, o)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("observed after %s", took)
	}
	if d := r.Drives[0]; d.Controller().Health.Err != smart.ErrStuck || o.Stuck() != 1 || d.Rung != RungOK {
		t.Errorf("%s: %v, %d stuck", ladder(d), d.Controller().Health.Err, o.Stuck())
	}
	w, err := os.OpenFile(log, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Close() // lets the question end
	for deadline := time.Now().Add(5 * time.Second); o.Stuck() != 0 && time.Now().Before(deadline); {
		<-time.After(time.Millisecond)
	}
	if o.Stuck() != 0 {
		t.Error("the question still waits")
	}
}
