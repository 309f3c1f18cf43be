package pvesim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"labd/internal/pve"
)

func startTest(t *testing.T, c Config) (*Server, *pve.Client) {
	t.Helper()
	c.Root, c.Node = t.TempDir(), "pve1"
	token, err := Prepare(c.Root, c.Node)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	client, err := pve.NewClient(pve.ClientConfig{BaseURL: s.URL(), CA: s.CA(), Token: token, Node: c.Node})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return s, client
}

func TestSecretsFollowTheStorage(t *testing.T) {
	s, c := startTest(t, Config{})
	err := c.CreateStorage(t.Context(), "pbs1", map[string]string{
		"type": "pbs", "server": "192.0.2.1", "datastore": "d", "username": "a@pbs", "disable": "1",
		"password": "hush", "encryption-key": `{"data":"k"}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := s.readPVE("storage.cfg")
	if err != nil || strings.Contains(cfg, "hush") || !strings.Contains(cfg, "\tencryption-key 1\n") {
		t.Errorf("storage.cfg (%v):\n%s", err, cfg)
	}
	files := func() int {
		names, err := filepath.Glob(s.path("etc/pve/priv/storage/pbs1.*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	if n := files(); n != 2 {
		t.Errorf("%d secrets, want .pw and .enc", n)
	}
	if err := c.DeleteStorage(t.Context(), "pbs1"); err != nil {
		t.Fatal(err)
	}
	if n := files(); n != 0 {
		t.Errorf("%d secrets stay", n)
	}
}

func TestWritersTakeTurns(t *testing.T) {
	_, c := startTest(t, Config{LockTimeout: 5 * time.Second})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			err := c.CreateStorage(t.Context(), fmt.Sprintf("st%d", i),
				map[string]string{"type": "dir", "path": fmt.Sprintf("/mnt/st%d", i), "disable": "1"})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	all, err := c.Storages(t.Context())
	if err != nil || len(all) != 9 { // and local
		t.Errorf("%d storages, %v", len(all), err)
	}
}

// exitError is what a failed program looks like.
type exitError int

func (e exitError) Error() string { return fmt.Sprint("exit status ", int(e)) }
func (e exitError) ExitCode() int { return int(e) }

func TestDestroyUsesTheHostsSystemctl(t *testing.T) {
	var calls []string
	_, c := startTest(t, Config{
		Systemctl: func(_ context.Context, args ...string) ([]byte, error) {
			calls = append(calls, strings.Join(args, " "))
			if args[0] == "disable" {
				return []byte("Failed\n"), exitError(4)
			}
			return nil, nil
		},
	})
	upid, err := c.DeleteDirectory(t.Context(), "my-ssd", false, false)
	if err != nil {
		t.Fatal(err)
	}
	task, err := c.WaitTask(t.Context(), upid, time.Millisecond)
	if want := `command 'systemctl disable mnt-pve-my\x2dssd.mount' failed: exit code 4`; err != nil || task.ExitStatus != want {
		t.Errorf("task = %+v, %v", task, err)
	}
	if want := `stop mnt-pve-my\x2dssd.mount,disable mnt-pve-my\x2dssd.mount`; strings.Join(calls, ",") != want {
		t.Errorf("calls = %q", calls)
	}
}

func TestFaultInTheMiddle(t *testing.T) {
	s, c := startTest(t, Config{LockTimeout: 10 * time.Millisecond})
	s.Inject(Fault{Method: "PUT", Times: 1, Do: func() {
		// Another writer, after the digest was read.
		if err := os.WriteFile(s.path("etc/pve/storage.cfg"), []byte("dir: other\n\tpath /x\n"), 0o640); err != nil {
			t.Error(err)
		}
	}})
	st, err := c.Storage(t.Context(), "local")
	if err != nil {
		t.Fatal(err)
	}
	err = c.UpdateStorage(t.Context(), "local", map[string]string{"content": "iso"}, st["digest"].(string))
	if !errors.Is(err, pve.ErrChanged) {
		t.Errorf("error = %v", err)
	}
	if err := s.SetClusterFS(false); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(s.path("etc/pve")); err != nil || len(entries) != 0 {
		t.Errorf("/etc/pve holds %v, %v", entries, err)
	}
	if err := s.SetClusterFS(true); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Storage(t.Context(), "other"); err != nil {
		t.Errorf("after pmxcfs is back: %v", err)
	}
}
