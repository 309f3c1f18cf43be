package pmxcfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"labd/internal/pve"
	"labd/test/pvesim/mountns"
)

func TestMain(m *testing.M) { os.Exit(mountns.Main(m)) }

// clock is a clock that is set by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// bed is a mounted file system.
type bed struct {
	*testing.T
	fs    *FS
	dir   string
	clock *clock
}

func newBed(t *testing.T) *bed {
	t.Helper()
	mountns.Need(t)
	b := &bed{T: t, dir: t.TempDir(), clock: &clock{now: time.Now()}}
	var err error
	if b.fs, err = Mount(b.dir, Options{Node: "pve1", Now: b.clock.Now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.fs.Stop(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *bed) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bed) write(name, text string) {
	b.Helper()
	if err := os.WriteFile(b.path(name), []byte(text), 0o666); err != nil {
		b.Fatal(err)
	}
}

func (b *bed) want(what string, err, want error) {
	b.Helper()
	if !errors.Is(err, want) {
		b.Errorf("%s: %v, want %v", what, err, want)
	}
}

func TestModesAndOwner(t *testing.T) {
	b := newBed(t)
	b.write("a.cfg", "x")
	b.write("priv/a.pw", "x")
	if err := os.Mkdir(b.path("mapping"), 0o777); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{
		"a.cfg": 0o640, "priv/a.pw": 0o600, "mapping": fs.ModeDir | 0o755, "priv": fs.ModeDir | 0o700, "nodes/pve1/priv": fs.ModeDir | 0o700,
		".": fs.ModeDir | 0o755, "local": fs.ModeSymlink | 0o777,
	} {
		info, err := os.Lstat(b.path(name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v %v, want %v", name, err, info.Mode(), want)
			continue
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 || st.Gid != wwwData {
			t.Errorf("%s belongs to %d:%d", name, st.Uid, st.Gid)
		}
	}
	b.want("chmod to the same", os.Chmod(b.path("a.cfg"), 0o640), nil)
	b.want("chmod", os.Chmod(b.path("a.cfg"), 0o644), syscall.EPERM)
	b.want("chmod", os.Chmod(b.path("a.cfg"), 0o600), syscall.EPERM)
	b.want("chown to the same", os.Chown(b.path("a.cfg"), 0, wwwData), nil)
	b.want("chown", os.Chown(b.path("a.cfg"), 0, 0), syscall.EPERM)
}

func TestWhatIsNotThere(t *testing.T) {
	b := newBed(t)
	b.write("a.cfg", "x")
	b.want("link", os.Link(b.path("a.cfg"), b.path("b")), syscall.EPERM)
	b.want("symlink", os.Symlink("a.cfg", b.path("b")), syscall.ENOSYS)
	b.want("fifo", unix.Mkfifo(b.path("b"), 0o600), syscall.ENOSYS)
	b.want("xattr", unix.Setxattr(b.path("a.cfg"), "user.x", []byte("y"), 0), syscall.ENOTSUP)
	_, err := unix.Open(b.dir, unix.O_TMPFILE|unix.O_RDWR, 0o600)
	b.want("O_TMPFILE", err, syscall.ENOTSUP)
	f, err := os.OpenFile(b.path("a.cfg"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = unix.Mmap(int(f.Fd()), 0, 1, unix.PROT_WRITE, unix.MAP_SHARED)
	b.want("mmap", err, syscall.ENODEV)
	b.want("fsync", f.Sync(), nil)
	b.want("flock", unix.Flock(int(f.Fd()), unix.LOCK_EX), nil)
	v, err := os.OpenFile(b.path(".version"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	_, err = v.WriteString("x")
	b.want("write .version", err, syscall.EIO)
}

func TestRename(t *testing.T) {
	b := newBed(t)
	b.write("a", "new")
	b.write("b", "old")
	b.want("over a file", os.Rename(b.path("a"), b.path("b")), nil)
	if data, err := os.ReadFile(b.path("b")); err != nil || string(data) != "new" {
		t.Errorf("%q %v", data, err)
	}
	for _, d := range []string{"d1", "d2", "d3", "d3/x", "priv/lock/one"} {
		if err := os.Mkdir(b.path(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b.want("a file over a directory", unix.Rename(b.path("b"), b.path("d1")), syscall.EISDIR)
	b.want("over an empty directory", unix.Rename(b.path("d1"), b.path("d2")), nil)
	b.want("over a full directory", unix.Rename(b.path("d2"), b.path("d3")), syscall.ENOTEMPTY)
	b.want("a lock", os.Rename(b.path("priv/lock/one"), b.path("priv/lock/two")), syscall.EACCES)
	b.want("to another file system", os.Rename(b.path("b"), filepath.Join(t.TempDir(), "b")), syscall.EXDEV)
}

func TestFilesOfOneMiB(t *testing.T) {
	b := newBed(t)
	full := bytes.Repeat([]byte("x"), maxFile)
	b.write("big", string(full))
	b.want("one byte more", os.WriteFile(b.path("big"), append(full, 'x'), 0o640), syscall.EFBIG)
	if info, err := os.Stat(b.path("big")); err != nil || info.Size() != maxFile {
		t.Errorf("%v, %v bytes", err, info.Size())
	}
	b.want("truncate", os.Truncate(b.path("big"), maxFile+1), syscall.EFBIG)
	b.want("truncate", os.Truncate(b.path("big"), 3), nil)
	f, err := os.OpenFile(b.path("big"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString("yz")
	b.want("append", errors.Join(err, f.Close()), nil)
	if data, err := os.ReadFile(b.path("big")); err != nil || string(data) != "xxxyz" {
		t.Errorf("%q %v", data, err)
	}
	_, err = os.OpenFile(b.path("big"), os.O_CREATE|os.O_EXCL, 0o640)
	b.want("O_EXCL", err, syscall.EEXIST)
}

func TestOpenFilesAreHidden(t *testing.T) {
	b := newBed(t)
	b.write("a", "old")
	b.write("b", "new")
	f, err := os.Open(b.path("a"))
	if err != nil {
		t.Fatal(err)
	}
	b.want("rename", os.Rename(b.path("b"), b.path("a")), nil)
	hidden := func() []string {
		names, err := filepath.Glob(b.path(".fuse_hidden*"))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	if len(hidden()) != 1 {
		t.Errorf("hidden: %v", hidden())
	}
	text := make([]byte, 3)
	if _, err := f.ReadAt(text, 0); err != nil || string(text) != "old" {
		t.Errorf("%q %v", text, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wait(t, func() bool { return len(hidden()) == 0 })
}

// wait polls a condition for five seconds.
func wait(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("it does not come to pass")
		}
		<-tick.C
	}
}

func TestLocks(t *testing.T) {
	b := newBed(t)
	lock := b.path("priv/lock/file-storage_cfg")
	old, now := time.Unix(0, 0), time.Unix(1, 0)
	b.want("take", os.Mkdir(lock, 0o755), nil)
	b.want("take again", os.Mkdir(lock, 0o755), syscall.EEXIST)
	b.clock.advance(lockExpiry)
	b.want("ask for a young one", os.Chtimes(lock, old, old), syscall.EACCES)
	b.want("renew", os.Chtimes(lock, now, now), nil)
	b.clock.advance(lockExpiry)
	b.want("ask for a renewed one", os.Chtimes(lock, old, old), syscall.EACCES)
	b.clock.advance(time.Second)
	b.want("still there", os.Mkdir(lock, 0o755), syscall.EEXIST)
	b.want("ask for an old one", os.Chtimes(lock, old, old), syscall.ENOENT)
	b.want("take it over", os.Mkdir(lock, 0o755), nil)
	b.want("give it back", os.Remove(lock), nil)
	b.want("take it", os.Mkdir(lock, 0o755), nil)
}

func TestNoQuorum(t *testing.T) {
	b := newBed(t)
	b.write("a", "text")
	b.write("b", "text")
	if err := os.Mkdir(b.path("priv/lock/x"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.fs.SetQuorum(false)
	f, err := os.OpenFile(b.path("a"), os.O_RDWR, 0)
	if err != nil {
		t.Fatalf("open for writing: %v", err)
	}
	defer f.Close()
	_, err = f.WriteString("x")
	b.want("write", err, syscall.EACCES)
	b.want("access", unix.Access(b.path("a"), unix.W_OK), nil)
	b.want("O_TRUNC", os.WriteFile(b.path("a"), nil, 0o640), syscall.EACCES)
	b.want("create", os.WriteFile(b.path("c"), nil, 0o640), syscall.EACCES)
	b.want("unlink", os.Remove(b.path("a")), syscall.EACCES)
	b.want("rename", os.Rename(b.path("a"), b.path("b")), syscall.EACCES)
	b.want("utime", os.Chtimes(b.path("priv/lock/x"), time.Unix(0, 0), time.Unix(0, 0)), syscall.EACCES)
	b.want("mkdir", os.Mkdir(b.path("priv/lock/y"), 0o755), syscall.EACCES)
	_, err = os.OpenFile(b.path("a"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	b.want("O_EXCL", err, syscall.EEXIST)
	if data, err := os.ReadFile(b.path("a")); err != nil || string(data) != "text" {
		t.Errorf("read: %q %v", data, err)
	}
	if info, err := os.Stat(b.path("a")); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode: %v %v", info.Mode(), err)
	}
	cluster, err := pve.ReadCluster(pve.DirFS(b.dir))
	if err != nil || !cluster.Mounted || cluster.Quorate || cluster.Node != "pve1" {
		t.Errorf("%+v, %v", cluster, err)
	}
	b.fs.SetQuorum(true)
	b.want("write again", os.WriteFile(b.path("a"), []byte("new"), 0o640), nil)
}

func TestGuestsHaveOneFile(t *testing.T) {
	b := newBed(t)
	if err := os.MkdirAll(b.path("nodes/pve2/qemu-server"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.write("lxc/101.conf", "rootfs: x\n")
	for _, dir := range []string{"qemu-server", "nodes/pve2/qemu-server"} {
		b.want(dir, os.WriteFile(b.path(dir+"/101.conf"), nil, 0o640), syscall.EEXIST)
	}
	if data, err := os.ReadFile(b.path(".vmlist")); err != nil || !strings.Contains(string(data), `"101": { "node": "pve1", "type": "lxc"`) {
		t.Errorf("%s %v", data, err)
	}
}

// Without pmxcfs /etc/pve is an empty directory; all is there when it comes back.
func TestStopAndStart(t *testing.T) {
	b := newBed(t)
	b.write("storage.cfg", "dir: x\n")
	b.write("priv/token.cfg", "")
	before, err := os.ReadFile(b.path(".version"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.fs.Stop(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(b.dir); err != nil || len(entries) != 0 {
		t.Errorf("%v %v", entries, err)
	}
	if cluster, err := pve.ReadCluster(pve.DirFS(b.dir)); err != nil || cluster.Mounted {
		t.Errorf("%+v %v", cluster, err)
	}
	if err := b.fs.Start(); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(b.path("storage.cfg")); err != nil || string(data) != "dir: x\n" {
		t.Errorf("%q %v", data, err)
	}
	if _, err := os.Stat(b.path("priv/token.cfg")); err != nil {
		t.Error(err)
	}
	b.write("storage.cfg", "")
	if after, err := os.ReadFile(b.path(".version")); err != nil || bytes.Equal(after, before) {
		t.Errorf("the version of storage.cfg stays: %s %v", after, err)
	}
}

func TestWhoMayRead(t *testing.T) {
	b := newBed(t)
	if err := os.Chmod(filepath.Dir(b.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	b.write("storage.cfg", "x")
	for who, want := range map[uint32]error{33: nil, 1000: syscall.EACCES} {
		err := asUser(who, func() error {
			_, err := os.ReadFile(b.path("storage.cfg"))
			return err
		})
		b.want(fmt.Sprintf("user %d reads", who), err, want)
		b.want(fmt.Sprintf("user %d looks into priv", who), asUser(who, func() error {
			_, err := os.ReadDir(b.path("priv"))
			return err
		}), syscall.EACCES)
	}
}

const repairedCfg = "# mine\ndir: local\n\tpath /var/lib/vz\n\tcontent iso\n\ndir: bad\n\tcontent iso\n\n"

// labd's own edit keeps to the rules: its lock, its new file and the rename are what pmxcfs takes.
func TestEditOfStorageConfig(t *testing.T) {
	b := newBed(t)
	b.write("storage.cfg", repairedCfg)
	f := pve.StorageFile{Root: b.dir, LockWait: 50 * time.Millisecond}
	cut := func(text []byte) ([]byte, error) {
		return bytes.Replace(text, []byte("dir: bad\n\tcontent iso\n\n"), nil, 1), nil
	}
	lock := b.path("priv/lock/file-storage_cfg")
	if err := os.Mkdir(lock, 0o755); err != nil {
		t.Fatal(err)
	}
	b.want("the lock is another's", f.Edit(t.Context(), cut), pve.ErrLockTimeout)
	// Its holder has died: after two minutes the lock is taken over.
	b.clock.advance(lockExpiry + time.Second)
	f.LockWait = 10 * time.Second
	// Quorum goes at the worst moment: nothing is changed.
	b.want("no quorum half-way", f.Edit(t.Context(), func(text []byte) ([]byte, error) {
		b.fs.SetQuorum(false)
		return cut(text)
	}), pve.ErrNoQuorum)
	if data, err := os.ReadFile(b.path("storage.cfg")); err != nil || string(data) != repairedCfg {
		t.Errorf("%q %v", data, err)
	}
	b.fs.SetQuorum(true)
	b.clock.advance(lockExpiry + time.Second) // the lock could not be given back
	if err := f.Edit(t.Context(), cut); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(b.path("storage.cfg"))
	if want := strings.Replace(repairedCfg, "dir: bad\n\tcontent iso\n\n", "", 1); err != nil || string(data) != want {
		t.Errorf("%q %v", data, err)
	}
	names, err := os.ReadDir(b.dir)
	for _, n := range names {
		if strings.Contains(n.Name(), "tmp") || strings.Contains(n.Name(), "hidden") {
			t.Errorf("%s is left", n.Name())
		}
	}
	if _, err2 := os.Stat(lock); !errors.Is(err2, fs.ErrNotExist) || err != nil {
		t.Errorf("the lock: %v %v", err2, err)
	}
}
