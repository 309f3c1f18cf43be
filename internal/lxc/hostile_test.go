package lxc

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"labd/internal/host"
)

// fakeMonitor, as a variable of the environment, names the socket at which the test process poses as a monitor.
const fakeMonitor = "LABD_TEST_FAKE_MONITOR"

// A user of the host poses as the monitor of a container and points to a process: nobody believes it.
func TestFakeMonitor(t *testing.T) {
	if name := os.Getenv(fakeMonitor); name != "" {
		listener, err := net.Listen("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("listening\n")
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			respond(conn.(*net.UnixConn), 0, uint64(os.Getpid()))
		}
	}
	needRoot(t)
	paths := host.DefaultPaths()
	paths.LXC = t.TempDir()
	for _, uid := range []uint32{65534, 100000, 0} {
		// Whoever is not root cannot reach the test's own directories.
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestFakeMonitor$")
		cmd.Env = append(os.Environ(), fakeMonitor+"=@"+filepath.Join(paths.LXC, "101/command"))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}, Pdeathsig: syscall.SIGKILL}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if n, err := out.Read(make([]byte, 10)); n == 0 || err != nil {
			t.Fatalf("user %d does not listen: %v", uid, err)
		}
		_, fd, err := initProcess(t.Context(), host.New(paths, ""), 101)
		if fd >= 0 {
			unix.Close(fd)
		}
		if genuine := uid == 0; genuine != (err == nil) || !genuine && !errors.Is(err, ErrForeignPeer) {
			t.Errorf("a monitor of user %d: %v", uid, err)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// mute is a file system of a container. It answers until it is told to be silent.
type mute struct {
	fs.Inode
	attr, lookup gate
	broken       atomic.Bool
}

// gate lets through, or holds whoever comes.
type gate struct {
	mu     sync.Mutex
	closed chan struct{}
	held   int
}

func (g *gate) close() { g.mu.Lock(); g.closed = make(chan struct{}); g.mu.Unlock() }
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		close(g.closed)
		g.closed = nil
	}
}

func (g *gate) pass() {
	g.mu.Lock()
	closed := g.closed
	if closed != nil {
		g.held++
	}
	g.mu.Unlock()
	if closed != nil {
		<-closed
	}
}

func (g *gate) count() int { g.mu.Lock(); defer g.mu.Unlock(); return g.held }

type muteSocket struct {
	fs.Inode
	root *mute
}

func (s *muteSocket) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	s.root.attr.pass()
	if s.root.broken.Load() {
		return syscall.EIO
	}
	out.Mode = unix.S_IFSOCK | 0o666
	return 0
}

func (m *mute) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	m.lookup.pass()
	if name != "docker.sock" {
		return nil, syscall.ENOENT
	}
	out.Mode = unix.S_IFSOCK | 0o666
	return m.NewInode(ctx, &muteSocket{root: m}, fs.StableAttr{Mode: unix.S_IFSOCK}), 0
}

// A privileged container mounts a file system of its own at /run that never answers, at the lookup of Docker's socket or at
// the question what it is: each look returns in time, and all of them together cost one thread.
func TestFileSystemThatNeverAnswers(t *testing.T) {
	needRoot(t)
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "run"), 0o755); err != nil {
		t.Fatal(err)
	}
	fileSystem := &mute{}
	none := time.Duration(0) // nothing is remembered by the kernel, so each question is asked
	server, err := fs.Mount(filepath.Join(dir, "run"), fileSystem, &fs.Options{
		AttrTimeout: &none, EntryTimeout: &none, MountOptions: fuse.MountOptions{DirectMountStrict: true, Name: "mute"},
	})
	if err != nil {
		t.Skip("no FUSE here: ", err)
	}
	t.Cleanup(func() {
		fileSystem.attr.open()
		fileSystem.lookup.open()
		if err := server.Unmount(); err != nil {
			t.Error(err)
		}
	})
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	h := host.New(host.DefaultPaths(), "")
	c := &Container{ID: 101, root: root, host: h}
	fileSystem.broken.Store(true)
	if _, err := c.Socket(t.Context(), "run/docker.sock"); !errors.Is(err, syscall.EIO) {
		t.Errorf("a file system that fails: %v", err)
	}
	fileSystem.broken.Store(false)
	for name, g := range map[string]*gate{"lookup": &fileSystem.lookup, "attributes": &fileSystem.attr} {
		s, err := c.Socket(t.Context(), "run/docker.sock")
		if err != nil {
			t.Fatalf("before it is silent: %v", err)
		}
		before := g.count()
		g.close()
		for i := range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			start := time.Now()
			_, err := c.Socket(ctx, "run/docker.sock")
			cancel()
			if !errors.Is(err, host.ErrHung) || time.Since(start) > 5*time.Second || !strings.Contains(err.Error(), "101") {
				t.Fatalf("%s, look %d: %v after %v", name, i, err, time.Since(start))
			}
		}
		if h.Hung() != 1 || g.count() > before+1 {
			t.Errorf("%s: %d threads are lost, %d questions asked", name, h.Hung(), g.count()-before)
		}
		// Another path of the container is looked at, and another container.
		if _, err := c.Socket(t.Context(), "absent.sock"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s, another path: %v", name, err)
		}
		g.open()
		waitFor(t, func() bool { return h.Hung() == 0 })
		s.Close()
		again, err := c.Socket(t.Context(), "run/docker.sock")
		if err != nil {
			t.Fatalf("%s, after it answered: %v", name, err)
		}
		again.Close()
	}
}

// A socket that is dialled while it is closed never becomes another file's.
func TestDialAfterClose(t *testing.T) {
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, "docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	c := &Container{ID: 101, root: root, host: host.New(host.DefaultPaths(), "")}
	s, err := c.Socket(t.Context(), "docker.sock")
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if conn, err := s.Dial(t.Context()); err == nil {
		t.Errorf("%v, %v", conn, err)
	}
}
