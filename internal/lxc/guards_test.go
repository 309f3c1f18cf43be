package lxc

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"labd/internal/host"
)

// openFiles is how many files the process has open.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// Whatever a monitor answers and sends along, no file is left open, and nothing else than the init process comes of it.
func TestMonitorThatSendsFiles(t *testing.T) {
	p := child(t)
	pid := uint64(p.Process.Pid)
	file := func() int {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
		}
		return fd
	}
	send := func(c *net.UnixConn, ret int32, data uint64, n int) {
		var fds []int
		for range n {
			fds = append(fds, file())
		}
		respond(c, ret, data, fds...)
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}
	pidfd, err := unix.PidfdOpen(int(pid), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	var asked atomic.Int32
	for name, tt := range map[string]struct {
		answer func(int32, *net.UnixConn)
		ok     bool
	}{
		"a file with each answer": {func(command int32, c *net.UnixConn) {
			if command == cmdGetInitPIDFD {
				respond(c, 0, 0, pidfd)
				return
			}
			send(c, 0, pid, 1)
		}, true},
		"three files": {func(command int32, c *net.UnixConn) {
			if command == cmdGetInitPIDFD {
				respond(c, 0, 0, pidfd, pidfd, pidfd)
				return
			}
			send(c, 0, pid, 3)
		}, true},
		"a file with a refusal": {func(command int32, c *net.UnixConn) {
			if command == cmdGetInitPIDFD {
				send(c, -int32(unix.EPERM), 0, 1)
				return
			}
			respond(c, 0, pid)
		}, true},
		"no file where one is asked for": {func(_ int32, c *net.UnixConn) { respond(c, 0, pid) }, true},
		"a file and half an answer": {func(_ int32, c *net.UnixConn) {
			fd := file()
			_, _, _ = c.WriteMsgUnix([]byte{1}, unix.UnixRights(fd), nil)
			_ = unix.Close(fd)
		}, false},
		"no answer the third time": {func(_ int32, c *net.UnixConn) {
			if asked.Add(1) < 3 {
				send(c, 0, pid, 1)
			}
		}, false},
		"PID 1":                          {func(_ int32, c *net.UnixConn) { respond(c, 0, 1) }, false},
		"PID 0":                          {func(_ int32, c *net.UnixConn) { respond(c, 0, 0) }, false},
		"a PID that nobody has":          {func(_ int32, c *net.UnixConn) { respond(c, 0, 1<<30) }, false},
		"a PID that is another one then": {func(_ int32, c *net.UnixConn) { respond(c, 0, pid+uint64(asked.Add(1))) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			asked.Store(0)
			h, id := monitor(t, tt.answer)
			before := openFiles(t)
			got, fd, err := initProcess(t.Context(), h, id)
			if (err == nil) != tt.ok || tt.ok && got != int(pid) || !tt.ok && fd != -1 {
				t.Errorf("pid %d, fd %d, %v", got, fd, err)
			}
			if strings.HasPrefix(name, "PID") && !errors.Is(err, ErrNotRunning) {
				t.Errorf("got %v", err)
			}
			if fd >= 0 {
				if err := unix.PidfdSendSignal(fd, 0, nil, 0); err != nil && tt.ok && name != "three files" && name != "a file with each answer" {
					t.Errorf("it is no pidfd: %v", err)
				}
				if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
					t.Errorf("programs inherit it: %d, %v", flags, err)
				}
				_ = unix.Close(fd)
			}
			// The monitor's own end of a connection closes a moment later.
			waitFor(t, func() bool { return openFiles(t) <= before })
		})
	}
}

// A control message that is no file descriptor is none, and a malformed one is an error.
func TestTakeFD(t *testing.T) {
	if fd, err := takeFD(unix.UnixCredentials(&unix.Ucred{Pid: 1})); fd != -1 || err != nil {
		t.Errorf("credentials: %d, %v", fd, err)
	}
	if fd, err := takeFD(nil); fd != -1 || err != nil {
		t.Errorf("nothing: %d, %v", fd, err)
	}
	if fd, err := takeFD([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17}); fd != -1 || err == nil {
		t.Errorf("garbage: %d, %v", fd, err)
	}
	// Of level IPPROTO_IP, with the number of SCM_RIGHTS.
	other := unix.UnixRights(0)
	other[8] = unix.IPPROTO_IP
	if fd, err := takeFD(other); fd != -1 || err != nil {
		t.Errorf("another level: %d, %v", fd, err)
	}
}

