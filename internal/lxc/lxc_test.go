package lxc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"labd/internal/host"
)

const unixTable = `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 21001 @/var/lib/lxc/102/command
0000000000000000: 00000002 00000000 00010000 0001 01 21002 @/var/lib/lxc/101/command
0000000000000000: 00000003 00000000 00000000 0001 03 21003 @/var/lib/lxc/103/command
0000000000000000: 00000002 00000000 00010000 0001 01 21004 /var/lib/lxc/104/command
0000000000000000: 00000002 00000000 00010000 0001 01 21005 @/var/lib/lxc/x105/command
0000000000000000: 00000002 00000000 00010000 0001 01 21006 @/var/lib/lxc/0106/command
0000000000000000: 00000002 00000000 00010000 0001 01 21007 @/var/lib/lxc/107/command/more
0000000000000000: 00000002 00000000 00010000 0001 01 21008 @/var/lib/lxc-other/108/command
0000000000000000: 00000002 00000000 00010000 0001 01 21009
0000000000000000: 00000002 00000000 00010000 0001 01 21010 @/var/lib/lxc/101/command
`

func TestRunning(t *testing.T) {
	for path, want := range map[string][]int{"/var/lib/lxc": {101, 102}, "/var/lib/lxc/": {101, 102}, "/var/lib/lxc-other": {108}, "/nowhere": nil} {
		got, err := parseUnix(strings.NewReader(unixTable), path)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v, -want +got:\n%s", path, err, diff)
		}
	}
}

func FuzzUnixTable(f *testing.F) {
	f.Add([]byte(unixTable))
	f.Fuzz(func(t *testing.T, data []byte) {
		ids, _ := parseUnix(bytes.NewReader(data), "/var/lib/lxc")
		if !slices.IsSorted(ids) || len(ids) > 0 && ids[0] <= 0 {
			t.Errorf("impossible ids %v", ids)
		}
	})
}

func FuzzReply(f *testing.F) {
	f.Add(make([]byte, replySize))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := parseReply(data); (err == nil) != (len(data) == replySize) {
			t.Errorf("%d bytes: %v", len(data), err)
		}
	})
}

// monitor is a container's monitor that answers as told. It listens where the host's LXC path says.
func monitor(t *testing.T, answer func(command int32, conn *net.UnixConn)) (*host.Host, int) {
	t.Helper()
	paths := host.DefaultPaths()
	paths.LXC = t.TempDir() // a name that no other process has
	const id = 101
	listener, err := net.Listen("unix", "@"+filepath.Join(paths.LXC, strconv.Itoa(id), "command"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				request := make([]byte, replySize)
				if _, err := conn.Read(request); err == nil {
					answer(int32(binary.NativeEndian.Uint32(request)), conn.(*net.UnixConn))
				}
			}()
		}
	}()
	return host.New(paths, ""), id
}

func respond(conn *net.UnixConn, ret int32, data uint64, fds ...int) {
	b := make([]byte, replySize)
	binary.NativeEndian.PutUint32(b, uint32(ret))
	binary.NativeEndian.PutUint64(b[8:], data)
	_, _, _ = conn.WriteMsgUnix(b, unix.UnixRights(fds...), nil)
}

// child is a process that lives until the test ends, in namespaces of its own where flags say so.
func child(t *testing.T, flags ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	if len(flags) > 0 {
		needRoot(t)
		cmd = exec.Command("unshare", append(flags, "sleep", "60")...)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("this test needs root")
	}
	t.Skip("this test needs root")
}

