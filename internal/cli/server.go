package cli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"

	apiv1 "labd/api/v1"
)

// pveAuthority is PVE's own certificate authority, on a host of the cluster.
const pveAuthority = "/etc/pve/pve-root-ca.pem"

// connectServer returns a client of a labd elsewhere, which shows the caller's API token. The certificate must come from
// the authority that is named, from PVE's where this is a host of the cluster, or from one that the system trusts.
func (a *app) connectServer() (*client, error) {
	base, err := url.Parse(a.flags.server)
	if err != nil || base.Scheme != "https" || base.Host == "" || base.User != nil || strings.Trim(base.Path, "/") != "" || base.RawQuery != "" {
		return nil, usageError("--server %q is no address such as https://pve1:9718", a.flags.server)
	}
	if base.Port() == "" {
		base.Host += ":9718"
	}
	token, err := readTokenFile(a.flags.tokenFile)
	if err != nil {
		return nil, err
	}
	roots, err := authority(a.flags.caFile)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		// A stream takes its connection over, which HTTP/2 has no way for.
		TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{},
		TLSHandshakeTimeout: a.flags.timeout, DisableCompression: true,
	}
	shown := &withToken{next: transport, token: token, host: base.Host}
	return &client{
		http: &http.Client{Transport: shown, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		base: "https://" + base.Host, timeout: a.flags.timeout, changeTimeout: a.changeTimeout(), close: transport.CloseIdleConnections,
	}, nil
}

// withToken shows a token to one host and to no other.
type withToken struct {
	next        http.RoundTripper
	token, host string
}

// RoundTrip adds the token.
func (t *withToken) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" || req.URL.Host != t.host {
		return nil, fmt.Errorf("%s is not the server that the token is for", req.URL.Host)
	}
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "PVEAPIToken="+t.token)
	return t.next.RoundTrip(req)
}

// readTokenFile reads a token that nobody else may read.
func readTokenFile(file string) (string, error) {
	if file == "" {
		return "", usageError("--server wants --token-file FILE, with your PVE API token in one line")
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("read the API token: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", &Error{apiv1.ErrorUsage, fmt.Sprintf("the API token in %s can be read by others (mode %04o)", file, info.Mode().Perm()), "chmod 600 " + file}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the API token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	id, secret, ok := strings.Cut(token, "=")
	if !ok || secret == "" || !strings.Contains(id, "@") || !strings.Contains(id, "!") || strings.ContainsAny(token, " \t\r\n") {
		return "", usageError("%s holds no PVE API token: one line user@realm!name=secret", file)
	}
	return token, nil
}

// authority returns what certificates must come from; nil stands for what the system trusts.
func authority(file string) (*x509.CertPool, error) {
	named := file != ""
	if !named {
		file = pveAuthority
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && !named || errors.Is(err, fs.ErrPermission) && !named {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the certificate authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !named {
		// A node may show a certificate of a public authority in place of PVE's.
		if system, err := x509.SystemCertPool(); err == nil {
			roots = system
		}
	}
	if !roots.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s holds no certificate authority", file)
	}
	return roots, nil
}
