package pvesim

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"labd/internal/host"
	"labd/internal/pve"
)

// deadStorage is a host whose storage usb1 has lost its disk, with guests and jobs that name it.
var deadStorage = map[string]string{
	"storage.cfg":                     "dir: usb1\n\tpath /mnt/pve/usb1\n\tcontent images,iso,backup,snippets\n\tis_mountpoint 1\n\tnodes pve1\n\n",
	"nodes/pve1/qemu-server/100.conf": "ide2: usb1:iso/debian-13.iso,media=cdrom,size=700M\nmemory: 2048\nunused0: usb1:100/vm-100-disk-1.qcow2\n",
	"nodes/pve1/qemu-server/101.conf": "cicustom: user=usb1:snippets/u.yml\nhookscript: usb1:snippets/hook.pl\nmemory: 2048\n",
	"nodes/pve1/qemu-server/102.conf": "lock: backup\nmemory: 2048\n",
	"nodes/pve1/lxc/201.conf":         "arch: amd64\nrootfs: local:201/vm-201-disk-0.raw,size=4G\nunused0: usb1:201/vm-201-disk-1.raw\n",
	"jobs.cfg":                        "vzdump: backup-nightly\n\tenabled 1\n\tschedule 02:00\n\tstorage usb1\n\n",
}

const notMounted = "unable to activate storage 'usb1' - directory is expected to be a mount point but is not mounted: '/mnt/pve/usb1'"

// PVE 9.2 refused these as written here; the texts are what it said.
func TestRefusals(t *testing.T) {
	user := func(line string) func(*testing.T, *Server) {
		return func(t *testing.T, s *Server) {
			text := "user:root@pam:1:0::::::\ntoken:root@pam!dev:0:0::\n" + line + "\n\n\n\nacl:1:/nodes:labd@pve:PVEAuditor:\n"
			mustWrite(t, s, "user.cfg", text)
			mustWrite(t, s, "priv/token.cfg", "root@pam!dev 11111111-2222-3333-4444-555555555555\nlabd@pve!labd s\n")
		}
	}
	remove := func(t *testing.T, s *Server) { mustWrite(t, s, "storage.cfg", "") }
	const labd = "labd@pve!labd=s"
	for _, tt := range []struct {
		name, method, path string
		form               map[string]string
		spoil              func(*testing.T, *Server)
		token              string
		status             int
		reason             string
		params             map[string]string
	}{
		{name: "a CD image", method: "PUT", path: "/nodes/pve1/qemu/100/config", form: map[string]string{"ide2": "usb1:iso/debian-13.iso,media=cdrom,size=700M"}, status: 500, reason: notMounted},
		{name: "a CD image on a storage that is no more", method: "PUT", path: "/nodes/pve1/qemu/100/config", form: map[string]string{"ide2": "usb1:iso/debian-13.iso,media=cdrom"}, spoil: remove, status: 500, reason: "storage 'usb1' does not exist"},
		{name: "a CD image is taken off", method: "PUT", path: "/nodes/pve1/qemu/100/config", form: map[string]string{"ide2": "none,media=cdrom"}, status: 200},
		{
			name: "a hook script", method: "PUT", path: "/nodes/pve1/qemu/101/config", form: map[string]string{"hookscript": "usb1:snippets/hook.pl"}, status: 400,
			reason: "Parameter verification failed.", params: map[string]string{"hookscript": "script 'usb1:snippets/hook.pl' does not exist"},
		},
		{name: "cicustom is not looked up", method: "PUT", path: "/nodes/pve1/qemu/101/config", form: map[string]string{"cicustom": "user=usb1:snippets/u.yml"}, status: 200},
		{name: "both are taken off", method: "PUT", path: "/nodes/pve1/qemu/101/config", form: map[string]string{"delete": "hookscript,cicustom"}, status: 200},
		{
			name: "an unused volume of a container after the entry is removed", method: "PUT", path: "/nodes/pve1/lxc/201/config", form: map[string]string{"delete": "unused0"}, spoil: remove, status: 400,
			reason: "Parameter verification failed.", params: map[string]string{"unused0": "unable to apply pending change unused0 : storage 'usb1' does not exist"},
		},
		{
			name: "an unused volume of a container before that", method: "PUT", path: "/nodes/pve1/lxc/201/config", form: map[string]string{"delete": "unused0"}, status: 400,
			reason: "Parameter verification failed.", params: map[string]string{"unused0": "unable to apply pending change unused0 : " + notMounted},
		},
		{name: "an unused volume of a VM after the entry is removed", method: "PUT", path: "/nodes/pve1/qemu/100/config", form: map[string]string{"delete": "unused0"}, spoil: remove, status: 200},
		{name: "an unused volume of a VM before that", method: "PUT", path: "/nodes/pve1/qemu/100/config", form: map[string]string{"delete": "unused0"}, status: 500, reason: notMounted},
		{name: "a locked guest", method: "PUT", path: "/nodes/pve1/qemu/102/config", form: map[string]string{"ide2": "none,media=cdrom"}, status: 500, reason: "VM is locked (backup)"},
		{
			name: "an esxi entry without its password", method: "POST", path: "/storage", status: 500, reason: "create storage failed: missing password",
			form: map[string]string{"storage": "oesxi", "type": "esxi", "server": "192.0.2.9", "username": "root", "disable": "1"},
		},
		{
			name: "an esxi entry with it", method: "POST", path: "/storage", status: 200,
			form: map[string]string{"storage": "oesxi", "type": "esxi", "server": "192.0.2.9", "username": "root", "disable": "1", "password": "hush"},
		},
		{
			name: "a cifs entry without its password", method: "POST", path: "/storage", status: 200,
			form: map[string]string{"storage": "ocifs", "type": "cifs", "server": "192.0.2.9", "share": "x", "disable": "1"},
		},
		{
			name: "no rights on /storage", method: "PUT", path: "/storage/usb1", form: map[string]string{"disable": "1"}, status: 403,
			spoil: user("user:labd@pve:1:0::::::\ntoken:labd@pve!labd:0:0::"), token: labd, reason: "Permission check failed (/storage, Datastore.Allocate)",
		},
		{name: "what is left without them", method: "GET", path: "/nodes/pve1/tasks?source=active", status: 200, spoil: user("user:labd@pve:1:0::::::\ntoken:labd@pve!labd:0:0::"), token: labd},
		{
			name: "the token is expired", method: "GET", path: "/nodes/pve1/tasks?source=active", status: 401,
			spoil: user("user:labd@pve:1:0::::::\ntoken:labd@pve!labd:1700000000:0::"), token: labd, reason: "Authentication failed!",
		},
		{
			name: "the user is expired", method: "GET", path: "/access/permissions", status: 401,
			spoil: user("user:labd@pve:1:1700000000::::::\ntoken:labd@pve!labd:0:0::"), token: labd, reason: "Authentication failed!",
		},
		{
			name: "the user is switched off", method: "GET", path: "/access/permissions", status: 401,
			spoil: user("user:labd@pve:0:0::::::\ntoken:labd@pve!labd:0:0::"), token: labd, reason: "Authentication failed!",
		},
		{
			name: "the token is deleted", method: "GET", path: "/access/permissions", status: 401,
			spoil: user("user:labd@pve:1:0::::::"), token: labd, reason: "Authentication failed!",
		},
		{
			name: "another writer holds storage.cfg", method: "PUT", path: "/storage/usb1", form: map[string]string{"disable": "1"}, status: 500,
			spoil: func(t *testing.T, s *Server) {
				if err := os.MkdirAll(s.path("etc/pve/priv/lock/file-storage_cfg"), 0o755); err != nil {
					t.Fatal(err)
				}
			}, reason: "update storage failed: cfs-lock 'file-storage_cfg' error: got lock request timeout",
		},
		{
			name: "a malformed section", method: "DELETE", path: "/storage/usb1", status: 500,
			spoil: func(t *testing.T, s *Server) {
				mustWrite(t, s, "storage.cfg", deadStorage["storage.cfg"]+"dir: broken\n\tcontent iso\n\n")
			},
			reason: "delete storage failed: storage 'broken' does not exist",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, token := deadHost(t)
			if tt.spoil != nil {
				tt.spoil(t, s)
			}
			if tt.token != "" {
				token = tt.token
			}
			r := &replay{t: t, server: s, bound: map[string]string{}}
			x := &exchange{}
			x.Request.Method, x.Request.Path, x.Request.Auth = tt.method, tt.path, "token: "+token
			if tt.form != nil {
				x.Request.Form = map[string]any{}
				for k, v := range tt.form {
					x.Request.Form[k] = v
				}
			}
			status, reason, body := r.sendOnce(x)
			if status != tt.status || tt.reason != "" && reason != tt.reason {
				t.Fatalf("%d %q, want %d %q", status, reason, tt.status, tt.reason)
			}
			answer, _ := body.(map[string]any)
			for key, want := range tt.params {
				objections, _ := answer["errors"].(map[string]any)
				if got, _ := objections[key].(string); strings.TrimSpace(got) != want {
					t.Errorf("%s: %q, want %q", key, got, want)
				}
			}
		})
	}
}

