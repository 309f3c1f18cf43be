package pvesim

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"labd/internal/pve"
	"labd/test/pvesim/mountns"
)

// What goes wrong in the middle of a change, on a cluster file system with pmxcfs's rules.
func TestInBetween(t *testing.T) {
	mountns.Need(t)
	root := t.TempDir()
	f := mountClusterFS(t, root)
	token, err := Prepare(root, testNode)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), Config{Root: root, Node: testNode, ClusterFS: f, LockTimeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	c, err := pve.NewClient(pve.ClientConfig{BaseURL: s.URL(), CA: s.CA(), Token: token, Node: testNode, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	const cfg = "dir: local\n\tpath /var/lib/vz\n\tcontent iso\n\ndir: usb1\n\tpath /mnt/usb1\n\tcontent iso\n\n"
	write := func(text string) {
		if err := os.WriteFile(s.path("etc/pve/storage.cfg"), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name  string
		fault Fault
		want  error
		gone  bool // usb1 is removed all the same
	}{
		{"quorum is lost before the lock", Fault{Do: func() { f.SetQuorum(false) }}, pve.ErrNoQuorum, false},
		{"answered with 500", Fault{Status: 500, Reason: "delete storage failed: something"}, nil, false},
		{"answered with 596", Fault{Status: 596, Reason: "Connection timed out"}, pve.ErrUnknownOutcome, false},
		{"the connection is cut after the change", Fault{After: true, Cut: true}, pve.ErrUnknownOutcome, true},
		{"too slow", Fault{Delay: time.Minute}, pve.ErrUnknownOutcome, false},
		{"another writer breaks the file", Fault{Do: func() { write(cfg + "dir: broken\n\n") }}, pve.ErrMalformedConfig, false},
		{"the lock is another's", Fault{Do: func() { _ = os.Mkdir(s.path("etc/pve/priv/lock/file-storage_cfg"), 0o755) }}, pve.ErrLockTimeout, false},
		{"pmxcfs ends", Fault{Do: func() {
			if err := f.Stop(); err != nil {
				t.Error(err)
			}
		}}, pve.ErrClusterFSDown, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			write(cfg)
			tt.fault.Method, tt.fault.Times = "DELETE", 1
			s.Inject(tt.fault)
			ctx := t.Context()
			if tt.fault.Delay > 0 {
				var cancel func()
				ctx, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
				defer cancel()
			}
			err := c.DeleteStorage(ctx, "usb1")
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error = %v, want %v", err, tt.want)
			}
			s.ClearFaults()
			f.SetQuorum(true)
			_ = os.Remove(s.path("etc/pve/priv/lock/file-storage_cfg"))
			if err := f.Start(); err != nil {
				t.Fatal(err)
			}
			config, err := s.storageConfig()
			if err != nil || (config.Section("usb1") == nil) != tt.gone {
				t.Errorf("usb1 is %+v, %v", config.Section("usb1"), err)
			}
		})
	}
}
