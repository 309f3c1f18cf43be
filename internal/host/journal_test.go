package host

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const journalLines = `{"_BOOT_ID":"0123456789abcdef0123456789abcdef","__REALTIME_TIMESTAMP":"1764000000500000","__MONOTONIC_TIMESTAMP":"9000000","_SOURCE_MONOTONIC_TIMESTAMP":"2351883","PRIORITY":"3","SYSLOG_FACILITY":"0","MESSAGE":"nvme nvme1: Device not ready; aborting initialisation, CSTS=0x0"}
{"_BOOT_ID":"0123456789abcdef0123456789abcdef","__REALTIME_TIMESTAMP":"1764000000600000","__MONOTONIC_TIMESTAMP":"9100000","PRIORITY":"6","SYSLOG_FACILITY":"0","MESSAGE":[110,118,109,101,255]}
{"_BOOT_ID":"0123456789abcdef0123456789abcdef","__REALTIME_TIMESTAMP":"1764000000700000","__MONOTONIC_TIMESTAMP":"9200000","PRIORITY":"3","SYSLOG_FACILITY":"1","MESSAGE":"nvme nvme1: a program wrote this"}
{"_BOOT_ID":"x","__REALTIME_TIMESTAMP":"1","__MONOTONIC_TIMESTAMP":"1","SYSLOG_FACILITY":"0","MESSAGE":"nvme: no boot"}
{"_BOOT_ID":"0123456789abcdef0123456789abcdef","__REALTIME_TIMESTAMP":"1764000000400000","__MONOTONIC_TIMESTAMP":"8000000","_SOURCE_MONOTONIC_TIMESTAMP":"1000","SYSLOG_FACILITY":"0","MESSAGE":"usb 1-1: something else"}
{"_BOOT_ID":"0123456789abcdef0123456789abcdef","__REALTIME_TIMESTAMP":"17640000006`

func TestParseJournal(t *testing.T) {
	records := ParseJournal([]byte(journalLines))
	if len(records) != 3 {
		t.Fatalf("%d records: %+v", len(records), records)
	}
	first := records[0]
	if first.Boot != "01234567-89ab-cdef-0123-456789abcdef" || first.Time != 2351883*time.Microsecond || first.Level != 3 || !first.At.Equal(time.UnixMicro(1764000000500000)) {
		t.Errorf("%+v", first)
	}
	if second := records[1]; second.Text != "nvme\xff" || second.Time != 9100*time.Millisecond {
		t.Errorf("%+v", second)
	}
}

// fakeJournalctl puts a journalctl into a directory of its own.
func fakeJournalctl(t *testing.T, script string) *Host {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "lines"), []byte(journalLines), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "journalctl"), []byte("#!/bin/sh\ncd "+dir+"\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	paths := DefaultPaths()
	paths.Exec = dir + ":" + SystemPATH
	return New(paths, "")
}

func TestKernelJournal(t *testing.T) {
	h := fakeJournalctl(t, `echo "$@" > args; exec cat lines`)
	records, err := h.KernelJournal(t.Context(), time.Unix(1000, 0), "nvme", "power state")
	if err != nil || len(records) != 2 || !records[0].At.Before(records[1].At) {
		t.Fatalf("%v %+v", err, records)
	}
	args, _ := os.ReadFile(filepath.Join(strings.SplitN(h.Exec, ":", 2)[0], "args"))
	for _, want := range []string{"--since=@1000", "--grep=nvme|power state", "_TRANSPORT=kernel SYSLOG_FACILITY=0"} {
		if !strings.Contains(string(args), want) {
			t.Errorf("no %q in %s", want, args)
		}
	}

	h = fakeJournalctl(t, `case "$*" in *--grep*) echo "Compiled without pattern matching support" >&2; exit 1;; esac; exec cat lines`)
	if records, err := h.KernelJournal(t.Context(), time.Unix(1000, 0), "nvme"); err != nil || len(records) != 2 {
		t.Errorf("without search: %v %+v", err, records)
	}
	h = fakeJournalctl(t, `exit 1`)
	if records, err := h.KernelJournal(t.Context(), time.Unix(1000, 0), "nvme"); err != nil || len(records) != 0 {
		t.Errorf("nothing found: %v %+v", err, records)
	}
	h = fakeJournalctl(t, `echo broken >&2; exit 1`)
	if _, err := h.KernelJournal(t.Context(), time.Unix(1000, 0), "nvme"); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("a journal that cannot be read: %v", err)
	}
	paths := DefaultPaths()
	paths.Exec = t.TempDir()
	if _, err := New(paths, "").KernelJournal(t.Context(), time.Unix(1000, 0), "nvme"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("no journalctl: %v", err)
	}
}

func FuzzParseJournal(f *testing.F) {
	f.Add([]byte(journalLines))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, r := range ParseJournal(data) {
			if r.Time < 0 || r.Boot == "" || r.Level < -1 || r.Level > 7 {
				t.Errorf("impossible record %+v", r)
			}
		}
	})
}
