package pve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	proxmox "github.com/luthermonson/go-proxmox"
)

const (
	// apiPath is where PVE serves its API as JSON.
	apiPath = "/api2/json"
	// defaultTimeout leaves room for the 10 s that PVE waits for a lock, twice
	// (storage.cfg, then user.cfg), before it answers.
	defaultTimeout     = 30 * time.Second
	defaultDialTimeout = 5 * time.Second
	defaultMaxResponse = 16 << 20
)

// ClientConfig says where PVE's API is and who asks.
type ClientConfig struct {
	BaseURL string // scheme, host and port: "https://127.0.0.1:8006"
	Token   string // "user@realm!name=secret"; "" asks pvesh for everything
	// Shell runs pvesh as root: for every request when there is no token, else
	// for the steps that a token with labd's few rights does not cover. nil:
	// those steps are asked for with the token too.
	Shell       Runner
	CA          []byte        // PEM of the only CAs trusted: /etc/pve/pve-root-ca.pem
	ServerName  string        // name in the certificate; default: BaseURL's host
	Node        string        // this node's name in PVE
	Timeout     time.Duration // for one request with its answer; default 30 s
	DialTimeout time.Duration // for the TCP and for the TLS handshake; default 5 s
	MaxResponse int64         // bytes of one answer; default 16 MiB
}

// Client talks to PVE's API, with an API token or through pvesh as root. It
// never repeats a change. Its methods may be used at the same time. All errors
// of requests are *APIError.
type Client struct {
	api *proxmox.Client
	// root is for what labd's own token may not do.
	root   *proxmox.Client
	node   string
	closer func()
}

// NewClient makes a client. It does not connect yet.
func NewClient(c ClientConfig) (*Client, error) {
	if err := checkNodeName(c.Node); err != nil {
		return nil, fmt.Errorf("PVE node name %q: %w", c.Node, err)
	}
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	if c.DialTimeout <= 0 {
		c.DialTimeout = defaultDialTimeout
	}
	if c.MaxResponse <= 0 {
		c.MaxResponse = defaultMaxResponse
	}
	out := &Client{node: c.Node, closer: func() {}}
	if c.Shell != nil {
		hc := &http.Client{Transport: &shellTransport{runner: c.Shell, timeout: c.Timeout, limit: c.MaxResponse}}
		out.root = proxmox.NewClient(shellBase+apiPath, proxmox.WithHTTPClient(hc))
		if c.Token == "" {
			out.api = out.root
			return out, nil
		}
	}
	var err error
	if out.api, out.closer, err = newTokenClient(c); err != nil {
		return nil, err
	}
	if out.root == nil {
		out.root = out.api
	}
	return out, nil
}

// newTokenClient makes the client of the API's port.
func newTokenClient(c ClientConfig) (api *proxmox.Client, closer func(), err error) {
	base, err := url.Parse(c.BaseURL)
	if err != nil || base.Scheme != "https" || base.Host == "" {
		return nil, nil, fmt.Errorf("PVE API address %q: want https://HOST:PORT", c.BaseURL)
	}
	tokenID, secret, ok := strings.Cut(trimSpace(c.Token), "=")
	if !ok || secret == "" || !strings.Contains(tokenID, "!") || !strings.Contains(tokenID, "@") {
		return nil, nil, errors.New("PVE API token: want one line user@realm!name=secret")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.CA) {
		return nil, nil, errors.New("PVE API: the CA file holds no PEM certificate; PVE's own is /etc/pve/pve-root-ca.pem")
	}
	prefix := strings.TrimRight(base.Path, "/") + apiPath
	// go-proxmox applies its own TLS and proxy options to a plain transport
	// only, so everything is set here. HTTP/2 has no reason phrase, in which
	// PVE puts its messages.
	inner := &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: pool, ServerName: c.ServerName, MinVersion: tls.VersionTLS12},
		TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{},
		DialContext:         (&net.Dialer{Timeout: c.DialTimeout}).DialContext,
		TLSHandshakeTimeout: c.DialTimeout,
		MaxIdleConns:        2,
		IdleConnTimeout:     5 * time.Second,
	}
	hc := &http.Client{Transport: &strictTransport{
		next: inner, prefix: prefix, timeout: c.Timeout, limit: c.MaxResponse,
	}}
	api = proxmox.NewClient(base.Scheme+"://"+base.Host+prefix,
		proxmox.WithHTTPClient(hc), proxmox.WithAPIToken(tokenID, secret))
	return api, inner.CloseIdleConnections, nil
}

// Close drops idle connections.
func (c *Client) Close() { c.closer() }

// Node returns the name of the node that the client was made for.
func (c *Client) Node() string { return c.node }

// Version is PVE's version.
type Version struct {
	Release string `json:"release"` // "9.2"
	Version string `json:"version"` // "9.2.11"
	RepoID  string `json:"repoid"`
}

// Major returns the first number of the release, or 0.
func (v Version) Major() int {
	n := 0
	for _, r := range v.Release {
		if r < '0' || r > '9' || n > 1000 {
			break
		}
		n = n*10 + int(r-'0')
	}
	return n
}

// Version asks for PVE's version. Any token may. InstalledVersion has it without
// the API.
func (c *Client) Version(ctx context.Context) (Version, error) {
	var v Version
	err := c.get(ctx, "/version", &v)
	return v, err
}

// Permissions holds what a token may do: by path and privilege, whether the
// privilege reaches deeper paths. A privilege that is present is granted on
// the path itself, also with the value false.
type Permissions map[string]map[string]bool

