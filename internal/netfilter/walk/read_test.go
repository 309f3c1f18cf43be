package walk

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"labd/internal/host"
	"labd/internal/netfilter"
)

// namespace returns a new network namespace, held by a process.
func namespace(t *testing.T) netfilter.Namespace {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: works on the kernel's own objects")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	cmd := exec.Command("sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return netfilter.Namespace{Host: host.New(host.DefaultPaths(), ""), NetNS: file, Proc: fmt.Sprintf("/proc/%d/net", cmd.Process.Pid)}
}

func feed(t *testing.T, n netfilter.Namespace, program, input string) {
	t.Helper()
	args := []string{"--net=/proc/self/fd/3", "--", program}
	if program == "nft" {
		args = append(args, "-f", "-")
	}
	cmd := exec.Command("nsenter", args...)
	cmd.Stdin, cmd.ExtraFiles = strings.NewReader(input), []*os.File{n.NetNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", program, err, out)
	}
}

func read(t *testing.T, n netfilter.Namespace, f netfilter.Family) *Ruleset {
	t.Helper()
	rs, err := Read(context.Background(), n, f)
	if err != nil {
		t.Fatal(err)
	}
	if len(rs.Unread) > 0 {
		t.Fatalf("not read: %+v", rs.Unread)
	}
	return rs
}

