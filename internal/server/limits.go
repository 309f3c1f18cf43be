package server

import (
	"net"
	"sync"
)

// Limits bound what a listener takes.
type Limits struct {
	// Connections are all at a time, PerAddress those of one address.
	Connections, PerAddress int
}

// Limit returns a listener that closes connections beyond the limits at once: who opens many and says nothing costs no memory,
// and one address takes no place of another.
func Limit(listener net.Listener, limits Limits) net.Listener {
	return &limitedListener{Listener: listener, limits: limits, by: map[string]int{}}
}

type limitedListener struct {
	net.Listener
	limits Limits

	mu  sync.Mutex
	all int
	by  map[string]int
}

// Accept waits for a connection within the limits.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := hostOnly(conn.RemoteAddr().String())
		if l.enter(from) {
			return &limitedConn{Conn: conn, leave: sync.OnceFunc(func() { l.leave(from) })}, nil
		}
		_ = conn.Close()
	}
}

func (l *limitedListener) enter(from string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.limits.Connections || l.by[from] >= l.limits.PerAddress {
		return false
	}
	l.all++
	l.by[from]++
	return true
}

func (l *limitedListener) leave(from string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.by[from]--; l.by[from] == 0 {
		delete(l.by, from)
	}
}

type limitedConn struct {
	net.Conn
	leave func()
}

// Close closes the connection and gives its place to another one.
func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
