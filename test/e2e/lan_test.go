package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"labd/test/lab"
)

// People with PVE accounts reach Docker containers by TLS, with the rights that PVE gives them and no others.
func TestCallersFromTheNetwork(t *testing.T) {
	lab.Require(t, "dockerd", "lxc-start", "busybox")
	l := lab.New(t, "e2e-lan")
	ct, err := l.AddContainer(t.Context(), lab.Container{ID: 101})
	if err != nil {
		t.Fatal(err)
	}
	if err := ct.WaitDocker(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := ct.ImportImage(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := ct.RunContainer(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	server, err := l.StartPVE(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	users, err := os.ReadFile(l.Path("/etc/pve/user.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := os.ReadFile(l.Path("/etc/pve/priv/token.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	var people, acls strings.Builder
	for name, role := range map[string]string{"viewer": "Viewer", "owner": "Owner", "stranger": ""} {
		fmt.Fprintf(&people, "user:%[1]s@pve:1:0::::::\ntoken:%[1]s@pve!ci:0:0::\n", name)
		secrets = fmt.Appendf(secrets, "%[1]s@pve!ci secret-of-%[1]s\n", name)
		if role != "" {
			fmt.Fprintf(&acls, "acl:1:/vms/101:%s@pve:%s:\n", name, role)
		}
		if err := l.WriteFile("/root/"+name, []byte(name+"@pve!ci=secret-of-"+name+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write := func(file, text string) {
		t.Helper()
		if err := l.WriteFile(file, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	roles := "role:Viewer:VM.Audit,VM.Console:\nrole:Owner:VM.Audit,VM.Console,VM.GuestAgent.Unrestricted:\n"
	write("/etc/pve/user.cfg", string(users)+people.String()+roles+acls.String())
	write("/etc/pve/priv/token.cfg", string(secrets))
	write("/etc/pve/lxc/101.conf", "hostname: docker\nunprivileged: 1\n")
	startLabd(t, l, "[listen]\nlan = \":9718\"\n")
	as := func(name string, args ...string) []string {
		return append([]string{"--server", "https://127.0.0.1:9718", "--token-file", "/root/" + name}, args...)
	}
	command := []string{"exec", "docker/web", "--", "/bin/busybox", "echo", "hello"}
	for _, test := range []struct {
		who  string
		args []string
		code int
		want string
	}{
		{"owner", command, 0, "hello\n"},
		{"owner", []string{"exec", "101/web", "--", "/bin/busybox", "sh", "-c", "exit 42"}, 42, ""},
		{"viewer", command, 6, "Permission check failed (/vms/101, VM.GuestAgent.Unrestricted)"},
		{"viewer", []string{"logs", "101/web"}, 0, ""},
		{"stranger", []string{"logs", "101/web"}, 6, "Permission check failed (/vms/101, VM.Console)"},
		{"stranger", []string{"version"}, 0, "labd"},
		{"owner", []string{"status"}, 1, "for callers from the network"},
	} {
		code, stdout, stderr := labctlIn(t, l, nil, as(test.who, test.args...)...)
		if code != test.code || !strings.Contains(stdout+stderr, test.want) {
			t.Errorf("%s: labctl %v: exit %d, %q, %q", test.who, test.args, code, stdout, stderr)
		}
	}
	t.Run("a wrong secret", func(t *testing.T) {
		if err := l.WriteFile("/root/thief", []byte("owner@pve!ci=guessed\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := labctlIn(t, l, nil, as("thief", command...)...); code != 6 || !strings.Contains(stderr, "PVE does not accept") {
			t.Errorf("exit %d, %q", code, stderr)
		}
	})
	t.Run("a token that others can read", func(t *testing.T) {
		run(t, l, "chmod", "644", "/root/thief")
		if code, _, stderr := labctlIn(t, l, nil, as("thief", command...)...); code != 2 || !strings.Contains(stderr, "chmod 600") {
			t.Errorf("exit %d, %q", code, stderr)
		}
	})
	t.Run("a privileged container asks for more", func(t *testing.T) {
		write("/etc/pve/lxc/101.conf", "hostname: docker\n")
		if code, _, stderr := labctlIn(t, l, nil, as("owner", command...)...); code != 6 || !strings.Contains(stderr, "(/, Sys.Modify)") {
			t.Errorf("exit %d, %q", code, stderr)
		}
	})
	t.Run("PVE down", func(t *testing.T) {
		server.Close()
		// What was seen within the last seconds may still count; a right that was never asked for does not.
		if code, _, stderr := labctlIn(t, l, nil, as("viewer", "logs", "101/web")...); code != 7 || !strings.Contains(stderr, "PVE cannot be asked") {
			t.Errorf("exit %d, %q", code, stderr)
		}
	})
	if journal := run(t, l, "journalctl", "-u", "labd", "-o", "cat"); !strings.Contains(journal, "stream denied") || !strings.Contains(journal, "owner@pve!ci") || strings.Contains(journal, "secret-of-") {
		t.Errorf("labd's journal:\n%s", journal)
	}
}
