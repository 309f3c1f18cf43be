package pvesim

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Config describes the simulated host.
type Config struct {
	// Root is the host's root directory; Prepare makes a minimal one.
	Root string
	// Node is the host's name in PVE.
	Node string
	// Address is the node's address in /cluster/status; default 127.0.0.1.
	Address string
	// Major is PVE's major version, 8 or 9; default 9.
	Major int
	// Listener is where to serve; default a new one on 127.0.0.1.
	Listener net.Listener
	// Tokens are secrets by token ID ("root@pam!dev"), beside those in
	// /etc/pve/priv/token.cfg. The token must be in user.cfg.
	Tokens map[string]string
	// AuthDelay is how long a 401 takes; PVE: 3 s. Default none.
	AuthDelay time.Duration
	// LockTimeout is how long a change waits for a lock or for quorum; default
	// 10 s, as PVE.
	LockTimeout time.Duration

	// ClusterFS is what /etc/pve is mounted from; without it /etc/pve is a plain
	// directory, which cannot forbid anything.
	ClusterFS ClusterFS

	// Systemctl runs systemctl on the host and returns what it prints. An error
	// with the method ExitCode() int gives the exit code. The default works on
	// the unit files and links below Root.
	Systemctl func(ctx context.Context, args ...string) ([]byte, error)
	// IsBlockDevice returns nil when path, as on the host, is a block device;
	// what else it returns does not matter. The default looks below Root.
	IsBlockDevice func(path string) error
	// Mounted reports whether a directory, as on the host, is a mount point. The
	// default compares devices below Root.
	Mounted func(path string) bool
}

// Server is a running simulator.
type Server struct {
	cfg      Config
	ca       *authority
	listener net.Listener
	started  time.Time
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	mu     sync.Mutex
	tasks  []*task
	nextID int
	faults []*Fault
	conns  map[net.Conn]bool
}

// Start serves until ctx is done or Close is called.
func Start(ctx context.Context, c Config) (*Server, error) {
	if c.Root == "" || c.Node == "" {
		return nil, errors.New("pvesim: root and node are needed")
	}
	if c.Major == 0 {
		c.Major = 9
	}
	if c.Address == "" {
		c.Address = "127.0.0.1"
	}
	if c.LockTimeout == 0 {
		c.LockTimeout = 10 * time.Second
	}
	ca, err := newAuthority(c.Node)
	if err != nil {
		return nil, fmt.Errorf("pvesim: %w", err)
	}
	if c.Listener == nil {
		if c.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, fmt.Errorf("pvesim: %w", err)
		}
	}
	s := &Server{
		cfg: c, ca: ca, started: time.Now(), conns: map[net.Conn]bool{},
		listener: tls.NewListener(c.Listener, &tls.Config{Certificates: []tls.Certificate{ca.server}, MinVersion: tls.VersionTLS12}),
	}
	if c.Systemctl == nil {
		s.cfg.Systemctl = s.fileSystemctl
	}
	if c.IsBlockDevice == nil {
		s.cfg.IsBlockDevice = s.fileIsBlockDevice
	}
	if c.Mounted == nil {
		s.cfg.Mounted = s.fileMounted
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.wg.Add(1)
	go s.accept()
	context.AfterFunc(s.ctx, s.closeConnections)
	return s, nil
}

// URL returns the API's base URL, for pve.ClientConfig.
func (s *Server) URL() string { return "https://" + s.listener.Addr().String() }

// CA returns the PEM of the root certificate, what PVE keeps in
// /etc/pve/pve-root-ca.pem.
func (s *Server) CA() []byte { return s.ca.pem }

// Close ends the server and its tasks and waits for them.
func (s *Server) Close() {
	s.cancel()
	s.closeConnections()
	s.wg.Wait()
}

func (s *Server) closeConnections() {
	_ = s.listener.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

func (s *Server) accept() {
	defer s.wg.Done()
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			s.serve(c)
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
			_ = c.Close()
		}()
		if s.ctx.Err() != nil {
			_ = c.Close()
		}
	}
}

// serve answers the requests of one connection. net/http's server is not used
// because it cannot send a reason phrase, where PVE puts its messages.
func (s *Server) serve(c net.Conn) {
	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		res, cut := s.answer(req)
		if cut || !res.write(c) {
			return
		}
	}
}

// path returns where a path of the host is below the root.
func (s *Server) path(elem ...string) string {
	return filepath.Join(append([]string{s.cfg.Root}, elem...)...)
}

// Prepare makes what a simulated host of that name needs below root: an empty
// /etc/pve with the link "local", and a user.cfg in which root@pam has the token
// "root@pam!dev". Existing files stay. It returns the token for
// pve.ClientConfig.
func Prepare(root, node string) (token string, err error) {
	const secret = "11111111-2222-3333-4444-555555555555"
	pve := filepath.Join(root, "etc/pve")
	for _, dir := range []string{
		"priv/lock", "priv/storage", "priv/ceph", "nodes/" + node + "/qemu-server", "nodes/" + node + "/lxc", "mapping",
	} {
		if err := os.MkdirAll(filepath.Join(pve, dir), 0o755); err != nil {
			return "", fmt.Errorf("pvesim: %w", err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "etc/systemd/system/multi-user.target.wants"), 0o755); err != nil {
		return "", fmt.Errorf("pvesim: %w", err)
	}
	for name, text := range map[string]string{
		"user.cfg":       "user:root@pam:1:0::::::\ntoken:root@pam!dev:0:0::\n\n\n\n\n",
		"priv/token.cfg": "root@pam!dev " + secret + "\n",
		".members":       `{"nodename":"` + node + `","version":0}`,
	} {
		f, err := os.OpenFile(filepath.Join(pve, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err == nil {
			_, err = f.WriteString(text)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			return "", fmt.Errorf("pvesim: %w", err)
		}
	}
	if err := os.Symlink("nodes/"+node, filepath.Join(pve, "local")); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("pvesim: %w", err)
	}
	return "root@pam!dev=" + secret, nil
}
