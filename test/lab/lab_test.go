package lab

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ownerEnv makes the test binary the owner of a lab that is to be killed.
const ownerEnv = "LABD_LAB_OWNER"

func TestMain(m *testing.M) {
	if name := os.Getenv(ownerEnv); name != "" {
		os.Exit(own(name))
	}
	os.Exit(m.Run())
}

// own starts a lab with a disk, says so and waits to be killed.
func own(name string) int {
	ctx := background()
	l, err := Start(ctx, Config{Name: name})
	if err != nil {
		os.Stdout.WriteString(err.Error() + "\n")
		return 1
	}
	if _, err := l.AddDisk(ctx, "usb1"); err != nil {
		os.Stdout.WriteString(err.Error() + "\n")
		return 1
	}
	os.Stdout.WriteString("up\n")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	return 0
}

// traces is what labs of these names show on the machine.
func traces(t *testing.T, names ...string) []string {
	t.Helper()
	found := []string{}
	for _, name := range names {
		group, err := cgroupPath(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{group, netnsPath(prefix + name + "-pve"), netnsPath(prefix + name + "-lan"), filepath.Join(DefaultBase, name)} {
			if _, err := os.Stat(path); err == nil {
				found = append(found, path)
			}
		}
	}
	for _, file := range []string{"/proc/self/mounts", "/proc/self/mountinfo"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			for _, name := range names {
				if strings.Contains(line, filepath.Join(DefaultBase, name)) {
					found = append(found, line)
				}
			}
		}
	}
	loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	for _, loop := range loops {
		data, _ := os.ReadFile(loop)
		for _, name := range names {
			if strings.HasPrefix(string(data), filepath.Join(DefaultBase, name)+"/") {
				found = append(found, loop)
			}
		}
	}
	return found
}

func nothingLeft(t *testing.T, names ...string) {
	t.Helper()
	if diff := cmp.Diff([]string{}, traces(t, names...)); diff != "" {
		t.Errorf("left behind:\n%s", diff)
	}
}

// machine is what a lab must never change.
func machine(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", "ip -o link; ip -o address; ip route show table all; iptables-save 2>/dev/null | grep -v '^#'; cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/hostname").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestLabLeavesNothing(t *testing.T) {
	Require(t)
	before := machine(t)
	l, err := Start(t.Context(), Config{Name: "t-none"})
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.AddDisk(t.Context(), "usb1")
	if err != nil {
		t.Fatal(err)
	}
	if len(traces(t, "t-none")) == 0 {
		t.Error("a running lab shows no traces: this test sees nothing")
	}
	if out, err := l.Run(t.Context(), "systemctl", "--failed", "--no-legend"); err != nil || out != "" {
		t.Errorf("failed units: %q, %v", out, err)
	}
	if !l.Ping(t.Context(), HostAddress) || l.Ping(t.Context(), "10.77.0.99") {
		t.Error("the LAN client does not see what it should")
	}
	if err := d.Pull(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(d.link()); err == nil {
		t.Error("the link of a pulled disk is still there")
	}
	if err := d.Replug(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Run(t.Context(), "systemctl", "restart", d.Unit()); err != nil {
		t.Errorf("mount a disk that was put back: %v", err)
	}
	if _, err := Start(t.Context(), Config{Name: "t-none"}); err == nil {
		t.Error("a second lab of the same name was started")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, "t-none")
	if diff := cmp.Diff(before, machine(t)); diff != "" {
		t.Errorf("the machine was changed:\n%s", diff)
	}
}

func TestTwoLabsSideBySide(t *testing.T) {
	a, b := New(t, "t-a"), New(t, "t-b")
	for _, l := range []*Lab{a, b} {
		if _, err := l.AddDisk(t.Context(), "usb1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.WriteFile("/etc/marker", []byte("a"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(b.Path("/etc/marker")); err == nil {
		t.Error("a file of one lab is in the other")
	}
	if err := Cleanup("", "t-b"); err == nil {
		t.Error("a running lab was cleaned up")
	}
	if !a.Ping(t.Context(), HostAddress) || !b.Ping(t.Context(), HostAddress) {
		t.Error("the labs disturb each other")
	}
}

func TestOwnerKilled(t *testing.T) {
	Require(t)
	for _, restart := range []bool{false, true} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), ownerEnv+"=t-kill")
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(stdout).ReadString('\n')
		if err != nil || line != "up\n" {
			t.Fatalf("the owner says %q, %v", line, err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		_ = stdin.Close()
		if len(traces(t, "t-kill")) == 0 {
			t.Fatal("nothing is left of a killed owner: this test sees nothing")
		}
		if restart {
			l, err := Start(t.Context(), Config{Name: "t-kill"})
			if err != nil {
				t.Fatalf("start after a killed owner: %v", err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		} else if names, err := CleanupStale(""); err != nil || !strings.Contains(strings.Join(names, " "), "t-kill") {
			t.Fatalf("cleaned up %v, %v", names, err)
		}
		nothingLeft(t, "t-kill")
	}
}
