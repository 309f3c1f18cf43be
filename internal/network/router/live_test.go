package router

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"labd/internal/network"
	"labd/internal/route"
	"labd/test/spaces"
)

func TestMain(m *testing.M) { os.Exit(spaces.Main(m)) }

// situation is what the host is when a text is printed.
type situation struct {
	hop     string // the host's address
	subnets []string
}

var (
	first   = situation{"192.168.50.1", []string{"172.18.0.0/24", "172.19.0.0/24"}}
	changed = situation{"192.168.50.9", []string{"172.19.0.0/24", "172.20.0.0/24"}} // another address, one network gone, one new
)

// textOf prints a style's text for a situation, each network by itself.
func textOf(t *testing.T, s situation, req Request) string {
	t.Helper()
	var containers []network.Container
	for i, subnet := range s.subnets {
		containers = append(containers, sampleContainer(t, 101+i, subnet))
	}
	f := sampleFacts(containers...)
	f.Host.Addresses[1].Prefix = netip.PrefixFrom(netip.MustParseAddr(s.hop), 24)
	f.Host.Addresses = append(f.Host.Addresses, route.Address{Interface: "vmbr3", Prefix: netip.MustParsePrefix("172.30.0.1/24")}) // no pool as a whole
	return advise(t, network.Diagnose(f, network.DefaultPolicy()), req).Text
}

// routesIn returns the routes below 172.16.0.0/12 of a namespace, as "prefix via hop", sorted.
func routesIn(s spaces.Space) []string {
	var out []string
	for line := range strings.Lines(s.IP("-4 route show")) {
		fields := strings.Fields(line)
		if !strings.HasPrefix(fields[0], "172.") {
			continue
		}
		hop := "several"
		if i := slices.Index(fields, "via"); i > 0 {
			hop = fields[i+1]
		}
		out = append(out, fields[0]+" via "+hop)
	}
	slices.Sort(out)
	return out
}

// wantRoutes waits until the routes are those of a situation.
func wantRoutes(t *testing.T, when string, s spaces.Space, want situation) {
	t.Helper()
	var wanted []string
	for _, subnet := range want.subnets {
		wanted = append(wanted, subnet+" via "+want.hop)
	}
	eventually(t, func() string {
		if got := routesIn(s); !slices.Equal(got, wanted) {
			return fmt.Sprintf("%s: routes %v, want %v", when, got, wanted)
		}
		return ""
	})
}

// eventually tries until nothing is wrong any more.
func eventually(t *testing.T, wrong func() string) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		text := wrong()
		if text == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(text)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// wire joins two namespaces by a cable.
func wire(t *testing.T, a spaces.Space, aName, aAddr string, b spaces.Space, bName, bAddr string) {
	t.Helper()
	a.IP(fmt.Sprintf("link add %s type veth peer name %s netns %d", aName, bName, b.PID))
	for _, end := range []struct {
		s          spaces.Space
		name, addr string
	}{{a, aName, aAddr}, {b, bName, bAddr}} {
		if end.addr != "" {
			end.s.IP(fmt.Sprintf("addr add %s dev %s", end.addr, end.name))
		}
		end.s.IP("link set " + end.name + " up")
	}
}

// Pasted, pasted again, pasted after a change, removed: what a shell of Linux takes.
func TestPlainRuns(t *testing.T) {
	spaces.Need(t)
	moved := situation{changed.hop, first.subnets}
	for _, style := range []string{StylePlain, "client-linux"} {
		s, peer := spaces.New(t), spaces.New(t)
		wire(t, s, "eth0", "192.168.50.254/24", peer, "eth0", "192.168.50.1/24")
		for range 2 {
			s.Shell(textOf(t, first, Request{Style: style}))
			wantRoutes(t, style, s, first)
		}
		s.Shell(textOf(t, moved, Request{Style: style}))
		wantRoutes(t, style+", another next hop", s, moved)
		s.Shell(textOf(t, moved, Request{Style: style, Remove: true}))
		wantRoutes(t, style+", removed", s, situation{})
	}
}

