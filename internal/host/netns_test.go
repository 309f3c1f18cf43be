package host

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace of its own, held by its file.
func namespace(t *testing.T) *os.File {
	t.Helper()
	if os.Geteuid() != 0 {
		const why = "needs root, to make network namespaces"
		if os.Getenv("CI") == "true" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	cmd := exec.Command("sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	f, err := os.Open("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// A program runs in the namespace and labd stays where it is.
func TestRunInNetNS(t *testing.T) {
	ns := namespace(t)
	h := New(DefaultPaths(), "")
	before, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		out, err := h.Run(t.Context(), Cmd{Name: "readlink", Args: []string{"/proc/self/ns/net"}, NetNS: ns})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(string(out)); got == before || !strings.HasPrefix(got, "net:[") {
			t.Fatalf("the program runs in %s, labd in %s", got, before)
		}
		out, err = h.Run(t.Context(), Cmd{Name: "readlink", Args: []string{"/proc/self/ns/net"}})
		if err != nil || strings.TrimSpace(string(out)) != before {
			t.Fatalf("afterwards a program runs in %s, %v; want %s", out, err, before)
		}
	}
}

// Changes in the namespace are heard, those elsewhere are not, and what does not matter wakes nobody.
func TestMulticast(t *testing.T) {
	ns := namespace(t)
	h := New(DefaultPaths(), "")
	m, err := NewMulticast(ns, unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ctx, cancel := context.WithCancel(t.Context())
	changed, ended := make(chan struct{}, 100), make(chan error, 1)
	go func() {
		ended <- m.Each(ctx, time.Millisecond, func(b []byte) bool { return b[4] == unix.RTM_NEWLINK }, func() { changed <- struct{}{} })
	}()
	ip := func(args string) {
		t.Helper()
		if _, err := h.Run(t.Context(), Cmd{Name: "ip", Args: strings.Fields(args), NetNS: ns}); err != nil {
			t.Fatal(err)
		}
	}
	ip("link add br0 type bridge")
	select {
	case <-changed:
	case <-time.After(5 * time.Second):
		t.Fatal("a new link was not heard of")
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("it does not end with its context")
	}
}
