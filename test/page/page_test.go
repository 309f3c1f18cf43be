package page

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	apiv1 "labd/api/v1"
	"labd/internal/web"
)

// host is an API whose findings change, with a stream of events.
type host struct {
	mu       sync.Mutex
	findings []apiv1.Finding
	changed  chan struct{}
}

func (h *host) set(findings ...apiv1.Finding) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.findings = findings
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *host) next() chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

func envelope[T any](items []T, findings ...apiv1.Finding) apiv1.Envelope[T] {
	return apiv1.Envelope[T]{APIVersion: apiv1.APIVersion, Node: "pve1", ObservedAt: time.Now(), Items: items, Findings: findings}
}

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reply := func(v any) { _ = json.NewEncoder(w).Encode(v) }
	long := strings.Repeat("averylongnamewithoutanyplacetobreakit", 4)
	switch r.URL.Path {
	case "/v1/status":
		h.mu.Lock()
		defer h.mu.Unlock()
		reply(envelope([]apiv1.StatusItem{{ID: "nvme", Verdict: apiv1.HealthOK, Summary: "1 NVMe function", ObservedAt: time.Now()}}, h.findings...))
	case "/v1/nvme":
		reply(envelope([]apiv1.NVMeItem{{ID: "nvme/0000:01:00.0", Rung: apiv1.RungController, Verdict: apiv1.HealthFail, Model: long, Serial: long, Driver: "nvme"}}))
	case "/v1/storage":
		reply(envelope([]apiv1.StorageItem{{ID: "storage/pve1/" + long, Storage: long, Type: "dir", Path: "/" + long, Verdict: apiv1.StorageGone, Reason: long}}))
	case "/v1/tree":
		reply(envelope([]apiv1.TreeItem{
			{ID: "node/pve1", Kind: apiv1.TreeNode, Name: "pve1", Health: apiv1.HealthFail}, {ID: "lxc/101", Kind: apiv1.TreeLXC, Name: long, Parent: "node/pve1", Health: apiv1.HealthFail},
		}))
	case "/v1/history":
		reply(envelope([]apiv1.HistoryItem{}))
	case "/v1/events":
		w.Header().Set("Content-Type", "text/event-stream")
		flush := http.NewResponseController(w)
		_, _ = fmt.Fprint(w, ": labd\n\n")
		_ = flush.Flush()
		for {
			select {
			case <-r.Context().Done():
				return
			case <-h.next():
				_, _ = fmt.Fprint(w, "event: finding.raised\ndata: {}\n\n")
				_ = flush.Flush()
			}
		}
	default:
		http.NotFound(w, r)
	}
}

// watched is what a browser complained of, and whom it asked.
type watched struct {
	mu       sync.Mutex
	problems []string
	hosts    map[string]bool
}

func (s *watched) note(event any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		s.problems = append(s.problems, "exception: "+e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		s.problems = append(s.problems, fmt.Sprintf("console: %s", e.Type))
	case *log.EventEntryAdded:
		s.problems = append(s.problems, fmt.Sprintf("%s: %s", e.Entry.Level, e.Entry.Text))
	case *network.EventRequestWillBeSent:
		name, _, _ := strings.Cut(strings.TrimPrefix(e.Request.URL, "http://"), "/")
		s.hosts[name] = true
	}
}

// browser starts Debian's Chromium and watches it.
func browser(t *testing.T) (context.Context, *watched) {
	t.Helper()
	const program = "/usr/bin/chromium"
	if _, err := os.Stat(program); err != nil {
		t.Skipf("no browser: %v", err)
	}
	if testing.Short() {
		t.Skip("a browser takes seconds")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.Flag("no-sandbox", true),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-background-networking", true), chromedp.UserDataDir(t.TempDir()))
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	seen := &watched{hosts: map[string]bool{}}
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithListener(seen.note))
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	return ctx, seen
}

func evaluate[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	got, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return got
}

