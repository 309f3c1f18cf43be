package docker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Limits on a stream of events.
const (
	// MaxEvent is the most that one event may be, in bytes.
	MaxEvent = 1 << 20
	// A daemon that says more than eventBudget in eventWindow is heard with a pause, so that it cannot keep labd busy.
	eventBudget = 256 << 10
	eventWindow = 100 * time.Millisecond
	eventBuffer = 8 << 10
	// MaxQuiet is how long a stream may say nothing before it is opened anew: the daemon may have forgotten it.
	MaxQuiet = 10 * time.Minute
)

// event is what matters of an event.
type event struct {
	Type, Action string
	// Status is the action in the words of old daemons.
	Status string
}

// matters reports whether networks or containers may be others after the event. Health checks run commands all the time,
// which are events too.
func (e event) matters() bool {
	switch e.Type {
	case "network":
		return true
	case "container":
		action := e.Action
		if action == "" {
			action = e.Status
		}
		return slices.Contains([]string{"create", "start", "restart", "die", "died", "destroy", "remove", "rename"}, action)
	}
	return false
}

// Watch hears the daemon's events. It calls changed when the stream stands and for each event that matters, until ctx
// ends, the stream fails, or MaxQuiet passed without a word; it always returns an error. The daemon has headerTime to
// begin.
func Watch(ctx context.Context, s Socket, headerTime time.Duration, changed func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, headerTime)
			defer cancel()
			return s.Dial(ctx)
		},
		DisableKeepAlives: true, DisableCompression: true, ResponseHeaderTimeout: headerTime, ReadBufferSize: eventBuffer, WriteBufferSize: 1 << 10,
		MaxResponseHeaderBytes: MaxHeader,
	}
	filters := url.Values{"filters": {`{"type":["container","network"]}`}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/events?"+filters.Encode(), nil)
	if err != nil {
		return fmt.Errorf("ask Docker for its events: %w", err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return explain("ask Docker for its events", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask Docker for its events: %w: status %d", ErrMalformed, resp.StatusCode)
	}
	quiet := time.AfterFunc(MaxQuiet, cancel)
	defer quiet.Stop()
	changed()
	return explain("hear Docker's events", listen(ctx, bufio.NewReaderSize(resp.Body, eventBuffer), func() { quiet.Reset(MaxQuiet) }, changed))
}

// listen reads events, one a line; heard is called for each.
func listen(ctx context.Context, r *bufio.Reader, heard, changed func()) error {
	window, read := time.Now(), 0
	for {
		line, size, err := readEvent(r)
		if err != nil {
			return err
		}
		heard()
		var e event
		// An event that cannot be understood, or is too long to look at, may matter.
		if line == nil || json.Unmarshal(line, &e) != nil || e.matters() {
			changed()
		}
		if read += size; read < eventBudget {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(window.Add(eventWindow))):
		}
		window, read = time.Now(), 0
	}
}

// readEvent returns a line, nil for one that is longer than the buffer, and how long it was.
func readEvent(r *bufio.Reader) (line []byte, size int, err error) {
	for {
		part, err := r.ReadSlice('\n')
		size += len(part)
		switch {
		case size > MaxEvent:
			return nil, size, ErrTooLarge
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return nil, size, io.ErrUnexpectedEOF
		case err != nil:
			return nil, size, err
		case size > len(part):
			return nil, size, nil
		default:
			return part, size, nil
		}
	}
}
