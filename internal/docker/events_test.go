package docker

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// watch hears a daemon's events until enough changes came or the stream ended.
func watch(t *testing.T, s Socket, enough int64) (changes int64, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var count atomic.Int64
	err = Watch(ctx, s, 200*time.Millisecond, func() {
		if count.Add(1) >= enough {
			cancel()
		}
	})
	return count.Load(), err
}

func flush(w http.ResponseWriter, text string) {
	fmt.Fprint(w, text)
	w.(http.Flusher).Flush()
}

const (
	networkMade  = `{"status":"","Type":"network","Action":"create","Actor":{"ID":"abc"},"time":1}` + "\n"
	healthCheck  = `{"status":"exec_start: true","Type":"container","Action":"exec_start: true"}` + "\n"
	podmanDied   = `{"status":"died","Type":"container","Action":"died"}` + "\n"
	imagePulled  = `{"Type":"image","Action":"pull"}` + "\n"
	oldContainer = `{"status":"start","Type":"container"}` + "\n"
)

func TestWatch(t *testing.T) {
	for _, tt := range []struct {
		name   string
		events http.HandlerFunc
		want   int64
		err    error
	}{
		{"what matters", func(w http.ResponseWriter, r *http.Request) {
			if got := r.URL.Query().Get("filters"); got != `{"type":["container","network"]}` {
				t.Errorf("filters %s", got)
			}
			flush(w, networkMade+healthCheck+imagePulled+podmanDied+oldContainer+healthCheck)
		}, 4, ErrMalformed}, // the stream stands, and three of six
		{"not understood", func(w http.ResponseWriter, _ *http.Request) { flush(w, "{]\n") }, 2, ErrMalformed},
		{"long labels", func(w http.ResponseWriter, _ *http.Request) {
			flush(w, `{"Type":"image","Action":"`+strings.Repeat("x", 3*eventBuffer)+"\"}\n"+healthCheck)
		}, 2, ErrMalformed},
		{"an event without end", func(w http.ResponseWriter, _ *http.Request) {
			for range 2 * MaxEvent / 1024 {
				fmt.Fprint(w, strings.Repeat("x", 1024))
			}
		}, 1, ErrTooLarge},
		{"an error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, 0, ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := watch(t, daemon(t, map[string]http.HandlerFunc{"events": tt.events}), 100)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%d changes, %v; want %d, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

// A stream that stands and says nothing ends with its context; one that never begins has its time.
func TestWatchWaits(t *testing.T) {
	quiet := daemon(t, map[string]http.HandlerFunc{"events": func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}})
	if got, err := watch(t, quiet, 1); got != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("quiet: %d changes, %v", got, err)
	}
	hangs := daemon(t, map[string]http.HandlerFunc{"events": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }})
	start := time.Now()
	if got, err := watch(t, hangs, 1); got != 0 || err == nil || time.Since(start) > 3*time.Second {
		t.Errorf("hangs: %d changes, %v after %s", got, err, time.Since(start))
	}
}

// A daemon that floods labd with events is read slowly.
func TestWatchFlood(t *testing.T) {
	var sent atomic.Int64
	flood := daemon(t, map[string]http.HandlerFunc{"events": func(w http.ResponseWriter, r *http.Request) {
		lines := strings.Repeat(healthCheck, 1000)
		for r.Context().Err() == nil {
			n, err := fmt.Fprint(w, lines)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_ = Watch(ctx, flood, time.Second, func() {})
	// Ten windows, and what the buffers on the way hold.
	if got := sent.Load(); got > 12*eventBudget+4<<20 {
		t.Errorf("%d bytes were taken in a second", got)
	}
}

// counted is a socket that counts connections.
type counted struct {
	Socket
	dials *atomic.Int64
}

func (c counted) Dial(ctx context.Context) (net.Conn, error) {
	c.dials.Add(1)
	return c.Socket.Dial(ctx)
}

// The second look of a session asks only for what may have changed, on one connection.
func TestSession(t *testing.T) {
	var asked atomic.Int64
	dials := new(atomic.Int64)
	count := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			fmt.Fprint(w, text)
		}
	}
	s := NewSession(counted{daemon(t, map[string]http.HandlerFunc{
		"version": count(`{"Version":"28.5.2","ApiVersion":"1.51"}`), "info": count(`{}`), "networks": count(twoNetworks), "containers": count(oneContainer),
	}), dials})
	for _, want := range []struct{ asked, dials int64 }{{4, 2}, {6, 3}} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		info, err := s.Discover(ctx)
		cancel()
		if err != nil || len(info.Networks) != 3 || len(info.Containers) != 2 || info.Version != "28.5.2" {
			t.Fatalf("%+v, %v", info, err)
		}
		if asked.Load() != want.asked || dials.Load() != want.dials {
			t.Errorf("%d questions on %d connections, want %+v", asked.Load(), dials.Load(), want)
		}
	}
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte(networkMade + healthCheck))
	f.Add([]byte("\n\n{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if listen(t.Context(), newEventReader(data), func() {}, func() {}) == nil {
			t.Error("a stream that ends without an error")
		}
	})
}

func newEventReader(data []byte) *bufio.Reader {
	return bufio.NewReaderSize(bytes.NewReader(data), eventBuffer)
}
