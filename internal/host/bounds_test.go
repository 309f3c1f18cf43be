package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// What a program prints is read whole or not at all, and costs no more memory than its limit.
func TestRunBoundsOutput(t *testing.T) {
	h := New(DefaultPaths(), "")
	exact := strconv.Itoa(DefaultMaxOutput)
	out, err := h.Run(t.Context(), Cmd{Name: "head", Args: []string{"-c", exact, "/dev/zero"}})
	if err != nil || len(out) != DefaultMaxOutput {
		t.Errorf("as much as allowed: %d bytes, %v", len(out), err)
	}
	for name, c := range map[string]Cmd{
		"one more":             {Name: "head", Args: []string{"-c", strconv.Itoa(DefaultMaxOutput + 1), "/dev/zero"}},
		"one more than little": {Name: "head", Args: []string{"-c", "11", "/dev/zero"}, MaxOutput: 10},
		"without end":          {Name: "cat", Args: []string{"/dev/zero"}},
		"deaf to signals":      {Name: "sh", Args: []string{"-c", "trap '' PIPE TERM HUP; cat /dev/zero & wait; sleep 60"}},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		out, err := h.Run(t.Context(), c)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrTooMuchOutput) || out != nil {
			t.Errorf("%s: %d bytes, %v", name, len(out), err)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
		// Growing a slice to its limit copies it some times.
		if used := after.TotalAlloc - before.TotalAlloc; used > 12*DefaultMaxOutput {
			t.Errorf("%s: %d bytes were used", name, used)
		}
	}
	if out, err := h.Run(t.Context(), Cmd{Name: "head", Args: []string{"-c", exact + "0", "/dev/zero"}, MaxOutput: 10 * DefaultMaxOutput}); err != nil || len(out) != 10*DefaultMaxOutput {
		t.Errorf("a command with a limit of its own: %d bytes, %v", len(out), err)
	}
}

// Messages are kept up to a limit, and what is more is told; they fail nothing by themselves.
func TestRunBoundsMessages(t *testing.T) {
	h := New(DefaultPaths(), "")
	loud := fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x >&2; echo out; exit $0", maxStderr+7)
	out, err := h.Run(t.Context(), Cmd{Name: "sh", Args: []string{"-c", loud, "0"}})
	if err != nil || string(out) != "out\n" {
		t.Errorf("a loud program: %q, %v", out, err)
	}
	var exit *ExitError
	if _, err := h.Run(t.Context(), Cmd{Name: "sh", Args: []string{"-c", loud, "1"}}); !errors.As(err, &exit) || len(exit.Stderr) > maxStderr+100 || !strings.HasSuffix(exit.Stderr, "(7 bytes more)") {
		t.Errorf("a loud program that fails: %v", err)
	}
}

// A table of the kernel may have many lines: two per mount or socket of whoever wants them.
func TestLongMountTable(t *testing.T) {
	var table bytes.Buffer
	const lines = 20_000
	for i := range lines {
		fmt.Fprintf(&table, "%d 1 0:%d / /var/lib/docker/overlay2/%064d/merged rw,relatime shared:1 master:2 - overlay overlay rw,lowerdir=%s\n", i+2, i, i, strings.Repeat("/x", 300))
	}
	paths := DefaultPaths()
	paths.Procfs = t.TempDir()
	file := filepath.Join(paths.Procfs, "1/mountinfo")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, table.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if table.Len() <= 10*MaxFile {
		t.Fatalf("the table has %d bytes only", table.Len())
	}
	h := New(paths, "")
	mounts, err := h.Mounts(t.Context())
	if err != nil || len(mounts) != lines || mounts[lines-1].Device != fmt.Sprint("0:", lines-1) {
		t.Fatalf("%d mounts, %v", len(mounts), err)
	}
	// One that is larger than anything is an error, never a part of it.
	if err := os.Truncate(file, MaxTable+1); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadTable(t.Context(), h, file, func(r io.Reader) (int64, error) { return io.Copy(io.Discard, r) }); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a larger one: %v", err)
	}
	if _, err := ReadTable(t.Context(), h, file, func(r io.Reader) (int, error) { _, _ = io.Copy(io.Discard, r); return 1, nil }); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a larger one, to a parser that does not tell: %v", err)
	}
	if err := os.Truncate(file, MaxTable); err != nil {
		t.Fatal(err)
	}
	if n, err := ReadTable(t.Context(), h, file, func(r io.Reader) (int64, error) { return io.Copy(io.Discard, r) }); err != nil || n != MaxTable {
		t.Errorf("as large as allowed: %d, %v", n, err)
	}
}

