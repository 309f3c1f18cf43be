package e2e

import (
	"strings"
	"testing"
	"time"

	apiv1 "labd/api/v1"
	"labd/test/lab"
)

// The unit's sandbox is in force where the other tests run labd: without that they would say nothing about it.
func TestSandbox(t *testing.T) {
	l := lab.New(t, "e2e-sandbox")
	startLabd(t, l, fixtureConfig)
	pid := strings.TrimSpace(run(t, l, "systemctl", "show", "labd", "--property=MainPID", "--value"))
	status := run(t, l, "cat", "/proc/"+pid+"/status")
	for _, want := range []string{
		"NoNewPrivs:\t1",
		"Seccomp:\t2",
		// dac_override, dac_read_search, chown, fowner, net_admin, net_raw, sys_ptrace, sys_admin, syslog (capability.h)
		"CapBnd:\t000000040028300f",
	} {
		if !strings.Contains(status, want+"\n") {
			t.Errorf("labd's status lacks %q:\n%s", want, status)
		}
	}
	if own, systemd := run(t, l, "readlink", "/proc/"+pid+"/ns/mnt"), run(t, l, "readlink", "/proc/1/ns/mnt"); own == systemd {
		t.Errorf("labd is in the host's own mount namespace %s", own)
	}
}

// labd asks the journal for the kernel's lines of earlier boots, and the sandbox lets journalctl do what it needs.
func TestJournalInTheSandbox(t *testing.T) {
	l := lab.New(t, "e2e-journal")
	// journalctl as it is, with a note of what came of it.
	script := "#!/bin/sh\n/usr/bin/journalctl \"$@\" >/run/labd/journal.out 2>/run/labd/journal.err\ncode=$?\necho \"$code $*\" >/run/labd/journal.done\ncat /run/labd/journal.out\nexit $code\n"
	if err := l.WriteFile("/lab/bin/journalctl", []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	startLabd(t, l, strings.Replace(fixtureConfig, "[kernel]", "exec = \"/lab/bin:/usr/sbin:/usr/bin:/sbin:/bin\"\n[kernel]", 1))
	done := ""
	if err := l.Wait(t.Context(), time.Minute, func() bool {
		out, err := l.Run(t.Context(), "cat", "/run/labd/journal.done")
		done = out
		return err == nil
	}); err != nil {
		t.Fatalf("labd did not ask the journal: %v", err)
	}
	// 1 without a word is journalctl's way to say that nothing was found.
	if said := run(t, l, "cat", "/run/labd/journal.err"); strings.TrimSpace(said) != "" || !strings.HasPrefix(done, "0 ") && !strings.HasPrefix(done, "1 ") || !strings.Contains(done, "--grep=nvme") {
		t.Errorf("journalctl: %s%s", done, said)
	}
	report := report[apiv1.NVMeItem](t, l, 4, "check-nvme")
	for _, note := range report.Notes {
		if strings.Contains(note, "earlier boots") {
			t.Error(note)
		}
	}
}