// What pvesh prints of a refusal is what labd shows to a person.
func TestRefusalThroughTheShell(t *testing.T) {
	s, _ := deadHost(t)
	_, err := s.Run(t.Context(), host.Cmd{Name: "pvesh", Args: []string{"set", "/nodes/pve1/qemu/101/config", "--hookscript", "usb1:snippets/hook.pl"}})
	var exit *host.ExitError
	if !errors.As(err, &exit) || !strings.Contains(exit.Stderr, "hookscript: script 'usb1:snippets/hook.pl' does not exist") {
		t.Errorf("%v", err)
	}
	c, err := pve.NewClient(pve.ClientConfig{Node: "pve1", Shell: s})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	err = c.UpdateGuest(t.Context(), pve.GuestRef{Kind: pve.QEMU, ID: 100, Node: "pve1"}, map[string]string{"ide2": "usb1:iso/debian-13.iso,media=cdrom"}, nil, "")
	if err == nil || !strings.Contains(err.Error(), notMounted) {
		t.Errorf("%v", err)
	}
}

func deadHost(t *testing.T) (s *Server, token string) {
	t.Helper()
	root := t.TempDir()
	token, err := Prepare(root, "pve1")
	if err != nil {
		t.Fatal(err)
	}
	s, err = Start(t.Context(), Config{Root: root, Node: "pve1", LockTimeout: 20 * time.Millisecond, Mounted: func(string) bool { return false }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for name, text := range deadStorage {
		mustWrite(t, s, name, text)
	}
	return s, token
}

func mustWrite(t *testing.T, s *Server, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.cfg.Root, "etc/pve", name), []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}