func TestReadTableHangs(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "table")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	h := New(DefaultPaths(), "")
	read := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err := ReadTable(ctx, h, pipe, io.ReadAll)
		return err
	}
	for range 3 {
		if err := read(); !errors.Is(err, ErrHung) {
			t.Fatalf("got %v", err)
		}
	}
	if h.Hung() != 1 {
		t.Errorf("%d threads are lost to one file", h.Hung())
	}
	w, err := os.OpenFile(pipe, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	waitFor(t, func() bool { return h.Hung() == 0 })
}

// What comes too late is released; what comes in time is the caller's.
func TestBounded(t *testing.T) {
	h := New(DefaultPaths(), "")
	released := make(chan int, 2)
	release := func(v int) { released <- v }
	if v, err := Bounded(t.Context(), h, "key", func() (int, error) { return 7, nil }, release); v != 7 || err != nil {
		t.Errorf("got %d, %v", v, err)
	}
	if _, err := Bounded(t.Context(), h, "key", func() (int, error) { return 0, io.EOF }, release); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Bounded(ended, h, "key", func() (int, error) { t.Error("run after the end"); return 0, nil }, release); !errors.Is(err, context.Canceled) || errors.Is(err, ErrHung) {
		t.Errorf("got %v", err)
	}
	for _, result := range []error{nil, io.EOF} {
		ctx, cancel := context.WithCancel(t.Context())
		begun, goOn := make(chan struct{}), make(chan struct{})
		go func() { <-begun; cancel() }()
		_, err := Bounded(ctx, h, "key", func() (int, error) { close(begun); <-goOn; return 8, result }, release)
		if !errors.Is(err, ErrHung) || !errors.Is(err, context.Canceled) || h.Hung() != 1 {
			t.Fatalf("got %v, %d hung", err, h.Hung())
		}
		if _, err := Bounded(t.Context(), h, "key", func() (int, error) { t.Error("tried again"); return 0, nil }, nil); !errors.Is(err, ErrHung) {
			t.Errorf("again: %v", err)
		}
		if v, err := Bounded(t.Context(), h, "other", func() (int, error) { return 9, nil }, nil); v != 9 || err != nil {
			t.Errorf("another one: %v", err)
		}
		close(goOn)
		waitFor(t, func() bool { return h.Hung() == 0 })
		if result == nil && <-released != 8 {
			t.Error("another value was released")
		}
	}
	select {
	case v := <-released:
		t.Errorf("%d was released", v)
	default:
	}
}

func TestNamesAreBounded(t *testing.T) {
	dir := filepath.Join("/dev/shm", fmt.Sprint("labd-names-", os.Getpid()))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := New(DefaultPaths(), "").NewReader(time.Minute)
	defer r.Close()
	for i := range MaxNames + 1 {
		if i == MaxNames {
			if names, err := r.Names(dir); err != nil || len(names) != MaxNames || names[1] != "1" {
				t.Fatalf("as many as allowed: %d, %v", len(names), err)
			}
		}
		if err := unix.Mknod(filepath.Join(dir, strconv.Itoa(i)), unix.S_IFREG, 0); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := r.Names(dir); !errors.Is(err, ErrTooLarge) || names != nil {
		t.Errorf("one more: %d, %v", len(names), err)
	}
	if _, err := r.Names(dir + "/1"); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a file: %v", err)
	}
	if names, err := r.Names(t.TempDir()); err != nil || len(names) != 0 {
		t.Errorf("an empty directory: %v, %v", names, err)
	}
}

