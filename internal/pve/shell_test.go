package pve_test

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labd/internal/host"
	"labd/internal/pve"
	"labd/test/pvesim"
)

// shellSetup is setup with a client that has no token.
func shellSetup(t *testing.T) (root string, s *pvesim.Server, c *pve.Client) {
	t.Helper()
	root, s, _ = setup(t, nil)
	c, err := pve.NewClient(pve.ClientConfig{Node: "pve1", Shell: s, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return root, s, c
}

// Without a token the same calls go through pvesh and do the same.
func TestShellLifeOfAStorage(t *testing.T) {
	root, _, c := shellSetup(t)
	ctx := t.Context()
	if v, err := c.Version(ctx); err != nil || v.Major() != 9 {
		t.Fatalf("Version() = %+v, %v", v, err)
	}
	if err := c.CreateStorage(ctx, "new1", map[string]string{"type": "dir", "path": "/mnt/new1", "disable": "1"}); err != nil {
		t.Fatal(err)
	}
	st, err := c.Storage(ctx, "new1")
	if err != nil {
		t.Fatal(err)
	}
	digest := st["digest"].(string)
	if err := c.UpdateStorage(ctx, "new1", map[string]string{"nodes": "pve1,pve2"}, digest); err != nil {
		t.Fatal(err)
	}
	if err := c.UpdateStorage(ctx, "new1", map[string]string{"nodes": "pve1"}, digest); !errors.Is(err, pve.ErrChanged) {
		t.Errorf("stale digest: %v", err)
	}
	// An empty value is a word of its own on the command line.
	if err := c.UpdateStorage(ctx, "new1", map[string]string{"nodes": ""}, ""); err != nil {
		t.Errorf("empty nodes: %v", err)
	}
	if all, err := c.Storages(ctx); err != nil || len(all) != 3 {
		t.Errorf("Storages() = %v, %v", all, err)
	}
	if err := c.DeleteStorage(ctx, "new1"); err != nil {
		t.Fatal(err)
	}
	compare(t, root, "storage.cfg", storageCfg)
}

func TestShellErrors(t *testing.T) {
	for _, tc := range []struct {
		name  string
		setup func(t *testing.T, root string, s *pvesim.Server)
		do    func(context.Context, *pve.Client) error
		want  error
		text  string
	}{
		{
			name: "unknown storage",
			do:   func(ctx context.Context, c *pve.Client) error { return c.DeleteStorage(ctx, "nosuch") },
			want: pve.ErrUnknownStorage,
			text: "pvesh delete /storage/nosuch: PVE answers: delete storage failed: storage 'nosuch' does not exist",
		},
		{
			name: "malformed section elsewhere",
			setup: func(t *testing.T, root string, _ *pvesim.Server) {
				write(t, root, "etc/pve/storage.cfg", storageCfg+"dir: broken\n\n")
			},
			do:   func(ctx context.Context, c *pve.Client) error { return c.DeleteStorage(ctx, "usb1") },
			want: pve.ErrMalformedConfig, text: "storage 'broken' does not exist",
		},
		{
			name: "no quorum",
			setup: func(t *testing.T, _ string, s *pvesim.Server) {
				if err := s.SetQuorum(false); err != nil {
					t.Fatal(err)
				}
			},
			do:   func(ctx context.Context, c *pve.Client) error { return c.DeleteStorage(ctx, "usb1") },
			want: pve.ErrNoQuorum,
		},
		{
			name: "lock held",
			setup: func(t *testing.T, root string, _ *pvesim.Server) {
				if err := os.Mkdir(filepath.Join(root, "etc/pve/priv/lock/file-storage_cfg"), 0o755); err != nil {
					t.Fatal(err)
				}
			},
			do:   func(ctx context.Context, c *pve.Client) error { return c.DeleteStorage(ctx, "usb1") },
			want: pve.ErrLockTimeout, text: "got lock request timeout",
		},
		{
			name: "pmxcfs down",
			setup: func(t *testing.T, _ string, s *pvesim.Server) {
				if err := s.SetClusterFS(false); err != nil {
					t.Fatal(err)
				}
			},
			do:   func(ctx context.Context, c *pve.Client) error { _, err := c.Storages(ctx); return err },
			want: pve.ErrClusterFSDown,
		},
		{
			name: "parameter rejected",
			do: func(ctx context.Context, c *pve.Client) error {
				return c.CreateStorage(ctx, "new1", map[string]string{"type": "dir", "path": "x"})
			},
			want: pve.ErrInvalid, text: "path: invalid format - value does not look like a valid absolute path",
		},
		{
			name: "killed after the change was made",
			setup: func(_ *testing.T, _ string, s *pvesim.Server) {
				s.Inject(pvesim.Fault{Method: "DELETE", After: true, Cut: true})
			},
			do:   func(ctx context.Context, c *pve.Client) error { return c.DeleteStorage(ctx, "usb1") },
			want: pve.ErrUnknownOutcome,
		},
		{
			name:  "slow",
			setup: func(_ *testing.T, _ string, s *pvesim.Server) { s.Inject(pvesim.Fault{Delay: time.Minute}) },
			do: func(ctx context.Context, c *pve.Client) error {
				ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
				defer cancel()
				return c.DeleteStorage(ctx, "usb1")
			},
			want: pve.ErrUnknownOutcome, text: "deadline exceeded",
		},
		{
			name: "a secret",
			do: func(ctx context.Context, c *pve.Client) error {
				return c.CreateStorage(ctx, "nas1", map[string]string{"type": "cifs", "password": "hush"})
			},
			want: pve.ErrInvalid, text: "password is a secret, and pvesh would show it to every process of the host",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root, s, c := shellSetup(t)
			if tc.setup != nil {
				tc.setup(t, root, s)
			}
			err := tc.do(t.Context(), c)
			if err == nil || !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) || strings.Contains(err.Error(), "hush") {
				t.Errorf("error = %v, want %v with %q", err, tc.want, tc.text)
			}
		})
	}
}