// The kernel's default routes, as labd reads them: of several tables and metrics, with one and with two next hops.
func TestGatewayOfTheKernel(t *testing.T) {
	spaces.Need(t)
	host, peer := spaces.Space{T: t}, spaces.New(t)
	wire(t, host, "eno1", "192.168.50.1/24", peer, "eth0", "192.168.50.254/24")
	wire(t, host, "wwan0", "10.64.0.2/30", peer, "eth1", "10.64.0.1/30")
	t.Cleanup(func() {
		for _, name := range []string{"eno1", "wwan0"} {
			_, _ = host.Output("", "ip", "link", "del", name)
		}
	})
	for _, tt := range []struct {
		routes  []string
		gateway string
	}{
		{[]string{"default via 192.168.50.254 dev eno1", "default via 10.64.0.1 dev wwan0 metric 700"}, "192.168.50.254"},
		{[]string{"default via 192.168.50.254 dev eno1 metric 100", "default via 10.64.0.1 dev wwan0 metric 50"}, ""},
		{[]string{"default via 192.168.50.254 dev eno1", "default via 192.168.50.77 dev eno1 table 100"}, "192.168.50.254"},
		{[]string{"default nexthop via 192.168.50.254 dev eno1 nexthop via 192.168.50.253 dev eno1"}, ""},
		{[]string{"unreachable default metric 4000", "default via 192.168.50.254 dev eno1"}, "192.168.50.254"},
		{nil, ""},
	} {
		for _, r := range tt.routes {
			host.IP("route add " + r)
		}
		names, err := route.LinkNames(nil)
		if err != nil {
			t.Fatal(err)
		}
		_, defaults, err := route.List(route.Host(), names)
		if err != nil {
			t.Fatal(err)
		}
		got, why := gateway(network.Host{Defaults: defaults}, netip.MustParsePrefix("192.168.50.1/24"), "eno1")
		if tt.gateway == "" && (got.IsValid() || why == "") || tt.gateway != "" && got.String() != tt.gateway {
			t.Errorf("%v: %s, %q; want %s", tt.routes, got, why, tt.gateway)
		}
		for _, r := range tt.routes {
			host.IP("route del " + r)
		}
	}
}

// startFRR starts FRR's daemons in a namespace, with files of their own.
func startFRR(t *testing.T, s spaces.Space, daemons ...string) {
	t.Helper()
	if _, err := os.Stat("/usr/lib/frr/zebra"); err != nil {
		missing(t, "frr")
	}
	s.Shell("mkdir -p /run/frr\nmount -t tmpfs tmpfs /run/frr\nmount -t tmpfs tmpfs /etc/frr\ntouch /etc/frr/vtysh.conf /etc/frr/frr.conf\nchown -R frr:frr /run/frr /etc/frr\n")
	for _, d := range daemons {
		cmd := s.Command("/usr/lib/frr/"+d, "-A", "127.0.0.1", "-P", "0")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		eventually(t, func() string {
			if out, err := s.Output("", "vtysh", "-c", "show daemons"); err != nil || !strings.Contains(out, d) {
				return d + " does not run: " + out
			}
			return ""
		})
	}
}

// missing ends a test for which a program is missing.
func missing(t *testing.T, program string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing", program)
	}
	t.Skipf("%s is missing", program)
}

func TestFRRRuns(t *testing.T) {
	spaces.Need(t)
	s, peer := spaces.New(t), spaces.New(t)
	wire(t, s, "eth0", "192.168.50.254/24", peer, "eth0", "192.168.50.1/24")
	startFRR(t, s, "zebra", "staticd")
	// A route of somebody's own, and one that an older labd made, which had no tag.
	s.Run("vtysh", "-c", "configure terminal", "-c", "ip route 172.31.0.0/24 192.168.50.3", "-c", "ip route 172.18.0.0/24 192.168.50.7")
	for range 2 {
		if out := s.Shell(textOf(t, first, Request{Style: "frr"})); !strings.Contains(out, "[OK]") {
			t.Errorf("write memory: %s", out)
		}
	}
	if got := routesIn(s); !slices.Contains(got, "172.31.0.0/24 via 192.168.50.3") {
		t.Errorf("a route of somebody's own is gone: %v", got)
	}
	s.Run("vtysh", "-c", "configure terminal", "-c", "no ip route 172.31.0.0/24 192.168.50.3")
	wantRoutes(t, "frr", s, first)
	s.Shell(textOf(t, changed, Request{Style: "frr"}))
	wantRoutes(t, "frr, changed", s, changed)
	s.Shell(textOf(t, changed, Request{Style: "frr", Remove: true}))
	wantRoutes(t, "frr, removed", s, situation{})
	if saved := s.Run("cat", "/etc/frr/frr.conf"); strings.Contains(saved, "ip route") {
		t.Errorf("still in the saved configuration:\n%s", saved)
	}
}

