package network

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"labd/internal/host"
	"labd/internal/route"
)

const (
	fleetSize  = 64
	fleetWidth = 16 // networks of each container
)

// newBenchFleet makes the fleet of the figures: 64 containers with 16 Docker networks each, behind one bridge.
func newBenchFleet(b *testing.B) (*fleet, *engine, []space) {
	b.Helper()
	needNamespace(b)
	h := space{b, 0}
	b.Cleanup(func() {
		for _, args := range []string{"link del vmbr0", "link del eno1", "route flush table all proto 176", "rule flush protocol 176"} {
			_, _ = h.output("", "ip", strings.Fields(args)...)
		}
	})
	h.ip("link set lo up")
	h.ip("link add eno1 type bridge")
	h.ip("addr add 192.168.50.1/24 dev eno1")
	h.ip("link set eno1 up")
	h.ip("link add vmbr0 type bridge")
	h.ip("addr add 10.77.0.1/16 dev vmbr0")
	h.ip("link set vmbr0 up")
	h.ip("route add default via 192.168.50.254 dev eno1")
	h.sysctl("net.ipv4.ip_forward=1")
	sample, err := os.ReadFile("../netfilter/testdata/docker-28.5.save")
	if err != nil {
		b.Fatal(err)
	}
	var docker strings.Builder
	for line := range strings.Lines(string(sample)) {
		if !strings.Contains(line, "172.18.") { // of networks that are not there
			docker.WriteString(line)
		}
	}
	f, spaces := newFleet(b), make([]space, fleetSize)
	for i := range spaces {
		s := newSpace(b)
		spaces[i] = s
		h.ip(fmt.Sprintf("link add veth%d type veth peer name eth0 netns %d", i, s.pid))
		h.ip(fmt.Sprintf("link set veth%d master vmbr0 up", i))
		var batch, networks strings.Builder
		fmt.Fprintf(&batch, "addr add 10.77.1.%d/16 dev eth0\nlink set eth0 up\nroute add default via 10.77.0.1\n", i+1)
		for n := range fleetWidth {
			k := i*fleetWidth + n
			fmt.Fprintf(&batch, "link add br-%d type bridge\naddr add 172.%d.%d.1/24 dev br-%d\nlink set br-%d up\n", n, 16+k/256, k%256, n, n)
			if n > 0 {
				networks.WriteByte(',')
			}
			fmt.Fprintf(&networks, `{"Id":"%012d%d","Name":"net%d","Driver":"bridge","Options":{"com.docker.network.bridge.name":"br-%d"},"IPAM":{"Config":[{"Subnet":"172.%d.%d.0/24"}]}}`, i, n, n, n, 16+k/256, k%256)
		}
		if _, err := s.output(batch.String(), "ip", "-batch", "-"); err != nil {
			b.Fatal(err)
		}
		if _, err := s.output(docker.String(), "iptables-nft-restore"); err != nil {
			b.Fatal(err)
		}
		f.start(100+i, s.pid, "["+networks.String()+"]", `[]`)
	}
	policy := DefaultPolicy()
	policy.Mode = ModeReconcile
	paths := host.DefaultPaths()
	paths.State, paths.PVE, paths.Exec = b.TempDir(), b.TempDir(), host.SystemPATH
	return f, newEngine(b, host.New(paths, ""), f, policy), spaces
}

