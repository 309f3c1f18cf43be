package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"labd/internal/frame"
)

// daemon serves a Docker API of a test's own on a unix socket.
func daemon(t *testing.T, handler http.Handler) Docker {
	t.Helper()
	path := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return Docker{To: unixDialer(path)}
}

type unixDialer string

func (u unixDialer) Dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", string(u))
}

func answer(t *testing.T, w http.ResponseWriter, v any) {
	t.Helper()
	if err := json.NewEncoder(w).Encode(v); err != nil {
		t.Error(err)
	}
}

func TestMatch(t *testing.T) {
	list := []listed{
		{ID: "aaaaaaaaaaaaaaaa", Names: []string{"/web"}, Labels: map[string]string{"com.docker.compose.project": "blog", "com.docker.compose.service": "web"}},
		{ID: "bbbbbbbbbbbbbbb1", Names: []string{"/shop-web-1"}, Labels: map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}},
		{ID: "bbbbbbbbbbbbbbb2", Names: []string{"/shop-web-2"}, Labels: map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}},
		{ID: "cccccccccccccccc", Names: []string{"/aaaaaaaaaaaa"}},
	}
	for name, want := range map[string]string{
		"web": "aaaaaaaaaaaaaaaa", "blog/web": "aaaaaaaaaaaaaaaa", "shop-web-2": "bbbbbbbbbbbbbbb2", "bbbbbbbbbbbbbbb1": "bbbbbbbbbbbbbbb1",
		"aaaaaaaaaaaa":  "cccccccccccccccc", // a full name goes before an id
		"aaaaaaaaaaaaa": "aaaaaaaaaaaaaaaa",
	} {
		if got, err := match(list, name); err != nil || got != want {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	for name, want := range map[string]error{"shop/web": ErrAmbiguous, "bbbbbbbbbbbbbbb": ErrAmbiguous, "aaaa": ErrNoContainer, "": ErrNoContainer, "blog/": ErrNoContainer} {
		if got, err := match(list, name); !errors.Is(err, want) {
			t.Errorf("%q: %s, %v", name, got, err)
		}
	}
}

func TestExec(t *testing.T) {
	asked := make(chan execConfig, 1)
	polls := 0
	mux := http.NewServeMux()
	mux.HandleFunc("POST /containers/{id}/exec", func(w http.ResponseWriter, r *http.Request) {
		var c execConfig
		_ = json.NewDecoder(r.Body).Decode(&c)
		asked <- c
		answer(t, w, map[string]string{"Id": "e1"})
	})
	mux.HandleFunc("POST /exec/e1/start", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "tcp" {
			t.Error("no upgrade asked")
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		in, _ := io.ReadAll(conn)
		_ = frame.NewWriter(conn).Write(frame.Stdout, bytes.ToUpper(in))
	})
	mux.HandleFunc("GET /exec/e1/json", func(w http.ResponseWriter, _ *http.Request) {
		polls++
		if polls < 3 { // Docker says Running for a moment after the stream ended
			answer(t, w, map[string]any{"Running": true, "ExitCode": nil})
			return
		}
		answer(t, w, map[string]any{"Running": false, "ExitCode": 42})
	})
	d := daemon(t, mux)
	e := Exec{Command: []string{"tr", "a-z", "A-Z"}, Stdin: true, Env: []string{"A=b"}, User: "1000", WorkDir: "/srv"}
	id, err := d.CreateExec(t.Context(), "web", e)
	if err != nil || id != "e1" {
		t.Fatal(id, err)
	}
	if c := <-asked; !c.AttachStdin || !c.AttachStderr || c.Tty || c.ConsoleSize != nil || c.User != "1000" || c.WorkingDir != "/srv" || len(c.Cmd) != 3 {
		t.Errorf("asked for %+v", c)
	}
	conn, err := d.StartExec(t.Context(), id, e)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "hello")
	_ = conn.CloseWrite()
	var got strings.Builder
	err = frame.Demux(conn, frame.SystemError, func(id byte, p []byte) error { fmt.Fprintf(&got, "%d %s", id, p); return nil })
	if err != nil || got.String() != "1 HELLO" {
		t.Errorf("%q, %v", got.String(), err)
	}
	if code, err := d.ExitCode(t.Context(), id); err != nil || code != 42 {
		t.Errorf("exit code %d, %v", code, err)
	}
}

func TestExitCodeOfAProcessThatRunsOn(t *testing.T) {
	d := daemon(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answer(t, w, map[string]any{"Running": true, "ExitCode": 0})
	}))
	if _, err := d.ExitCode(t.Context(), "e1"); !errors.Is(err, ErrStillRuns) {
		t.Errorf("%v", err)
	}
}

func TestLogs(t *testing.T) {
	for name, tty := range map[string]bool{"frames": false, "a terminal": true} {
		t.Run(name, func(t *testing.T) {
			mux := http.NewServeMux()
			mux.HandleFunc("GET /containers/web/json", func(w http.ResponseWriter, _ *http.Request) {
				answer(t, w, map[string]any{"Config": map[string]any{"Tty": tty}})
			})
			mux.HandleFunc("GET /containers/web/logs", func(w http.ResponseWriter, r *http.Request) {
				if q := r.URL.Query(); q.Get("follow") != "1" || q.Get("tail") != "5" || q.Has("timestamps") {
					t.Errorf("query %v", q)
				}
				if tty {
					_, _ = io.WriteString(w, "raw")
					return
				}
				_ = frame.NewWriter(w).Write(frame.Stderr, []byte("framed"))
			})
			var b strings.Builder
			err := daemon(t, mux).Logs(t.Context(), "web", LogOptions{Follow: true, Tail: "5"}, func(id byte, p []byte) error { fmt.Fprintf(&b, "%d %s", id, p); return nil })
			if want := map[bool]string{true: "1 raw", false: "2 framed"}[tty]; err != nil || b.String() != want {
				t.Errorf("%q, %v", b.String(), err)
			}
		})
	}
}

// A daemon that answers without end, or with something else, is an error with its own words, and never much memory.
func TestAHostileDaemon(t *testing.T) {
	endless := func(w http.ResponseWriter) {
		for i := 0; i < 4*maxPlain; i += 1024 {
			if _, err := io.WriteString(w, strings.Repeat(" ", 1024)); err != nil {
				return
			}
		}
	}
	for name, test := range map[string]struct {
		answer func(w http.ResponseWriter)
		want   string
	}{
		"a list without end": {endless, "larger than"},
		"no JSON":            {func(w http.ResponseWriter) { _, _ = io.WriteString(w, "hello") }, "not Docker's"},
		"its own error": {func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, `{"message":"Container is paused"}`)
		}, "Container is paused"},
		"a redirect": {func(w http.ResponseWriter) {
			w.Header().Set("Location", "http://192.0.2.1/")
			w.WriteHeader(http.StatusMovedPermanently)
		}, "301"},
	} {
		_, err := daemon(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { test.answer(w) })).Find(t.Context(), "web")
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
