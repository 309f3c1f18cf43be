package storage

import (
	"context"
	"errors"
	"net"
	"slices"
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
)

// endpoints are the addresses at which a storage's server must answer, any of them.
func endpoints(s *pve.StorageSection, cephMonitors []string) []string {
	at := func(port string, hosts ...string) (out []string) {
		for _, h := range hosts {
			if h != "" {
				out = append(out, withPort(h, port))
			}
		}
		return out
	}
	port := func(fallback string) string {
		if p := s.Get("port"); p != "" {
			return p
		}
		return fallback
	}
	switch s.Type {
	case "nfs":
		return at(nfsPort(s.Get("options")), s.Get("server"))
	case "cifs":
		return at("445", s.Get("server"))
	case "glusterfs":
		return at("24007", s.Get("server"), s.Get("server2"))
	case "pbs":
		return at(port("8007"), s.Get("server"))
	case "esxi":
		return at(port("443"), s.Get("server"))
	case "iscsi", "iscsidirect", "zfs":
		return at("3260", s.Get("portal"))
	case "cephfs", "rbd":
		monitors := splitWords(s.Get("monhost"))
		if len(monitors) == 0 {
			monitors = cephMonitors
		}
		return slices.Concat(at("3300", monitors...), at("6789", monitors...))
	}
	return nil
}

func splitWords(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ';' || r == ' ' || r == '\t' })
}

// nfsPort is the port that a mount's options name, or NFS's own.
func nfsPort(options string) string {
	for _, o := range strings.Split(options, ",") {
		if p, ok := strings.CutPrefix(strings.TrimSpace(o), "port="); ok && p != "" && p != "0" {
			return p
		}
	}
	return "2049"
}

// withPort adds a port to a host that has none; an IPv6 address may stand in brackets or bare.
func withPort(host, port string) string {
	if h, p, err := net.SplitHostPort(host); err == nil && p != "" {
		return net.JoinHostPort(h, p)
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port)
}

// monitorsOf reads mon_host of a ceph.conf: addresses, or lists as [v2:10.0.0.1:3300,v1:10.0.0.1:6789].
func monitorsOf(conf []byte) []string {
	var out []string
	for line := range strings.Lines(string(conf)) {
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.ReplaceAll(strings.TrimSpace(key), " ", "_") != "mon_host" {
			continue
		}
		for _, word := range splitWords(strings.NewReplacer("[v", " v", "]", " ").Replace(value)) {
			word = strings.TrimPrefix(strings.TrimPrefix(word, "v1:"), "v2:")
			host, _, err := net.SplitHostPort(word)
			if err != nil {
				host = strings.Trim(word, "[]")
			}
			if host != "" && !slices.Contains(out, host) {
				out = append(out, host)
			}
		}
	}
	return out
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
