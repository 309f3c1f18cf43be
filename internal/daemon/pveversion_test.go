package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"labd/internal/config"
	"labd/internal/host"
	"labd/internal/pve"
)

func TestPVEVersion(t *testing.T) {
	dir := t.TempDir()
	paths := host.DefaultPaths()
	paths.PVE, paths.Usr = dir, filepath.Join(dir, "usr")
	asked, answer := 0, errors.New("no API")
	now := time.Now()
	p := &pveVersion{
		host: host.New(paths, ""), now: func() time.Time { return now },
		ask: func(context.Context) (pve.Version, error) {
			asked++
			return pve.Version{Release: "8.4"}, answer
		},
	}
	want := func(what string, major, asks int) {
		t.Helper()
		if got := p.major(t.Context()); got != major || asked != asks {
			t.Errorf("%s: PVE %d, want %d; the API was asked %d times, want %d", what, got, major, asked, asks)
		}
	}
	want("nobody tells", 0, 1)
	want("not asked again at once", 0, 1)
	now, answer = now.Add(versionRetry), nil
	want("the API tells", 8, 2)
	now, answer = now.Add(versionRetry), errors.New("no API")
	want("what it told is remembered", 8, 3)
	if err := os.MkdirAll(filepath.Join(dir, "usr/share/perl5/PVE"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "usr/share/perl5/PVE/pvecfg.pm"), []byte("{ 'version' => '9.2.11', 'release' => '9.2' }"), 0o644); err != nil {
		t.Fatal(err)
	}
	want("the files go before", 9, 3)
}

// A PVE host without a storage.cfg has an empty one; a host without pmxcfs has none.
func TestStorageConfigData(t *testing.T) {
	dir := t.TempDir()
	cfg := config.Default()
	cfg.Paths.PVE = dir
	d := storageConfig{cfg: cfg, host: host.New(cfg.Paths, "")}
	if data, err := d.StorageConfigData(t.Context()); err == nil {
		t.Errorf("without pmxcfs: %q", data)
	}
	if err := os.Symlink("nodes/pve1", filepath.Join(dir, "local")); err != nil {
		t.Fatal(err)
	}
	if data, err := d.StorageConfigData(t.Context()); err != nil || len(data) != 0 {
		t.Errorf("without storage.cfg: %q, %v", data, err)
	}
}
