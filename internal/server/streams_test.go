package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apiv1 "labd/api/v1"
	"labd/internal/frame"
	"labd/internal/lxc"
)

// containersOf is a node with container 101, named ct101, whose Docker listens at the path.
type containersOf struct {
	docker string
	opened atomic.Int32
	held   sync.WaitGroup
}

func (c *containersOf) ContainersNamed(_ context.Context, name string) ([]int, error) {
	switch name {
	case "ct101":
		return []int{101}, nil
	case "twins":
		return []int{102, 103}, nil
	}
	return nil, nil
}

func (c *containersOf) Privileged(_ context.Context, ct int) (bool, error) { return ct == 666, nil }

func (c *containersOf) OpenContainer(_ context.Context, ct int) (OpenContainer, error) {
	if ct != 101 {
		return nil, fmt.Errorf("container %d: %w", ct, lxc.ErrNotRunning)
	}
	return c.open(), nil
}

func (c *containersOf) open() *opened {
	c.opened.Add(1)
	c.held.Add(1)
	return &opened{of: c}
}

type opened struct{ of *containersOf }

func (o *opened) Dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", o.of.docker)
}

func (o *opened) Close() error {
	o.of.opened.Add(-1)
	o.of.held.Done()
	return nil
}

// Connect echoes.
func (o *opened) Connect(_ context.Context, pid int, _ []netip.Addr, port uint16) (net.Conn, error) {
	if pid != 4711 || port != 80 {
		return nil, errors.New("connection refused")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	go func() {
		far, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(far, far)
		_ = far.Close()
	}()
	return net.Dial("tcp", listener.Addr().String())
}

// streamServer serves streams of a Docker of the test's own to root, and says where.
func streamServer(t *testing.T, docker http.Handler) (address string, node *containersOf) {
	t.Helper()
	node = &containersOf{docker: filepath.Join(t.TempDir(), "docker.sock")}
	listener, err := net.Listen("unix", node.docker)
	if err != nil {
		t.Fatal(err)
	}
	daemon := &http.Server{Handler: docker}
	go func() { _ = daemon.Serve(listener) }()
	s := testServer(t)
	s.Containers = node
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), identityKey{}, root)))
	}))
	api.Start()
	t.Cleanup(func() {
		api.Close()
		_ = daemon.Close()
		released := make(chan struct{})
		go func() { node.held.Wait(); close(released) }()
		select { // streams end with their connections
		case <-released:
		case <-time.After(10 * time.Second):
			t.Errorf("%d containers are still held", node.opened.Load())
		}
	})
	return api.Listener.Addr().String(), node
}

// fakeDocker has one container, web, whose commands print their input in a frame and exit with 3.
func fakeDocker() http.Handler {
	mux := http.NewServeMux()
	reply := func(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }
	mux.HandleFunc("GET /containers/json", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, []map[string]any{{"Id": "aaaaaaaaaaaaaaaa", "Names": []string{"/web"}}, {"Id": "bbbbbbbbbbbbbbbb", "Names": []string{"/stopped"}}})
	})
	mux.HandleFunc("GET /containers/aaaaaaaaaaaaaaaa/json", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"Id": "aaaaaaaaaaaaaaaa", "Name": "/web", "State": map[string]any{"Running": true, "Pid": 4711}})
	})
	mux.HandleFunc("GET /containers/bbbbbbbbbbbbbbbb/json", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"Id": "bbbbbbbbbbbbbbbb", "Name": "/stopped"})
	})
	mux.HandleFunc("POST /containers/{id}/exec", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") != "aaaaaaaaaaaaaaaa" {
			w.WriteHeader(http.StatusConflict)
			reply(w, map[string]string{"message": "Container bbbb is not running"})
			return
		}
		reply(w, map[string]string{"Id": "e1"})
	})
	mux.HandleFunc("POST /exec/e1/start", func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		in, _ := io.ReadAll(conn)
		_ = frame.NewWriter(conn).Write(frame.Stdout, in)
	})
	mux.HandleFunc("GET /exec/e1/json", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"Running": false, "ExitCode": 3})
	})
	mux.HandleFunc("GET /containers/aaaaaaaaaaaaaaaa/logs", func(w http.ResponseWriter, _ *http.Request) {
		_ = frame.NewWriter(w).Write(frame.Stderr, []byte("line\n"))
	})
	return mux
}

// open asks for an upgrade and returns the connection, or the answer that was no upgrade.
func open(t *testing.T, address, path, protocol, early string) (net.Conn, *bufio.Reader, *http.Response) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: labd\r\nConnection: keep-alive, Upgrade\r\nUpgrade: %s\r\n\r\n%s", path, protocol, early); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	return conn, reader, resp
}

// problem posts a request and returns the status and the error of its answer.
func problem(t *testing.T, method, address, path, body string) (int, apiv1.ErrorDetail) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var e apiv1.ErrorBody
	_ = json.NewDecoder(resp.Body).Decode(&e)
	return resp.StatusCode, e.Error
}

