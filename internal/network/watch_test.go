package network

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/netfilter"
	"labd/test/spaces"
)

const (
	webNetworks = `[{"Id":"f00","Name":"web","Driver":"bridge","Options":{"com.docker.network.bridge.name":"br-web"},"IPAM":{"Config":[{"Subnet":"172.18.0.0/24"}]}}]`
	webBoxes    = `[{"Names":["/shop"],"State":"running","NetworkSettings":{"Networks":{"web":{"IPAddress":"172.18.0.2"}}}}]`
)

// newWatchBed is the bed with a fleet of one container and an engine that keeps it.
func newWatchBed(t *testing.T, backend netfilter.Backend) (*bed, *fleet, *engine) {
	t.Helper()
	b := newBed(t, "docker-28.5", backend)
	f := newFleet(t)
	f.start(ctID, b.ct.pid, webNetworks, webBoxes)
	b.policy.Mode = ModeReconcile
	return b, f, newEngine(t, b.observer.host, f, b.policy)
}

// within waits until ok, and fails after limit.
func within(t *testing.T, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	start, tick := time.Now(), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(start) > limit {
			t.Fatalf("not within %s: %s", limit, what)
		}
		<-tick.C
	}
	return time.Since(start)
}

// slack is what a busy machine adds to a deadline.
const slack = 3 * time.Second

func (b *bed) routed() bool {
	out, err := b.host.output("", "ip", "route", "show", "table", "all", "proto", "176")
	if err != nil || !strings.Contains(out, "172.18.0.0/24 via 10.77.0.101") {
		return false
	}
	rules, err := b.host.output("", "ip", "rule")
	return err == nil && strings.Contains(rules, "from "+lanPrefix+" lookup 176")
}

func (b *bed) ruled(backend netfilter.Backend) bool {
	for _, rule := range [][]string{
		{"-t", "raw", "-C", "PREROUTING", "-j", "LABD-RAW"},
		{"-C", "DOCKER-USER", "-j", "LABD-FWD"},
		{"-t", "raw", "-C", "LABD-RAW", "-s", lanPrefix, "-d", "172.18.0.0/24", "-i", "eth0", "-m", "comment", "--comment", "labd:101:web", "-j", "ACCEPT"},
	} {
		if _, err := b.ct.output("", "iptables-"+string(backend), rule...); err != nil {
			return false
		}
	}
	return true
}

// What somebody takes away is back in time, without a resync: a route and a rule of nft within 2 s, a legacy rule within
// 10 s.
func TestTakenAwayIsBack(t *testing.T) {
	for _, tt := range []struct {
		backend netfilter.Backend
		limit   time.Duration
	}{{netfilter.NFT, 2 * time.Second}, {netfilter.Legacy, 10 * time.Second}} {
		t.Run(string(tt.backend), func(t *testing.T) {
			b, _, e := newWatchBed(t, tt.backend)
			stop := e.start()
			defer stop()
			within(t, 10*time.Second, "made at the start", func() bool { return b.routed() && b.ruled(tt.backend) })
			b.wantPing("made", true)
			iptables := "iptables-" + string(tt.backend)
			for _, step := range []struct {
				what  string
				limit time.Duration
				do    func()
			}{
				{"the route", 2 * time.Second, func() { b.host.ip("route del 172.18.0.0/24 table 176") }},
				{"a rule for routing", 2 * time.Second, func() { b.host.ip("rule del priority 17601") }},
				{"a rule", tt.limit, func() { b.ct.run(iptables, "-t", "raw", "-F", "LABD-RAW") }},
				{"a jump", tt.limit, func() { b.ct.run(iptables, "-D", "DOCKER-USER", "-j", "LABD-FWD") }},
			} {
				step.do()
				took := within(t, step.limit+slack, step.what, func() bool { return b.routed() && b.ruled(tt.backend) })
				t.Logf("%s is back after %s", step.what, took.Round(time.Millisecond))
			}
			if f := e.control.Figures(); f.Rules < 3 || f.Routes < 2 || f.Convergence.Count < 4 || f.Delayed != 0 {
				t.Errorf("figures %+v", f)
			}
		})
	}
}