// Without staticd every route fails while "write memory" says OK: the text says so instead.
func TestFRRWithoutStaticd(t *testing.T) {
	spaces.Need(t)
	s := spaces.New(t)
	startFRR(t, s, "zebra")
	if out := s.Shell(textOf(t, first, Request{Style: "frr"})); !strings.Contains(out, "staticd does not run") || strings.Contains(out, "[OK]") {
		t.Errorf("%s", out)
	}
}

// udhcpcScript does with option 121 what RFC 3442 says, as the scripts of BusyBox' users do.
const udhcpcScript = `#!/bin/sh
case "$1" in
bound|renew)
	ip -4 addr flush dev $interface
	ip addr add $ip/$mask dev $interface
	if [ -n "$staticroutes" ]; then
		set -- $staticroutes
		while [ -n "$1" ]; do ip route replace $1 via $2; shift 2; done
	else
		ip route replace default via $router
	fi ;;
esac
`

// dhcpClients are clients that take option 121.
var dhcpClients = map[string]func(t *testing.T, s spaces.Space){
	"udhcpc": func(t *testing.T, s spaces.Space) {
		script := filepath.Join(t.TempDir(), "script")
		if err := os.WriteFile(script, []byte(udhcpcScript), 0o755); err != nil {
			t.Fatal(err)
		}
		s.Run("busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "10", "-T", "1", "-O", "staticroutes", "-s", script)
	},
	"dhclient": func(t *testing.T, s spaces.Space) {
		dir := t.TempDir()
		s.Shell("mount -t tmpfs tmpfs /var/lib/dhcp\ntouch /run/labd-test-resolv\nmount --bind /run/labd-test-resolv /etc/resolv.conf\n")
		pid := filepath.Join(dir, "pid")
		t.Cleanup(func() { _, _ = s.Output("", "dhclient", "-x", "-pf", pid) }) // it stays, to renew
		s.Run("dhclient", "-1", "-v", "-pf", pid, "-lf", filepath.Join(dir, "leases"), "eth0")
	},
	"dhcpcd": func(t *testing.T, s spaces.Space) {
		s.Shell("mkdir -p /run/dhcpcd /var/lib/dhcpcd\nmount -t tmpfs tmpfs /run/dhcpcd\nmount -t tmpfs tmpfs /var/lib/dhcpcd\n")
		s.Run("dhcpcd", "--nodev", "--oneshot", "--waitip", "4", "--timeout", "20", "--nohook", "resolv.conf", "--nohook", "hostname", "--noipv4ll", "--ipv4only", "eth0")
	},
}

// dnsmasq runs a DHCP server for two LANs, the second of which has another router, with labd's text for the first.
func dnsmasq(t *testing.T, server spaces.Space, text string) (stop func()) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ranges := "port=0\nno-ping\nbind-interfaces\ninterface=lan\ninterface=guest\ndhcp-authoritative\nuser=root\nleasefile-ro\n" +
		"dhcp-range=set:labd,192.168.50.100,192.168.50.200,255.255.255.0,10m\ndhcp-range=192.168.60.100,192.168.60.200,255.255.255.0,10m\n" +
		"dhcp-option=tag:labd,option:router,192.168.50.254\n"
	for name, content := range map[string]string{"own.conf": ranges, "labd.conf": text} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server.Run("dnsmasq", "--test", "--conf-dir="+dir)
	log := filepath.Join(dir, "log")
	cmd := server.Command("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--conf-dir="+dir+",*.conf", "--pid-file=", "--log-facility="+log)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	stop = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(stop)
	eventually(t, func() string {
		if data, _ := os.ReadFile(log); !strings.Contains(string(data), "started") {
			return "dnsmasq does not start: " + string(data)
		}
		return ""
	})
	return stop
}

