package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apiv1 "labd/api/v1"
	"labd/test/fixture"
	"labd/test/lab"
)

// bin holds labd and labctl, built once for all tests as make build does.
var bin string

func TestMain(m *testing.M) {
	code, err := build(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

func build(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "labd-e2e-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	bin = dir
	cmd := exec.Command("go", "build", "-trimpath", "-o", dir, "labd/cmd/labd", "labd/cmd/labctl", "labd/test/pvesim/pvesh")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build labd: %w: %s", err, out)
	}
	return m.Run(), nil
}

const unitFile = "../../systemd/labd.service"

// fixtureConfig moves sysfs and the kernel log to the host whose P7000Z never becomes ready.
const fixtureConfig = "[paths]\nsysfs = \"/lab/nvme/sys\"\nkmsg = \"/lab/nvme/dmesg\"\n[kernel]\nrelease = \"" + fixture.P7000ZRelease + "\"\n"

// startLabd installs and starts labd on a lab's host.
func startLabd(t *testing.T, l *lab.Lab, config string) {
	t.Helper()
	if err := fixture.Materialise(filepath.Join(l.Dir(), "store/nvme"), fixture.P7000Z); err != nil {
		t.Fatal(err)
	}
	if err := l.InstallLabd(bin, unitFile, config); err != nil {
		t.Fatal(err)
	}
	took, err := l.StartLabd(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("labd ready after %s", took)
}

// labctl runs labctl on the host and returns its exit code and its output.
func labctl(t *testing.T, l *lab.Lab, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := l.Command(t.Context(), "labctl", args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("labctl %v: %v", args, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// must runs labctl and fails the test unless it exits with code.
func must(t *testing.T, l *lab.Lab, code int, args ...string) string {
	t.Helper()
	got, stdout, stderr := labctl(t, l, args...)
	if got != code {
		t.Fatalf("labctl %s: exit %d, want %d\n%s%s", strings.Join(args, " "), got, code, stdout, stderr)
	}
	return stdout
}

// report runs labctl with -o json and decodes what it prints.
func report[T any](t *testing.T, l *lab.Lab, code int, args ...string) apiv1.Envelope[T] {
	t.Helper()
	text := must(t, l, code, append(args, "-o", "json")...)
	var envelope apiv1.Envelope[T]
	if err := json.Unmarshal([]byte(text), &envelope); err != nil {
		t.Fatalf("labctl %v: %v\n%s", args, err, text)
	}
	if envelope.APIVersion != apiv1.APIVersion || envelope.Node != "pve1" || envelope.Items == nil || envelope.Findings == nil {
		t.Fatalf("labctl %v: incomplete envelope:\n%s", args, text)
	}
	return envelope
}

// codes are the codes of findings about a subject.
func codes(findings []apiv1.Finding, subject string) string {
	var out []string
	for _, f := range findings {
		if f.Subject == subject {
			out = append(out, f.Code)
		}
	}
	return strings.Join(out, ",")
}

// run runs a program on the host and fails the test when it fails.
func run(t *testing.T, l *lab.Lab, name string, args ...string) string {
	t.Helper()
	out, err := l.Run(t.Context(), name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// wait polls until ok says yes.
func wait(t *testing.T, l *lab.Lab, what string, ok func() bool) {
	t.Helper()
	if err := l.Wait(t.Context(), 20*time.Second, ok); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// background is for clean-up that must outlive the test's own context.
func background() context.Context { return context.Background() }
