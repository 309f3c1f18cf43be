package pve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// CallerAPI asks PVE with the credential of whoever calls labd. It is not go-proxmox's client: that one is made for one
// credential and logs in again by itself when PVE refuses it. No connection is kept for another caller's credential to
// be mistaken on, and no answer is followed elsewhere.
type CallerAPI struct {
	base   string
	client *http.Client
}

// NewCallerAPI makes a CallerAPI of the address and the CA in c; it does not connect yet.
func NewCallerAPI(c ClientConfig) (*CallerAPI, error) {
	base, err := url.Parse(c.BaseURL)
	if err != nil || base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("PVE API address %q: want https://HOST:PORT", c.BaseURL)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.CA) {
		return nil, errors.New("PVE API: the CA file holds no PEM certificate; PVE's own is /etc/pve/pve-root-ca.pem")
	}
	if c.DialTimeout <= 0 {
		c.DialTimeout = defaultDialTimeout
	}
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	prefix := strings.TrimRight(base.Path, "/") + apiPath
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: c.ServerName, MinVersion: tls.VersionTLS12},
		// HTTP/2 has no reason phrase, in which PVE puts its messages.
		TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{},
		DialContext:         (&net.Dialer{Timeout: c.DialTimeout}).DialContext,
		TLSHandshakeTimeout: c.DialTimeout,
		MaxIdleConns:        8, MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second,
	}
	return &CallerAPI{
		base: base.Scheme + "://" + base.Host + prefix,
		client: &http.Client{
			Transport:     &closer{&strictTransport{next: transport, prefix: prefix, timeout: c.Timeout, limit: callerAnswer}, transport},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// closer lets http.Client reach the idle connections below a wrapped transport.
type closer struct {
	http.RoundTripper
	below *http.Transport
}

// CloseIdleConnections closes them.
func (c *closer) CloseIdleConnections() { c.below.CloseIdleConnections() }

// Close drops idle connections.
func (a *CallerAPI) Close() { a.client.CloseIdleConnections() }

// callerAnswer is the most that is read of an answer, in bytes.
const callerAnswer = 1 << 20

// Permissions returns the privileges that a credential holds on one path, sorted; show puts the credential into the
// request's headers. A privilege that is present is granted on the path itself, whatever its value, which says how far it
// reaches (PVE::RPCEnvironment, permissions). It fails with an *APIError, ErrUnauthenticated where PVE does not accept the
// credential.
func (a *CallerAPI) Permissions(ctx context.Context, show func(http.Header), path string) ([]string, error) {
	var raw map[string]map[string]int
	if err := a.get(ctx, show, "/access/permissions?path="+url.QueryEscape(path), &raw); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(raw[path])), nil
}

func (a *CallerAPI) get(ctx context.Context, show func(http.Header), path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+path, http.NoBody)
	if err != nil {
		return err
	}
	show(req.Header)
	resp, err := a.client.Do(req)
	if err != nil {
		return unwrap(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read PVE's answer to %s: %w", path, err)
	}
	answer := struct{ Data any }{into}
	if err := json.Unmarshal(data, &answer); err != nil {
		return fmt.Errorf("PVE's answer to %s is not PVE's: %w", path, err)
	}
	return nil
}