// Each client gets the routes and the right default route; one of another range gets neither.
func TestDHCPClientsLearnRoutes(t *testing.T) {
	spaces.Need(t)
	server := spaces.New(t)
	clients := map[string]spaces.Space{}
	for i, name := range []string{"udhcpc", "dhclient", "dhcpcd"} {
		clients[name] = spaces.New(t)
		wire(t, server, fmt.Sprintf("port%d", i), "", clients[name], "eth0", "")
	}
	guest := spaces.New(t)
	wire(t, server, "guest", "192.168.60.254/24", guest, "eth0", "")
	server.IP("link add lan type bridge")
	server.IP("addr add 192.168.50.254/24 dev lan")
	server.IP("link set lan up")
	for i := range len(clients) {
		server.IP(fmt.Sprintf("link set port%d master lan", i))
	}
	stop := dnsmasq(t, server, textOf(t, first, Request{Style: "dnsmasq-121"}))
	for name, s := range clients {
		dhcpClients[name](t, s)
		wantRoutes(t, name, s, first)
		if got := s.IP("-4 route show default"); !strings.Contains(got, "default via 192.168.50.254 dev eth0") || strings.Count(got, "default") != 1 {
			t.Errorf("%s: default route %q", name, got)
		}
	}
	dhcpClients["udhcpc"](t, guest)
	if got := guest.IP("-4 route show"); !strings.Contains(got, "default via 192.168.60.254") || strings.Contains(got, "172.1") || strings.Contains(got, "192.168.50") {
		t.Errorf("a client of the other range has %q", got)
	}
	stop()
	// The changed text takes the place of the file; without it, clients go back to the router alone.
	udhcpc := clients["udhcpc"]
	stop = dnsmasq(t, server, textOf(t, changed, Request{Style: "dnsmasq-121"}))
	dhcpClients["udhcpc"](t, udhcpc)
	wantRoutes(t, "changed", udhcpc, changed)
	stop()
	dnsmasq(t, server, "")
	dhcpClients["udhcpc"](t, udhcpc)
	wantRoutes(t, "removed", udhcpc, situation{})
}

// dnsmasq takes the longest option that labd prints, and what does not fit is never printed.
func TestDnsmasqTakesTheLongestOption(t *testing.T) {
	spaces.Need(t)
	var subnets []string
	for i := range 31 {
		subnets = append(subnets, fmt.Sprintf("172.18.%d.0/24", 2*i))
	}
	s := spaces.New(t)
	file := filepath.Join(t.TempDir(), "labd.conf")
	for n, ok := range map[int]bool{31: true, 32: false} {
		list := subnets
		if n > len(subnets) {
			list = append(slices.Clone(subnets), "172.18.62.0/24")
		}
		c := classless{gateway: lanDefault.Via}
		for _, subnet := range list {
			c.routes = append(c.routes, Route{Prefix: netip.MustParsePrefix(subnet), Via: netip.MustParseAddr("192.168.50.1")})
		}
		if err := os.WriteFile(file, []byte("dhcp-option=option:classless-static-route,"+c.text()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := s.Output("", "dnsmasq", "--test", "--conf-file="+file); (err == nil) != ok || (c.size() <= optionLimit) != ok {
			t.Errorf("%d routes, %d bytes: dnsmasq says %s", n, c.size(), out)
		}
	}
}

// A client's kernel takes the route and no default route; after the text is gone, the route ends by its lifetime.
func TestRadvdRuns(t *testing.T) {
	spaces.Need(t)
	host, client := spaces.New(t), spaces.New(t)
	host.Sysctl("net.ipv6.conf.all.forwarding=1")
	wire(t, host, "eno1", "fd50::1/64", client, "eth0", "")
	client.Sysctl("net.ipv6.conf.eth0.accept_ra=1")
	client.Sysctl("net.ipv6.conf.eth0.accept_ra_rt_info_max_plen=48")
	text := advise(t, routerReport(t), Request{Style: "radvd"}).Text
	file := filepath.Join(t.TempDir(), "radvd.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	host.Run("radvd", "--configtest", "-C", file)
	cmd := host.Command("radvd", "--nodaemon", "-C", file, "-p", filepath.Join(t.TempDir(), "pid"), "-m", "stderr")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	eventually(t, func() string {
		if got := client.IP("-6 route show"); !strings.Contains(got, "fd18::/48 via fe80::") {
			return "the client has " + got
		}
		return ""
	})
	if got := client.IP("-6 route show default"); got != "" {
		t.Errorf("the host became a default router: %s", got)
	}
}