// Allows reports whether the privilege is granted on exactly that path. PVE
// lists a path below one that propagates only where an ACL names it, so the
// parents are tried too. PVE also leaves out a path where an ACL takes
// everything away (NoAccess); where that matters, ask with PathPermissions.
func (p Permissions) Allows(path, privilege string) bool {
	if _, ok := p[path][privilege]; ok {
		return true
	}
	if _, ok := p[path]; ok {
		// An ACL on this path takes the place of the inherited ones.
		return false
	}
	for path != "/" && path != "" {
		path = path[:max(strings.LastIndexByte(path, '/'), 0)]
		if path == "" {
			path = "/"
		}
		if privileges, ok := p[path]; ok {
			return privileges[privilege]
		}
	}
	return false
}

// Permissions asks what the client's own token may do.
func (c *Client) Permissions(ctx context.Context) (Permissions, error) {
	// go-proxmox reads the number into a bool and so takes "granted here only"
	// for "denied".
	var raw map[string]map[string]int
	if err := c.get(ctx, "/access/permissions", &raw); err != nil {
		return nil, err
	}
	p := Permissions{}
	for path, privileges := range raw {
		p[path] = map[string]bool{}
		for name, propagates := range privileges {
			p[path][name] = propagates != 0
		}
	}
	return p, nil
}

// PathPermissions asks what the client's own token may do on one path: the
// privileges granted there, with whether they reach deeper paths.
func (c *Client) PathPermissions(ctx context.Context, path string) (map[string]bool, error) {
	var raw map[string]map[string]int
	if err := c.get(ctx, "/access/permissions?path="+url.QueryEscape(path), &raw); err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for name, propagates := range raw[path] {
		out[name] = propagates != 0
	}
	return out, nil
}

// Storages returns every entry of storage.cfg that the token may see; PVE
// leaves out the others without a word. Values are JSON strings and numbers.
// It activates nothing.
func (c *Client) Storages(ctx context.Context) ([]map[string]any, error) {
	var out []map[string]any
	err := c.get(ctx, "/storage", &out)
	return out, err
}

// Storage returns one entry, with the file's "digest". It needs
// Datastore.Allocate on /storage/ID.
func (c *Client) Storage(ctx context.Context, id string) (map[string]any, error) {
	if err := CheckStorageID(id); err != nil {
		return nil, err
	}
	var out map[string]any
	err := c.get(ctx, "/storage/"+id, &out)
	return out, err
}

// CreateStorage adds an entry; props holds "type" and the properties. PVE
// activates the storage unless it is disabled or meant for another node, and
// drops it again when that fails.
func (c *Client) CreateStorage(ctx context.Context, id string, props map[string]string) error {
	if err := CheckStorageID(id); err != nil {
		return err
	}
	body := maps.Clone(props)
	if body == nil {
		body = map[string]string{}
	}
	body["storage"] = id
	// go-proxmox's own method reports an error after success, as it reads the
	// answer as a task ID.
	return unwrap(c.api.Post(ctx, "/storage", body, nil))
}

// UpdateStorage changes properties of an entry; the key "delete" lists those to
// unset. With a digest PVE refuses (ErrChanged) when the file is not the one
// read. Deleting "nodes" widens an entry to every node, so it is refused.
func (c *Client) UpdateStorage(ctx context.Context, id string, props map[string]string, digest string) error {
	if err := CheckStorageID(id); err != nil {
		return err
	}
	for _, name := range splitList(props["delete"]) {
		if name == "nodes" {
			return fmt.Errorf("update storage %s: unsetting nodes would enable it on every node", id)
		}
	}
	body := maps.Clone(props)
	if body == nil {
		body = map[string]string{}
	}
	if digest != "" {
		body["digest"] = digest
	}
	return unwrap(c.api.Put(ctx, "/storage/"+id, body, nil))
}

// DeleteStorage removes an entry, its secrets, its ACLs and its place in pools.
// PVE does not look for guests or jobs that use it, and takes no digest.
func (c *Client) DeleteStorage(ctx context.Context, id string) error {
	if err := CheckStorageID(id); err != nil {
		return err
	}
	// go-proxmox's own method returns a nil task that panics when waited for.
	return unwrap(c.api.Delete(ctx, "/storage/"+id, nil))
}

// DeleteDirectory is the call behind "Destroy" in the panel Disks > Directory.
// labd never removes a storage this way: with cleanupDisks it fails when the
// device is gone, and it can stop half-way. It returns the task's ID; the
// outcome is in the task.
func (c *Client) DeleteDirectory(ctx context.Context, name string, cleanupDisks, cleanupConfig bool) (upid string, err error) {
	if err := CheckStorageID(name); err != nil {
		return "", err
	}
	q := url.Values{"cleanup-disks": {flag(cleanupDisks)}, "cleanup-config": {flag(cleanupConfig)}}
	err = c.api.Delete(ctx, "/nodes/"+c.node+"/disks/directory/"+name+"?"+q.Encode(), &upid)
	return upid, unwrap(err)
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	return unwrap(c.api.Get(ctx, path, into))
}

// unwrap takes the *APIError out of what net/http wrapped around it, which
// would repeat method and address.
func unwrap(err error) error {
	var e *APIError
	if errors.As(err, &e) {
		return e
	}
	if err != nil {
		return fmt.Errorf("reading PVE's answer: %w", err)
	}
	return nil
}