// packet is "SRC DST [PROTOCOL[:PORT]]", from eth0 to br0.
func packet(t *testing.T, text string) Packet {
	t.Helper()
	words := strings.Fields(text)
	prefix := func(s string) netip.Prefix {
		p, err := parsePrefix(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := Packet{In: "eth0", Out: "br0", Source: prefix(words[0]), Dest: prefix(words[1])}
	if len(words) > 2 {
		protocol, port, ok := strings.Cut(words[2], ":")
		p.Protocol = protocol
		if ok {
			if _, err := fmt.Sscan(port, &p.DestPort); err != nil {
				t.Fatal(err)
			}
		}
	}
	return p
}

// The rules of nftables as the kernel has them, read by netlink: everything that decides is understood, and what is not
// is said.
func TestReadNFTables(t *testing.T) {
	for _, tt := range []struct{ name, rules, packet, want string }{
		{"policy", `chain c { type filter hook forward priority 0; policy drop; }`, "10.0.0.1 172.18.0.2 tcp:80", "dropped nft inet t, chain c: policy drop"},
		{"interface", `chain c { type filter hook forward priority 0; iifname "eth0" oifname "br*" drop; }`, "10.0.0.1 172.18.0.2", `dropped nft inet t, chain c: iifname "eth0" oifname "br*" drop`},
		{"other interface", `chain c { type filter hook forward priority 0; iifname != "eth0" drop; }`, "10.0.0.1 172.18.0.2", "passes"},
		{"source", `chain c { type filter hook forward priority 0; ip saddr 10.0.0.0/8 drop; }`, "10.0.0.1 172.18.0.2", "dropped nft inet t, chain c: meta nfproto ipv4 ip saddr 10.0.0.0/8 drop"},
		{"source with a mask", `chain c { type filter hook forward priority 0; ip saddr 10.16.0.0/12 drop; }`, "10.17.0.1 172.18.0.2", "dropped nft inet t, chain c: meta nfproto ipv4 ip saddr 10.16.0.0/12 drop"},
		{"source range", `chain c { type filter hook forward priority 0; ip saddr 10.0.0.5-10.0.0.9 drop; }`, "10.0.0.7 172.18.0.2", "dropped nft inet t, chain c: meta nfproto ipv4 ip saddr >= 10.0.0.5 ip saddr <= 10.0.0.9 drop"},
		{"state", `chain c { type filter hook forward priority 0; policy drop; ct state established,related accept; ct state new accept; }`, "10.0.0.1 172.18.0.2", "passes nft inet t, chain c: ct state new accept"},
		{"invalid", `chain c { type filter hook forward priority 0; ct state invalid drop; }`, "10.0.0.1 172.18.0.2", "passes"},
		{"state map", `chain c { type filter hook forward priority 0; policy drop; ct state vmap { invalid : drop, established : accept, new : jump n }; } chain n { tcp dport 80 accept; }`, "10.0.0.1 172.18.0.2 tcp:80", "passes nft inet t, chain n: meta l4proto tcp dport 80 accept"},
		{"set", `set s { type ipv4_addr; flags interval; elements = { 10.0.0.0/24, 192.0.2.7 }; } chain c { type filter hook forward priority 0; ip saddr @s drop; }`, "10.0.0.9 172.18.0.2", "dropped nft inet t, chain c: meta nfproto ipv4 ip saddr @s drop"},
		{"not in the set", `set s { type ipv4_addr; flags interval; elements = { 10.0.0.0/24, 192.0.2.7 }; } chain c { type filter hook forward priority 0; ip saddr @s drop; }`, "10.0.1.9 172.18.0.2", "passes"},
		{"single in a set", `set s { type ipv4_addr; flags interval; elements = { 10.0.0.0/24, 192.0.2.7 }; } chain c { type filter hook forward priority 0; ip saddr @s drop; }`, "192.0.2.7 172.18.0.2", "dropped nft inet t, chain c: meta nfproto ipv4 ip saddr @s drop"},
		{"concatenation", `set s { type ipv4_addr . inet_service; elements = { 10.0.0.1 . 80 }; } chain c { type filter hook forward priority 0; ip saddr . tcp dport @s drop; }`, "10.0.0.1 172.18.0.2 tcp:80", "dropped"},
		{"another port of it", `set s { type ipv4_addr . inet_service; elements = { 10.0.0.1 . 80 }; } chain c { type filter hook forward priority 0; ip saddr . tcp dport @s drop; }`, "10.0.0.1 172.18.0.2 tcp:81", "passes"},
		{"concatenation of ranges", `set s { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/8 . 80-90 }; } chain c { type filter hook forward priority 0; ip saddr . tcp dport @s drop; }`, "10.9.0.1 172.18.0.2 tcp:85", "dropped"},
		{"map of interfaces", `map m { type ifname : verdict; elements = { "eth0" : jump z }; } chain z { drop; } chain c { type filter hook forward priority 0; iifname vmap @m; }`, "10.0.0.1 172.18.0.2", "dropped nft inet t, chain z: drop"},
		{"ports", `chain c { type filter hook forward priority 0; policy drop; tcp dport { 80, 8000-8100 } accept; }`, "10.0.0.1 172.18.0.2 tcp:8080", "passes"},
		{"one port of any", `chain c { type filter hook forward priority 0; tcp dport 5432 drop; }`, "10.0.0.1 172.18.0.2", "partly"},
		{"only one port", `chain c { type filter hook forward priority 0; policy drop; tcp dport 22 accept; }`, "10.0.0.1 172.18.0.2", "partly nft inet t, chain c: policy drop"},
		{"goto", `chain g { ip saddr 10.0.0.1 return; accept; } chain c { type filter hook forward priority 0; policy drop; goto g; }`, "10.0.0.1 172.18.0.2", "dropped nft inet t, chain c: policy drop"},
		{"mark", `chain p { type filter hook forward priority -1; iifname "eth0" meta mark set meta mark | 0x10; meta mark & 0x10 == 0x10 drop; }`, "10.0.0.1 172.18.0.2", "dropped"},
		{"another table drops after an accept", `chain c { type filter hook forward priority 0; accept; } chain d { type filter hook forward priority 10; drop; }`, "10.0.0.1 172.18.0.2", "dropped nft inet t, chain d: drop"},
		{"limit", `chain c { type filter hook forward priority 0; limit rate over 10/second drop; }`, "10.0.0.1 172.18.0.2", "unknown limit"},
		{"a set that packets fill", `set s { type ipv4_addr; flags dynamic,timeout; timeout 1m; } chain c { type filter hook forward priority 0; ip saddr @s drop; }`, "10.0.0.1 172.18.0.2", "unknown ip saddr @s"},
		{"reject", `chain c { type filter hook forward priority 0; reject with icmpx type admin-prohibited; }`, "10.0.0.1 172.18.0.2", "dropped nft inet t, chain c: reject"},
		{"an own address", `chain c { type filter hook forward priority 0; fib daddr type local drop; }`, "10.0.0.1 172.18.0.2", "passes"},
		{"IPv6 alone", `chain c { type filter hook forward priority 0; meta nfproto ipv6 drop; }`, "10.0.0.1 172.18.0.2", "passes"},
		{"the whole LAN but one", `chain c { type filter hook forward priority 0; ip saddr 10.0.0.0/25 drop; }`, "10.0.0.0/24 172.18.0.0/16", "partly"},
		{"two halves", `chain c { type filter hook forward priority 0; ip saddr { 10.0.0.0/25, 10.0.0.128/25 } drop; }`, "10.0.0.0/24 172.18.0.0/16", "dropped"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := namespace(t)
			feed(t, n, "nft", "table inet t {\n"+strings.NewReplacer("; ", ";\n", "{ type", "{\ntype", "} ", "}\n").Replace(tt.rules)+"\n}\n")
			got := read(t, n, netfilter.IPv4).Walk(Forward, packet(t, tt.packet))
			text := got.Outcome.String()
			switch {
			case got.Outcome == Unknown:
				text += " " + got.Because
			case got.Place.Table != "":
				text += " " + got.Place.String()
			}
			if !strings.HasPrefix(text, tt.want) {
				t.Errorf("%s, want %s\n%+v", text, tt.want, got)
			}
		})
	}
}