// A container stops: its routes go. It starts again, in another namespace: it is programmed anew.
func TestStopAndStart(t *testing.T) {
	b, f, e := newWatchBed(t, netfilter.NFT)
	stop := e.start()
	defer stop()
	within(t, 10*time.Second, "made at the start", func() bool { return b.routed() && b.ruled(netfilter.NFT) })
	f.stop(ctID)
	took := within(t, 2*time.Second+slack, "the route goes", func() bool { return !b.routed() })
	t.Logf("the route is gone after %s", took.Round(time.Millisecond))
	if owners := e.last().facts.Owners; owners[prefixes("172.18.0.0/24")[0]] != (Owner{101, "web"}) {
		t.Errorf("a stopped container loses its prefix: %v", owners)
	}
	// The same rules of Docker's in a fresh namespace.
	b.ct.run("iptables-nft", "-t", "raw", "-F")
	b.ct.run("iptables-nft", "-F", "DOCKER-USER")
	f.start(ctID, b.ct.pid, webNetworks, webBoxes)
	took = within(t, 3*time.Second+slack, "programmed anew", func() bool { return b.routed() && b.ruled(netfilter.NFT) })
	t.Logf("programmed anew after %s", took.Round(time.Millisecond))
}

// A network that Docker makes is programmed as soon as Docker tells of it, though the kernel told of its bridge before.
func TestDockerEvent(t *testing.T) {
	b, f, e := newWatchBed(t, netfilter.NFT)
	stop := e.start()
	defer stop()
	within(t, 10*time.Second, "made at the start", func() bool { return b.routed() && b.ruled(netfilter.NFT) })
	m := f.members[ctID]
	var times []time.Duration
	for range 9 {
		m.set(`[]`, `[]`)
		within(t, 2*time.Second+slack, "its route goes", func() bool { return !b.routed() })
		last := time.Now()
		within(t, slack, "what Docker says next is not gathered with this", func() bool { return time.Since(last) > 300*time.Millisecond })
		b.ct.ip("link add br-new type bridge")
		b.ct.ip("link del br-new")
		made := time.Now()
		m.set(webNetworks, webBoxes)
		within(t, 2*time.Second+slack, "its route comes", b.routed)
		times = append(times, time.Since(made))
		within(t, 2*time.Second+slack, "its rules come", func() bool { return b.ruled(netfilter.NFT) })
	}
	slices.Sort(times)
	t.Logf("from Docker's event to the route: median %s, longest %s", times[len(times)/2].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond))
	b.wantPing("made", true)
}

// labd ends and starts again while a TCP stream runs and pings go out every 10 ms: nothing is lost.
func TestRestartIsInvisible(t *testing.T) {
	b, _, e := newWatchBed(t, netfilter.NFT)
	stop := e.start()
	defer func() { stop() }()
	within(t, 10*time.Second, "made at the start", func() bool { return b.routed() && b.ruled(netfilter.NFT) })
	b.wantPing("made", true)
	stream := b.stream()
	summary := b.startPing()
	for range 3 {
		before := stream.Load()
		stop()
		within(t, 5*time.Second, "the stream goes on without labd", func() bool { return stream.Load() > before })
		e = newEngine(t, e.observer.host, e.pool.Source, b.policy)
		stop = e.start()
		within(t, 10*time.Second, "it looks again", func() bool { return e.last() != nil && len(e.last().Networks) > 0 })
		before = stream.Load()
		within(t, 5*time.Second, "the stream goes on with it", func() bool { return stream.Load() > before })
	}
	if f := e.control.Figures(); f.Rules+f.Routes != 0 {
		t.Errorf("a labd that starts again changes what is right: %+v", f)
	}
	lost := summary()
	if !strings.Contains(lost, " 0% packet loss") {
		t.Errorf("pings were lost: %s", lost)
	}
	t.Log(lost)
}

// startPing pings the box from the LAN client every 10 ms. The function returned ends that and returns ping's summary.
func (b *bed) startPing() func() string {
	b.t.Helper()
	ping := exec.Command("nsenter", "-t", fmt.Sprint(b.lan.pid), "-n", "--", "ping", "-n", "-i", "0.01", "-W", "2", boxAddr)
	out, err := ping.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := ping.Start(); err != nil {
		b.t.Fatal(err)
	}
	answers := bufio.NewScanner(out)
	for range 20 {
		answers.Scan()
	}
	lines := make(chan string, 1)
	go func() {
		last := ""
		for answers.Scan() {
			if strings.Contains(answers.Text(), "packets transmitted") {
				last = answers.Text()
			}
		}
		lines <- last
	}()
	return func() string {
		_ = ping.Process.Signal(syscall.SIGINT)
		summary := <-lines
		_ = ping.Wait()
		return summary
	}
}