// Each thing that a container is held by is there, or the container is not opened; and nothing is left open.
func TestOpenWithoutEachPart(t *testing.T) {
	p := child(t)
	pid := p.Process.Pid
	parts := []string{"ns/net", "root", "ns/pid"}
	tree := func(t *testing.T, h *host.Host) {
		dir := t.TempDir()
		h.Procfs = dir
		for _, d := range []string{fmt.Sprint(pid, "/ns"), fmt.Sprint(pid, "/root"), "self/ns"} {
			if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range []string{fmt.Sprint(pid, "/ns/net"), fmt.Sprint(pid, "/ns/pid"), "self/ns/net"} {
			if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	answer := func(_ int32, c *net.UnixConn) { respond(c, 0, uint64(pid)) }
	h, id := monitor(t, answer)
	tree(t, h)
	before := openFiles(t)
	c, err := Open(t.Context(), h, id)
	if err != nil {
		t.Fatal(err)
	}
	if c.pidNS == c.net || c.pidNS == (NamespaceID{}) {
		t.Errorf("namespaces %v, %v", c.net, c.pidNS)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	waitFor(t, func() bool { return openFiles(t) <= before })
	for _, part := range append(parts, "../self/ns/net", "") {
		t.Run("without "+part, func(t *testing.T) {
			h, id := monitor(t, answer)
			tree(t, h)
			if err := os.RemoveAll(filepath.Join(h.Procfs, fmt.Sprint(pid), part)); err != nil {
				t.Fatal(err)
			}
			before := openFiles(t)
			if _, err := Open(t.Context(), h, id); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("got %v", err)
			}
			waitFor(t, func() bool { return openFiles(t) <= before })
		})
	}
	t.Run("with the host's network", func(t *testing.T) {
		h, id := monitor(t, answer)
		tree(t, h)
		own := filepath.Join(h.Procfs, "self/ns/net")
		if err := errors.Join(os.Remove(own), os.Link(filepath.Join(h.Procfs, fmt.Sprint(pid), "ns/net"), own)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), h, id); !errors.Is(err, ErrSharedNetwork) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("ended", func(t *testing.T) {
		pidfd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(pidfd)
		_ = p.Process.Kill()
		_ = p.Wait()
		h, id := monitor(t, func(command int32, c *net.UnixConn) {
			if command == cmdGetInitPIDFD {
				respond(c, 0, 0, pidfd)
				return
			}
			respond(c, 0, uint64(pid))
		})
		tree(t, h)
		if _, err := Open(t.Context(), h, id); !errors.Is(err, ErrNotRunning) {
			t.Errorf("got %v", err)
		}
	})
}

// A peer that is none, or that ended, is foreign.
func TestPeersThatAreNone(t *testing.T) {
	c := &Container{ID: 101, host: host.New(host.DefaultPaths(), "")}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if err := c.checkPeer(a); !errors.Is(err, ErrForeignPeer) {
		t.Errorf("a pipe: %v", err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	file := os.NewFile(uintptr(pair[0]), "pair")
	conn, err := net.FileConn(file)
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	c.host.Procfs = t.TempDir() // where no process is
	if err := c.checkPeer(conn); !errors.Is(err, ErrForeignPeer) || !strings.Contains(err.Error(), "identify") {
		t.Errorf("a process that ended: %v", err)
	}
	conn.Close()
	if err := c.checkPeer(conn); err == nil || errors.Is(err, ErrForeignPeer) {
		t.Errorf("a closed connection: %v", err)
	}
	if err := checkMonitor(conn.(*net.UnixConn)); err == nil {
		t.Error("a closed connection is a monitor's")
	}
	if err := control((*os.File)(nil), func(int) error { return nil }); err == nil {
		t.Error("a file that there is not has a descriptor")
	}
	if err := (&Container{pidfd: -1}).Wait(t.Context()); !errors.Is(err, syscall.EBADF) {
		t.Errorf("a container that was closed: %v", err)
	}
}

// Which lines of /proc/net/unix are a container's monitor.
func TestParseUnixLines(t *testing.T) {
	const head = "0000000000000000: 00000002 00000000 "
	for line, want := range map[string][]int{
		head + "00010000 0001 01 1 @/var/lib/lxc/101/command":   {101},
		head + "00000000 0001 01 1 @/var/lib/lxc/101/command":   nil,
		head + "00010000 0001 01 1 /var/lib/lxc/101/command":    nil,
		head + "00010000 0001 01 1 @/var/lib/lxc/101/other":     nil,
		head + "00010000 0001 01 1 @/var/lib/lxc/101":           nil,
		head + "00010000 0001 01 1 @/var/lib/lxc/0/command":     nil,
		head + "00010000 0001 01 1 @/var/lib/lxc/-5/command":    nil,
		head + "00010000 0001 01 1 @/var/lib/lxc/+101/command":  nil,
		head + "00010000 0001 01 1 @/var/lib/lxc/0101/command":  nil,
		head + "00010000 0001 01 1 @/var/lib/lxc/x/command":     nil,
		head + "00010000 0001 01 1 @/var/lib/lxc/1/2/command":   nil,
		head + "00010000 0001 01 1 @/srv/lxc/101/command":       nil,
		head + "0001000x 0001 01 1 @/var/lib/lxc/101/command":   nil,
		head + "00010000 0001 01 1 @/var/lib/lxc/101/command x": nil,
		head + "00010000 0001 01 1":                             nil,
		head + "00010000 0001 01 1 101":                         nil,
		head + "00010000 0001 01 1 101/command":                 nil,
	} {
		got, err := parseUnix(strings.NewReader(line+"\n"), "/var/lib/lxc")
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v, -want +got:\n%s", line, err, diff)
		}
	}
	h := host.New(host.DefaultPaths(), "")
	h.Procfs = t.TempDir()
	if _, err := Running(t.Context(), h); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no table: %v", err)
	}
	// 18,001 sockets of others hide none.
	if err := os.Mkdir(filepath.Join(h.Procfs, "net"), 0o755); err != nil {
		t.Fatal(err)
	}
	table := strings.Repeat(head+"00000000 0001 01 1 /run/user/1000/some/long/path/of/a/socket\n", 18_001) + head + "00010000 0001 01 1 @/var/lib/lxc/101/command\n"
	if len(table) <= host.MaxFile {
		t.Fatal("the table is too short")
	}
	if err := os.WriteFile(filepath.Join(h.Procfs, "net/unix"), []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	if ids, err := Running(t.Context(), h); err != nil || len(ids) != 1 || ids[0] != 101 {
		t.Errorf("%v, %v", ids, err)
	}
}
