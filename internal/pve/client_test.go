package pve_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"labd/internal/pve"
	"labd/test/pvesim"
)

const storageCfg = "dir: local\n\tpath /var/lib/vz\n\tcontent iso\n\ndir: usb1\n\tpath /mnt/pve/usb1\n" +
	"\tcontent backup\n\tis_mountpoint 1\n\tnodes pve1\n\n"

// setup starts a simulator on a fresh root and a client of it.
func setup(t *testing.T, change func(*pvesim.Config, *pve.ClientConfig)) (root string, s *pvesim.Server, c *pve.Client) {
	t.Helper()
	root = t.TempDir()
	token, err := pvesim.Prepare(root, "pve1")
	if err != nil {
		t.Fatal(err)
	}
	write(t, root, "etc/pve/storage.cfg", storageCfg)
	if err := os.MkdirAll(filepath.Join(root, "dev/disk/by-uuid"), 0o755); err != nil {
		t.Fatal(err)
	}
	sim := pvesim.Config{Root: root, Node: "pve1", LockTimeout: 20 * time.Millisecond}
	client := pve.ClientConfig{Token: token, Node: "pve1", Timeout: 5 * time.Second}
	if change != nil {
		change(&sim, &client)
	}
	if s, err = pvesim.Start(t.Context(), sim); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	client.BaseURL = s.URL()
	if client.CA == nil {
		client.CA = s.CA()
	}
	if c, err = pve.NewClient(client); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return root, s, c
}

