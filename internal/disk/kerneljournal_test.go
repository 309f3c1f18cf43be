package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"labd/internal/finding"
	"labd/internal/host"
	"labd/test/fixture"
)

const (
	earlierBoot = "11111111111111111111111111111111"
	thisBoot    = "22222222-2222-2222-2222-222222222222"
)

// journaled is the P7000Z's host with a journal, whose records are boot, seconds since that boot and text, an hour apart.
func journaled(t *testing.T, memory *Memory, records ...string) (dir string, o *Observer) {
	t.Helper()
	dir = t.TempDir()
	if err := fixture.Materialise(dir, fixture.P7000Z); err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for i, record := range records {
		boot, rest, _ := strings.Cut(record, " ")
		seconds, text, _ := strings.Cut(rest, " ")
		fmt.Fprintf(&lines, `{"_BOOT_ID":%q,"__REALTIME_TIMESTAMP":"%d","__MONOTONIC_TIMESTAMP":"1","_SOURCE_MONOTONIC_TIMESTAMP":"%s000000","PRIORITY":"4","SYSLOG_FACILITY":"0","MESSAGE":%q}`+"\n",
			strings.ReplaceAll(boot, "-", ""), today.Add(time.Duration(i-len(records))*time.Hour).UnixMicro(), seconds, text)
	}
	tweak(t, dir, map[string]string{"journal": lines.String(), "proc/sys/kernel/random/boot_id": thisBoot + "\n"})
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/journalctl"), []byte("#!/bin/sh\nexec cat "+dir+"/journal\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	paths := host.DefaultPaths()
	paths.Sysfs, paths.Kmsg, paths.Procfs, paths.Exec = filepath.Join(dir, "sys"), filepath.Join(dir, "dmesg"), filepath.Join(dir, "proc"), filepath.Join(dir, "bin")+":"+host.SystemPATH
	p := DefaultPolicy()
	p.ReadTimeout = 2 * p.ReadTimeout // a fork on a busy machine
	return dir, NewObserver(host.New(paths, "6.8.12-4-pve"), p, memory, func() time.Time { return today })
}

var today = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

// lookUntil looks again until the journal is read.
func lookUntil(t *testing.T, o *Observer, ok func(*Report) bool) *Report {
	t.Helper()
	for range 20 {
		if r := look(t, o); ok(r) {
			return r
		}
	}
	t.Fatal("the journal is not read")
	return nil
}