func TestInitProcess(t *testing.T) {
	p := child(t)
	pid := uint64(p.Process.Pid)
	pidfd := func(t *testing.T) int {
		fd, err := unix.PidfdOpen(int(pid), 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	var asked atomic.Uint64
	for _, tt := range []struct {
		name   string
		answer func(t *testing.T) func(int32, *net.UnixConn)
		ok     bool
	}{
		{"with pidfd", func(t *testing.T) func(int32, *net.UnixConn) {
			fd := pidfd(t)
			return func(command int32, c *net.UnixConn) {
				if command == cmdGetInitPIDFD {
					respond(c, 0, 0, fd)
				} else {
					respond(c, 0, pid)
				}
			}
		}, true},
		{"older LXC without pidfd", func(*testing.T) func(int32, *net.UnixConn) {
			return func(command int32, c *net.UnixConn) {
				if command == cmdGetInitPIDFD {
					respond(c, -int32(unix.ENOSYS), 0)
				} else {
					respond(c, 0, pid)
				}
			}
		}, true},
		{"restarted meanwhile", func(*testing.T) func(int32, *net.UnixConn) {
			asked.Store(0)
			return func(command int32, c *net.UnixConn) {
				if command == cmdGetInitPID {
					asked.Add(1)
				}
				respond(c, 0, pid+max(1, asked.Load())-1)
			}
		}, false},
		{"no init yet", func(*testing.T) func(int32, *net.UnixConn) {
			return func(_ int32, c *net.UnixConn) { respond(c, 0, uint64(1)<<63) }
		}, false},
		{"error", func(*testing.T) func(int32, *net.UnixConn) {
			return func(_ int32, c *net.UnixConn) { respond(c, -int32(unix.EPERM), 0) }
		}, false},
		{"half an answer", func(*testing.T) func(int32, *net.UnixConn) {
			return func(_ int32, c *net.UnixConn) { _, _ = c.Write([]byte{1, 2, 3}) }
		}, false},
		{"no answer", func(*testing.T) func(int32, *net.UnixConn) { return func(int32, *net.UnixConn) {} }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, id := monitor(t, tt.answer(t))
			got, fd, err := initProcess(t.Context(), h, id)
			if (err == nil) != tt.ok {
				t.Fatalf("pid %d, %v", got, err)
			}
			if err == nil {
				defer unix.Close(fd)
				if got != int(pid) || fd < 0 {
					t.Errorf("pid %d, fd %d", got, fd)
				}
			}
		})
	}
}

func TestMonitorThatHangs(t *testing.T) {
	h, id := monitor(t, func(int32, *net.UnixConn) { <-t.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, _, err := initProcess(ctx, h, id); err == nil || time.Since(start) > commandTimeout {
		t.Errorf("%v after %s", err, time.Since(start))
	}
}

func TestNotRunning(t *testing.T) {
	paths := host.DefaultPaths()
	paths.LXC = t.TempDir()
	if _, err := Open(t.Context(), host.New(paths, ""), 101); !errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v, want ErrNotRunning", err)
	}
}

// A container without a network namespace of its own must never be entered: its rules would be the host's.
func TestOpen(t *testing.T) {
	shared := child(t)
	h, id := monitor(t, func(_ int32, c *net.UnixConn) { respond(c, 0, uint64(shared.Process.Pid)) })
	if c, err := Open(t.Context(), h, id); err == nil || !strings.Contains(err.Error(), "network namespace") {
		t.Errorf("a container in the host's network: %v, %v", c, err)
	}
	own := child(t, "--net")
	h, id = monitor(t, func(_ int32, c *net.UnixConn) { respond(c, 0, uint64(own.Process.Pid)) })
	waitFor(t, func() bool {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", own.Process.Pid))
		return strings.TrimSpace(string(comm)) == "sleep" // unshare has done its work
	})
	c, err := Open(t.Context(), h, id)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !c.Alive() || c.PID != own.Process.Pid {
		t.Errorf("pid %d, alive %v", c.PID, c.Alive())
	}
	handle, err := c.Netlink()
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	if links, err := handle.LinkList(); err != nil || len(links) != 1 || links[0].Attrs().Name != "lo" {
		t.Errorf("links of a fresh namespace: %v, %v", links, err)
	}
	_ = own.Process.Kill()
	_ = own.Wait()
	waitFor(t, func() bool { return !c.Alive() })
}

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

// Whatever a container puts there, no path leads out of its root.
func TestPathsStayInside(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "docker.sock"), []byte("host"), 0o600); err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(outside, "rootfs")
	for _, dir := range []string{"run", "var"} {
		if err := os.MkdirAll(filepath.Join(inside, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	links := map[string]string{
		"absolute":  filepath.Join(outside, "docker.sock"),
		"dots":      "../../../../../../../../" + outside + "/docker.sock",
		"magic":     "/proc/self/root" + outside + "/docker.sock",
		"init":      "/proc/1/root" + outside + "/docker.sock",
		"fd":        "/proc/self/fd/0",
		"loop":      "loop",
		"var/run":   "/run", // as Debian has it
		"run/plain": "../file",
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(inside, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(inside, "file"), []byte("inside"), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.Open(inside)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range []string{"absolute", "dots", "magic", "init", "fd", "loop", "../docker.sock", "/../docker.sock", "run/../../docker.sock"} {
		if f, err := openInRoot(root, name); err == nil {
			t.Errorf("%s leads to %s", name, f.Name())
			f.Close()
		}
	}
	f, err := openInRoot(root, "/var/run/plain")
	if err != nil {
		t.Fatalf("links that stay inside must work: %v", err)
	}
	defer f.Close()
	if data, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd())); err != nil || string(data) != "inside" {
		t.Errorf("%q, %v", data, err)
	}
	c := &Container{ID: 101, root: root, host: host.New(host.DefaultPaths(), "")}
	if _, err := c.Socket(t.Context(), "file"); !errors.Is(err, ErrNotSocket) {
		t.Errorf("a file instead of a socket: %v", err)
	}
	if _, err := c.Socket(t.Context(), "run/docker.sock"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no socket: %v", err)
	}
}

// A socket whose listener lives elsewhere is refused, as when the host's Docker is mounted into the container.
func TestForeignPeer(t *testing.T) {
	needRoot(t)
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
	own := NamespaceID{}
	netNS, err1 := namespaceOf("/proc/self/ns/net")
	pidNS, err2 := namespaceOf("/proc/self/ns/pid")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name       string
		net, pid   NamespaceID
		wantToDial bool
	}{
		{"the listener's own namespaces", netNS, pidNS, true},
		{"another network", own, pidNS, false},
		{"another PID namespace", netNS, own, false},
	} {
		c := &Container{ID: 101, root: root, net: tt.net, pidNS: tt.pid, host: host.New(host.DefaultPaths(), "")}
		s, err := c.Socket(t.Context(), "docker.sock")
		if err != nil {
			t.Fatal(err)
		}
		conn, err := s.Dial(t.Context())
		if tt.wantToDial != (err == nil) || !tt.wantToDial && !errors.Is(err, ErrForeignPeer) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if conn != nil {
			conn.Close()
		}
		s.Close()
	}
}
