package storage

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"labd/internal/pve"
)

// Reach is what became of a connection to a server's port.
type Reach int

// Outcomes. Refused says that the machine is there and nothing listens; Silent that nothing answers in time or that
// there is no way to it; NoName that its name has no address.
const (
	NotAsked Reach = iota
	Answers
	Refused
	Silent
	NoName
)

// Server is what is known of the server of a network storage.
type Server struct {
	// Address is the last one tried, as host:port.
	Address string
	Reach   Reach
}

// Of connections: how long one may take, how long an outcome counts, how many are tried at once.
const (
	dialTimeout  = time.Second
	reachAge     = 25 * time.Second
	dialsAtOnce  = 32
	slowDeadline = 1500 * time.Millisecond
	// againDeadline bounds the look right before a step, which may wait for a disk that sleeps.
	againDeadline = 15 * time.Second
)

// at returns hosts as host:port, each with the port unless it names one.
func at(port string, hosts ...string) (out []string) {
	for _, h := range hosts {
		if h != "" {
			out = append(out, withPort(h, port))
		}
	}
	return out
}

// portOf returns the port that an entry names, or the type's own.
func portOf(s *pve.StorageSection, fallback string) string {
	if p := s.Get("port"); p != "" {
		return p
	}
	return fallback
}

func splitWords(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ';' || r == ' ' || r == '\t' })
}

// withPort adds a port to a host that has none; an IPv6 address may stand in brackets or bare.
func withPort(host, port string) string {
	if h, p, err := net.SplitHostPort(host); err == nil && p != "" {
		return net.JoinHostPort(h, p)
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port)
}

// reachServers tries the servers of all storages at once; wanted are the addresses by storage.
func reachServers(ctx context.Context, wanted map[string][]string) map[string]Server {
	out := make(map[string]Server, len(wanted))
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, dialsAtOnce)
	for id, addresses := range wanted {
		for _, address := range addresses {
			wg.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				reach := dial(ctx, address)
				mu.Lock()
				defer mu.Unlock()
				// One monitor that answers is enough; else one that refuses says more than one that is silent.
				if known, ok := out[id]; !ok || known.Reach == NotAsked || reach != NotAsked && reach < known.Reach {
					out[id] = Server{address, reach}
				}
			})
		}
	}
	wg.Wait()
	return out
}

// dial opens a connection and closes it at once; no byte is sent.
func dial(ctx context.Context, address string) Reach {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case err == nil:
		_ = conn.Close()
		return Answers
	case errors.As(err, &dns):
		if dns.IsTimeout || dns.IsTemporary {
			return NotAsked // the name server is away, which says nothing of this one
		}
		return NoName
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
		return Refused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTDOWN):
		return Silent
	case errors.As(err, &timeout) && timeout.Timeout():
		return Silent
	default:
		return NotAsked
	}
}

// String says what became of the connection, as the end of a sentence about the server.
func (r Reach) String() string {
	switch r {
	case Answers:
		return "answers"
	case Refused:
		return "refuses the connection"
	case Silent:
		return "does not answer"
	case NoName:
		return "has no address: its name is not known"
	default:
		return "was not asked"
	}
}