func do(t *testing.T, ctx context.Context, action chromedp.Action[chromedp.Void]) {
	t.Helper()
	if _, err := chromedp.Run(ctx, action); err != nil {
		t.Fatal(err)
	}
}

// until waits for a condition in the page and says how long it took.
func until(t *testing.T, ctx context.Context, limit time.Duration, condition string) time.Duration {
	t.Helper()
	start := time.Now()
	for time.Since(start) < limit {
		if evaluate[bool](t, ctx, condition) {
			return time.Since(start)
		}
	}
	t.Fatalf("after %s not yet: %s", limit, condition)
	return 0
}

func TestPageInABrowser(t *testing.T) {
	ctx, seen := browser(t)
	api := &host{changed: make(chan struct{})}
	page, err := web.New(web.Config{API: api, Version: "test", Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/v1/", api)
	mux.Handle("/", page)
	server := httptest.NewServer(mux)
	defer server.CloseClientConnections()
	do(t, ctx, chromedp.Navigate(server.URL))
	until(t, ctx, 10*time.Second, `document.getElementById("live").textContent.startsWith("Live")`)

	// No page is wider than its screen, whatever the names, in both themes.
	for _, theme := range []string{"light", "dark"} {
		evaluate[string](t, ctx, `document.documentElement.dataset.theme = "`+theme+`"`)
		for _, width := range []int64{320, 768, 1280} {
			do(t, ctx, chromedp.EmulateViewport(width, 900))
			if wide := evaluate[int64](t, ctx, "document.documentElement.scrollWidth"); wide > width {
				t.Errorf("%s, %d px: the page is %d px wide", theme, width, wide)
			}
		}
	}
	if same := evaluate[bool](t, ctx, `getComputedStyle(document.body).backgroundColor === "rgb(20, 24, 29)"`); !same {
		t.Error("the dark theme is not dark")
	}

	// What happens is on the screen within a second, and what a person has open stays open.
	evaluate[bool](t, ctx, `document.querySelector("#h-findings") !== null`)
	took := time.Now()
	api.set(apiv1.Finding{Code: "nvme.dead", Severity: apiv1.SeverityFail, Subject: "nvme/0000:01:00.0", Title: "the drive died just now", Confidence: apiv1.ConfidenceCertain})
	until(t, ctx, 5*time.Second, `document.getElementById("findings").textContent.includes("died just now") && document.title.startsWith("1 failure")`)
	if d := time.Since(took); d > time.Second {
		t.Logf("an event took %s to the screen; a busy machine", d)
		if d > 3*time.Second {
			t.Errorf("an event took %s to the screen", d)
		}
	}

	// The filter is in the address, so that it can be shared.
	evaluate[bool](t, ctx, `(() => { const q = document.querySelector("input[type=search]"); q.value = "nothing like it"; q.dispatchEvent(new Event("input")); return true; })()`)
	until(t, ctx, 5*time.Second, `location.search.includes("q=nothing") && document.getElementById("drives").textContent.includes("None of the 1 drives")`)

	// The theme's switch.
	evaluate[bool](t, ctx, `(() => { document.getElementById("theme").click(); return true; })()`)
	until(t, ctx, 5*time.Second, `document.documentElement.dataset.theme === undefined && localStorage.getItem("labd-theme") === null`)

	// A server that is gone is said.
	server.CloseClientConnections()
	server.Close()
	until(t, ctx, 20*time.Second, `document.getElementById("live").textContent.startsWith("Not live since")`)

	seen.mu.Lock()
	defer seen.mu.Unlock()
	for _, p := range seen.problems {
		if !strings.Contains(p, "ERR_CONNECTION") && !strings.Contains(p, "ERR_INCOMPLETE") && !strings.Contains(p, "ERR_EMPTY") {
			t.Errorf("the browser complains: %s", p)
		}
	}
	for name := range seen.hosts {
		if "http://"+name != server.URL {
			t.Errorf("the page asked %s", name)
		}
	}
}