func TestParseMountinfo(t *testing.T) {
	for line, want := range map[string]Mount{
		`36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`: {ID: 36, Parent: 35, Device: "98:0", Root: "/mnt1", Point: "/mnt2", Type: "ext3", Source: "/dev/root"},
		`36 35 0:5 / /a rw - tmpfs tmpfs rw`:                                             {ID: 36, Parent: 35, Device: "0:5", Root: "/", Point: "/a", Type: "tmpfs", Source: "tmpfs"},
		`36 35 0:5 / /a rw shared:1 master:2 propagate_from:3 unbindable - tmpfs  rw`:    {ID: 36, Parent: 35, Device: "0:5", Root: "/", Point: "/a", Type: "tmpfs"},
		`36 35 0:5 /x\040y /a\134\011\012b\043 rw - fuse.sshfs me@nas:/x\040y rw`:        {ID: 36, Parent: 35, Device: "0:5", Root: "/x y", Point: "/a\\\t\nb#", Type: "fuse.sshfs", Source: "me@nas:/x y"},
		`36 35 0:5 / /a\9\04 rw - nfs4 [fd00::1]:/export rw,vers=4.2`:                    {ID: 36, Parent: 35, Device: "0:5", Root: "/", Point: `/a\9\04`, Type: "nfs4", Source: "[fd00::1]:/export"},
		`36 35 0:5 / /a101\040 rw - tmpfs tmpfs rw`:                                      {ID: 36, Parent: 35, Device: "0:5", Root: "/", Point: "/a101 ", Type: "tmpfs", Source: "tmpfs"},
		`36 35 0:5 / /a rw - tmpfs tmpfs`:                                                {ID: 36, Parent: 35, Device: "0:5", Root: "/", Point: "/a", Type: "tmpfs", Source: "tmpfs"},
		"36 35 0:5 / /- rw - - - rw":                                                     {ID: 36, Parent: 35, Device: "0:5", Root: "/", Point: "/-", Type: "-", Source: "-"},
	} {
		got, err := ParseMountinfo(strings.NewReader("\n" + line + "\n \n"))
		if diff := cmp.Diff([]Mount{want}, got); diff != "" || err != nil {
			t.Errorf("%s: %v, -want +got:\n%s", line, err, diff)
		}
	}
	for _, line := range []string{
		"36 35 0:5 / /a rw shared:1 tmpfs tmpfs rw", // no separator
		"36 35 0:5 / /a rw - tmpfs", "x 35 0:5 / /a rw - tmpfs tmpfs rw", "36 x 0:5 / /a rw - tmpfs tmpfs rw",
		"36 35 05 / /a rw - tmpfs tmpfs rw", "36 35 a:5 / /a rw - tmpfs tmpfs rw", "36 35 0: / /a rw - tmpfs tmpfs rw", "garbage",
		"36 35 0:5 / /a rw a b c d e f -", "36 35 0:5 / /a rw a b c d e f - x",
	} {
		good := "1 0 0:1 / / rw - ext4 /dev/sda1 rw\n"
		if got, err := ParseMountinfo(strings.NewReader(good + line + "\n")); err == nil || got != nil {
			t.Errorf("%q: %v, %v", line, got, err)
		}
	}
	if _, err := ParseMountinfo(strings.NewReader(strings.Repeat("x", 2<<20))); err == nil {
		t.Error("a line without end is read")
	}
}

func FuzzParseMountinfo(f *testing.F) {
	own, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own)
	f.Add([]byte(`36 35 0:5 /x\040y /a\134\011\012b\043 rw - fuse.sshfs me@nas:/x\040y rw` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		mounts, err := ParseMountinfo(bytes.NewReader(data))
		if err != nil && mounts != nil {
			t.Error("a part of a table beside an error")
		}
		for _, m := range mounts {
			if m.Device == "" || strings.ContainsAny(m.Device, " \\") {
				t.Errorf("impossible mount %+v", m)
			}
		}
	})
}

func FuzzParseUnit(f *testing.F) {
	f.Add([]byte("[Install]\nWantedBy=multi-user.target\n\n# note\n[Mount]\nOptions=a,\\\nb\nWhat=/dev/x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for section, keys := range ParseUnit(data) {
			for key, values := range keys {
				if section == "" || len(values) == 0 || strings.TrimSpace(key) != key {
					t.Errorf("impossible entry [%s] %q %q", section, key, values)
				}
			}
		}
	})
}

// Whoever writes all the time keeps no Poll from its end.
func TestPollEnds(t *testing.T) {
	if _, err := os.Stat("/dev/zero"); err != nil {
		t.Skip(err)
	}
	// /dev/zero has a record, a malformed one, whenever it is asked.
	h := New(Paths{Kmsg: "/dev/zero"}, "")
	log := h.KernelLog()
	defer log.Close()
	if records, _, _, err := log.Poll(); err != nil || len(records) != 0 {
		t.Errorf("%d records, %v", len(records), err)
	}
}

func TestDmesgFileTooLarge(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dmesg")
	line := "[    1.000000] " + strings.Repeat("x", 1<<16) + "\n"
	if err := os.WriteFile(file, []byte(strings.Repeat(line, MaxTable/len(line)+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	log := New(Paths{Kmsg: file}, "").KernelLog()
	if records, _, _, err := log.Poll(); !errors.Is(err, ErrTooLarge) || records != nil {
		t.Errorf("%d records, %v", len(records), err)
	}
}
