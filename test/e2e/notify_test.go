package e2e

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	apiv1 "labd/api/v1"
	"labd/test/lab"
)

// startPostfix starts the mail server that a PVE host has, on 127.0.0.1:25 of a lab's host. Mail to root ends in
// /var/mail/root.
func startPostfix(t *testing.T, l *lab.Lab) {
	t.Helper()
	const config = "compatibility_level = 3.6\nmyhostname = pve1.lan\nmydestination = $myhostname, localhost\ninet_interfaces = loopback-only\n" +
		"inet_protocols = ipv4\nmynetworks = 127.0.0.0/8\nalias_maps =\nmail_spool_directory = /var/mail\nsmtputf8_enable = no\nmaillog_file = /var/log/postfix.log\n"
	if err := l.WriteFile("/etc/postfix/main.cf", []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, l, "postfix", "start")
	t.Cleanup(func() { _, _ = l.Run(background(), "postfix", "stop") })
}

// mailOfRoot is what root of a lab's host got so far.
func mailOfRoot(l *lab.Lab) string {
	data, _ := os.ReadFile(l.Path("/var/mail/root"))
	return string(data)
}

// Findings reach root by the mail server that a PVE host has, out of the unit's sandbox; a service that never answers
// keeps nobody waiting.
func TestNotifications(t *testing.T) {
	lab.Require(t, "postfix")
	l := lab.New(t, "e2e-notify")
	startPostfix(t, l)
	// Connections to it are made by the kernel, and nobody ever accepts them.
	var silent net.Listener
	if err := lab.InNetNS(l.NetNS(), func() (err error) {
		silent, err = net.Listen("tcp", "127.0.0.1:8099")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	const topic = "secret-topic-of-the-lab"
	if err := l.WriteFile("/etc/labd/phone.url", []byte("ntfy://127.0.0.1:8099/"+topic+"?disabletls=yes\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	startLabd(t, l, fixtureConfig+"[notify]\ngrace = \"0s\"\nwebhook_files = [\"/etc/labd/phone.url\"]\n")

	started := time.Now()
	got := report[apiv1.NotificationTestItem](t, l, 1, "notify", "test")
	if took := time.Since(started); took > 60*time.Second {
		t.Errorf("the test took %s", took)
	}
	if len(got.Items) != 2 || !got.Items[0].OK || got.Items[1].OK || !strings.Contains(got.Items[1].Error, "no answer in time") {
		t.Errorf("%+v", got.Items)
	}
	// The drive that is not there is told without being asked, once.
	wait(t, l, "mail of the finding", func() bool {
		return strings.Contains(mailOfRoot(l), "Subject: [labd pve1] FAIL: nvme/")
	})
	mail := mailOfRoot(l)
	for _, want := range []string{"Subject: [labd pve1] test", "code: nvme.not-ready", "X-Labd-Severity: fail"} {
		if !strings.Contains(mail, want) {
			t.Errorf("no %q in root's mail:\n%s", want, mail)
		}
	}
	if n := strings.Count(mail, "Subject:"); n != 2 {
		t.Errorf("%d mails:\n%s", n, mail)
	}
	// A restart tells nothing again. When the webhook has been tried, mail has had its turn too.
	silent.Close()
	run(t, l, "systemctl", "restart", "labd")
	if err := l.Wait(t.Context(), time.Minute, func() bool {
		_, out, _ := labctl(t, l, "notify", "list", "-o", "json")
		return strings.Contains(out, "connection refused")
	}); err != nil {
		t.Errorf("the webhook is not tried: %v", err)
	}
	if again := mailOfRoot(l); again != mail {
		t.Errorf("told again after a restart:\n%s", strings.TrimPrefix(again, mail))
	}
	if out := must(t, l, 0, "notify", "list") + must(t, l, 0, "config"); strings.Contains(out, topic) {
		t.Errorf("the address is shown:\n%s", out)
	}
	if log := run(t, l, "journalctl", "-u", "labd", "--no-pager"); strings.Contains(log, topic) {
		t.Errorf("the address is in the log:\n%s", log)
	}
}
