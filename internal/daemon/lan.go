package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"labd/internal/access"
	"labd/internal/config"
	"labd/internal/host"
	"labd/internal/pve"
)

// Limits of the listener for the network.
const (
	lanConnections = 256
	lanHeaders     = 16 << 10
	lanHeaderTime  = 10 * time.Second
	lanIdle        = 2 * time.Minute
	// certificateAge is how long a certificate is used before its files are looked at again: PVE renews them without a word.
	certificateAge = time.Minute
)

// callerRights asks PVE with the callers' own credentials.
type callerRights struct{ cfg config.Config }

// CallerPermissions returns the privileges of a credential on a path.
func (c callerRights) CallerPermissions(ctx context.Context, credential access.Credential, path string) ([]string, error) {
	ca, err := os.ReadFile(c.cfg.PVE.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the certificate authority of PVE: %w", err)
	}
	api, err := pve.NewCallerAPI(pve.ClientConfig{BaseURL: c.cfg.PVE.API, CA: ca, Timeout: pveTimeout})
	if err != nil {
		return nil, err
	}
	defer api.Close()
	privileges, err := api.Permissions(ctx, credential.Show, path)
	if errors.Is(err, pve.ErrUnauthenticated) {
		return nil, fmt.Errorf("%w: %w", access.ErrUnauthenticated, err)
	}
	return privileges, err
}

// nodeCertificate is the certificate that pveproxy shows: one of the user's own where there is one, else that of the
// cluster's authority (PVE::APIServer, pveproxy(8)).
type nodeCertificate struct {
	host *host.Host
	node string
	now  func() time.Time

	mu     sync.Mutex
	loaded time.Time
	known  *tls.Certificate
}

// Get returns the certificate, read again after certificateAge. One that cannot be read again is used on.
func (c *nodeCertificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known != nil && c.now().Sub(c.loaded) < certificateAge {
		return c.known, nil
	}
	fresh, err := c.load()
	if err == nil {
		c.known = fresh
	} else if c.known == nil {
		return nil, err
	}
	c.loaded = c.now()
	return c.known, nil
}

func (c *nodeCertificate) load() (*tls.Certificate, error) {
	dir := filepath.Join(c.host.PVE, "nodes", c.node)
	for _, name := range []string{"pveproxy-ssl", "pve-ssl"} {
		chain, key := filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		certificate, err1 := c.host.ReadFile(ctx, chain)
		private, err2 := c.host.ReadFile(ctx, key)
		cancel()
		if errors.Is(err1, fs.ErrNotExist) || errors.Is(err2, fs.ErrNotExist) {
			continue
		}
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("read the node's certificate: %w", err)
		}
		pair, err := tls.X509KeyPair(certificate, private)
		if err != nil {
			return nil, fmt.Errorf("the node's certificate %s: %w", chain, err)
		}
		return &pair, nil
	}
	return nil, fmt.Errorf("neither pveproxy-ssl.pem nor pve-ssl.pem with its key is in %s", dir)
}

// limitedListener takes a bounded number of connections at a time; more wait in the kernel's queue.
type limitedListener struct {
	net.Listener
	slots chan struct{}
}

// Accept waits for a place, then for a connection.
func (l *limitedListener) Accept() (net.Conn, error) {
	l.slots <- struct{}{}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: conn, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

type limitedConn struct {
	net.Conn
	release func()
}

// Close gives the place back.
func (c *limitedConn) Close() error {
	c.release()
	return c.Conn.Close()
}

// openLAN listens for callers from the network; an empty address opens no port. HTTP/1.1 alone is spoken: a stream takes a
// connection over, which HTTP/2 has no way for.
func (r *running) openLAN(cfg config.Config, h *host.Host) error {
	if cfg.Listen.LAN == "" {
		return nil
	}
	certificate := &nodeCertificate{host: h, node: cfg.PVE.Node, now: time.Now}
	if _, err := certificate.Get(nil); err != nil {
		return fmt.Errorf("listen for callers from the network (listen.lan): %w", err)
	}
	listener, err := net.Listen("tcp", cfg.Listen.LAN)
	if err != nil {
		return fmt.Errorf("listen for callers from the network (listen.lan): %w", err)
	}
	limited := &limitedListener{listener, make(chan struct{}, lanConnections)}
	secure := tls.NewListener(limited, &tls.Config{GetCertificate: certificate.Get, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
	srv := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.current.Load().lan.ServeHTTP(w, req) }),
		BaseContext:       func(net.Listener) context.Context { return r.ctx },
		ReadHeaderTimeout: lanHeaderTime, IdleTimeout: lanIdle, MaxHeaderBytes: lanHeaders,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ErrorLog:     slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
	}
	context.AfterFunc(r.ctx, func() { _ = srv.Close() })
	r.start(func() error {
		if err := srv.Serve(secure); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve callers from the network: %w", err)
		}
		return nil
	})
	r.log.Info("labd serves callers from the network", "address", listener.Addr().String())
	return nil
}
