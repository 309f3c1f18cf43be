package netfilter

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func aliasTable() Table {
	return Table{
		Mark:  []string{`iifname "eth0" ip saddr 192.168.50.0/24 ip daddr 10.99.0.0/24 meta mark set 0x4c comment "labd:101:web"`},
		Alias: []string{`iifname "eth0" ip saddr 192.168.50.0/24 dnat ip prefix to ip daddr map { 10.99.0.0/24 : 172.18.0.0/24 } comment "labd:101:web"`},
	}
}

// The table is made once, found as made, and made again where a rule is missing or another.
func TestTable(t *testing.T) {
	m, n := newMachine(t)
	m.program("nft", `case "$1 $2" in
"list tables") [ -e `+m.dir+`/table ] && echo "table inet labd" || true;;
"list table") /bin/cat `+m.dir+`/table;;
"-f -") /bin/cat > `+m.dir+`/table;;
"delete table") /bin/rm `+m.dir+`/table;;
esac`)
	want := aliasTable()
	ran := func(when string, table Table, calls int) {
		t.Helper()
		before := len(strings.Fields(m.ran()))
		if err := n.ReplaceTable(t.Context(), table); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if got := len(strings.Fields(m.ran())) - before; got != calls {
			t.Errorf("%s: nft ran %d times, want %d", when, got, calls)
		}
	}
	ran("nothing wanted, nothing there", Table{}, 1)
	ran("first", want, 2)
	state, err := n.ReadTable(t.Context())
	if err != nil || !state.Holds(want) || state.Holds(Table{}) || state.Holds(Table{Mark: want.Mark}) {
		t.Errorf("state %+v, %v", state, err)
	}
	ran("as wanted", want, 2)
	ran("with less", Table{Alias: want.Alias}, 3)
	ran("no more", Table{}, 3)
	if state, err := n.ReadTable(t.Context()); err != nil || state.There {
		t.Errorf("state %+v, %v", state, err)
	}
	if lost := parseTable(strings.Replace(want.script(), want.Mark[0], "", 1)); lost.Holds(want) {
		t.Error("a rule that is missing is not seen")
	}
}

// What Docker's own nftables chains say, in the shapes of several versions of Docker and nft.
func TestReadDocker(t *testing.T) {
	m, n := newMachine(t)
	m.program("nft", `case "$5" in
raw-PREROUTING) echo '		type filter hook prerouting priority raw; policy accept;
		ip daddr 172.18.0.2 iifname != "br-web" counter packets 3 bytes 252 drop comment "DROP DIRECT ACCESS"
		ip daddr 172.19.0.0/16 iifname != { "lo", "br-db" } counter packets 0 bytes 0 drop comment "SUBNET DROP EXTERNAL"
		ip daddr 172.20.0.2 counter packets 0 bytes 0 accept';;
filter-forward-in__br-web) echo '		ct state established,related counter packets 0 bytes 0 accept
		meta mark 0x0000004c counter packets 0 bytes 0 accept comment "ALLOW FW MARK"';;
filter-forward-in__br-db) echo '		meta mark & 0x00000003 == 0x00000002 counter packets 0 bytes 0 accept comment "ALLOW FW MARK"';;
filter-forward-in__br-crash) kill -SEGV $$;;
*) echo 'Error: No such file or directory' >&2; exit 1;;
esac`)
	got, err := n.ReadDocker(t.Context(), IPv4, []string{"br-web", "br-db", "br-none"})
	if err != nil {
		t.Fatal(err)
	}
	want := DockerTable{
		Accepts: map[string]Mark{"br-web": {0x4c, 0xffffffff}, "br-db": {2, 3}},
		Drops:   []netip.Prefix{netip.MustParsePrefix("172.18.0.2/32"), netip.MustParsePrefix("172.19.0.0/16")},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !got.DropsRouted(netip.MustParsePrefix("172.18.0.0/24")) || got.DropsRouted(netip.MustParsePrefix("172.20.0.0/24")) {
		t.Error("drops are not matched with a subnet")
	}
	if set := got.Accepts["br-db"].Set(); set != "meta mark set meta mark & 0xfffffffc | 0x2" {
		t.Errorf("set: %s", set)
	}
	if set := got.Accepts["br-web"].Set(); set != "meta mark set 0x4c" {
		t.Errorf("set: %s", set)
	}
	if _, err := n.ReadDocker(t.Context(), IPv4, []string{"br-crash"}); err == nil || !strings.Contains(err.Error(), "crashed") {
		t.Errorf("a crash: %v", err)
	}
}

func FuzzDockerTable(f *testing.F) {
	f.Add("meta mark & 0x3 == 0x2 counter accept")
	f.Add("ip daddr 172.18.0.2 iifname != \"br\" counter drop")
	f.Add("comment \"labd:x\"\ncomment \"labd:1:2\"")
	f.Fuzz(func(_ *testing.T, text string) {
		parseAcceptedMark(text)
		parseDockerDrops(text, "ip")
		parseTable(text).Holds(Table{Mark: []string{text}})
	})
}
