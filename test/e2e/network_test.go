package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	apiv1 "labd/api/v1"
	"labd/test/lab"
)

// dockerLab is a lab with labd and a container with a Docker container in it.
func dockerLab(t *testing.T, name string, spec lab.Container) (*lab.Lab, *lab.CT, string) {
	t.Helper()
	lab.Require(t, "dockerd", "lxc-start", "busybox")
	l := lab.New(t, name)
	ct, err := l.AddContainer(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := ct.WaitDocker(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := ct.ImportImage(t.Context()); err != nil {
		t.Fatal(err)
	}
	web, err := ct.RunContainer(t.Context(), "web", "-p", "127.0.0.1:8080:80")
	if err != nil {
		t.Fatal(err)
	}
	startLabd(t, l, "")
	return l, ct, web
}

// footprint is every route of the host and every rule and chain of a user's own in a container. An empty built-in chain
// that iptables made on the way changes nothing and may stay.
func footprint(t *testing.T, l *lab.Lab, ct *lab.CT) string {
	t.Helper()
	pid, err := ct.InitPID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	space := fmt.Sprintf("--net=/proc/%d/ns/net", pid)
	var lines []string
	for line := range strings.Lines(run(t, l, "ip", "-4", "route", "show", "table", "all") + run(t, l, "nsenter", space, "iptables-save")) {
		builtIn := strings.HasPrefix(line, ":") && !strings.Contains(line, " - ")
		if !builtIn && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "*") && line != "COMMIT\n" {
			name, _, _ := strings.Cut(line, " [") // without the counters of a chain
			lines = append(lines, strings.TrimSuffix(name, "\n")+"\n")
		}
	}
	return strings.Join(lines, "")
}

func reach(t *testing.T, l *lab.Lab, address string) (ping, http bool) {
	t.Helper()
	body, err := l.Get(t.Context(), "http://"+address+"/")
	return l.Ping(t.Context(), address), err == nil && strings.Contains(body, "hello")
}

// The whole life of the network job, for one Docker. golden is the rule set in docs/rules that labd makes there.
func testNetwork(t *testing.T, name, golden string, spec lab.Container, findings string) {
	l, ct, web := dockerLab(t, name, spec)
	before := footprint(t, l, ct)
	if ping, http := reach(t, l, web); ping || http {
		t.Fatalf("reachable before: ping %v, http %v", ping, http)
	}
	list := report[apiv1.NetworkItem](t, l, 3, "net", "list")
	var bridge apiv1.NetworkItem
	for _, item := range list.Items {
		if item.ID == "network/101/bridge" {
			bridge = item
		}
	}
	if bridge.Verdict != "planned" || bridge.Mode != "direct" || codes(list.Findings, bridge.ID) != findings {
		t.Fatalf("before: %+v, findings %s", bridge, codes(list.Findings, bridge.ID))
	}
	shown := report[apiv1.Plan](t, l, 0, "net", "plan").Items[0]
	if notes := strings.Join(shown.Notes, "\n"); !strings.Contains(notes, web) || !strings.Contains(notes, "127.0.0.1") {
		t.Errorf("the plan must name what becomes reachable, a port published on 127.0.0.1 only included:\n%s", notes)
	}
	if got := footprint(t, l, ct); got != before {
		t.Fatalf("planning changed something:\n%s", cmp.Diff(before, got))
	}
	must(t, l, 0, "net", "apply", "--yes")
	if ping, http := reach(t, l, web); !ping || !http {
		t.Fatalf("after apply: ping %v, http %v", ping, http)
	}
	must(t, l, 0, "net", "list")
	save := "iptables-nft-save"
	if spec.Legacy {
		save = "iptables-legacy-save"
	}
	goldenRules(t, l, ct, golden, save)
	applied := footprint(t, l, ct)
	must(t, l, 0, "net", "apply", "--yes") // nothing to do
	if got := footprint(t, l, ct); got != applied {
		t.Errorf("the second apply changed something:\n%s", cmp.Diff(applied, got))
	}
	// The data plane does not need the daemon.
	run(t, l, "systemctl", "kill", "-s", "KILL", "labd")
	if ping, _ := reach(t, l, web); !ping {
		t.Error("unreachable after kill -9 of labd")
	}
	wait(t, l, "labd is back", func() bool { code, _, _ := labctl(t, l, "journal"); return code == 0 })
	// Off takes all of it away, also without any state.
	run(t, l, "systemctl", "stop", "labd")
	run(t, l, "sh", "-c", "rm -rf /var/lib/labd/*")
	run(t, l, "systemctl", "start", "labd")
	must(t, l, 0, "net", "off", "--yes")
	if got := footprint(t, l, ct); got != before {
		t.Errorf("net off left something:\n%s", cmp.Diff(before, got))
	}
	if ping, _ := reach(t, l, web); ping {
		t.Error("still reachable after net off")
	}
}

func TestNetworkDocker20(t *testing.T) {
	testNetwork(t, "e2e-net20", "docker-20.10-direct", lab.Container{ID: 101}, "net.forward-drop,net.no-route")
}

func TestNetworkDocker20Legacy(t *testing.T) {
	testNetwork(t, "e2e-net20l", "docker-20.10-legacy-direct", lab.Container{ID: 101, Legacy: true, Privileged: true}, "net.forward-drop,net.no-route")
}

func TestNetworkDocker28(t *testing.T) {
	testNetwork(t, "e2e-net28", "docker-28-direct", lab.Container{ID: 101, Root: tree(t, "forky")}, "net.forward-drop,net.no-route,net.raw-drop")
}

// labctl net on keeps routes and rules: for new networks, and for a container that starts anew.
func TestNetworkKept(t *testing.T) {
	l, ct, web := dockerLab(t, "e2e-keep", lab.Container{ID: 101})
	if err := l.WriteFile("/etc/labd/labd.toml", []byte("[network]\nresync = \"1s\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, l, "systemctl", "restart", "labd")
	must(t, l, 0, "net", "on", "--yes")
	if ping, _ := reach(t, l, web); !ping {
		t.Fatal("unreachable after net on")
	}
	run(t, l, "ip", "route", "del", "172.17.0.0/16", "table", "176")
	wait(t, l, "the deleted route is back", func() bool { return l.Ping(t.Context(), web) })
	if _, err := ct.Docker(t.Context(), "network", "create", "--subnet", "172.30.5.0/24", "blog"); err != nil {
		t.Fatal(err)
	}
	other, err := ct.RunContainer(t.Context(), "blog", "--network", "blog")
	if err != nil {
		t.Fatal(err)
	}
	wait(t, l, "a new network is reachable", func() bool { return l.Ping(t.Context(), other) })
	if err := ct.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	wait(t, l, "the routes of a stopped container are gone", func() bool {
		return run(t, l, "ip", "route", "show", "table", "all", "proto", "176") == ""
	})
	if err := ct.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := ct.WaitDocker(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := ct.Docker(t.Context(), "start", "web"); err != nil {
		t.Fatal(err)
	}
	wait(t, l, "a container that started anew is reachable", func() bool { return l.Ping(t.Context(), web) })
	// Off survives a restart.
	must(t, l, 0, "net", "off", "--yes")
	run(t, l, "systemctl", "restart", "labd")
	must(t, l, 0, "net", "list") // off on purpose: nothing to warn of
	if routes := run(t, l, "ip", "route", "show", "table", "all", "proto", "176"); routes != "" {
		t.Errorf("net off did not survive a restart: %s", routes)
	}
}

// A Docker that hangs and a container without one do not disturb the third.
func TestNetworkHungAndAbsentDocker(t *testing.T) {
	l, _, web := dockerLab(t, "e2e-hung", lab.Container{ID: 101})
	hung, err := l.AddContainer(t.Context(), lab.Container{ID: 102})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.AddContainer(t.Context(), lab.Container{ID: 103, NoDocker: true}); err != nil {
		t.Fatal(err)
	}
	if err := hung.WaitDocker(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := hung.Run(t.Context(), "systemctl", "kill", "-s", "STOP", "docker"); err != nil {
		t.Fatal(err)
	}
	must(t, l, 0, "net", "apply", "--yes")
	if ping, _ := reach(t, l, web); !ping {
		t.Error("the healthy container is not served")
	}
	wait(t, l, "the hung Docker is reported", func() bool {
		list := report[apiv1.NetworkItem](t, l, 3, "net", "list")
		return codes(list.Findings, "lxc/102") == "net.docker-unreachable" && codes(list.Findings, "lxc/103") == ""
	})
}
