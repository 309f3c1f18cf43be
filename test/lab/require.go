package lab

import (
	"os"
	"os/exec"
	"testing"
)

// Require skips a test where no lab can run, and says why. Where CI=true that is a failure: there a lab must run.
func Require(t testing.TB, programs ...string) {
	t.Helper()
	skip := t.Skipf
	if os.Getenv("CI") == "true" {
		skip = t.Fatalf
	}
	if os.Geteuid() != 0 {
		skip("a lab needs root")
	}
	for _, program := range append([]string{"ip", "nsenter", "unshare", "losetup", "mkfs.ext4"}, programs...) {
		if _, err := exec.LookPath(program); err != nil {
			skip("a lab needs %s: %v", program, err)
		}
	}
}

// RequireFUSE skips a test where nothing can be mounted through FUSE; where CI=true that is a failure.
func RequireFUSE(t testing.TB) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("there is no /dev/fuse")
	}
	t.Skip("there is no /dev/fuse")
}

// New starts a lab for a test and ends it with the test.
func New(t *testing.T, name string) *Lab {
	t.Helper()
	Require(t)
	l, err := Start(t.Context(), Config{Name: name, Logf: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := l.Run(background(), "journalctl", "--no-pager", "--quiet", "-u", "labd", "-n", "50")
			t.Logf("labd's journal:\n%s", log)
		}
		if err := l.Close(); err != nil {
			t.Errorf("end the lab: %v", err)
		}
	})
	return l
}
