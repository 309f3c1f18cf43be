package e2e

import (
	"strings"
	"testing"

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