// What happened in earlier boots is kept with the slot, once, and tells a drive that left then from one that was pulled.
func TestEarlierBoots(t *testing.T) {
	memory := NewMemory(t.TempDir(), nil)
	dir, o := journaled(t, memory,
		earlierBoot+" 1 nvme nvme0: pci function 0000:01:00.0",
		earlierBoot+" 500 nvme nvme0: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0xffff",
		earlierBoot+" 501 nvme nvme0: Disabling device after reset failure: -19",
		earlierBoot+" 502 some other line",
		thisBoot+" 2 nvme nvme1: Device not ready; aborting initialisation, CSTS=0x0",
	)
	has := func(n int) func(*Report) bool { return func(r *Report) bool { return len(r.Drives[0].Incidents) == n } }
	r := lookUntil(t, o, has(2))
	for range 2 {
		r = look(t, o)
	}
	if got := r.Drives[0].Incidents; len(got) != 2 || got[0].Kind != EventDown || got[0].Boot == thisBoot || !got[0].At.Equal(today.Add(-4*time.Hour)) {
		t.Fatalf("incidents %+v", got)
	}
	if codes := codesOf(r, r.Drives[0]); codes != "" {
		t.Errorf("an earlier boot's incident is told as this one's: %s", codes)
	}
	if n := len(r.Drives[1].Incidents); n != 1 {
		t.Errorf("%d incidents of the drive whose line is in the kernel log too", n)
	}

	// Once more, with a drive that was known by then and is gone now.
	for i := range memory.data.Drives {
		memory.data.Drives[i].First = today.Add(-100 * time.Hour)
	}
	memory.data.Incidents = nil
	for _, err := range []error{os.RemoveAll(filepath.Join(dir, "sys/bus/pci/devices/0000:01:00.0"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	o.journal = newKernelJournal(o.host, o.now)
	r = lookUntil(t, o, has(2))
	f := finding.Finding{}
	for _, x := range r.Findings {
		if x.Code == finding.NVMeMissing {
			f = x
		}
	}
	if f.Confidence != finding.Likely || !strings.Contains(f.Cause, "dropped out before") || !strings.Contains(fmt.Sprint(f.Evidence), "Disabling device") {
		t.Errorf("the missing drive: %+v", f)
	}
}

// Where the kernel's buffer cannot be read, or has lost its oldest lines, the journal has the cause.
func TestJournalOfThisBoot(t *testing.T) {
	line := thisBoot + " 2 nvme nvme1: Device not ready; aborting initialisation, CSTS=0x0"
	dir, o := journaled(t, nil, thisBoot+" 1 nvme nvme1: pci function 0000:02:00.0", line)
	if err := os.Remove(filepath.Join(dir, "dmesg")); err != nil {
		t.Fatal(err)
	}
	r := lookUntil(t, o, func(r *Report) bool { return codesOf(r, r.Drives[1]) == "nvme.not-ready" })
	if len(r.Notes) == 0 {
		t.Error("nothing says that the kernel log cannot be read")
	}

	_, o = journaled(t, nil)
	o.journal.taken = true
	tail := "[ 60.0] nvme nvme1: I/O 1 QID 1 timeout, aborting\n"
	tweak(t, filepath.Dir(o.host.Sysfs), map[string]string{"dmesg": tail})
	if got := codesOf(look(t, o), look(t, o).Drives[1]); got != "nvme.no-driver" {
		t.Fatalf("before: %s", got)
	}
	o.log.lost = true // as the kernel's buffer says it
	older := []host.KernelRecord{
		{Time: time.Second, Text: "nvme nvme1: pci function 0000:02:00.0"},
		{Time: 2 * time.Second, Text: "nvme nvme1: Device not ready; aborting initialisation, CSTS=0x0"},
		{Time: time.Minute, Text: "nvme nvme1: I/O 1 QID 1 timeout, aborting"}, // in both
	}
	events, lost, err := o.log.poll(older)
	if err != nil || !lost || len(events) != 3 || events[2].Address != "0000:02:00.0" {
		t.Fatalf("%v, lost %t: %+v", err, lost, events)
	}
	if events, lost, _ = o.log.poll(nil); len(events) != 3 || !lost {
		t.Errorf("afterwards: lost %t, %+v", lost, events)
	}
}

// A drive's incidents go with it to another slot.
func TestIncidentsOfADriveThatMoved(t *testing.T) {
	f := &Facts{Remembered: Remembered{Incidents: []Incident{{Address: "0000:05:00.0", Serial: "A"}, {Address: "0000:01:00.0", Serial: "B"}, {Address: "0000:05:00.0", Serial: "C"}}}}
	if got := f.incidents("0000:01:00.0", "A"); len(got) != 2 || got[0].Serial != "A" {
		t.Errorf("%+v", got)
	}
	if got := f.incidents("0000:01:00.0", ""); len(got) != 1 {
		t.Errorf("without serial number: %+v", got)
	}
}

func TestDrops(t *testing.T) {
	at := func(minutes int, kind EventKind) Incident {
		return Incident{At: today.Add(time.Duration(minutes) * time.Minute), Address: "a", Kind: kind}
	}
	list := []Incident{at(0, EventDown), at(0, EventDisabled), at(10, EventTimeout), at(60, EventDown), {At: today, Address: "b", Kind: EventDown}, at(200, EventInaccessible)}
	if n := drops(list, "a"); n != 3 {
		t.Errorf("%d drop-outs", n)
	}
}
