package server

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	apiv1 "labd/api/v1"
	"labd/internal/finding"
)

// Limits of the event stream.
const (
	// Clients of the unix socket and of the TCP port have places of their own, and one address has few of these.
	maxEventClients   = 16
	maxPublicClients  = 16
	maxAddressClients = 4
	// eventBacklog is how many events a client may be behind before it is dropped, and eventMemory how many are kept
	// for clients that come back.
	eventBacklog = 64
	eventMemory  = 256
	// heartbeat keeps a quiet connection known to be alive; a write that takes longer than eventWrite is given up.
	heartbeat  = 15 * time.Second
	eventWrite = 10 * time.Second
)

// Events passes findings and plans on to whoever follows GET /v1/events (server-sent events, WHATWG HTML section 9.2).
// It outlives a reload of the configuration and is safe for concurrent use.
type Events struct {
	// run tells the events of this process from those of another one.
	run string

	mu      sync.Mutex
	last    uint64
	recent  []event
	clients map[*eventClient]bool
}

type event struct {
	number uint64
	kind   string
	data   []byte
}

type eventClient struct {
	// from is the address of a client that came by TCP; empty for one of the unix socket.
	from  string
	queue chan event
	// slow is closed when the client is dropped since it is too far behind.
	slow chan struct{}
}

// NewEvents returns a stream without events.
func NewEvents(now time.Time) *Events {
	return &Events{run: strconv.FormatInt(now.UnixNano(), 36), clients: map[*eventClient]bool{}}
}

// Publish sends an event to all clients. It never waits: a client that does not keep up is dropped.
func (e *Events) Publish(kind string, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		return // only values of api/v1 are published, which always encode
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last++
	ev := event{e.last, kind, data}
	e.recent = append(e.recent, ev)
	if len(e.recent) > eventMemory {
		e.recent = append(e.recent[:0], e.recent[1:]...)
	}
	for c := range e.clients {
		select {
		case c.queue <- ev:
		default:
			close(c.slow)
			delete(e.clients, c)
		}
	}
}

// Finding publishes a change of a finding.
func (e *Events) Finding(c finding.Change) {
	e.Publish("finding."+string(c.Kind), findingsToAPI([]finding.Finding{c.Finding})[0])
}

// room reports whether one more client may come: by TCP from an address, or by the unix socket where that is empty.
func (e *Events) room(from string) bool {
	public, same := 0, 0
	for c := range e.clients {
		if c.from != "" {
			public++
		}
		if c.from == from {
			same++
		}
	}
	if from == "" {
		return same < maxEventClients
	}
	return public < maxPublicClients && same < maxAddressClients
}

// join adds a client that has seen all up to lastID. missed are the events since then; complete says that there are
// no others.
func (e *Events) join(lastID, from string) (c *eventClient, missed []event, complete, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.room(from) {
		return nil, nil, false, false
	}
	c = &eventClient{from: from, queue: make(chan event, eventBacklog), slow: make(chan struct{})}
	e.clients[c] = true
	if lastID == "" {
		return c, nil, true, true
	}
	run, number, _ := strings.Cut(lastID, "-")
	seen, err := strconv.ParseUint(number, 10, 64)
	if run != e.run || err != nil || seen > e.last || (len(e.recent) > 0 && seen+1 < e.recent[0].number) {
		return c, nil, false, true
	}
	for _, ev := range e.recent {
		if ev.number > seen {
			missed = append(missed, ev)
		}
	}
	return c, missed, true, true
}

func (e *Events) leave(c *eventClient) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.clients, c)
}

// Clients is how many follow the stream.
func (e *Events) Clients() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.clients)
}

func (e *Events) id() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.run + "-" + strconv.FormatUint(e.last, 10)
}

// serve sends events until the client goes, falls behind or the server stops.
func (e *Events) serve(w http.ResponseWriter, r *http.Request, log *slog.Logger) bool {
	from := ""
	if identity(r.Context()).public {
		from = hostOnly(r.RemoteAddr)
	}
	client, missed, complete, ok := e.join(r.Header.Get("Last-Event-ID"), from)
	if !ok {
		return false
	}
	defer e.leave(client)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	send := func(text string) bool {
		// A writer without deadlines is a test's; the clock only guards against a client that does not read.
		_ = out.SetWriteDeadline(time.Now().Add(eventWrite))
		if _, err := w.Write([]byte(text)); err != nil {
			log.Debug("event client gone", "err", err)
			return false
		}
		return out.Flush() == nil
	}
	first := ": labd\n\n"
	if !complete {
		// What happened meanwhile is no longer known: the client must ask for everything anew.
		first = "event: reset\nid: " + e.id() + "\ndata: {}\n\n"
	}
	if !send(first) {
		return true
	}
	public := identity(r.Context()).public
	sendEvent := func(ev event) bool {
		if public && !strings.HasPrefix(ev.kind, "finding.") {
			return true
		}
		return send(fmt.Sprintf("event: %s\nid: %s-%d\ndata: %s\n\n", ev.kind, e.run, ev.number, ev.data))
	}
	for _, ev := range missed {
		if !sendEvent(ev) {
			return true
		}
	}
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for {
		alive := true
		select {
		case <-r.Context().Done():
			return true
		case <-client.slow:
			return true
		case ev := <-client.queue:
			alive = sendEvent(ev)
		case <-ticker.C:
			alive = send(": alive\n\n")
		}
		if !alive {
			return true
		}
	}
}

// events answers GET /v1/events.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	if !s.Events.serve(w, r, s.Log) {
		w.Header().Set("Retry-After", "30")
		s.fail(w, &apiError{http.StatusServiceUnavailable, apiv1.ErrorBusy, "as many clients as may follow the events already", "try again when one has left"})
	}
}
