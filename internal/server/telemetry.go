package server

import (
	"bytes"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/exporter-toolkit/web"

	"labd/docs"
)

// Health says whether the daemon is well.
type Health interface {
	// Ready reports whether every job has a first report.
	Ready() error
	// Alive reports whether the loops move.
	Alive() error
}

// Telemetry is what the TCP port answers: a landing page, /metrics, /healthz and /readyz, read-only and to anyone who reaches
// the port.
type Telemetry struct {
	Node, Version string
	Metrics       prometheus.Gatherer
	Health        Health
	// Hosts are names that the Host header may carry, besides localhost and any IP address.
	Hosts []string
	// API answers below /v1/, where it is not nil.
	API http.Handler
	// Page answers everything else, where it is not nil; the landing page stands for it.
	Page http.Handler
}

// maxScrapes is how many scrapes are gathered at a time; who comes meanwhile is told to come again.
const maxScrapes = 8

// Handler returns what answers on the port. The Host header must be an IP address, localhost or one of Hosts: a web page
// elsewhere that makes its own name point here (DNS rebinding) comes with that name, and must not read this through the
// user's browser.
func (t Telemetry) Handler() (http.Handler, error) {
	landing, err := t.landing()
	if err != nil {
		return nil, fmt.Errorf("make the landing page: %w", err)
	}
	mux := http.NewServeMux()
	if t.Page != nil {
		mux.Handle("/", t.Page)
	} else {
		mux.Handle("GET /{$}", landing)
	}
	// Not compressed: most of a scrape's time would go into that, and the port is on the loopback or a LAN.
	mux.Handle("GET /metrics", whole(promhttp.HandlerFor(t.Metrics, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes, DisableCompression: true,
	})))
	probe := func(check func() error) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if err := check(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = w.Write([]byte("ok\n"))
		}
	}
	mux.HandleFunc("GET /runbook/{page}", runbook)
	mux.HandleFunc("GET /healthz", probe(t.Health.Alive))
	mux.HandleFunc("GET /readyz", probe(t.Health.Ready))
	if t.API != nil {
		mux.Handle("/v1/", t.API)
	}
	allowed := append([]string{"localhost"}, t.Hosts...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := hostOnly(r.Host)
		if _, err := netip.ParseAddr(name); err != nil && !slices.Contains(allowed, name) {
			http.Error(w, "the Host header names another host; see listen.hosts in labd.toml", http.StatusMisdirectedRequest)
			return
		}
		mux.ServeHTTP(w, r)
	}), nil
}

// landing is the page of who opens the port in a browser.
func (t Telemetry) landing() (http.Handler, error) {
	links := []web.LandingLinks{
		{Address: "metrics", Text: "Metrics", Description: "for Prometheus"},
		{Address: "readyz", Text: "Ready", Description: "whether every job has looked once"},
		{Address: "healthz", Text: "Alive", Description: "whether the loops move"},
	}
	if t.API != nil {
		links = append(links, web.LandingLinks{Address: "v1/status", Text: "Status", Description: "what labd knows of this node, as JSON"},
			web.LandingLinks{Address: "v1/findings", Text: "Findings", Description: "what is wrong, as JSON"})
	}
	return web.NewLandingPage(web.LandingConfig{
		Name: "labd on " + html.EscapeString(t.Node), Description: "Operations daemon for Proxmox VE home labs", Version: html.EscapeString(t.Version),
		Links: links, Profiling: "false",
		ExtraHTML: "<p>On the node itself, <code>labctl status</code> says what is wrong and what to do.</p>",
	})
}

// whole lets next finish its answer before a byte of it is sent: a client that does not read holds a connection, and nothing
// that next counts or locks.
func whole(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &held{header: w.Header(), status: http.StatusOK}
		next.ServeHTTP(answer, r)
		w.WriteHeader(answer.status)
		_, _ = w.Write(answer.body.Bytes())
	})
}

// held is an answer that is not sent yet.
type held struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (h *held) Header() http.Header         { return h.header }
func (h *held) WriteHeader(status int)      { h.status = status }
func (h *held) Write(p []byte) (int, error) { return h.body.Write(p) }

// runbook answers GET /runbook/{page} with the page of a finding's code, for the runbook_url of an alert.
func runbook(w http.ResponseWriter, r *http.Request) {
	page, ok := docs.Runbook(r.PathValue("page"))
	if !ok {
		http.Error(w, "there is no such page; labctl explain lists the findings", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(page))
}

func hostOnly(address string) string {
	if h, _, err := net.SplitHostPort(address); err == nil {
		return strings.ToLower(h)
	}
	return strings.ToLower(strings.Trim(address, "[]"))
}
