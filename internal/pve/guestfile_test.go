package pve

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestSetGuestKey(t *testing.T) {
	for name, tt := range map[string]struct {
		text, key, value, want string
		kind                   GuestKind
	}{
		"changed in its place":      {"#note: x\nboot: c\nide2: none,media=cdrom\nmemory: 1\n", "ide2", "u:iso/a.iso,media=cdrom", "#note: x\nboot: c\nide2: u:iso/a.iso,media=cdrom\nmemory: 1\n", QEMU},
		"added":                     {"memory: 1\n\n[snap]\nhookscript: u:snippets/old.pl\n", "hookscript", "u:snippets/h.pl", "memory: 1\nhookscript: u:snippets/h.pl\n\n[snap]\nhookscript: u:snippets/old.pl\n", QEMU},
		"taken out":                 {"arch: amd64\nunused0: u:201/x.raw\nunused1: u:201/y.raw\n", "unused0", "", "arch: amd64\nunused1: u:201/y.raw\n", LXC},
		"a snapshot has it as well": {"unused0: u:1\n\n[s]\nunused0: u:1\n", "unused0", "", "\n[s]\nunused0: u:1\n", LXC},
		"waiting changes of it go": {
			"ide2: none,media=cdrom\n\n[PENDING]\ndelete: balloon,ide2\nide2: x\nmemory: 2\n", "ide2", "u:iso/a.iso", "ide2: u:iso/a.iso\n\n[PENDING]\ndelete: balloon\nmemory: 2\n", QEMU,
		},
		"the older name of the drive": {"cdrom: none\n", "ide2", "u:iso/a.iso", "ide2: u:iso/a.iso\n", QEMU},
		"an empty file":               {"", "hookscript", "x", "hookscript: x\n", QEMU},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, setGuestKey(tt.text, tt.kind, tt.key, tt.value)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestGuestFile(t *testing.T) {
	root := t.TempDir()
	f := GuestFile{Root: filepath.Join(root, "pve"), LockDir: filepath.Join(root, "lock"), Guest: GuestRef{Kind: LXC, ID: 201, Node: "pve1"}, LockWait: 50 * time.Millisecond}
	file := filepath.Join(f.Root, "nodes/pve1/lxc/201.conf")
	write := func(text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o640)); err != nil {
			t.Fatal(err)
		}
	}
	write("arch: amd64\nunused0: usb1:201/x.raw\n")
	if err := f.Set(t.Context(), "unused0", "usb1:201/other.raw", ""); !errors.Is(err, ErrChanged) {
		t.Errorf("another volume is there: %v", err)
	}
	if err := f.Set(t.Context(), "unused0", "usb1:201/x.raw", ""); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "arch: amd64\n" {
		t.Errorf("%q, %v", text, err)
	}
	if err := f.Set(t.Context(), "unused0", "", "usb1:201/x.raw\nrootfs: local:1"); err == nil {
		t.Error("a second line was taken for a value")
	}
	// Another writer holds the lock, as PVE::Tools::lock_file does.
	lock, err := os.OpenFile(filepath.Join(f.LockDir, "lxc/pve-config-201.lock"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := f.Set(t.Context(), "unused0", "", "usb1:201/x.raw"); !errors.Is(err, ErrLockTimeout) {
		t.Errorf("while another writes: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	write("lock: backup\narch: amd64\n")
	if err := f.Set(t.Context(), "unused0", "", "usb1:201/x.raw"); err == nil {
		t.Error("a guest that PVE has locked was changed")
	}
	if names, _ := filepath.Glob(filepath.Dir(file) + "/*"); len(names) != 1 {
		t.Errorf("left beside the file: %v", names)
	}
}