func write(t *testing.T, root, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestClientLifeOfAStorage(t *testing.T) {
	root, _, c := setup(t, nil)
	ctx := t.Context()
	v, err := c.Version(ctx)
	if err != nil || v.Major() != 9 {
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
	err = c.UpdateStorage(ctx, "new1", map[string]string{"nodes": "pve1"}, digest)
	if !errors.Is(err, pve.ErrChanged) {
		t.Errorf("stale digest: %v", err)
	}
	if err := c.UpdateStorage(ctx, "new1", map[string]string{"delete": "disable,nodes"}, ""); err == nil {
		t.Error("nodes may be unset")
	}
	if all, err := c.Storages(ctx); err != nil || len(all) != 3 {
		t.Errorf("Storages() = %v, %v", all, err)
	}
	if err := c.DeleteStorage(ctx, "new1"); err != nil {
		t.Fatal(err)
	}
	compare(t, root, "storage.cfg", storageCfg)
}

func TestClientPanelFailsOnAGoneDisk(t *testing.T) {
	root, s, c := setup(t, nil)
	write(t, root, "etc/systemd/system/mnt-pve-usb1.mount",
		"[Mount]\nWhat=/dev/disk/by-uuid/gone\nWhere=/mnt/pve/usb1\n")
	upid, err := c.DeleteDirectory(t.Context(), "usb1", true, true)
	if err != nil {
		t.Fatal(err)
	}
	task, err := c.WaitTask(t.Context(), upid, time.Millisecond)
	if err != nil || task.OK() || task.ExitStatus != "not a valid block device" {
		t.Errorf("task = %+v, %v", task, err)
	}
	if _, err := c.Storage(t.Context(), "usb1"); err != nil {
		t.Errorf("the entry is gone: %v", err)
	}
	active, end := s.StartTask("root@pam", "vzdump", "100")
	tasks, err := c.ActiveTasks(t.Context(), "pve1")
	if err != nil || len(tasks) != 1 || tasks[0].UPID != active || !tasks[0].Running() {
		t.Errorf("ActiveTasks() = %+v, %v", tasks, err)
	}
	end(nil)
	if tasks, err := c.ActiveTasks(t.Context(), "pve1"); err != nil || len(tasks) != 0 {
		t.Errorf("ActiveTasks() = %+v, %v", tasks, err)
	}
}

func TestClientErrors(t *testing.T) {
	disable := map[string]string{"disable": "1"}
	for _, tc := range []struct {
		name  string
		setup func(t *testing.T, root string, s *pvesim.Server)
		token string
		do    func(context.Context, *pve.Client) error
		want  error
		text  string
	}{
		{
			name: "unknown storage",
			do:   func(ctx context.Context, c *pve.Client) error { return c.DeleteStorage(ctx, "nosuch") },
			want: pve.ErrUnknownStorage, text: "DELETE /storage/nosuch: PVE answers 500: delete storage failed: storage 'nosuch' does not exist",
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
			name: "malformed section blocks an update",
			setup: func(t *testing.T, root string, _ *pvesim.Server) {
				write(t, root, "etc/pve/storage.cfg", storageCfg+"dir: broken\n\n")
			},
			do:   func(ctx context.Context, c *pve.Client) error { return c.UpdateStorage(ctx, "usb1", disable, "") },
			want: pve.ErrMalformedConfig,
		},
		{
			name: "no quorum",
			setup: func(t *testing.T, _ string, s *pvesim.Server) {
				if err := s.SetQuorum(false); err != nil {
					t.Fatal(err)
				}
			},
			do:   func(ctx context.Context, c *pve.Client) error { return c.DeleteStorage(ctx, "usb1") },
			want: pve.ErrNoQuorum, text: "no quorum!",
		},
		{
			name: "lock held",
			setup: func(t *testing.T, root string, _ *pvesim.Server) {
				if err := os.Mkdir(filepath.Join(root, "etc/pve/priv/lock/file-storage_cfg"), 0o755); err != nil {
					t.Fatal(err)
				}
			},
			do:   func(ctx context.Context, c *pve.Client) error { return c.UpdateStorage(ctx, "usb1", disable, "") },
			want: pve.ErrLockTimeout,
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
			name: "bad token", token: "root@pam!dev=wrong",
			do:   func(ctx context.Context, c *pve.Client) error { _, err := c.Version(ctx); return err },
			want: pve.ErrUnauthenticated, text: "Authentication failed!",
		},
		{
			name: "right missing", token: "low@pve!tok=s",
			setup: func(t *testing.T, root string, _ *pvesim.Server) {
				write(t, root, "etc/pve/user.cfg", "user:low@pve:1:0::::::\ntoken:low@pve!tok:0:0::\n")
			},
			do:   func(ctx context.Context, c *pve.Client) error { return c.DeleteStorage(ctx, "usb1") },
			want: pve.ErrNotPermitted, text: "Permission check failed (/storage, Datastore.Allocate)",
		},
		{
			name: "596 from pveproxy",
			setup: func(_ *testing.T, _ string, s *pvesim.Server) {
				s.Inject(pvesim.Fault{Status: 596, Reason: "Broken pipe"})
			},
			do:   func(ctx context.Context, c *pve.Client) error { return c.DeleteStorage(ctx, "usb1") },
			want: pve.ErrUnknownOutcome, text: "PVE answers 596: Broken pipe",
		},
		{
			name: "595 is no empty list",
			setup: func(_ *testing.T, _ string, s *pvesim.Server) {
				s.Inject(pvesim.Fault{Status: 595, Reason: "No route to host"})
			},
			do:   func(ctx context.Context, c *pve.Client) error { _, err := c.ActiveTasks(ctx, "pve1"); return err },
			want: pve.ErrUnknownOutcome,
		},
		{
			name:  "redirects are not followed",
			setup: func(_ *testing.T, _ string, s *pvesim.Server) { s.Inject(pvesim.Fault{Status: 301, Reason: "Moved"}) },
			do:    func(ctx context.Context, c *pve.Client) error { _, err := c.Version(ctx); return err },
			text:  "PVE answers 301: Moved",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root, s, c := setup(t, func(sim *pvesim.Config, client *pve.ClientConfig) {
				sim.Tokens = map[string]string{"low@pve!tok": "s"}
				if tc.token != "" {
					client.Token = tc.token
				}
			})
			if tc.setup != nil {
				tc.setup(t, root, s)
			}
			err := tc.do(t.Context(), c)
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("error = %v, want %v with %q", err, tc.want, tc.text)
			}
			var e *pve.APIError
			if !errors.As(err, &e) {
				t.Errorf("%T is no *APIError", err)
			}
		})
	}
}

