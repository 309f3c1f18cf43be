package netfilter

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func readSave(t testing.TB, name string) *Ruleset {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".save"))
	if err != nil {
		t.Fatal(err)
	}
	rs, err := ParseSave(data)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

func mustRules(t testing.TB, lines ...string) []Rule {
	t.Helper()
	rules, err := ParseRules(lines)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// web are labd's rules for one network, as the network domain makes them.
func web(t testing.TB) Chains {
	return Chains{
		Raw:     mustRules(t, `-s 192.168.50.0/24 -d 172.18.0.0/24 -i eth0 -m comment --comment labd:101:web -j ACCEPT`),
		Forward: mustRules(t, `-s 192.168.50.0/24 -d 172.18.0.0/24 -i eth0 -o br-web -m comment --comment labd:101:web -j ACCEPT`),
	}
}

// webAlias are labd's rules for the same network behind an alias.
func webAlias(t testing.TB) Chains {
	return Chains{
		Forward: mustRules(t, `-s 192.168.50.0/24 -d 172.18.0.0/24 -i eth0 -o br-web -m conntrack --ctorigdst 10.99.0.0/24 -m comment --comment labd:101:web -j ACCEPT`),
		NAT:     mustRules(t, `-s 192.168.50.0/24 -d 10.99.0.0/24 -i eth0 -m comment --comment labd:101:web -j NETMAP --to 172.18.0.0/24`),
	}
}

var samples = []string{"docker-20.10", "docker-28.5", "podman", "drifted"}

// The scripts name labd's chains and jumps and nothing else, whatever is in the namespace.
func TestScripts(t *testing.T) {
	for _, name := range samples {
		t.Run(name, func(t *testing.T) {
			rs := readSave(t, name)
			remove, err := rs.removeScript()
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, mode := range []struct {
				name string
				want Chains
			}{{"direct", web(t)}, {"alias", webAlias(t)}} {
				script, err := rs.replaceScript(mode.want)
				if err != nil {
					t.Fatal(err)
				}
				got += "# " + mode.name + "\n" + script
			}
			got += "# remove\n" + remove
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			for line := range strings.Lines(got) {
				switch line[0] {
				case ':', '-':
					if !strings.Contains(line, "LABD-") {
						t.Errorf("a line about a chain of others: %s", line)
					}
				}
			}
		})
	}
}

func TestOwn(t *testing.T) {
	for _, name := range samples {
		own, inPlace := readSave(t, name).Own()
		if drifted := name == "drifted"; inPlace == drifted || len(own.Raw) > 0 {
			t.Errorf("%s: own %v, in place %v", name, own, inPlace)
		}
	}
	done := "*raw\n:PREROUTING ACCEPT [0:0]\n:LABD-RAW - [0:0]\n-A PREROUTING -j LABD-RAW\n-A LABD-RAW -s 10.0.0.0/8 -j ACCEPT\nCOMMIT\n" +
		"*filter\n:FORWARD DROP [0:0]\n:DOCKER-USER - [0:0]\n:LABD-FWD - [0:0]\n-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -j LABD-FWD\n-A DOCKER-USER -j RETURN\n-A LABD-FWD -s 10.0.0.0/8 -j ACCEPT\nCOMMIT\n"
	for _, tt := range []struct {
		name, old, new string
		want           bool
	}{
		{"as made", "", "", true},
		{"another rule before the jump", "-A DOCKER-USER -j LABD-FWD", "-A DOCKER-USER -s 10.0.0.1/32 -j DROP\n-A DOCKER-USER -j LABD-FWD", false},
		{"the jump has a condition", "-A PREROUTING -j LABD-RAW", "-A PREROUTING -i eth0 -j LABD-RAW", false},
		{"twice", "-A PREROUTING -j LABD-RAW", "-A PREROUTING -j LABD-RAW\n-A PREROUTING -j LABD-RAW", false},
		{"a chain without rules", "-A LABD-FWD -s 10.0.0.0/8 -j ACCEPT\n", "", false},
		{"no jump", "-A PREROUTING -j LABD-RAW\n", "", false},
		{"in FORWARD although there is DOCKER-USER", "-A DOCKER-USER -j LABD-FWD", "-A FORWARD -j LABD-FWD", false},
	} {
		rs, err := ParseSave([]byte(strings.Replace(done, tt.old, tt.new, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if _, inPlace := rs.Own(); inPlace != tt.want {
			t.Errorf("%s: in place %v, want %v", tt.name, inPlace, tt.want)
		}
	}
	var none *Ruleset
	if _, inPlace := none.Own(); inPlace || none.HasMark() {
		t.Error("a ruleset that was not read has something of labd's")
	}
}

// A rule of a container must not make the host's iptables, which runs as root, open files or load anything.
func TestForeignJumpsAreNotFedBack(t *testing.T) {
	for _, rule := range []string{
		`-m bpf --object-pinned /sys/fs/bpf/x -j LABD-RAW`,
		`-m comment --comment x -m string --string y --algo bm -j LABD-RAW`,
		`-m set --match-set x src -j LABD-RAW`,
	} {
		rs, err := ParseSave([]byte("*raw\n:PREROUTING ACCEPT [0:0]\n:LABD-RAW - [0:0]\n-A PREROUTING " + rule + "\nCOMMIT\n"))
		if err != nil {
			t.Fatal(err)
		}
		if script, err := rs.removeScript(); err == nil {
			t.Errorf("%s went into a script:\n%s", rule, script)
		}
		if script, err := rs.replaceScript(web(t)); err != nil || strings.Contains(script, "-D") {
			t.Errorf("%s went into a script: %v\n%s", rule, err, script)
		}
		if script, err := rs.replaceScript(webAlias(t)); err == nil {
			t.Errorf("%s went into a script:\n%s", rule, script)
		}
	}
}

func TestMatches(t *testing.T) {
	subnet := netip.MustParsePrefix("172.18.0.0/24")
	for _, tt := range []struct {
		rule       string
		meets, out bool
	}{
		{"-j DROP", true, true},
		{"-d 172.18.0.2/32 ! -i br-web -j DROP", true, true},
		{"-d 172.18.0.2 -j DROP", true, true},
		{"-d 172.19.0.0/16 -j DROP", false, true},
		{"! -d 172.18.0.0/16 -j DROP", false, true},
		{"! -d 172.18.0.0/25 -j DROP", true, true},
		{"-i br-web -j DROP", false, true},
		{"-i eth+ -j DROP", true, true},
		{"! -i eth0 -j DROP", false, true},
		{"-o br-other -j DROP", true, false},
		{"! -o br-web -j DROP", true, false},
		{"-s 192.168.50.9/32 -j DROP", true, true},
		{"-s 10.0.0.0/8 -j DROP", true, true},
		{"-i eth0 ! -s 192.168.0.0/16 -j DROP", true, true},
		{"! -s 192.168.50.9/32 -j DROP", true, true},
		{"-d 2001:db8::/32 -j DROP", false, true},
		{"-d nonsense -j DROP", true, true},
		{"-m iprange --src-range 10.0.0.1-10.0.0.2 -j DROP", true, true},
	} {
		rule := mustRules(t, tt.rule)[0]
		if got := rule.MayMeet("eth0", subnet); got != tt.meets {
			t.Errorf("%s: meets %v", tt.rule, got)
		}
		if got := rule.MayLeaveBy("br-web"); got != tt.out {
			t.Errorf("%s: leaves %v", tt.rule, got)
		}
	}
}

func TestParseSaveErrors(t *testing.T) {
	for _, text := range []string{
		":FORWARD DROP\n", "*filter\n-A FORWARD -j DROP\n", "*filter\n:FORWARD\n", "*filter\n:X - [0:0]\n-A X -m comment --comment \"open -j DROP\n",
		"*filter\n:X - [0:0]\n-D X -j DROP\n", "*filter\n:X - [0:0]\n-A\n",
	} {
		if _, err := ParseSave([]byte(text)); err == nil {
			t.Errorf("accepted %q", text)
		}
	}
	rs, err := ParseSave([]byte("# Table `filter' is incompatible, use 'nft' tool.\n*raw\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n"))
	if err != nil || len(rs.Unreadable) != 1 || rs.Unreadable[0] != "filter" {
		t.Errorf("got %+v, %v", rs, err)
	}
}

func FuzzParseSave(f *testing.F) {
	for _, name := range samples {
		data, err := os.ReadFile(filepath.Join("testdata", name+".save"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		rs, err := ParseSave(data)
		if err != nil {
			return
		}
		rs.Own()
		_, _ = rs.removeScript()
		for _, chains := range rs.Tables {
			for _, chain := range chains {
				for _, rule := range chain.Rules {
					again, err := ParseRules([]string{rule.String()})
					if err != nil || len(rule.Args) > 0 && !again[0].Equal(rule) {
						t.Fatalf("%q is written as %q and read as %v, %v", rule.Args, rule, again, err)
					}
				}
			}
		}
	})
}
