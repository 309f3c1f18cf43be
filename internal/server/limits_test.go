package server

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	apiv1 "labd/api/v1"
	"labd/internal/plan"
)

// Connections beyond the limits are closed, and a place that becomes free is taken again.
func TestLimit(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limited := Limit(listener, Limits{Connections: 3, PerAddress: 2})
	defer limited.Close()
	accepted := make(chan net.Conn, 8)
	go func() {
		for {
			conn, err := limited.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	dial := func(from string) net.Conn {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
		conn, err := dialer.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	refused := func(what string, conn net.Conn) {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		var timeout net.Error
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("%s was taken (%v)", what, err)
		}
	}
	dial("127.0.0.2")
	first := <-accepted
	dial("127.0.0.2")
	<-accepted
	refused("a third of one address", dial("127.0.0.2"))
	dial("127.0.0.3")
	<-accepted
	refused("a fourth of all", dial("127.0.0.4"))
	if err := errors.Join(first.Close(), first.Close()); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	dial("127.0.0.2")
	<-accepted
	refused("a connection after a place was freed once", dial("127.0.0.5"))
}

// A client that does not read holds no place among the scrapes.
func TestScrapesAreWhole(t *testing.T) {
	inside := make(chan struct{}, 1)
	handler := whole(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		inside <- struct{}{}
		defer func() { <-inside }()
		w.Header().Set("X-Kind", "figures")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.Copy(w, bytes.NewReader(make([]byte, 1<<20)))
	}))
	stuck := &stuckWriter{ResponseRecorder: httptest.NewRecorder(), writing: make(chan struct{}), release: make(chan struct{})}
	done := make(chan struct{})
	go func() { handler.ServeHTTP(stuck, httptest.NewRequest("GET", "/metrics", nil)); close(done) }()
	<-stuck.writing
	select {
	case inside <- struct{}{}:
		<-inside
	default:
		t.Error("an answer that is not read holds its place")
	}
	close(stuck.release)
	<-done
	if stuck.Code != http.StatusTeapot || stuck.Body.Len() != 1<<20 || stuck.Header().Get("X-Kind") != "figures" {
		t.Errorf("status %d, %d bytes", stuck.Code, stuck.Body.Len())
	}
}

type stuckWriter struct {
	*httptest.ResponseRecorder
	writing, release chan struct{}
}

func (w *stuckWriter) Write(p []byte) (int, error) {
	close(w.writing)
	<-w.release
	return w.ResponseRecorder.Write(p)
}

// A body is one JSON object and nothing behind it.
func TestTrailingBody(t *testing.T) {
	s := testServer(t)
	for body, want := range map[string]int{
		`{"targets":["mail"]}`:        http.StatusOK,
		"{\"targets\":[\"mail\"]}\n ": http.StatusOK,
		`{"targets":["mail"]}{}`:      http.StatusBadRequest,
		`{"targets":["mail"]} x`:      http.StatusBadRequest,
		`{"targets":["mail"]}]`:       http.StatusBadRequest,
	} {
		if rec := ask(t, s, root, "POST", "/v1/notifications/test", body, nil); rec.Code != want {
			t.Errorf("%q: %d, want %d", body, rec.Code, want)
		}
	}
}

// Exit 8 promises that nothing was touched only where that is so.
func TestChangedAfterSteps(t *testing.T) {
	changed := &plan.ChangedError{What: "the mount"}
	if got := classify(changed); got.code != apiv1.ErrorChanged || !strings.Contains(got.hint, "nothing was touched") {
		t.Errorf("before any step: %+v", got)
	}
	got := classify(&plan.StepError{Entry: "7", Touched: true, Err: changed})
	if got.code != apiv1.ErrorChanged || strings.Contains(got.hint, "nothing was touched") || !strings.Contains(got.hint, "labctl undo 7") {
		t.Errorf("after a step: %+v", got)
	}
}

// A secret that somebody wrote into storage.cfg is shown to nobody.
func TestStorageConfigHidesSecrets(t *testing.T) {
	s := testServer(t)
	s.StorageConfig = storageConfigFile("cifs: nas\n\tserver 192.0.2.1\n\tshare x\n\tusername u\n\tpassword s3cr3t word\n\tcontent backup\n\npbs: box\n\tserver 192.0.2.2\n\tdatastore d\n\tencryption-key {\"k\":\"s3cr3t\"}\n\tcontent backup\n")
	for _, who := range []caller{root, reader} {
		rec := ask(t, s, who, "GET", "/v1/storage-config", "", nil)
		if body := rec.Body.String(); rec.Code != http.StatusOK || strings.Contains(body, "s3cr3t") || !strings.Contains(body, "192.0.2.1") {
			t.Errorf("%s: %d %s", who.name, rec.Code, body)
		}
	}
}

// The landing page leads to what is there, and foreign text in it is no markup.
func TestLandingPage(t *testing.T) {
	s := testServer(t)
	for _, api := range []http.Handler{nil, s.Public()} {
		handler, err := Telemetry{Node: "<b>pve1", Version: "v1", Health: well{}, Metrics: prometheus.NewRegistry(), API: api}.Handler()
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(handler)
		defer srv.Close()
		get := func(path string) (int, string) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			return resp.StatusCode, string(body)
		}
		code, page := get("/")
		if code != http.StatusOK || strings.Contains(page, "<b>") || !strings.Contains(page, "pve1") || strings.Contains(page, "v1/status") != (api != nil) {
			t.Errorf("%d\n%s", code, page)
		}
		for _, link := range strings.Split(page, `href="`)[1:] {
			path, _, _ := strings.Cut(link, `"`)
			if code, _ := get("/" + strings.TrimPrefix(path, "/")); code != http.StatusOK {
				t.Errorf("the page leads to %s: %d", path, code)
			}
		}
		if code, page := get("/runbook/storage.down"); code != http.StatusOK || !strings.HasPrefix(page, "# storage.down") {
			t.Errorf("the page of a finding: %d %.40s", code, page)
		}
		for _, path := range []string{"/runbook/storage.nothing", "/runbook/..%2fREADME", "/runbook/findings%2fREADME"} {
			if code, _ := get(path); code != http.StatusNotFound {
				t.Errorf("%s: %d", path, code)
			}
		}
		if code, _ := get("/nothing"); code != http.StatusNotFound {
			t.Errorf("/nothing: %d", code)
		}
	}
}
