package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/client"
)

// Socket is where a daemon listens.
type Socket interface {
	// Address is a path that leads to the socket.
	Address() string
	// Dial connects, and makes sure of who listens.
	Dial(ctx context.Context) (net.Conn, error)
}

// Limits on what a daemon may answer.
const (
	// MaxAnswer is the most that is read of one answer, in bytes.
	MaxAnswer = 8 << 20
	// MaxHeader is the most that an answer's header may be, in bytes.
	MaxHeader = 64 << 10
	// MaxNetworks and MaxContainers bound the lists, MaxPorts the ports of all containers: a range of ports is listed
	// port by port, for IPv4 and IPv6.
	MaxNetworks   = 512
	MaxContainers = 4096
	MaxPorts      = 128 << 10
	// maxMessage is how much of a daemon's error message is kept, in bytes.
	maxMessage = 500
)

// What a daemon may do wrong.
var (
	// ErrUnreachable says that no daemon listens at the socket.
	ErrUnreachable = errors.New("no Docker daemon listens")
	// ErrTooLarge says that an answer is larger than MaxAnswer, ErrTooMany that a list is longer than its limit.
	ErrTooLarge = errors.New("the answer is larger than any Docker's")
	ErrTooMany  = errors.New("the list is longer than any Docker's")
	// ErrMalformed says that an answer is not what Docker's API answers.
	ErrMalformed = errors.New("the answer is not Docker's")
)

// newClient returns a client of docker/docker/client that can reach nothing but the socket. Two of its ways are worked
// around here: options that name a host fail once the transport is wrapped, so WithHost comes first; and hijacked calls
// bypass the transport and dial the named host, so the host is the very socket, never the default, which would be the
// Docker of the machine labd runs on.
func newClient(s Socket) (*client.Client, *http.Transport, error) {
	transport := &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return s.Dial(ctx) },
		MaxConnsPerHost:        1,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: MaxHeader,
		DisableCompression:     true, // a small answer must not become a large one
	}
	httpClient := &http.Client{
		Transport:     &strict{next: transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c, err := client.NewClientWithOpts(client.WithHost("unix://"+s.Address()), client.WithHTTPClient(httpClient), client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, nil, fmt.Errorf("make a Docker client: %w", err)
	}
	return c, transport, nil
}

// idleTimeout is how long a connection waits for the next question of the same look.
const idleTimeout = 5 * time.Second

// strict lets GET and HEAD through and limits what comes back.
type strict struct{ next http.RoundTripper }

func (s *strict) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		return nil, fmt.Errorf("%s %s: labd only reads from Docker", req.Method, req.URL.Path)
	}
	resp, err := s.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &limitedBody{body: resp.Body, left: MaxAnswer}
	return resp, nil
}

// limitedBody fails, instead of ending early, when there is more than allowed.
type limitedBody struct {
	body io.ReadCloser
	left int64
}

func (l *limitedBody) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, ErrTooLarge
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.body.Read(p)
	l.left -= int64(n)
	return n, err
}

func (l *limitedBody) Close() error { return l.body.Close() }

// explain gives an error of the library one of this package's meanings, where it has one.
func explain(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", what, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s: %w", what, ErrUnreachable)
	case errors.Is(err, ErrTooLarge):
		return fmt.Errorf("%s: %w", what, ErrTooLarge)
	}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if errors.As(err, &syntax) || errors.As(err, &kind) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: %w: %w", what, ErrMalformed, cut{err})
	}
	return fmt.Errorf("%s: %w", what, cut{err})
}

// cut is an error whose text, which may be the daemon's own and as long as an answer, is bounded.
type cut struct{ error }

func (c cut) Error() string {
	text := c.error.Error()
	if len(text) <= maxMessage {
		return text
	}
	return fmt.Sprintf("%s… (%d bytes more)", strings.ToValidUTF8(text[:maxMessage], ""), len(text)-maxMessage)
}

func (c cut) Unwrap() error { return c.error }
