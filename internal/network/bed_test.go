package network

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"labd/internal/docker"
	"labd/internal/host"
	"labd/internal/lxc"
	"labd/internal/netfilter"
	"labd/internal/network/container"
	"labd/internal/plan"
	"labd/test/spaces"
)

// inNamespace marks a test process that has a network namespace of its own, in which it plays the host.
const inNamespace = "LABD_TEST_NETNS"

// TestMain runs the tests again in a new network namespace, so that the code under test works on "the host" as in
// production and can never touch the machine's own routes, rules and sysctls.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 || os.Getenv(inNamespace) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if cmd.ProcessState == nil {
		log.Printf("no network namespace of their own, so the tests that need one are skipped: %v", err)
		os.Exit(m.Run())
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

func needNamespace(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: works on the kernel's own objects")
	}
	if os.Getenv(inNamespace) != "" {
		return
	}
	const why = "needs root, to make network namespaces"
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// space is a network namespace held by a process.
type space struct {
	t   testing.TB
	pid int
}

func newSpace(t testing.TB) space {
	t.Helper()
	cmd := exec.Command("sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	s := space{t, cmd.Process.Pid}
	s.ip("link set lo up")
	return s
}

// output runs a program in the namespace; pid 0 is the host's.
func (s space) output(stdin, name string, args ...string) (string, error) {
	if s.pid != 0 {
		args = append([]string{"-t", strconv.Itoa(s.pid), "-n", "--", name}, args...)
		name = "nsenter"
	}
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out), err
}

