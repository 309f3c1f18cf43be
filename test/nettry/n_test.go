package nettry

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"labd/test/lab"
)

func Test(t *testing.T) {
	l, err := lab.Start(t.Context(), lab.Config{Name: "nettry"})
	if err != nil { t.Fatal(err) }
	t.Cleanup(func() { l.Close() })
	ct, err := l.AddContainer(t.Context(), lab.Container{ID: 101})
	if err != nil { t.Fatal(err) }
	if err := ct.WaitDocker(t.Context()); err != nil { t.Fatal(err) }
	if err := ct.ImportImage(t.Context()); err != nil { t.Fatal(err) }
	if out, err := ct.Docker(t.Context(), "network", "create", "web"); err != nil { t.Fatal(out, err) }
	addr, err := ct.RunContainer(t.Context(), "shop", "--network", "web", "-p", "127.0.0.1:8080:80")
	if err != nil { t.Fatal(err) }
	if err := l.InstallLabd("/tmp/nettry/bin", "../../systemd/labd.service", "[network]\nresync=\"2s\"\n"); err != nil { t.Fatal(err) }
	if _, err := l.StartLabd(t.Context()); err != nil { t.Fatal(err) }
	sh := func(args ...string) {
		t.Helper()
		start := time.Now()
		out, err := l.Command(t.Context(), args[0], args[1:]...).CombinedOutput()
		code := 0
		if x, ok := err.(*exec.ExitError); ok { code = x.ExitCode() } else if err != nil { t.Fatal(err) }
		t.Logf("$ %s  [exit %d, %s]\n%s", strings.Join(args, " "), code, time.Since(start).Round(time.Millisecond), out)
	}
	ping := func(when string) { t.Helper(); t.Logf("PING %s (%s): %v", addr, when, l.Ping(t.Context(), addr)) }
	ping("first")
	sh("labctl", "net", "list")
	sh("labctl", "net", "plan")
	sh("labctl", "net", "apply", "--yes")
	ping("applied")
	sh("labctl", "net", "list", "-o", "wide")
	sh("labctl", "journal")
	sh("labctl", "net", "off", "--yes")
	ping("off")
	sh("labctl", "net", "list")
	sh("labctl", "net", "on", "--yes")
	ping("on")
	sh("ip", "route", "del", "172.18.0.0/16")
	sh("sleep", "3.5")
	sh("ip", "route", "show", "proto", "176")
	ping("repaired")
	sh("sh", "-c", "curl -s 127.0.0.1:9717/metrics | grep labd_network; journalctl -u labd --no-pager | tail -5")
	if out, err := ct.Run(t.Context(), "systemctl", "restart", "docker"); err != nil { t.Log(out, err) }
	ct.Docker(t.Context(), "start", "shop")
	sh("labctl", "net", "list")
	ct.Run(t.Context(), "pkill", "-STOP", "dockerd")
	sh("sleep", "3")
	sh("labctl", "net", "list")
	ct.Run(t.Context(), "pkill", "-CONT", "dockerd")
	if err := ct.Stop(t.Context()); err != nil { t.Log(err) }
	sh("sleep", "3")
	sh("labctl", "net", "list")
	sh("ip", "route", "show", "proto", "176")
	sh("cat", "/var/lib/labd/network-owners.json")
	sh("ls", "-la", "/var/lib/lxc")
}