func makeExec(t *testing.T, address string) string {
	t.Helper()
	resp, err := http.Post("http://"+address+"/v1/containers/ct101/web/exec", "application/json", strings.NewReader(`{"cmd":["cat"],"stdin":true}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var made apiv1.Envelope[apiv1.ExecItem]
	if err := json.NewDecoder(resp.Body).Decode(&made); err != nil || len(made.Items) != 1 || len(made.Items[0].ID) != 32 {
		t.Fatalf("%v %+v", err, made)
	}
	return made.Items[0].ID
}

// frames reads a stream to its end as "[1 text]".
func frames(t *testing.T, r io.Reader) string {
	t.Helper()
	var b strings.Builder
	if err := frame.Demux(r, frame.Result, func(id byte, p []byte) error { fmt.Fprintf(&b, "[%d %s]", id, p); return nil }); err != nil {
		t.Error(err)
	}
	return b.String()
}

func TestExecStream(t *testing.T) {
	address, _ := streamServer(t, fakeDocker())
	id := makeExec(t, address)
	// Input that comes with the request itself must not be lost.
	conn, reader, resp := open(t, address, "/v1/exec/"+id+"/start", apiv1.ProtocolExec, "early ")
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != apiv1.ProtocolExec {
		t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	_, _ = io.WriteString(conn, "hello")
	_ = conn.(*net.TCPConn).CloseWrite()
	if got := frames(t, reader); got != `[1 early hello][4 {"exitCode":3}]` {
		t.Errorf("got %s", got)
	}
	if _, _, resp := open(t, address, "/v1/exec/"+id+"/start", apiv1.ProtocolExec, ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a command was started twice: %s", resp.Status)
	}
}

func TestStreamsRefuse(t *testing.T) {
	address, _ := streamServer(t, fakeDocker())
	for _, test := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/v1/containers/999/web/exec", `{"cmd":["ls"]}`, 404, "does not run on this node"},
		{"POST", "/v1/containers/nobody/web/exec", `{"cmd":["ls"]}`, 404, "no running LXC container"},
		{"POST", "/v1/containers/twins/web/exec", `{"cmd":["ls"]}`, 400, "[102 103]"},
		{"POST", "/v1/containers/101/nope/exec", `{"cmd":["ls"]}`, 404, "there are: stopped, web"},
		{"POST", "/v1/containers/101/stopped/exec", `{"cmd":["ls"]}`, 502, "Container bbbb is not running"},
		{"POST", "/v1/containers/101/web/exec", `{"cmd":[]}`, 400, "1 to 1024 words"},
		{"POST", "/v1/containers/101/web/exec", `{`, 400, "body"},
		{"POST", "/v1/exec/0123/start", "", 426, "ask for an upgrade to labd-exec/1"},
		{"POST", "/v1/exec/0123/resize", `{"rows":1,"columns":2}`, 404, "no command"},
		{"POST", "/v1/containers/101/web/connect?port=80", "", 426, "ask for an upgrade to tcp"},
		{"GET", "/v1/containers/101/web/logs?tail=x", "", 400, "no number of lines"},
	} {
		status, e := problem(t, test.method, address, test.path, test.body)
		if status != test.status || !strings.Contains(e.Message, test.want) {
			t.Errorf("%s %s: %d %q", test.method, test.path, status, e.Message)
		}
	}
	for path, want := range map[string]int{
		"/v1/containers/101/web/connect?port=0": 400, "/v1/containers/101/web/connect?port=70000": 400,
		"/v1/containers/101/web/connect?port=81": 502, "/v1/containers/101/stopped/connect?port=80": 409,
	} {
		if _, _, resp := open(t, address, path, apiv1.ProtocolTCP, ""); resp.StatusCode != want {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

func TestLogStream(t *testing.T) {
	address, _ := streamServer(t, fakeDocker())
	resp, err := http.Get("http://" + address + "/v1/containers/101/web/logs?follow=1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := frames(t, resp.Body); got != "[2 line\n]"+`[4 {"exitCode":0}]` || resp.Header.Get("Content-Type") != apiv1.FramesType {
		t.Errorf("%s %s", got, resp.Header.Get("Content-Type"))
	}
}

func TestConnectStream(t *testing.T) {
	address, _ := streamServer(t, fakeDocker())
	conn, reader, resp := open(t, address, "/v1/containers/101/web/connect?port=80", apiv1.ProtocolTCP, "early")
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp.Status)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(reader, got); err != nil || string(got) != "early" {
		t.Errorf("%q, %v", got, err)
	}
	_ = conn.Close()
}

func TestOneCallerCannotTakeAllStreams(t *testing.T) {
	var s streams
	var ends []func()
	for range maxCallerStreams {
		end, err := s.begin("ana")
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end)
	}
	if _, err := s.begin("ana"); err == nil {
		t.Error("one more than a caller may have")
	}
	if end, err := s.begin("bob"); err != nil {
		t.Errorf("another caller: %v", err)
	} else {
		end()
	}
	ends[0]()
	ends[0]() // twice is once
	if end, err := s.begin("ana"); err != nil {
		t.Error(err)
	} else {
		end()
	}
	for i := range maxStreams {
		_, _ = s.begin(fmt.Sprint(i))
	}
	if s.total != maxStreams {
		t.Errorf("%d streams", s.total)
	}
}

// A command is its maker's alone, and is forgotten when nobody starts it.
func TestCommandsThatWait(t *testing.T) {
	var s streams
	node := &containersOf{}
	id := s.add(&pendingExec{caller: "ana", container: node.open()})
	if _, err := s.start(id, "bob"); err == nil {
		t.Error("started by somebody else")
	}
	if _, err := s.running(id, "ana"); err == nil {
		t.Error("resized before its start")
	}
	s.forget(id, false)
	if _, err := s.start(id, "ana"); err == nil || node.opened.Load() != 0 {
		t.Errorf("started after its time: %v; %d held", err, node.opened.Load())
	}
}