func (s space) run(name string, args ...string) string {
	s.t.Helper()
	out, err := s.output("", name, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func (s space) ip(args string) { s.t.Helper(); s.run("ip", strings.Fields(args)...) }

func (s space) sysctl(setting string) { s.t.Helper(); s.run("sysctl", "-q", setting) }

// rules is what iptables-save prints, without counters, comments and tables without a rule or chain of anyone's.
func (s space) rules(backend netfilter.Backend) string {
	s.t.Helper()
	var out strings.Builder
	for _, program := range []string{"iptables", "ip6tables"} {
		var table []string
		for line := range strings.Lines(s.run(program + "-" + string(backend) + "-save")) {
			switch fields := strings.Fields(line); {
			case len(fields) == 0 || fields[0][0] == '#':
			case fields[0][0] == '*':
				table = []string{line}
			case fields[0] == "COMMIT":
				if slices.ContainsFunc(table[1:], func(l string) bool { return !strings.HasSuffix(l, " ACCEPT\n") || l[0] != ':' }) {
					out.WriteString(strings.Join(table, ""))
				}
			case fields[0][0] == ':':
				table = append(table, strings.Join(fields[:2], " ")+"\n")
			default:
				table = append(table, line)
			}
		}
	}
	return out.String()
}

// bed is a LAN client, a host that routes, and a container with a Docker bridge and one box behind it.
type bed struct {
	t            *testing.T
	host         space
	lan, ct, box space
	containers   *fakeContainers
	observer     *Observer
	control      *Controller
	runner       *plan.Runner
	policy       Policy
	clock        time.Duration // added to the time
}

const (
	lanPrefix = "192.168.50.0/24"
	boxAddr   = "172.18.0.2"
	ctID      = 101
)

// newBed makes the namespaces with Docker's rules as in the sample of package netfilter.
func newBed(t *testing.T, sample string, backend netfilter.Backend) *bed {
	t.Helper()
	needNamespace(t)
	b := &bed{t: t, host: space{t, 0}, lan: newSpace(t), ct: newSpace(t), box: newSpace(t), policy: DefaultPolicy()}
	h := b.host
	t.Cleanup(func() {
		for _, args := range []string{"link del eno1", "link del veth101i0", "link del vmbr0", "route flush table all proto 176", "rule flush protocol 176", "-6 rule flush protocol 176", "route flush table 1000"} {
			_, _ = h.output("", "ip", strings.Fields(args)...)
		}
	})
	h.ip("link set lo up")
	h.ip(fmt.Sprintf("link add eno1 type veth peer name eth0 netns %d", b.lan.pid))
	h.ip("link add vmbr0 type bridge")
	h.ip(fmt.Sprintf("link add veth101i0 type veth peer name eth0 netns %d", b.ct.pid))
	h.ip("link set veth101i0 master vmbr0 up")
	h.ip("addr add 192.168.50.1/24 dev eno1")
	h.ip("addr add 10.77.0.1/24 dev vmbr0")
	h.ip("link set eno1 up")
	h.ip("link set vmbr0 up")
	h.ip("route add default via 192.168.50.254 dev eno1")
	h.sysctl("net.ipv4.ip_forward=1")
	b.lan.ip("addr add 192.168.50.2/24 dev eth0")
	b.lan.ip("link set eth0 up")
	b.lan.ip("route add default via 192.168.50.1")
	b.dockerSide(b.ct, b.box, "10.77.0.101/24", sample, backend)
	paths := host.DefaultPaths()
	paths.State = t.TempDir()
	m := host.New(paths, "")
	state := NewState(paths.State)
	b.containers = &fakeContainers{pids: map[int]int{ctID: b.ct.pid}, docker: func(context.Context, int) (*docker.Info, error) { return webInfo(), nil }}
	pool := container.NewPool(b.containers)
	t.Cleanup(func() { _ = pool.Close() })
	b.observer = NewObserver(m, b.policy, state, pool, func() time.Time { return time.Now().Add(b.clock) })
	b.control = NewController(m, state, pool)
	b.runner = &plan.Runner{Journal: plan.NewJournal(filepath.Join(paths.State, "journal"), time.Now), Ops: b.control.Ops()}
	return b
}

// dockerSide makes the inside of a container: a Docker bridge with one box behind it, and Docker's rules.
func (b *bed) dockerSide(ct, box space, address, sample string, backend netfilter.Backend) {
	b.t.Helper()
	ct.ip("addr add " + address + " dev eth0")
	ct.ip("link set eth0 up")
	ct.ip("route add default via 10.77.0.1")
	ct.ip("link add br-web type bridge")
	ct.ip("addr add 172.18.0.1/24 dev br-web")
	ct.ip("link set br-web up")
	ct.ip(fmt.Sprintf("link add vethbox type veth peer name eth0 netns %d", box.pid))
	ct.ip("link set vethbox master br-web up")
	ct.sysctl("net.ipv4.ip_forward=1")
	box.ip("addr add " + boxAddr + "/24 dev eth0")
	box.ip("link set eth0 up")
	box.ip("route add default via 172.18.0.1")
	if sample == "" {
		return
	}
	data, err := os.ReadFile("../netfilter/testdata/" + sample + ".save")
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := ct.output(string(data), "iptables-"+string(backend)+"-restore"); err != nil {
		b.t.Fatal(err)
	}
}

// ask connects to port 80 of an address from the LAN client, and returns what is said.
func (b *bed) ask(address string) string {
	b.t.Helper()
	out, err := b.lan.output("", "busybox", "timeout", "3", "busybox", "nc", "-w", "2", address, "80")
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(out)
}

// webInfo is a Docker with one network and one container on it.
func webInfo() *docker.Info {
	return &docker.Info{
		Version: "28.5.2", FirewallBackend: "iptables",
		Networks: []docker.Network{
			{ID: "f00", Name: "web", Driver: "bridge", Bridge: "br-web", Subnets: prefixes("172.18.0.0/24"), GatewayMode: "nat"},
			{ID: "f01", Name: "host", Driver: "host"},
		},
		Containers: []docker.Container{{
			Name: "shop", Addresses: addrs("web", boxAddr),
			Ports: []docker.Port{{Number: 80, Protocol: "tcp"}, {Number: 5432, Protocol: "tcp", PublishedOn: "127.0.0.1"}},
		}},
	}
}

func (b *bed) observe() *Facts {
	b.t.Helper()
	f, err := b.observer.Observe(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return f
}

func (b *bed) look() (*Facts, *Report) {
	b.t.Helper()
	f := b.observe()
	return f, Diagnose(f, b.policy)
}

func (b *bed) network(name string) Network {
	b.t.Helper()
	_, r := b.look()
	for _, n := range r.Networks {
		if n.Name == name {
			return n
		}
	}
	b.t.Fatalf("no network %s in %+v", name, r.Networks)
	return Network{}
}

func (b *bed) wantVerdict(when, want string) {
	b.t.Helper()
	if n := b.network("web"); n.Verdict != want {
		b.t.Fatalf("%s: verdict %s (%s), want %s", when, n.Verdict, n.Reason, want)
	}
}

func (b *bed) planApply(on bool) *plan.Plan {
	b.t.Helper()
	_, r := b.look()
	p, err := PlanApply(r, on)
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

func (b *bed) run(p *plan.Plan) *plan.Entry {
	b.t.Helper()
	entry, err := b.runner.Apply(b.t.Context(), p, "test")
	if err != nil {
		b.t.Fatal(err)
	}
	return entry
}

func (b *bed) off() {
	b.t.Helper()
	p, err := PlanOff(b.observe())
	if err != nil {
		b.t.Fatal(err)
	}
	b.run(p)
}

func (b *bed) undo(id string) {
	b.t.Helper()
	p, err := b.runner.UndoPlan(id)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.runner.Undo(b.t.Context(), id, p.Digest, "test"); err != nil {
		b.t.Fatal(err)
	}
}

// wantPing sends real packets from the LAN client. An answer may need a second try, while neighbours are learned.
func (b *bed) wantPing(when string, want bool) {
	b.t.Helper()
	b.wantPingTo(when, boxAddr, want)
}

func (b *bed) wantPingTo(when, address string, want bool) {
	b.t.Helper()
	tries := 1
	if want {
		tries = 4
	}
	for range tries {
		if _, err := b.lan.output("", "ping", "-n", "-c", "1", "-W", "0.4", address); err == nil {
			if !want {
				b.t.Fatalf("%s: the LAN client reaches the box", when)
			}
			return
		}
	}
	if want {
		b.t.Fatalf("%s: the LAN client does not reach the box\nhost:\n%s\n%s\ncontainer:\n%s", when, b.host.run("ip", "route"), b.host.run("ip", "-br", "addr"), b.ct.rules(netfilter.NFT))
	}
}

// fakeContainers are processes that hold namespaces, in place of LXC's monitors.
type fakeContainers struct {
	pids   map[int]int
	docker func(ctx context.Context, id int) (*docker.Info, error)
	gone   map[int]bool
}

func (f *fakeContainers) Running(context.Context) ([]int, error) {
	var ids []int
	for id := range f.pids {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}

func (f *fakeContainers) Exists(id int) bool { return !f.gone[id] }

func (f *fakeContainers) Open(_ context.Context, id int) (container.Handle, error) {
	pid, ok := f.pids[id]
	if !ok {
		return nil, lxc.ErrNotRunning
	}
	file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, err
	}
	return &fakeContainer{all: f, id: id, pid: pid, file: file}, nil
}

type fakeContainer struct {
	all     *fakeContainers
	id, pid int
	file    *os.File
}

func (c *fakeContainer) NetNS() *os.File             { return c.file }
func (c *fakeContainer) NetNSID() string             { return strconv.Itoa(c.pid) }
func (c *fakeContainer) ProcFile(name string) string { return fmt.Sprintf("/proc/%d/%s", c.pid, name) }
func (c *fakeContainer) Close() error                { return c.file.Close() }
func (c *fakeContainer) Netlink() (*netlink.Handle, error) {
	return netlink.NewHandleAt(netns.NsHandle(c.file.Fd()), unix.NETLINK_ROUTE)
}

func (c *fakeContainer) Rules() *netfilter.Cache { return nil }

func (c *fakeContainer) Alive() bool { return c.all.pids[c.id] == c.pid }

func (c *fakeContainer) Wait(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func (c *fakeContainer) DockerEvents(context.Context, time.Duration, func()) error {
	return container.ErrNoSocket
}

func (c *fakeContainer) Docker(ctx context.Context) (*docker.Info, error) {
	return c.all.docker(ctx, c.id)
}

// serve says a word to whoever connects to port 80 of a box.
func (b *bed) serve(box space, word string) {
	b.t.Helper()
	spaces.Space{T: b.t, PID: box.pid}.Serve(":80", word)
}
