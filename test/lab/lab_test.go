package lab_test

import (
	"testing"
	"time"

	"labd/test/lab"
)

func TestHost(t *testing.T) {
	start := time.Now()
	l, err := lab.Start(t.Context(), lab.Config{Name: "t1", Logf: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("up after %s", time.Since(start))
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	if !l.Ping(t.Context(), lab.HostAddress) {
		t.Error("no ping")
	}
	d, err := l.AddDisk(t.Context(), "usb1")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("disk after %s", time.Since(start))
	c, err := l.AddContainer(t.Context(), lab.Container{ID: 101})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("container after %s", time.Since(start))
	if err := c.WaitDocker(t.Context()); err != nil {
		o, _ := c.Run(t.Context(), "sh", "-c", "systemctl --failed; journalctl -n 30 --no-pager -u docker")
		t.Fatal(err, o)
	}
	t.Logf("docker after %s", time.Since(start))
	if err := c.ImportImage(t.Context()); err != nil {
		t.Fatal(err)
	}
	ip, err := c.RunContainer(t.Context(), "web")
	t.Log(ip, err, time.Since(start))
	t.Log(l.Ping(t.Context(), c.Address()), l.Ping(t.Context(), ip))
	t.Log(l.Run(t.Context(), "ip", "route", "add", "172.17.0.0/16", "via", c.Address()))
	t.Log(l.Ping(t.Context(), ip))
	t.Log(c.Run(t.Context(), "iptables", "-I", "DOCKER-USER", "1", "-d", ip, "-j", "ACCEPT"))
	t.Log(l.Ping(t.Context(), ip))
	t.Log(d.Pull(t.Context()))
	out, err := l.Run(t.Context(), "sh", "-c", "hostname; systemctl --failed --no-legend; findmnt; losetup -a; systemctl stop mnt-pve-usb1.mount; losetup -a")
	t.Log(out, err, time.Since(start))
}
