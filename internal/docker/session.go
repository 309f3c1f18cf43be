package docker

import (
	"context"
	"net/http"
	"sync"

	"github.com/docker/docker/client"
)

// Session asks one daemon again and again. What cannot change while the daemon runs is asked once; a Session that failed
// is of no more use, as the daemon may be another one by now. It is safe for concurrent use.
type Session struct {
	socket Socket

	mu     sync.Mutex
	client *client.Client
	// transport holds the client's connection; the library's own Close does not reach it.
	transport *http.Transport
	daemon    *Info // the daemon itself, without its networks and containers; nil before it is known
}

// NewSession returns a Session with the daemon at the socket, which must stay open until Close.
func NewSession(s Socket) *Session { return &Session{socket: s} }

// Discover asks for networks and containers. ctx must have a deadline: the daemon may answer a byte a second.
func (s *Session) Discover(ctx context.Context) (*Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A connection serves one look: between looks nothing waits for the daemon.
	defer s.disconnect()
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	info := *s.daemon
	if err := info.list(ctx, s.client); err != nil {
		return nil, err
	}
	return &info, nil
}

// begin finds out who the daemon is.
func (s *Session) begin(ctx context.Context) error {
	if s.daemon != nil {
		return nil
	}
	// The library hides why a connection failed; who listens matters too much for that.
	conn, err := s.socket.Dial(ctx)
	if err != nil {
		return explain("reach Docker", err)
	}
	_ = conn.Close()
	if s.client, s.transport, err = newClient(s.socket); err != nil {
		return err
	}
	s.daemon, err = describe(ctx, s.client)
	return err
}

func (s *Session) disconnect() {
	if s.transport != nil {
		s.transport.CloseIdleConnections()
	}
}
