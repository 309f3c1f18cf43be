package server

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	apiv1 "labd/api/v1"
	"labd/internal/finding"
)

// recorder is a client's end: what was written, and a gate that can keep it from reading. The mutex orders a look at the
// text before the heartbeat that only the clock releases.
type recorder struct {
	*httptest.ResponseRecorder
	gate chan struct{}
	mu   sync.Mutex
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.gate != nil {
		<-r.gate
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ResponseRecorder.Write(p)
}

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Body.String()
}

// follow starts a client inside a synctest bubble; text is what it has got so far.
func follow(ctx context.Context, s *Server, lastID string, gate chan struct{}, who caller) (text func() string, done chan struct{}) {
	rec := &recorder{ResponseRecorder: httptest.NewRecorder(), gate: gate}
	ctx = context.WithValue(ctx, identityKey{}, who)
	req := httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/events", nil)
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	done = make(chan struct{})
	go func() { defer close(done); s.events(rec, req) }()
	synctest.Wait()
	return func() string { synctest.Wait(); return rec.text() }, done
}

type well struct{}

func (well) Ready() error { return nil }
func (well) Alive() error { return nil }

func change(kind finding.ChangeKind, subject string) finding.Change {
	return finding.Change{Kind: kind, Finding: finding.Finding{Code: finding.NVMeDead, Severity: finding.Fail, Subject: finding.Subject(subject)}}
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testServer(t)
		ctx, cancel := context.WithCancel(t.Context())
		text, done := follow(ctx, s, "", nil, reader)
		s.Events.Finding(change(finding.Raised, "nvme/1"))
		s.Events.Publish(apiv1.EventPlanEnded, apiv1.JournalItem{ID: "7", Title: "Remove storage"})
		got := text()
		for _, want := range []string{": labd\n\n", "event: finding.raised\n", `"subject":"nvme/1"`, "event: plan.ended\n", `"id":"7"`} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in\n%s", want, got)
			}
		}
		<-time.After(3 * heartbeat) // fake clock
		if n := strings.Count(text(), ": alive\n\n"); n < 2 {
			t.Errorf("%d heartbeats in three intervals", n)
		}
		cancel()
		<-done
		if n := s.Events.Clients(); n != 0 {
			t.Errorf("%d clients after the last one left", n)
		}
	})
}

// A client that comes back gets what it missed, or is told that it must ask anew.
func TestEventsResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testServer(t)
		for i := range eventMemory + 10 {
			s.Events.Finding(change(finding.Raised, fmt.Sprintf("nvme/%d", i+1)))
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		id := func(n int) string { return fmt.Sprintf("%s-%d", s.Events.run, n) }
		last := eventMemory + 10
		for _, tt := range []struct {
			lastID string
			want   int
			reset  bool
		}{
			{id(last), 0, false},
			{id(last - 2), 2, false},
			{id(10), eventMemory, false},
			{id(9), 0, true},
			{"other-3", 0, true},
			{id(last + 1), 0, true},
			{"nonsense", 0, true},
			{"", 0, false},
		} {
			text, _ := follow(ctx, s, tt.lastID, nil, reader)
			got := text()
			if n := strings.Count(got, "event: finding.raised"); n != tt.want || strings.Contains(got, "event: reset") != tt.reset {
				t.Errorf("Last-Event-ID %q: %d events, want %d; reset wanted: %v\n%.200s", tt.lastID, n, tt.want, tt.reset, got)
			}
		}
	})
}

// A client that does not read is dropped and holds nobody up; a seventeenth is refused; a public one hears of no plans.
func TestEventsLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testServer(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		gate := make(chan struct{})
		_, slow := follow(ctx, s, "", gate, reader)
		text, _ := follow(ctx, s, "", nil, reader)
		for i := range eventBacklog + 2 {
			s.Events.Finding(change(finding.Raised, fmt.Sprintf("nvme/%d", i)))
			synctest.Wait()
		}
		if n := strings.Count(text(), "event: finding.raised"); n != eventBacklog+2 {
			t.Errorf("the quick client got %d events of %d", n, eventBacklog+2)
		}
		if n := s.Events.Clients(); n != 1 {
			t.Errorf("%d clients: the slow one is still there", n)
		}
		close(gate)
		<-slow
		public, _ := follow(ctx, s, "", nil, caller{mayRead: true, public: true})
		s.Events.Publish(apiv1.EventPlanEnded, apiv1.JournalItem{ID: "7"})
		s.Events.Finding(change(finding.Cleared, "nvme/1"))
		if got := public(); strings.Contains(got, "plan") || !strings.Contains(got, "finding.cleared") {
			t.Errorf("over TCP:\n%s", got)
		}
		// One address by TCP has few places, all of TCP some, and none of them is one of the unix socket's.
		for range maxAddressClients - 1 {
			follow(ctx, s, "", nil, caller{mayRead: true, public: true})
		}
		if rec := ask(t, s, caller{mayRead: true, public: true}, "GET", "/v1/events", "", nil); rec.Code != http.StatusServiceUnavailable {
			t.Errorf("one more client of the same address: %d", rec.Code)
		}
		for s.Events.Clients() < maxEventClients+maxAddressClients {
			follow(ctx, s, "", nil, reader)
		}
		rec := ask(t, s, reader, "GET", "/v1/events", "", nil)
		if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" {
			t.Errorf("one more client: %d", rec.Code)
		}
	})
}

// The stream works over a real connection, also through http.Server's own buffers, and ends with the server.
func TestEventsOverHTTP(t *testing.T) {
	s := testServer(t)
	srv := httptest.NewServer(telemetryOf(t, s))
	resp, err := http.Get(srv.URL + "/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() || lines.Text() != ": labd" || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%q, %v", lines.Text(), resp.Header)
	}
	s.Events.Finding(change(finding.Raised, "nvme/1"))
	for lines.Scan() {
		if lines.Text() == "event: finding.raised" {
			srv.CloseClientConnections()
			srv.Close()
			return
		}
	}
	t.Errorf("the stream ended without the event: %v", lines.Err())
}

// The TCP port answers reports without plans, and nothing that changes or tells secrets.
func TestPublicRoutes(t *testing.T) {
	s := testServer(t)
	srv := httptest.NewServer(telemetryOf(t, s))
	defer srv.Close()
	status := func(method, path string) int {
		req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	public := 0
	for _, rt := range s.routes() {
		method, path, _ := strings.Cut(rt.pattern, " ")
		if rt.stream {
			continue
		}
		want := http.StatusNotFound
		if rt.public {
			want = http.StatusOK
			public++
			if method != http.MethodGet || rt.audience != reads {
				t.Errorf("%s is public", rt.pattern)
			}
		}
		if got := status(method, strings.ReplaceAll(path, "{id}", "1")); got != want {
			t.Errorf("%s over TCP: %d, want %d", rt.pattern, got, want)
		}
	}
	for _, secret := range []string{"/v1/plans", "/v1/journal", "/v1/config", "/v1/silences"} {
		if got := status(http.MethodGet, secret); got != http.StatusNotFound {
			t.Errorf("GET %s over TCP: %d", secret, got)
		}
	}
	if public < 5 {
		t.Errorf("only %d public routes", public)
	}
}

// telemetryOf is the TCP port of a server.
func telemetryOf(t *testing.T, s *Server) http.Handler {
	t.Helper()
	handler, err := Telemetry{Node: "n1", Version: "v", Metrics: prometheus.NewRegistry(), Health: well{}, API: s.Public()}.Handler()
	if err != nil {
		t.Fatal(err)
	}
	return handler
}
