package storage

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/pve"
)

// An /etc/pve that is empty, lacks storage.cfg or cannot be read is told as that; a host without PVE says so and is well.
func TestClusterFileSystem(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(t *testing.T, dir string)
		want string // severity and title; empty for no finding
		note string
	}{
		{"no PVE", func(*testing.T, string) {}, "", "no Proxmox VE"},
		{"installed, and nothing there", func(t *testing.T, dir string) {
			put(t, dir, "usr/share/perl5/PVE/pvecfg.pm", "'version' => '9.2.11', 'release' => '9.2'")
		}, "fail the cluster file system /etc/pve is down", ""},
		{"empty", func(t *testing.T, dir string) { mkdir(t, dir, "etc/pve") }, "fail the cluster file system /etc/pve is down", ""},
		{"mounted, without storage.cfg", func(t *testing.T, dir string) {
			mkdir(t, dir, "etc/pve/nodes/pve1")
			link(t, dir, "etc/pve/local", "nodes/pve1")
		}, "warn storage.cfg is missing or empty", ""},
		{"mounted, with an empty storage.cfg", func(t *testing.T, dir string) {
			mkdir(t, dir, "etc/pve/nodes/pve1")
			link(t, dir, "etc/pve/local", "nodes/pve1")
			put(t, dir, "etc/pve/storage.cfg", "\n")
		}, "warn storage.cfg is missing or empty", ""},
		{"storage.cfg is no file", func(t *testing.T, dir string) {
			mkdir(t, dir, "etc/pve/nodes/pve1")
			link(t, dir, "etc/pve/local", "nodes/pve1")
			mkdir(t, dir, "etc/pve/storage.cfg")
		}, "fail storage.cfg cannot be read", ""},
		{"well", func(t *testing.T, dir string) {
			mkdir(t, dir, "etc/pve/nodes/pve1")
			link(t, dir, "etc/pve/local", "nodes/pve1")
			put(t, dir, "etc/pve/storage.cfg", "dir: local\n\tpath /\n\tcontent iso\n")
		}, "", ""},
	} {
		dir := t.TempDir()
		mkdir(t, dir, "usr")
		tt.make(t, dir)
		paths := host.DefaultPaths()
		paths.PVE, paths.Usr, paths.State = filepath.Join(dir, "etc/pve"), filepath.Join(dir, "usr"), filepath.Join(dir, "state")
		o := NewObserver(Inputs{Host: host.New(paths, ""), Node: "pve1", Now: time.Now, Memory: NewMemory(paths.State, nil)})
		facts, err := o.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r := Diagnose(facts, DefaultPolicy())
		got := ""
		for _, f := range r.Findings {
			if f.Code == finding.PVEClusterFilesystem && f.Subject == "pve/pve1" {
				got = f.Severity.String() + " " + f.Title
			}
		}
		if got != tt.want || !strings.Contains(strings.Join(r.Notes, "\n"), tt.note) || r.NoPVE != (tt.note != "") {
			t.Errorf("%s: %q, want %q; notes %q", tt.name, got, tt.want, r.Notes)
		}
	}
}

// Files below the mount point are not PVE's, and a file system that hangs is no empty one.
func TestClusterFileSystemByFacts(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    Facts
		want string
	}{
		{"hangs", Facts{ClusterErr: errPMXCFS, ConfigErr: errNoConfig}, "does not answer"},
		{"transport endpoint", Facts{ClusterErr: errors.New("transport endpoint is not connected"), ConfigErr: errNoConfig}, "cannot be read"},
		{"below the mount point", Facts{Config: pve.ParseStorageConfig([]byte("dir: local\n\tpath /\n\tcontent iso\n"), pve.StorageConfigOptions{})}, "is not the cluster file system"},
	} {
		found := Diagnose(&tt.f, DefaultPolicy()).Findings
		i := len(found)
		for j, f := range found {
			if f.Code == finding.PVEClusterFilesystem {
				i = j
			}
		}
		if i == len(found) || !strings.Contains(found[i].Title, tt.want) || found[i].Severity != finding.Fail {
			t.Errorf("%s: %+v", tt.name, found)
		}
	}
}

func mkdir(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	mkdir(t, dir, filepath.Dir(name))
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, dir, name, to string) {
	t.Helper()
	if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}
