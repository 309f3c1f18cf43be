package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	apiv1 "labd/api/v1"
	"labd/test/lab"
)

// tree is the root of a Debian release with its Docker.
func tree(t *testing.T, suite string) string {
	t.Helper()
	lab.Require(t, "debootstrap")
	root, err := lab.Tree(t.Context(), suite)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// configure writes labd's configuration and starts it anew.
func configure(t *testing.T, l *lab.Lab, text string) {
	t.Helper()
	if err := l.WriteFile("/etc/labd/labd.toml", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, l, "systemctl", "restart", "labd")
}

// docker runs the engine's command line in a container.
func docker(t *testing.T, ct *lab.CT, args ...string) string {
	t.Helper()
	out, err := ct.Docker(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// savedRules is what a save program prints of a container's rules, without counters, comments and dates.
func savedRules(t *testing.T, l *lab.Lab, ct *lab.CT, program string) string {
	t.Helper()
	pid, err := ct.InitPID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(run(t, l, "nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", pid), program)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		if strings.HasPrefix(line, ":") {
			line, _, _ = strings.Cut(line, " [")
			line += "\n"
		}
		out.WriteString(line)
	}
	return out.String()
}

// goldenRules compares labd's part of a container's rules with the file in docs/rules. The file holds the whole set, with
// Docker's own rules around: those are another Docker's tomorrow.
func goldenRules(t *testing.T, l *lab.Lab, ct *lab.CT, name string, programs ...string) {
	t.Helper()
	var text strings.Builder
	for _, program := range programs {
		fmt.Fprintf(&text, "# %s\n%s", program, savedRules(t, l, ct, program))
	}
	file := filepath.Join("../../docs/rules", name+".rules")
	if *update {
		if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ownLines(string(want)), ownLines(text.String())); diff != "" {
		t.Errorf("%s: -want +got:\n%s", file, diff)
	}
}

// ownLines are the lines about labd's chains.
func ownLines(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, "LABD-") || strings.HasPrefix(line, "#") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

// IPv6 beside IPv4: a dual-stack network of Docker 28 is reached by both, and net off takes both away.
func TestNetworkDocker28DualStack(t *testing.T) {
	l, ct, _ := dockerLab(t, "e2e-net28-6", lab.Container{ID: 101, Root: tree(t, "forky")})
	configure(t, l, "[network]\npools = [\"172.16.0.0/12\", \"fd00:30::/32\"]\n")
	docker(t, ct, "network", "create", "--ipv6", "--subnet", "172.30.5.0/24", "--subnet", "fd00:30:5::/64", "-o", "com.docker.network.bridge.name=br-dual", "dual")
	if _, err := ct.RunContainer(t.Context(), "both", "--network", "dual"); err != nil {
		t.Fatal(err)
	}
	four := docker(t, ct, "inspect", "-f", "{{.NetworkSettings.Networks.dual.IPAddress}}", "both")
	six := docker(t, ct, "inspect", "-f", "{{.NetworkSettings.Networks.dual.GlobalIPv6Address}}", "both")
	if l.Ping(t.Context(), four) || l.Ping(t.Context(), six) {
		t.Fatal("reachable before")
	}
	before := savedRules(t, l, ct, "ip6tables-save")
	shown := report[apiv1.Plan](t, l, 0, "net", "plan").Items[0]
	if notes := strings.Join(shown.Notes, "\n"); !strings.Contains(notes, four) || !strings.Contains(notes, six) {
		t.Errorf("the plan does not name both addresses:\n%s", notes)
	}
	must(t, l, 0, "net", "apply", "--yes")
	for _, address := range []string{four, "[" + six + "]"} {
		body, err := l.Get(t.Context(), "http://"+address+"/")
		if err != nil || !strings.Contains(body, "hello") {
			t.Errorf("%s: %q, %v", address, body, err)
		}
	}
	if !l.Ping(t.Context(), four) || !l.Ping(t.Context(), six) {
		t.Error("no answer to pings after apply")
	}
	if got := strings.TrimSpace(run(t, l, "sysctl", "-n", "net.ipv6.conf.all.forwarding")); got != "1" {
		t.Errorf("forwarding of IPv6 is %s", got)
	}
	goldenRules(t, l, ct, "docker-28-dual-stack", "iptables-save", "ip6tables-save")
	for _, item := range report[apiv1.NetworkItem](t, l, 0, "net", "list").Items {
		if item.Name == "dual" && (item.Verdict != "ok" || len(item.Route) != 2) {
			t.Errorf("listed as %+v", item)
		}
	}
	probe := report[apiv1.ProbeItem](t, l, 0, "net", "probe", "["+six+"]:80").Items[0]
	if probe.Verdict != "ok" || probe.DockerContainer != "both" || len(probe.Packets) != 1 { // where a port is asked, TCP decides
		t.Errorf("probe: %+v", probe)
	}
	must(t, l, 0, "net", "off", "--yes")
	if l.Ping(t.Context(), six) || l.Ping(t.Context(), four) {
		t.Error("reachable after net off")
	}
	if diff := cmp.Diff(before, savedRules(t, l, ct, "ip6tables-save")); diff != "" || run(t, l, "ip", "-6", "route", "show", "table", "all", "proto", "176") != "" {
		t.Errorf("left after net off:\n%s", diff)
	}
}

// Two containers whose Docker has the very same subnet: each is reached by an alias of its own.
func TestNetworkAliasEqualSubnets(t *testing.T) {
	root := tree(t, "forky")
	l, first, web := dockerLab(t, "e2e-alias", lab.Container{ID: 101, Root: root})
	second, err := l.AddContainer(t.Context(), lab.Container{ID: 102, Root: root})
	if err != nil {
		t.Fatal(err)
	}
	configure(t, l, "[network]\nalias_pools = [\"10.99.0.0/16\"]\ndefault_mode = \"alias\"\nallow_labels = true\n")
	if err := second.WaitDocker(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := second.ImportImage(t.Context()); err != nil {
		t.Fatal(err)
	}
	twin, err := second.RunContainer(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	if twin != web {
		t.Fatalf("the two have different addresses: %s and %s", web, twin)
	}
	for ct, word := range map[*lab.CT]string{first: "first", second: "second"} {
		docker(t, ct, "exec", "web", "/bin/busybox", "sh", "-c", "echo "+word+" > /www/index.html")
	}
	docker(t, first, "network", "create", "--subnet", "172.30.6.0/24", "--label", "labd.mode=off", "-o", "com.docker.network.bridge.name=br-closed", "closed")
	must(t, l, 0, "net", "apply", "--yes")
	for address, word := range map[string]string{"10.99.0.2": "first", "10.99.1.2": "second"} {
		body, err := l.Get(t.Context(), "http://"+address+"/")
		if err != nil || !strings.Contains(body, word) || !l.Ping(t.Context(), address) {
			t.Errorf("%s: %q, %v; want %s, and an answer to a ping", address, body, err, word)
		}
	}
	if l.Ping(t.Context(), web) {
		t.Error("the subnet itself is reachable")
	}
	goldenRules(t, l, first, "docker-28-alias", "iptables-save")
	modes := map[string]string{}
	for _, item := range report[apiv1.NetworkItem](t, l, 0, "net", "list").Items {
		modes[item.ID] = string(item.Mode)
		if item.Name == "bridge" && (item.Verdict != "ok" || len(item.Aliases) != 1 || item.Aliases[0].Subnet != "172.17.0.0/24") {
			t.Errorf("listed as %+v", item)
		}
	}
	if modes["network/101/bridge"] != "alias" || modes["network/101/closed"] != "off" {
		t.Errorf("modes %v", modes)
	}
	// The router is told one route for the pool; the tree shows where the container is reached.
	if text := must(t, l, 0, "net", "router"); !strings.Contains(text, "\nip route replace 10.99.0.0/16 via "+lab.HostLAN+"\n") {
		t.Errorf("router: %q", text)
	}
	if text := must(t, l, 0, "tree"); !strings.Contains(text, web+" at 10.99.1.2") {
		t.Errorf("tree:\n%s", text)
	}
	probe := report[apiv1.ProbeItem](t, l, 0, "net", "probe", "10.99.1.2:80").Items[0]
	if probe.Verdict != "ok" || probe.Network != "network/102/bridge" {
		t.Errorf("probe: %+v", probe)
	}
	// labd's memory of who has which alias survives its restart, and the data plane does not notice one.
	run(t, l, "systemctl", "restart", "labd")
	if must(t, l, 0, "net", "apply", "--yes"); !l.Ping(t.Context(), "10.99.0.2") {
		t.Error("unreachable after a restart")
	}
	must(t, l, 0, "net", "off", "--yes")
	if l.Ping(t.Context(), "10.99.0.2") || strings.Contains(savedRules(t, l, first, "iptables-save"), "LABD") {
		t.Error("left after net off")
	}
}

// Podman has no DOCKER-USER: labd's jump stands in FORWARD. Without its service the networks are still known.
func TestNetworkPodman(t *testing.T) {
	lab.Require(t, "debootstrap", "lxc-start", "busybox")
	root, err := lab.PodmanTree(t.Context(), "trixie")
	if err != nil {
		t.Fatal(err)
	}
	l := lab.New(t, "e2e-podman")
	ct, err := l.AddContainer(t.Context(), lab.Container{ID: 101, Root: root, Podman: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := ct.WaitDocker(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := ct.ImportImage(t.Context()); err != nil {
		t.Fatal(err)
	}
	docker(t, ct, "network", "create", "--subnet", "172.30.9.0/24", "web")
	web, err := ct.RunContainer(t.Context(), "web", "--network", "web")
	if err != nil {
		t.Fatal(err)
	}
	startLabd(t, l, "")
	before := footprint(t, l, ct)
	must(t, l, 0, "net", "apply", "--yes")
	if ping, http := reach(t, l, web); !ping || !http {
		_, list, _ := labctl(t, l, "net", "list", "-o", "wide")
		t.Fatalf("after apply: ping %v, http %v\n%s\n%s", ping, http, list, footprint(t, l, ct))
	}
	goldenRules(t, l, ct, "podman-direct", "iptables-save")
	if item := networkNamed(t, l, 0, "web"); item.Verdict != "ok" {
		t.Errorf("listed as %+v", item)
	}
	if _, err := ct.Run(t.Context(), "systemctl", "stop", "podman.socket", "podman.service"); err != nil {
		t.Fatal(err)
	}
	run(t, l, "systemctl", "restart", "labd")
	if item := networkNamed(t, l, 3, "web"); item.Verdict != "ok" || !strings.Contains(item.Reason, "interfaces") {
		t.Errorf("without Podman's service: %+v", item)
	}
	must(t, l, 0, "net", "off", "--yes")
	if diff := cmp.Diff(before, footprint(t, l, ct)); diff != "" {
		t.Errorf("net off left something:\n%s", diff)
	}
}

// The host's own Docker socket is reachable from hostile containers: bound into one, and by links of every kind in others.
// labd asks nobody but a container's own processes, and the honest container is served.
func TestNetworkHostileSockets(t *testing.T) {
	l, _, web := dockerLab(t, "e2e-hostile", lab.Container{ID: 101})
	listener, err := net.Listen("unix", l.Path("/run/docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 16)
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r.URL.Path:
		default:
		}
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	for id, target := range map[int]string{102: "/opt/host.sock", 103: "/proc/1/root/run/docker.sock", 104: "../../../../../../run/docker.sock", 105: "/proc/self/root/opt/host.sock"} {
		ct, err := l.AddContainer(t.Context(), lab.Container{ID: id, NoDocker: true, Config: []string{"lxc.mount.entry = /run/docker.sock opt/host.sock none bind,create=file 0 0"}})
		if err != nil {
			t.Fatal(err)
		}
		wait(t, l, "the container has booted", func() bool {
			_, err := ct.Run(t.Context(), "systemctl", "is-active", "multi-user.target")
			return err == nil
		})
		if _, err := ct.Run(t.Context(), "ln", "-sfn", target, "/run/docker.sock"); err != nil {
			t.Fatal(err)
		}
	}
	must(t, l, 0, "net", "apply", "--yes")
	if ping, http := reach(t, l, web); !ping || !http {
		t.Errorf("the honest container: ping %v, http %v", ping, http)
	}
	for _, item := range report[apiv1.NetworkItem](t, l, 3, "net", "list").Items {
		if item.Container != 101 {
			t.Errorf("a network of a hostile container: %+v", item)
		}
	}
	list := report[apiv1.NetworkItem](t, l, 3, "net", "list")
	for id, code := range map[string]string{"102": "net.hostile", "103": "net.docker-unreachable", "104": "net.docker-unreachable", "105": ""} { // /proc/self is nobody in a PID namespace that labd is not in
		if got := codes(list.Findings, "lxc/"+id); got != code {
			t.Errorf("container %s: findings %q, want %s", id, got, code)
		}
	}
	select {
	case path := <-asked:
		t.Errorf("labd asked the host's socket for %s", path)
	default:
	}
}

// networkNamed is one network as labctl lists it.
func networkNamed(t *testing.T, l *lab.Lab, code int, name string) apiv1.NetworkItem {
	t.Helper()
	for _, item := range report[apiv1.NetworkItem](t, l, code, "net", "list").Items {
		if item.Name == name {
			return item
		}
	}
	t.Fatalf("no network %s is listed", name)
	return apiv1.NetworkItem{}
}
