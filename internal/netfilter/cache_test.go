package netfilter

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"labd/internal/host"
)

// emptyNamespace is a network namespace with nothing in it, and a way to run programs there.
func emptyNamespace(t *testing.T) (Namespace, func(command string) string) {
	t.Helper()
	if os.Geteuid() != 0 {
		const why = "needs root, to make network namespaces"
		if os.Getenv("CI") == "true" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	cmd := exec.Command("sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	proc := filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid))
	file, err := os.Open(filepath.Join(proc, "ns/net"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	n := Namespace{Host: host.New(host.DefaultPaths(), ""), NetNS: file, Proc: filepath.Join(proc, "net"), Cache: NewCache(file)}
	t.Cleanup(func() { _ = n.Cache.Close() })
	return n, func(command string) string {
		t.Helper()
		words := strings.Fields(command)
		out, err := n.run(t.Context(), host.Cmd{Name: words[0], Args: words[1:]})
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
}

// A look at rules that did not change starts no program, whatever they count; every change is seen.
func TestCache(t *testing.T) {
	for _, tt := range []struct {
		backend Backend
		family  Family
		address string
	}{{NFT, IPv4, "127.0.0.1"}, {NFT, IPv6, "::1"}, {Legacy, IPv4, "127.0.0.1"}, {Legacy, IPv6, "::1"}} {
		program := tt.family.program() + "-" + string(tt.backend)
		t.Run(program, func(t *testing.T) {
			n, run := emptyNamespace(t)
			run("ip link set lo up")
			run(program + " -A INPUT -d " + tt.address + " -j ACCEPT")
			run(program + " -A INPUT -p tcp -m comment --comment one -j DROP")
			reads := func(want uint64, rules int) {
				t.Helper()
				rs, err := n.read(t.Context(), tt.backend, tt.family)
				if err != nil {
					t.Fatal(err)
				}
				if got, _ := n.Cache.Reads(); got != want || len(rs.Chain("filter", "INPUT").Rules) != rules {
					t.Fatalf("%d programs and %d rules, want %d and %d", got, len(rs.Chain("filter", "INPUT").Rules), want, rules)
				}
			}
			reads(1, 2)
			reads(1, 2)
			run("ping -c 1 -W 1 " + tt.address)
			reads(1, 2)
			run(program + " -D INPUT -p tcp -m comment --comment one -j DROP")
			reads(2, 1)
			reads(2, 1)
			// As many rules, of the same size.
			run(program + " -R INPUT 1 -d " + tt.address + " -j DROP")
			reads(3, 1)
			reads(3, 1)
			if err := n.Cache.Close(); err != nil {
				t.Fatal(err)
			}
			reads(4, 1)
			reads(5, 1)
		})
	}
}

// Legacy tables that nobody uses are not made by the question for them.
func TestLegacyGeneration(t *testing.T) {
	n, run := emptyNamespace(t)
	ask := func() string {
		t.Helper()
		text, err := n.LegacyGeneration(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if got := ask(); got != "" {
		t.Errorf("of no tables: %q", got)
	}
	run("iptables-legacy -t raw -A PREROUTING -d 192.0.2.1 -j DROP")
	first := ask()
	if first == "" || ask() != first {
		t.Errorf("it changes by itself: %q, %q", first, ask())
	}
	run("iptables-legacy -t raw -F")
	if got := ask(); got == first {
		t.Errorf("a rule that goes is not seen: %q", got)
	}
	if tables, err := n.legacyTables(t.Context(), IPv4.legacyTables()); err != nil || fmt.Sprint(tables) != "[raw]" {
		t.Errorf("tables %v, %v", tables, err)
	}
}

func FuzzParseGeneration(f *testing.F) {
	f.Add([]byte{28, 0, 0, 0, 15, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 1, 0, 0, 0, 0, 7})
	f.Add([]byte{36, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255})
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _, _ = parseGeneration(b)
		for _, family := range legacyFamilies {
			family.withoutCounters(b)
		}
	})
}

func BenchmarkQuietNamespace(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root, to ask for a generation")
	}
	file, err := os.Open("/proc/self/ns/net")
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	n := Namespace{Host: host.New(host.DefaultPaths(), ""), NetNS: file, Proc: "/proc/self/net", Cache: NewCache(file)}
	defer n.Cache.Close()
	for b.Loop() {
		if _, _, err := n.Detect(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
