package netfilter

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"labd/internal/host"
)

// machine is a host whose programs are scripts. Each run leaves its name in the file log.
type machine struct {
	t   *testing.T
	dir string
}

func newMachine(t *testing.T) (machine, Namespace) {
	t.Helper()
	m := machine{t, t.TempDir()}
	paths := host.DefaultPaths()
	paths.Exec = filepath.Join(m.dir, "bin")
	if err := os.MkdirAll(paths.Exec, 0o755); err != nil {
		t.Fatal(err)
	}
	return m, Namespace{Host: host.New(paths, ""), Proc: m.dir}
}

func (m machine) write(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

func (m machine) program(name, script string) {
	m.t.Helper()
	m.write("bin/"+name, "#!/bin/sh\necho "+name+" >> "+m.dir+"/log\n"+script+"\n")
}

// prints makes a program that prints a sample.
func (m machine) prints(name, sample string) {
	m.t.Helper()
	file, err := filepath.Abs(filepath.Join("testdata", sample+".save"))
	if err != nil {
		m.t.Fatal(err)
	}
	m.program(name, "exec /bin/cat "+file)
}

func (m machine) ran() string {
	data, err := os.ReadFile(filepath.Join(m.dir, "log"))
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(string(data)), " ")
}

func TestDetect(t *testing.T) {
	for _, tt := range []struct {
		name, tables, legacy string
		want                 Backend
		ran                  string
	}{
		{"no legacy module", "", "", NFT, "iptables-nft-save"},
		{"no legacy table", "\n", "docker-20.10", NFT, "iptables-nft-save"},
		{"legacy tables of others", "filter\n", "podman", NFT, "iptables-legacy-save iptables-nft-save"},
		{"Docker in legacy", "filter\nnat\n", "docker-20.10", Legacy, "iptables-legacy-save"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, n := newMachine(t)
			m.prints("iptables-nft-save", "docker-28.5")
			if tt.legacy != "" {
				m.prints("iptables-legacy-save", tt.legacy)
				m.write("ip_tables_names", tt.tables)
			}
			backend, rs, err := n.Detect(t.Context())
			if err != nil || backend != tt.want || rs == nil || m.ran() != tt.ran {
				t.Errorf("backend %s, %v; ran %s", backend, err, m.ran())
			}
		})
	}
}

// nft and iptables are known to crash on rules that others made; that is an error and nothing more.
func TestProgramsThatFail(t *testing.T) {
	for _, tt := range []struct{ name, script, want string }{
		{"crash", "kill -SEGV $$", "crashed"},
		{"failure", "echo 'no such module' >&2; exit 3", "no such module"},
		{"nonsense", "echo '-A X -j DROP'", "line 1"},
		{"a table that is not understood", "echo \"# Table \\`raw' is incompatible, use 'nft' tool.\"", "table raw"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, n := newMachine(t)
			m.program("iptables-nft-save", tt.script)
			if _, _, err := n.Detect(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want …%s…", err, tt.want)
			}
		})
	}
	_, n := newMachine(t)
	if _, _, err := n.Detect(t.Context()); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("no program: %v", err)
	}
	// Nothing can have been made without a program, so there is nothing to take away.
	if err := n.Remove(t.Context()); err != nil {
		t.Errorf("remove without programs: %v", err)
	}
	paths := host.DefaultPaths()
	paths.PVE = t.TempDir()
	n.Host = host.New(paths, "")
	if err := n.Remove(t.Context()); !errors.Is(err, host.ErrNoPrograms) {
		t.Errorf("remove on moved paths: %v", err)
	}
}

// One family that cannot be cleaned does not keep the other from being cleaned.
func TestRemoveGoesOn(t *testing.T) {
	m, n := newMachine(t)
	m.program("iptables-nft-save", "kill -SEGV $$")
	m.prints("ip6tables-nft-save", "drifted")
	m.program("ip6tables-nft-restore", "/bin/cat > "+m.dir+"/script; echo \"$@\" >> "+m.dir+"/script")
	m.program("nft", "if [ $1 = list ]; then echo table ip nat; echo table inet labd; else echo \"$@\" > "+m.dir+"/nft; fi")
	if err := n.Remove(t.Context()); err == nil || !strings.Contains(err.Error(), "crashed") {
		t.Errorf("got %v", err)
	}
	script, err := os.ReadFile(filepath.Join(m.dir, "script"))
	if err != nil || !strings.Contains(string(script), "-X LABD-FWD") || !strings.Contains(string(script), "--noflush --wait 5") {
		t.Errorf("script %q, %v", script, err)
	}
	if got, err := os.ReadFile(filepath.Join(m.dir, "nft")); err != nil || string(got) != "delete table inet labd\n" {
		t.Errorf("nft %q, %v", got, err)
	}
}

func TestReplaceWithNothingToDoRunsNothing(t *testing.T) {
	m, n := newMachine(t)
	m.program("iptables-nft-restore", "exit 1")
	text := "*raw\n:PREROUTING ACCEPT [0:0]\n:LABD-RAW - [0:0]\n-A PREROUTING -j LABD-RAW\n-A LABD-RAW " + web(t).Raw[0].String() + "\nCOMMIT\n" +
		"*filter\n:FORWARD DROP [0:0]\n:LABD-FWD - [0:0]\n-A FORWARD -j LABD-FWD\n-A LABD-FWD " + web(t).Forward[0].String() + "\nCOMMIT\n"
	rs, err := ParseSave([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Replace(t.Context(), NFT, IPv4, rs, web(t)); err != nil || m.ran() != "" {
		t.Errorf("%v; ran %s", err, m.ran())
	}
	if err := n.Replace(t.Context(), NFT, IPv4, rs, Chains{Raw: web(t).Raw}); err == nil || m.ran() != "iptables-nft-restore" {
		t.Errorf("%v; ran %s", err, m.ran())
	}
}