// runnerFunc is a Runner made of a function.
type runnerFunc func(host.Cmd) ([]byte, error)

func (f runnerFunc) Run(_ context.Context, c host.Cmd) ([]byte, error) { return f(c) }

func TestShellReadsWhatPveshPrints(t *testing.T) {
	for _, tc := range []struct {
		name, stdout string
		err          error
		want         error
		text         string
	}{
		{name: "a worker's log before its ID", stdout: "Removed link\nTASK OK\nUPID:pve1:1:2:3:dirremove:usb1:root@pam:\n"},
		{name: "no program", err: fmt.Errorf("run pvesh: %w", host.ErrNoPrograms), want: pve.ErrUnreachable},
		{
			name: "the other node's ssh", want: pve.ErrUnknownOutcome,
			err: &host.ExitError{Code: 255, Stderr: "ssh: connect to host 192.0.2.2 port 22: No route to host\nproxy handler failed: command 'ssh …' failed: exit code 255\n"},
		},
		{name: "killed", err: &host.ExitError{Code: -1}, want: pve.ErrUnknownOutcome},
		{name: "not root", err: &host.ExitError{Code: 255, Stderr: "please run as root\n"}, want: pve.ErrNotPermitted},
		{
			name: "lines of waiting and of Perl are left out", want: pve.ErrLockTimeout,
			err: &host.ExitError{Code: 17, Stderr: "perl: warning: Setting locale failed.\n" +
				"trying to acquire cfs lock 'file-storage_cfg' ...\ntrying to acquire cfs lock 'file-storage_cfg' ...\n" +
				"delete storage failed: cfs-lock 'file-storage_cfg' error: got lock request timeout\n"},
			text: "pvesh delete /nodes/pve1/disks/directory/usb1?cleanup-config=1&cleanup-disks=0: PVE answers: delete storage failed: cfs-lock",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := pve.NewClient(pve.ClientConfig{Node: "pve1", Shell: runnerFunc(func(cmd host.Cmd) ([]byte, error) {
				want := "delete /nodes/pve1/disks/directory/usb1 --output-format json --cleanup-config 1 --cleanup-disks 0"
				if got := strings.Join(cmd.Args, " "); cmd.Name != "pvesh" || got != want {
					t.Errorf("%s %s, want %s", cmd.Name, got, want)
				}
				return []byte(tc.stdout), tc.err
			})})
			if err != nil {
				t.Fatal(err)
			}
			upid, err := c.DeleteDirectory(t.Context(), "usb1", false, true)
			if !errors.Is(err, tc.want) || err != nil && !strings.Contains(err.Error(), tc.text) {
				t.Errorf("error = %v, want %v with %q", err, tc.want, tc.text)
			}
			if tc.want == nil && upid != "UPID:pve1:1:2:3:dirremove:usb1:root@pam:" {
				t.Errorf("task %q", upid)
			}
		})
	}
}