// resync makes a pass of every key, as the loop does.
func (e *engine) resync(b *testing.B) {
	b.Helper()
	if err := e.pass(context.Background(), key(0)); err != nil {
		b.Fatal(err)
	}
	var group errgroup.Group
	group.SetLimit(e.loop.Workers)
	for _, id := range e.observer.Running() {
		group.Go(func() error { return e.pass(context.Background(), key(id)) })
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
}

// programs returns how many programs were started to read rules.
func (e *engine) programs() (n uint64) {
	for _, id := range e.observer.Running() {
		if ct, err := e.pool.Open(context.Background(), id); err == nil {
			reads, _ := ct.Rules().Reads()
			n += reads
			_ = ct.Close()
		}
	}
	return n
}

// From nothing to programmed, beside ip -batch and iptables-restore fed with the same result; and then a whole resync
// with nothing to do, which starts no program.
func BenchmarkFleet(b *testing.B) {
	f, e, spaces := newBenchFleet(b)
	var ours, plain []time.Duration
	for range 5 {
		_ = e.observer.Close()
		e = newEngine(b, e.observer.host, f, e.policy)
		start := time.Now()
		e.resync(b)
		ours = append(ours, time.Since(start))
		routes := space{b, 0}.run("ip", "route", "show", "table", "all", "proto", "176")
		if n := strings.Count(routes, "\n"); n != fleetSize*fleetWidth {
			b.Fatalf("%d routes, want %d", n, fleetSize*fleetWidth)
		}
		plain = append(plain, programByHand(b, e, spaces, routes))
		if err := e.control.Cleanup(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(ours)
	slices.Sort(plain)
	b.Run("from-nothing", func(b *testing.B) {
		b.ReportMetric(float64(ours[2].Milliseconds()), "ms")
		b.ReportMetric(float64(plain[2].Milliseconds()), "ms-by-hand")
		b.ReportMetric(ours[2].Seconds()/plain[2].Seconds(), "ratio")
		b.ReportMetric(0, "ns/op")
	})
	for range 3 { // made, and looked at once more
		e.resync(b)
	}
	b.Run("nothing-to-do", func(b *testing.B) {
		before, cpu := e.programs(), processorTime(b)
		n := 0
		for b.Loop() {
			e.resync(b)
			n++
		}
		b.ReportMetric(float64((processorTime(b)-cpu).Milliseconds())/float64(n), "ms-cpu")
		if n := e.programs() - before; n != 0 {
			b.Errorf("%d programs were started", n)
		}
	})
	b.Run("idle", func(b *testing.B) { e.idle(b) })
}

// programByHand takes what labd made away and makes the same with ip -batch and iptables-restore, one container after
// another, as a script would. It returns how long the making took.
func programByHand(b *testing.B, e *engine, spaces []space, routes string) time.Duration {
	b.Helper()
	var batch strings.Builder
	for line := range strings.Lines(routes) {
		fmt.Fprintf(&batch, "route add %s proto 176\n", strings.TrimSuffix(strings.TrimSpace(strings.Replace(line, "proto 176", "", 1)), "proto labd"))
	}
	scripts := make([]string, len(spaces))
	for i := range spaces {
		chains := e.last().Want.Rules[100+i].IPv4
		var s strings.Builder
		for _, table := range []struct {
			name, from, chain string
			rules             []string
		}{{"raw", "PREROUTING", "LABD-RAW", texts(chains.Raw)}, {"filter", "DOCKER-USER", "LABD-FWD", texts(chains.Forward)}} {
			fmt.Fprintf(&s, "*%s\n:%s - [0:0]\n", table.name, table.chain)
			for _, rule := range table.rules {
				fmt.Fprintf(&s, "-A %s %s\n", table.chain, rule)
			}
			fmt.Fprintf(&s, "-I %s 1 -j %s\nCOMMIT\n", table.from, table.chain)
		}
		scripts[i] = s.String()
	}
	if err := e.control.Cleanup(context.Background()); err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	for i, s := range spaces {
		if _, err := s.output(scripts[i], "iptables-nft-restore", "--noflush"); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := (space{b, 0}).output(batch.String(), "ip", "-batch", "-"); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

// idle lets the engine run for a while with nothing to do, Docker's ends of the connections included, and tells its
// share of a core and its heap.
func (e *engine) idle(b *testing.B) {
	stop := e.start()
	defer stop()
	cpu := func() time.Duration { return processorTime(b) }
	for range 40 { // starts of watching are not idle
		before := cpu()
		<-time.After(500 * time.Millisecond)
		if cpu()-before < 25*time.Millisecond {
			break
		}
	}
	const span = time.Minute // a whole resync falls into it
	before := cpu()
	<-time.After(span)
	used := cpu() - before
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	b.ReportMetric(100*used.Seconds()/span.Seconds(), "%core")
	b.ReportMetric(float64(memory.HeapAlloc+memory.StackInuse)/1e6, "MB-heap+stacks")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkRoutes10000 changes 10,000 routes, beside ip -batch in the same run.
func BenchmarkRoutes10000(b *testing.B) {
	needNamespace(b)
	h := space{b, 0}
	h.ip("link add vmbr9 type bridge")
	b.Cleanup(func() { _, _ = h.output("", "ip", "link", "del", "vmbr9") })
	h.ip("addr add 10.200.0.1/16 dev vmbr9")
	h.ip("link set vmbr9 up")
	routes := make([]route.Route, 10000)
	var batch strings.Builder
	for i := range routes {
		dst := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(16 + i/4096), byte(i / 16), byte(i%16) << 4}), 28)
		routes[i] = route.Route{Dst: dst, Via: netip.MustParseAddr("10.200.0.2"), Dev: "vmbr9", Table: route.Table, Protocol: route.Protocol}
		fmt.Fprintf(&batch, "route add %s via 10.200.0.2 dev vmbr9 proto 176\n", dst)
	}
	flush := func() { h.ip("route flush table all proto 176") }
	b.Run("diff", func(b *testing.B) {
		f := &Facts{Host: Host{Own: append([]route.Route(nil), routes[100:]...)}}
		r := &Report{facts: f, Want: Desired{Routes: routes[:9900]}}
		for b.Loop() {
			if p := diffRoutes(f, r); len(p.Add) != 100 || len(p.Remove) != 100 {
				b.Fatalf("%d to add, %d to remove", len(p.Add), len(p.Remove))
			}
		}
	})
	b.Run("apply", func(b *testing.B) {
		for b.Loop() {
			rb, err := route.NewBatch()
			if err != nil {
				b.Fatal(err)
			}
			if n, err := rb.Add(routes); n != len(routes) || err != nil {
				b.Fatal(n, err)
			}
			rb.Close()
			b.StopTimer()
			flush()
			b.StartTimer()
		}
	})
	b.Run("ip-batch", func(b *testing.B) {
		for b.Loop() {
			if _, err := h.output(batch.String(), "ip", "-batch", "-"); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			flush()
			b.StartTimer()
		}
	})
}

// processorTime is how long this process has run on processors.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
