package probe

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"labd/internal/docker"
	"labd/internal/host"
	"labd/internal/netfilter"
	"labd/internal/network"
	"labd/internal/network/container"
	"labd/internal/plan"
	"labd/test/spaces"
)

func TestMain(m *testing.M) { os.Exit(spaces.Main(m)) }

// bed is a LAN client, a host that routes, and a container with a Docker bridge and one box behind it.
type bed struct {
	t            *testing.T
	host         spaces.Space
	lan, ct, box spaces.Space
	containers   *spaces.Containers
	machine      *host.Host
	observer     *network.Observer
	runner       *plan.Runner
	prober       *Prober
	policy       network.Policy
}

const (
	boxAddr = "172.18.0.2"
	ctID    = 101
)

// newBed makes the namespaces with Docker's rules as in the sample of package netfilter.
func newBed(t *testing.T, sample string, backend netfilter.Backend) *bed {
	t.Helper()
	spaces.Need(t)
	b := &bed{t: t, host: spaces.Space{T: t}, lan: spaces.New(t), ct: spaces.New(t), box: spaces.New(t), policy: network.DefaultPolicy()}
	h := b.host
	t.Cleanup(func() {
		for _, args := range []string{"link del eno1", "link del veth101i0", "link del vmbr0", "route flush table all proto 176", "rule flush protocol 176", "-6 rule flush protocol 176"} {
			_, _ = h.Output("", "ip", strings.Fields(args)...)
		}
	})
	h.IP("link set lo up")
	h.IP(fmt.Sprintf("link add eno1 type veth peer name eth0 netns %d", b.lan.PID))
	h.IP("link add vmbr0 type bridge")
	h.IP(fmt.Sprintf("link add veth101i0 type veth peer name eth0 netns %d", b.ct.PID))
	h.IP("link set veth101i0 master vmbr0 up")
	h.IP("addr add 192.168.50.1/24 dev eno1")
	h.IP("addr add 10.77.0.1/24 dev vmbr0")
	h.IP("link set eno1 up")
	h.IP("link set vmbr0 up")
	h.IP("route add default via 192.168.50.254 dev eno1")
	h.Sysctl("net.ipv4.ip_forward=1")
	b.lan.IP("addr add 192.168.50.2/24 dev eth0")
	b.lan.IP("link set eth0 up")
	b.lan.IP("route add default via 192.168.50.1")
	b.dockerSide(b.ct, b.box, "10.77.0.101/24", sample, backend)
	paths := host.DefaultPaths()
	paths.State = t.TempDir()
	b.machine = host.New(paths, "")
	state := network.NewState(paths.State)
	b.containers = &spaces.Containers{PIDs: map[int]int{ctID: b.ct.PID}, Docker: func(context.Context, int) (*docker.Info, error) { return webInfo(), nil }}
	pool := container.NewPool(b.containers)
	b.observer = network.NewObserver(b.machine, b.policy, state, pool, time.Now)
	t.Cleanup(func() { _ = pool.Close() })
	control := network.NewController(b.machine, state, b.containers)
	b.runner = &plan.Runner{Journal: plan.NewJournal(filepath.Join(paths.State, "journal"), time.Now), Ops: control.Ops()}
	b.prober = New(b.machine, b.containers, time.Now)
	return b
}

// dockerSide makes the inside of a container: a Docker bridge with one box behind it, and Docker's rules.
func (b *bed) dockerSide(ct, box spaces.Space, address, sample string, backend netfilter.Backend) {
	b.t.Helper()
	ct.IP("addr add " + address + " dev eth0")
	ct.IP("link set eth0 up")
	ct.IP("route add default via 10.77.0.1")
	ct.IP("link add br-web type bridge")
	ct.IP("addr add 172.18.0.1/24 dev br-web")
	ct.IP("link set br-web up")
	ct.IP(fmt.Sprintf("link add vethbox type veth peer name eth0 netns %d", box.PID))
	ct.IP("link set vethbox master br-web up")
	ct.Sysctl("net.ipv4.ip_forward=1")
	box.IP("addr add " + boxAddr + "/24 dev eth0")
	box.IP("link set eth0 up")
	box.IP("route add default via 172.18.0.1")
	if sample == "" {
		return
	}
	data, err := os.ReadFile("../../netfilter/testdata/" + sample + ".save")
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := ct.Output(string(data), "iptables-"+string(backend)+"-restore"); err != nil {
		b.t.Fatal(err)
	}
}

// webInfo is a Docker with one network and one container on it.
func webInfo() *docker.Info {
	return &docker.Info{
		Version: "28.5.2", FirewallBackend: "iptables",
		Networks: []docker.Network{
			{ID: "f00", Name: "web", Driver: "bridge", Bridge: "br-web", Subnets: []netip.Prefix{netip.MustParsePrefix("172.18.0.0/24")}, GatewayMode: "nat"},
			{ID: "f01", Name: "host", Driver: "host"},
		},
		Containers: []docker.Container{{
			Name: "shop", Addresses: map[string][]netip.Addr{"web": {netip.MustParseAddr(boxAddr)}},
			Ports: []docker.Port{{Number: 80, Protocol: "tcp"}, {Number: 5432, Protocol: "tcp", PublishedOn: "127.0.0.1"}},
		}},
	}
}

func (b *bed) look() *network.Report {
	b.t.Helper()
	f, err := b.observer.Observe(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return network.Diagnose(f, b.policy)
}

func (b *bed) wantVerdict(when, want string) {
	b.t.Helper()
	for _, n := range b.look().Networks {
		if n.Name == "web" {
			if n.Verdict != want {
				b.t.Fatalf("%s: verdict %s (%s), want %s", when, n.Verdict, n.Reason, want)
			}
			return
		}
	}
	b.t.Fatal("no network web")
}

// apply makes the routes and rules.
func (b *bed) apply() {
	b.t.Helper()
	p, err := network.PlanApply(b.look(), false)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.runner.Apply(b.t.Context(), p, "test"); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) probe(target Target) *Result {
	b.t.Helper()
	return b.ask(Request{Target: target})
}

func (b *bed) ask(req Request) *Result {
	b.t.Helper()
	out, err := b.prober.Probe(b.t.Context(), b.look(), req)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}
