package guest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apiv1 "labd/api/v1"
	"labd/test/guest/wire"
	"labd/test/lab"
)

// bin holds labd, labctl and the agent, built once, static as they are shipped.
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
	dir, err := os.MkdirTemp("", "labd-guest-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	bin = dir
	cmd := exec.Command("go", "build", "-trimpath", "-o", dir, "labd/cmd/labd", "labd/cmd/labctl", "labd/test/guest/agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build labd: %w: %s", err, out)
	}
	return m.Run(), nil
}

// suites are the Debian releases whose kernels are tested: 6.1 and 6.12.
var suites = []string{"bookworm", "trixie"}

// machine is a guest with what a test does to it.
type machine struct {
	*Guest
	t      *testing.T
	kernel *Kernel
	suite  string
	// agent is where the agent's program is.
	agent string
}

// boot starts a guest with drives; each is arguments of QEMU.
func boot(t *testing.T, suite string, disks map[string]int64, devices ...string) *machine {
	t.Helper()
	return bootWith(t, suite, Config{Devices: devices, Disks: disks})
}

// bootWith starts a guest of a configuration that lacks what all have in common.
func bootWith(t *testing.T, suite string, cfg Config) *machine {
	t.Helper()
	lab.Require(t, "qemu-system-x86_64", "cpio", "xz", "dpkg-deb")
	kernel, err := UnpackKernel(t.Context(), suite)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Kernel, cfg.Dir, cfg.Agent = kernel, t.TempDir(), filepath.Join(bin, "agent")
	cfg.Programs = append([]string{filepath.Join(bin, "labd"), filepath.Join(bin, "labctl")}, cfg.Programs...)
	agent := "/init"
	if cfg.Tree != "" {
		agent = "/usr/bin/agent"
	}
	g, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{g, t, kernel, suite, agent}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the guest's kernel log:\n%s\nconsole:\n%s", m.log(), m.Console())
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// do fails the test where the agent cannot do it.
func (m *machine) do(req wire.Request) wire.Answer {
	m.t.Helper()
	answer, err := m.Do(req)
	if err != nil {
		m.t.Fatalf("%s: %v", m.kernel.Release, err)
	}
	return answer
}

// log is the guest's kernel log of NVMe and PCI.
func (m *machine) log() string {
	answer, err := m.Do(wire.Request{Do: wire.Run, Args: []string{m.agent, "dmesg"}})
	if err != nil {
		return err.Error()
	}
	return string(answer.Output)
}

// load loads the NVMe driver with its parameters.
func (m *machine) load(core string) {
	m.t.Helper()
	for _, module := range m.kernel.Modules {
		args := []string{filepath.Join("/modules", filepath.Base(module))}
		if filepath.Base(module) == "nvme-core.ko" && core != "" {
			args = append(args, core)
		}
		m.do(wire.Request{Do: wire.Load, Args: args})
	}
}

func (m *machine) write(path string, data []byte, at int64) {
	m.t.Helper()
	m.do(wire.Request{Do: wire.Write, Path: path, Data: data, Offset: at})
}

// bind lets the driver take a function, where the kernel says at once that the drive does not come up, that is no failure
// of the test.
func (m *machine) bind(address string) {
	_, _ = m.Do(wire.Request{Do: wire.Write, Path: "/sys/bus/pci/drivers/nvme/bind", Data: []byte(address)})
}

// labctl runs labctl with a labd of its own and returns its output and exit code.
func (m *machine) labctl(args ...string) (stdout string, exit int) {
	m.t.Helper()
	answer := m.do(wire.Request{Do: wire.Run, Args: append([]string{"/bin/labctl", "--local", "--timeout", "30s"}, args...)})
	if len(answer.Stderr) > 0 {
		m.t.Logf("labctl %s: %s", strings.Join(args, " "), answer.Stderr)
	}
	return string(answer.Output), answer.Exit
}

// check is labctl check-nvme -o json.
func (m *machine) check(args ...string) apiv1.Envelope[apiv1.NVMeItem] {
	m.t.Helper()
	out, _ := m.labctl(append([]string{"check-nvme", "-o", "json"}, args...)...)
	var report apiv1.Envelope[apiv1.NVMeItem]
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		m.t.Fatalf("%v: %s", err, out)
	}
	return report
}

// until is untilAsked of a labd of labctl's own.
func (m *machine) until(what string, ok func(apiv1.Envelope[apiv1.NVMeItem]) bool) apiv1.Envelope[apiv1.NVMeItem] {
	m.t.Helper()
	return m.untilAsked(what, func() apiv1.Envelope[apiv1.NVMeItem] { return m.check() }, ok)
}

// untilAsked asks until the report is as wanted, and returns it.
func (m *machine) untilAsked(what string, ask func() apiv1.Envelope[apiv1.NVMeItem], ok func(apiv1.Envelope[apiv1.NVMeItem]) bool) apiv1.Envelope[apiv1.NVMeItem] {
	m.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		report := ask()
		if ok(report) {
			return report
		}
		if time.Now().After(deadline) {
			text, _ := json.MarshalIndent(report, "", " ")
			m.t.Fatalf("%s: not within a minute: %s\n%s", m.kernel.Release, what, text)
		}
	}
}

// drive finds a drive by the end of its PCI address, or by serial number.
func drive(report apiv1.Envelope[apiv1.NVMeItem], name string) apiv1.NVMeItem {
	for _, item := range report.Items {
		if strings.HasSuffix(item.ID, name) || item.Serial == name {
			return item
		}
	}
	return apiv1.NVMeItem{}
}

// expect compares one drive with what it must be: rung, verdict and finding codes.
func (m *machine) expect(report apiv1.Envelope[apiv1.NVMeItem], name, want string) {
	m.t.Helper()
	item := drive(report, name)
	codes := slices.Clone(item.Findings)
	slices.Sort(codes)
	if got := fmt.Sprintf("%s %s %v", item.Rung, item.Verdict, codes); got != want {
		m.t.Errorf("%s: drive %s: %s, want %s", m.kernel.Release, name, got, want)
	}
}

// finding is the finding of that code about a drive.
func finding(report apiv1.Envelope[apiv1.NVMeItem], name, code string) apiv1.Finding {
	id := drive(report, name).ID
	for _, f := range report.Findings {
		if f.Code == code && f.Subject == id {
			return f
		}
	}
	return apiv1.Finding{}
}

// capture writes what the guest's sysfs says into a text archive in the directory that LABD_CAPTURE names, with what labd
// must make of it: such archives are the fixtures in internal/disk/testdata/lab.
func (m *machine) capture(name, about string) {
	m.t.Helper()
	dir := os.Getenv("LABD_CAPTURE")
	if dir == "" {
		return
	}
	answer := m.do(wire.Request{Do: wire.Run, Args: []string{m.agent, "tree"}})
	var want strings.Builder
	for _, item := range m.check().Items {
		if !item.Missing {
			fmt.Fprintf(&want, "%s %s %s %v\n", item.ID, item.Rung, item.Verdict, item.Findings)
		}
	}
	text := fmt.Sprintf("%s: %s\n%s-- release --\n%s\n-- want --\n%s", m.kernel.Release, about, answer.Output, m.kernel.Release, want.String())
	if err := os.WriteFile(filepath.Join(dir, name+"-"+m.suite+".txtar"), []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}