// stream sends from the box to the LAN client without pause; the count is of what arrived, in bytes. TCP notices a packet
// that is lost, and a reset ends the count.
func (b *bed) stream() *atomic.Int64 {
	b.t.Helper()
	listener := spaces.Space{T: b.t, PID: b.box.pid}.Listen(":5001")
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		b.t.Cleanup(func() { _ = conn.Close() })
		buf := make([]byte, 1000)
		for {
			if _, err := conn.Write(buf); err != nil {
				return
			}
			<-time.After(time.Millisecond)
		}
	}()
	file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", b.lan.pid))
	if err != nil {
		b.t.Fatal(err)
	}
	defer file.Close()
	var conn net.Conn
	if err := host.InNetNS(file, func() (err error) {
		conn, err = dialHere(boxAddr, 5001)
		return err
	}); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	var count atomic.Int64
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			count.Add(int64(n))
		}
	}()
	return &count
}

// A container whose owner deletes labd's rules all the time gets so much of labd's time and no more; the others converge,
// and the fight has a name.
func TestFight(t *testing.T) {
	b, f, e := newWatchBed(t, netfilter.NFT)
	hostile := b.second(newSpace(t))
	f.start(ctID+1, hostile.pid, strings.ReplaceAll(webNetworks, "172.18.0", "172.19.0"), `[]`)
	stop := e.start()
	defer stop()
	within(t, 10*time.Second, "made at the start", func() bool { return b.routed() && b.ruled(netfilter.NFT) })
	hostile.run("iptables-nft", "-N", "ufw-user-input")
	ctx, cancel := context.WithCancel(t.Context())
	fighting := make(chan struct{})
	go func() {
		defer close(fighting)
		for ctx.Err() == nil {
			_, _ = hostile.output("", "iptables-nft", "-t", "raw", "-F")
		}
	}()
	defer func() { cancel(); <-fighting }()
	var found finding.Finding
	within(t, 30*time.Second, "the fight is found", func() bool {
		for _, n := range e.last().Findings {
			if n.Code == finding.NetRulesFought {
				found = n
				return true
			}
		}
		return false
	})
	if found.Subject != "lxc/102" || !strings.Contains(found.Cause, "ufw") || !strings.Contains(found.Title, "102") {
		t.Errorf("%+v", found)
	}
	within(t, 30*time.Second, "labd has enough of it", func() bool { return e.control.Figures().Delayed > 0 })
	// The other container is served as ever.
	b.ct.run("iptables-nft", "-t", "raw", "-F", "LABD-RAW")
	took := within(t, 2*time.Second+slack, "a rule of the other container", func() bool { return b.ruled(netfilter.NFT) })
	t.Logf("in a fight of another container a rule is back after %s", took.Round(time.Millisecond))
	b.host.ip("route del 172.18.0.0/24 table 176")
	within(t, 2*time.Second+slack, "the route of the other container", b.routed)
	b.wantPing("in a fight of another container", true)
	if n := e.control.Figures().Rules; n > repairBurst+20 {
		t.Errorf("%d changes of rules", n)
	}
}

// second gives the bed a second container in a namespace: an uplink at 10.77.0.102 and Docker's rules.
func (b *bed) second(ct space) space {
	b.t.Helper()
	b.host.ip(fmt.Sprintf("link add veth102i0 type veth peer name eth0 netns %d", ct.pid))
	b.t.Cleanup(func() { _, _ = b.host.output("", "ip", "link", "del", "veth102i0") })
	b.host.ip("link set veth102i0 master vmbr0 up")
	ct.ip("addr add 10.77.0.102/24 dev eth0")
	ct.ip("link set eth0 up")
	ct.ip("route add default via 10.77.0.1")
	ct.ip("link add br-web type bridge")
	ct.ip("addr add 172.19.0.1/24 dev br-web")
	ct.ip("link set br-web up")
	data, err := os.ReadFile("../netfilter/testdata/docker-28.5.save")
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := ct.output(string(data), "iptables-nft-restore"); err != nil {
		b.t.Fatal(err)
	}
	return ct
}

// Watching leaves nothing behind: descriptors and goroutines are as before.
func TestWatchLeavesNothing(t *testing.T) {
	_, _, e := newWatchBed(t, netfilter.NFT)
	files := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	start := func() {
		stop := e.start()
		within(t, 10*time.Second, "it looks", func() bool { return e.last() != nil && len(e.last().Networks) > 0 })
		stop()
		e = newEngine(t, e.observer.host, e.pool.Source, e.policy)
	}
	start()
	before := files()
	for range 10 {
		start()
	}
	within(t, 5*time.Second, fmt.Sprintf("no more than the %d descriptors from before", before), func() bool { return files() <= before+2 })
}

// dialHere connects by IPv4 in the network namespace of the thread, which Dial's goroutines would not be in.
func dialHere(address string, port int) (net.Conn, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "stream")
	defer file.Close()
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: netip.MustParseAddr(address).As4()}); err != nil {
		return nil, err
	}
	return net.FileConn(file)
}