const jobsCfg = "vzdump: backup-1\n\tschedule 02:00\n\tall 1\n\tenabled 1\n\tstorage usb1\n\n"

// With a token, what its few rights do not cover goes through pvesh all the same.
func TestStepsBeyondTheTokensRights(t *testing.T) {
	root, s, _ := setup(t, func(sim *pvesim.Config, _ *pve.ClientConfig) {
		sim.Tokens = map[string]string{"labd@pve!labd": "s"}
	})
	write(t, root, "etc/pve/user.cfg", "user:labd@pve:1:0::::::\ntoken:labd@pve!labd:0:0::\nuser:eve@pve:1:0::::::\n\n"+
		"group:ops:eve@pve::\n\npool:lab:::usb1:\n\n\nacl:1:/storage:labd@pve:PVEDatastoreAdmin:\n")
	write(t, root, "etc/pve/jobs.cfg", jobsCfg)
	write(t, root, "etc/pve/nodes/pve1/qemu-server/100.conf",
		"#a guest\nide2: usb1:iso/debian.iso,media=cdrom\nunused0: gone:vm-100-disk-9\n\n[snap]\nide2: usb1:iso/debian.iso,media=cdrom\n")
	newClient := func(shell pve.Runner) *pve.Client {
		c, err := pve.NewClient(pve.ClientConfig{BaseURL: s.URL(), CA: s.CA(), Token: "labd@pve!labd=s", Node: "pve1", Shell: shell})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	ctx, guest := t.Context(), pve.GuestRef{Kind: pve.QEMU, ID: 100, Node: "pve1"}
	acl := pve.ACL{Path: "/storage/usb1", Subjects: []string{"@ops", "labd@pve!labd"}, Roles: []string{"PVEDatastoreUser"}, Propagate: true}
	without := newClient(nil)
	for name, err := range map[string]error{
		"guest": without.UpdateGuest(ctx, guest, nil, []string{"unused0"}, ""),
		"job":   without.UpdateBackupJob(ctx, "backup-1", map[string]string{"enabled": "0"}, nil),
		"acl":   without.ChangeACL(ctx, acl, false),
		"pool":  without.ChangePool(ctx, "lab", []string{"usb1"}, true),
	} {
		if !errors.Is(err, pve.ErrNotPermitted) {
			t.Errorf("%s without pvesh: %v", name, err)
		}
	}
	c := newClient(s)
	digest := fmt.Sprintf("%x", sha1.Sum([]byte(read(t, root, "nodes/pve1/qemu-server/100.conf"))))
	err := c.UpdateGuest(ctx, guest, map[string]string{"ide2": "none,media=cdrom"}, []string{"unused0"}, digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.UpdateGuest(ctx, guest, map[string]string{"onboot": "1"}, nil, digest); !errors.Is(err, pve.ErrChanged) {
		t.Errorf("stale digest: %v", err)
	}
	compare(t, root, "nodes/pve1/qemu-server/100.conf", "#a guest\nide2: none,media=cdrom\n\n[snap]\nide2: usb1:iso/debian.iso,media=cdrom\n")

	for _, err := range []error{
		c.UpdateBackupJob(ctx, "backup-1", map[string]string{"enabled": "0"}, []string{"storage"}),
		c.ChangeACL(ctx, acl, false),
		c.ChangePool(ctx, "lab", []string{"usb1"}, true),
		c.ChangePool(ctx, "lab", []string{"usb1", "local"}, false),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	compare(t, root, "jobs.cfg", "vzdump: backup-1\n\tschedule 02:00\n\tall 1\n\tenabled 0\n\n")
	users := pve.ParseUserConfig([]byte(read(t, root, "user.cfg")))
	acls, pools := users.OfStorage("usb1")
	if len(acls) != 2 || len(pools) != 1 {
		t.Errorf("ACLs %+v, pools %v", acls, pools)
	}
	if err := c.ChangeACL(ctx, acl, true); err != nil {
		t.Error(err)
	}
	users = pve.ParseUserConfig([]byte(read(t, root, "user.cfg")))
	if acls, _ := users.OfStorage("usb1"); len(acls) != 0 {
		t.Errorf("ACLs %+v after they were taken away", acls)
	}
}

func read(t *testing.T, root, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "etc/pve", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func compare(t *testing.T, root, name, want string) {
	t.Helper()
	if diff := cmp.Diff(want, read(t, root, name)); diff != "" {
		t.Errorf("%s:\n%s", name, diff)
	}
}

func TestChangesRefuseBadNames(t *testing.T) {
	_, _, c := shellSetup(t)
	ctx := t.Context()
	good := pve.GuestRef{Kind: pve.LXC, ID: 101, Node: "pve1"}
	for name, err := range map[string]error{
		"node":        c.UpdateGuest(ctx, pve.GuestRef{Kind: pve.LXC, ID: 1, Node: "../x"}, map[string]string{"mp0": "x"}, nil, ""),
		"kind":        c.UpdateGuest(ctx, pve.GuestRef{Kind: "x", ID: 1, Node: "pve1"}, map[string]string{"mp0": "x"}, nil, ""),
		"key":         c.UpdateGuest(ctx, good, map[string]string{"a b": "x"}, nil, ""),
		"the digest":  c.UpdateGuest(ctx, good, map[string]string{"digest": "x"}, nil, ""),
		"both":        c.UpdateGuest(ctx, good, map[string]string{"mp0": "x"}, []string{"mp0"}, ""),
		"nothing":     c.UpdateGuest(ctx, good, nil, nil, ""),
		"job":         c.UpdateBackupJob(ctx, "a/../b", map[string]string{"enabled": "0"}, nil),
		"pool":        c.ChangePool(ctx, "a/b/c/d", []string{"usb1"}, true),
		"ACL":         c.ChangeACL(ctx, pve.ACL{Path: "storage"}, true),
		"pool member": c.ChangePool(ctx, "lab", []string{"a b"}, true),
	} {
		var api *pve.APIError
		if err == nil || errors.As(err, &api) {
			t.Errorf("%s: sent, %v", name, err)
		}
	}
}

func TestInstalledVersion(t *testing.T) {
	root := t.TempDir()
	paths := host.DefaultPaths()
	paths.PVE = root
	if _, err := pve.InstalledVersion(t.Context(), host.New(paths, "")); !errors.Is(err, pve.ErrNoVersion) {
		t.Errorf("this machine's version counts for a moved tree: %v", err)
	}
	paths.Usr = root
	if _, err := pve.InstalledVersion(t.Context(), host.New(paths, "")); !errors.Is(err, pve.ErrNoVersion) {
		t.Errorf("without PVE: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(root, "share/perl5/PVE"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, root, "share/perl5/PVE/pvecfg.pm", "package PVE::pvecfg;\n\nsub version_info {\n    return {\n"+
		"\t'version' => '8.4.14',\n\t'release' => '8.4',\n\t'repoid' => 'b502d23c55afcba1',\n    }\n}\n\n1;\n")
	v, err := pve.InstalledVersion(t.Context(), host.New(paths, ""))
	if err != nil || v.Major() != 8 || v.Version != "8.4.14" {
		t.Errorf("InstalledVersion() = %+v, %v", v, err)
	}
}
