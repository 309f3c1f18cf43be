package guest

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	apiv1 "labd/api/v1"
	"labd/test/guest/wire"
	"labd/test/lab"
)

// Under systemd, in the sandbox of its unit as it is shipped, labd asks a drive for its health by ioctl, reads what is on a
// disk, reads the kernel log, and has the kernel try a function again.
func TestSandbox(t *testing.T) {
	unit, err := os.ReadFile("../../systemd/labd.service")
	if err != nil {
		t.Fatal(err)
	}
	forEach(t, func(t *testing.T, suite string) {
		lab.Require(t, "debootstrap")
		tree, err := lab.HostTree(t.Context(), suite)
		if err != nil {
			t.Fatal(err)
		}
		m := bootWith(t, suite, Config{
			Tree: tree, Files: map[string]string{"etc/systemd/system/labd.service": string(unit)},
			Disks: map[string]int64{"one": diskSize, "two": diskSize}, Devices: append(onPort(1, "one"), onPort(2, "two")...),
		})
		m.load("")
		m.waitFor("/dev/nvme*n1", 2)
		for _, disk := range []string{"/dev/nvme0n1", "/dev/nvme1n1"} {
			m.write(disk, []byte{0x53, 0xef}, 1024+56) // the magic number of an ext file system
		}
		m.succeed("systemctl", "start", "labd")
		pid := strings.TrimSpace(m.succeed("systemctl", "show", "labd", "--property=MainPID", "--value"))
		status := string(m.do(wire.Request{Do: wire.Read, Path: "/proc/" + pid + "/status"}).Output)
		if !strings.Contains(status, "NoNewPrivs:\t1\n") || !strings.Contains(status, "Seccomp:\t2\n") {
			t.Fatalf("labd is in no sandbox:\n%s", status)
		}

		report := m.ask()
		m.expect(report, "one", "ok ok []")
		for _, serial := range []string{"one", "two"} {
			item := drive(report, serial)
			if item.Health == nil || item.Health.TemperatureCelsius == nil || *item.Health.TemperatureCelsius != 50 {
				t.Errorf("%s: drive %s has no health: %s", m.kernel.Release, serial, item.HealthError)
			}
			if len(item.Namespaces) != 1 || !slices.ContainsFunc(item.Namespaces[0].Contents, func(c string) bool { return strings.HasPrefix(c, "ext") }) {
				t.Errorf("%s: what is on drive %s is not seen: %+v", m.kernel.Release, serial, item.Namespaces)
			}
		}

		address := strings.TrimPrefix(drive(report, "two").ID, "nvme/")
		m.loseRegisters(address)
		report = m.untilAsked("the drive is not ready", m.ask, has(address, "nvme.not-ready"))
		if f := finding(report, address, "nvme.not-ready"); len(f.Evidence) == 0 || !strings.Contains(f.Evidence[0].Text, "Device not ready") {
			t.Fatalf("%s: not told from the kernel log: %+v", m.kernel.Release, report.Findings)
		}
		m.succeed("labctl", "rescue-nvme", address, "--yes")
		if item := drive(m.ask(), address); item.Rung != "ok" || item.Serial != "two" {
			t.Errorf("%s: after the rescue: %+v", m.kernel.Release, item)
		}
		if log := m.succeed("journalctl", "--no-pager", "-u", "labd"); strings.Contains(log, "ermission denied") || strings.Contains(log, "not permitted") {
			t.Errorf("%s: the sandbox forbids something that labd does:\n%s", m.kernel.Release, log)
		}
	})
}

// succeed runs a program that must end well, and returns what it printed.
func (m *machine) succeed(args ...string) string {
	m.t.Helper()
	answer := m.do(wire.Request{Do: wire.Run, Args: args})
	if answer.Exit != 0 {
		m.t.Fatalf("%s: %v: exit %d\n%s%s", m.kernel.Release, args, answer.Exit, answer.Output, answer.Stderr)
	}
	return string(answer.Output)
}

// ask is labctl check-nvme -o json of the labd that runs as a service.
func (m *machine) ask() apiv1.Envelope[apiv1.NVMeItem] {
	m.t.Helper()
	answer := m.do(wire.Request{Do: wire.Run, Args: []string{"labctl", "--timeout", "30s", "check-nvme", "-o", "json"}})
	var report apiv1.Envelope[apiv1.NVMeItem]
	if err := json.Unmarshal(answer.Output, &report); err != nil {
		m.t.Fatalf("%v: %s%s", err, answer.Output, answer.Stderr)
	}
	return report
}

// waitFor waits until as many files match a pattern.
func (m *machine) waitFor(pattern string, count int) {
	m.t.Helper()
	for range 300 {
		if names := string(m.do(wire.Request{Do: wire.Names, Path: pattern}).Output); names != "" && len(strings.Split(names, "\n")) >= count {
			return
		}
		m.succeed("sleep", "0.1")
	}
	m.t.Fatalf("%s: no %d of %s", m.kernel.Release, count, pattern)
}