func TestClientUnknownOutcome(t *testing.T) {
	root, s, c := setup(t, nil)
	s.Inject(pvesim.Fault{Method: "DELETE", After: true, Cut: true, Times: 1})
	err := c.DeleteStorage(t.Context(), "usb1")
	if !errors.Is(err, pve.ErrUnknownOutcome) {
		t.Errorf("connection cut: %v", err)
	}
	data, err := os.ReadFile(filepath.Join(root, "etc/pve/storage.cfg"))
	if err != nil || strings.Contains(string(data), "usb1") {
		t.Errorf("the change was not made: %v\n%s", err, data)
	}
	// Had the client repeated the request, it would have met no such storage.
	s.ClearFaults()
	s.Inject(pvesim.Fault{Delay: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := c.DeleteStorage(ctx, "local"); !errors.Is(err, pve.ErrUnknownOutcome) ||
		!errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("time-out: %v", err)
	}
}

func TestClientUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, other, _ := setup(t, nil)
	c, err := pve.NewClient(pve.ClientConfig{
		BaseURL: "https://" + address, CA: other.CA(), Node: "pve1", Token: "a@pam!b=c",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteStorage(t.Context(), "usb1"); !errors.Is(err, pve.ErrUnreachable) {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestClientPinsTheCA(t *testing.T) {
	_, other, _ := setup(t, nil)
	_, _, c := setup(t, func(_ *pvesim.Config, client *pve.ClientConfig) { client.CA = other.CA() })
	_, err := c.Version(t.Context())
	if !errors.Is(err, pve.ErrUnreachable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("foreign CA: %v", err)
	}
}

func TestClientLimitsAnswers(t *testing.T) {
	_, _, c := setup(t, func(_ *pvesim.Config, client *pve.ClientConfig) { client.MaxResponse = 10 })
	if _, err := c.Version(t.Context()); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("error = %v", err)
	}
}

func TestNewClientRejects(t *testing.T) {
	_, s, _ := setup(t, nil)
	good := pve.ClientConfig{BaseURL: "https://127.0.0.1:8006", Token: "a@pam!b=secret", Node: "pve1", CA: s.CA()}
	for name, change := range map[string]func(*pve.ClientConfig){
		"plain HTTP":     func(c *pve.ClientConfig) { c.BaseURL = "http://127.0.0.1" },
		"no token":       func(c *pve.ClientConfig) { c.Token = "" },
		"token, no name": func(c *pve.ClientConfig) { c.Token = "a@pam=secret" },
		"no CA":          func(c *pve.ClientConfig) { c.CA = []byte("x") },
		"node":           func(c *pve.ClientConfig) { c.Node = "../x" },
	} {
		c := good
		change(&c)
		if _, err := pve.NewClient(c); err == nil || strings.Contains(err.Error(), "secret") && name != "no token" && name != "token, no name" {
			t.Errorf("%s: error = %v", name, err)
		}
	}
}

func TestClientRefusesBadNames(t *testing.T) {
	_, _, c := setup(t, nil)
	for _, id := range []string{"", "a", "../nodes", "a/b", "x?y=1"} {
		if err := c.DeleteStorage(t.Context(), id); err == nil {
			t.Errorf("DeleteStorage(%q) is sent", id)
		}
		if _, err := c.TaskStatus(t.Context(), id); err == nil {
			t.Errorf("TaskStatus(%q) is sent", id)
		}
	}
}

func TestPermissions(t *testing.T) {
	root, _, c := setup(t, func(sim *pvesim.Config, client *pve.ClientConfig) {
		sim.Tokens = map[string]string{"low@pve!tok": "s"}
		client.Token = "low@pve!tok=s"
	})
	write(t, root, "etc/pve/user.cfg", "user:low@pve:1:0::::::\ntoken:low@pve!tok:0:0::\n"+
		"acl:0:/storage:low@pve:PVEDatastoreAdmin:\nacl:1:/nodes:low@pve:PVEAuditor:\n")
	p, err := c.Permissions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		path, privilege string
		want            bool
	}{
		{"/storage", "Datastore.Allocate", true}, // granted, though PVE sends 0
		{"/storage/usb1", "Datastore.Allocate", false},
		{"/nodes/pve1", "Sys.Audit", true},
		{"/", "Sys.Audit", false},
	} {
		if got := p.Allows(tc.path, tc.privilege); got != tc.want {
			t.Errorf("Allows(%s, %s) = %v", tc.path, tc.privilege, got)
		}
	}
	one, err := c.PathPermissions(t.Context(), "/storage/usb1")
	if err != nil || len(one) != 0 {
		t.Errorf("PathPermissions() = %v, %v", one, err)
	}
}
