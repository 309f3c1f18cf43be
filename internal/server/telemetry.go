package server

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Health tells whether the daemon is well.
type Health interface {
	// Ready says whether every job has a first report.
	Ready() error
	// Alive says whether the loops move.
	Alive() error
}

// NewTelemetry answers /metrics, /healthz and /readyz, read-only and to anyone who reaches the port, below /v1/ api
// and everywhere else page, where those are not nil. The Host header must be an IP address, localhost or one of hosts: a web page elsewhere that makes its own name point here (DNS
// rebinding) comes with that name, and must not read this through the user's browser.
func NewTelemetry(gatherer prometheus.Gatherer, health Health, hosts []string, api, page http.Handler) http.Handler {
	mux := http.NewServeMux()
	// Not compressed: most of a scrape's time would go into that, and the port is on the loopback or a LAN.
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 8, DisableCompression: true,
	}))
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
	mux.HandleFunc("GET /healthz", probe(health.Alive))
	mux.HandleFunc("GET /readyz", probe(health.Ready))
	if api != nil {
		mux.Handle("/v1/", api)
	}
	if page != nil {
		mux.Handle("/", page)
	}
	allowed := append([]string{"localhost"}, hosts...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := hostOnly(r.Host)
		if _, err := netip.ParseAddr(name); err != nil && !slices.Contains(allowed, name) {
			http.Error(w, "the Host header names another host; see listen.hosts in labd.toml", http.StatusMisdirectedRequest)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func hostOnly(address string) string {
	if h, _, err := net.SplitHostPort(address); err == nil {
		return strings.ToLower(h)
	}
	return strings.ToLower(strings.Trim(address, "[]"))
}
