package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestExecPATH(t *testing.T) {
	moved := DefaultPaths()
	moved.Etc = "/tree/etc"
	named := moved
	named.Exec = "/opt/bin"
	sysfsOnly := DefaultPaths()
	sysfsOnly.Sysfs = "/tree/sys"
	for _, tt := range []struct {
		name  string
		paths Paths
		want  string
	}{
		{"own machine", DefaultPaths(), SystemPATH},
		{"moved etc runs nothing", moved, ""},
		{"moved etc with a PATH of its own", named, "/opt/bin"},
		{"moved sysfs alone keeps programs", sysfsOnly, SystemPATH},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := New(tt.paths, "").ExecPATH(); got != tt.want {
				t.Errorf("ExecPATH() = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRun(t *testing.T) {
	h := New(DefaultPaths(), "")
	out, err := h.Run(t.Context(), Cmd{Name: "cat", Stdin: "hello"})
	if err != nil || string(out) != "hello" {
		t.Errorf("cat: %q, %v", out, err)
	}
	var exit *ExitError
	if _, err := h.Run(t.Context(), Cmd{Name: "sh", Args: []string{"-c", "echo broken >&2; exit 3"}}); !errors.As(err, &exit) || exit.Code != 3 || !strings.Contains(err.Error(), "broken") {
		t.Errorf("failing program: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	// The grandchild keeps the pipe open: only killing the group ends the run in time.
	if _, err := h.Run(ctx, Cmd{Name: "sh", Args: []string{"-c", "sleep 60 & wait"}}); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 10*time.Second {
		t.Errorf("hanging program: %v after %v", err, time.Since(start))
	}
	if _, err := h.Run(t.Context(), Cmd{Name: "/bin/sh"}); err == nil {
		t.Error("a program named with a path was run")
	}
	moved := DefaultPaths()
	moved.PVE = t.TempDir()
	if _, err := New(moved, "").Run(t.Context(), Cmd{Name: "true"}); !errors.Is(err, ErrNoPrograms) {
		t.Errorf("moved paths: %v, want ErrNoPrograms", err)
	}
}

func TestReaderHungFileSpoilsOnlyItself(t *testing.T) {
	dir := t.TempDir()
	fifo, file := filepath.Join(dir, "fifo"), filepath.Join(dir, "file")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("live \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := New(DefaultPaths(), "")
	r := h.NewReader(50 * time.Millisecond)
	defer r.Close()
	for range 3 {
		if _, err := r.Attr(fifo); !errors.Is(err, ErrHung) {
			t.Fatalf("fifo: %v, want ErrHung", err)
		}
		if got, err := r.Attr(file); err != nil || got != "live" {
			t.Fatalf("file after a hung one: %q, %v", got, err)
		}
	}
	if got := h.Hung(); got != 1 {
		t.Errorf("%d threads lost to one hung file read three times, want 1", got)
	}
	w, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	waitFor(t, func() bool { return h.Hung() == 0 })
}

func TestReadFileTooLarge(t *testing.T) {
	file := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(file, make([]byte, MaxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(DefaultPaths(), "").ReadFile(t.Context(), file); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

func TestMountUnitName(t *testing.T) {
	// Expected values are what systemd-escape -p --suffix=mount prints (systemd 252).
	for path, want := range map[string]string{
		"/":                "-.mount",
		"/mnt/pve/usb1":    "mnt-pve-usb1.mount",
		"/mnt/pve/my-ssd":  `mnt-pve-my\x2dssd.mount`,
		"/mnt//pve/usb1/":  "mnt-pve-usb1.mount",
		"/.hidden/x":       `\x2ehidden-x.mount`,
		"/mnt/pve/a b":     `mnt-pve-a\x20b.mount`,
		"/mnt/pve/größe_1": `mnt-pve-gr\xc3\xb6\xc3\x9fe_1.mount`,
	} {
		if got := MountUnitName(path); got != want {
			t.Errorf("MountUnitName(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestParseUnit(t *testing.T) {
	unit := ParseUnit([]byte("[Install]\nWantedBy=multi-user.target\n\n# note\n[Mount]\nOptions=a,\\\nb\nWhat=/dev/x\nWhat = /dev/disk/by-uuid/U\nstray\n"))
	want := Unit{
		"Install": {"WantedBy": {"multi-user.target"}},
		"Mount":   {"Options": {"a, b"}, "What": {"/dev/x", "/dev/disk/by-uuid/U"}},
	}
	if diff := cmp.Diff(want, unit); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := unit.Value("Mount", "What"); got != "/dev/disk/by-uuid/U" {
		t.Errorf("Value = %q, want the last assignment", got)
	}
}

func TestMounts(t *testing.T) {
	dir := t.TempDir()
	paths := DefaultPaths()
	paths.Procfs = dir
	line := `36 35 8:1 / /mnt/pve/my\040disk rw,relatime shared:1 - ext4 /dev/sda1 rw` + "\n" +
		`40 35 8:2 /sub /mnt/pve/my\040disk rw - xfs /dev/sdb1 rw` + "\n"
	if err := os.MkdirAll(filepath.Join(dir, "self"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "self/mountinfo"), []byte(line), 0o644); err != nil {
		t.Fatal(err)
	}
	mounts, err := New(paths, "").Mounts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, ok := MountAt(mounts, "/mnt/pve/my disk")
	want := Mount{ID: 40, Parent: 35, Device: "8:2", Root: "/sub", Point: "/mnt/pve/my disk", Type: "xfs", Source: "/dev/sdb1"}
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// waitFor polls until ok says yes, for at most ten seconds.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("condition not met within 10 s")
		}
	}
}
