package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	apiv1 "labd/api/v1"
)

// DefaultSocket is where a running labd answers.
const DefaultSocket = "/run/labd/labd.sock"

// maxAnswer is the most that is read of one answer, in bytes.
const maxAnswer = 64 << 20

// client talks to one labd.
type client struct {
	http *http.Client
	// base is scheme and host of what is asked.
	base   string
	socket string
	// wait is shown while an answer is waited for; nil shows nothing.
	wait    func(ctx context.Context) (stop func())
	timeout time.Duration
	// changeTimeout is the timeout of requests that change something; zero waits as long as the daemon works.
	changeTimeout time.Duration
	close         func()
}

func newClient(socket string, timeout, changeTimeout time.Duration) *client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
		DisableCompression: true,
	}
	return &client{http: &http.Client{Transport: transport}, base: "http://labd", socket: socket, timeout: timeout, changeTimeout: changeTimeout, close: transport.CloseIdleConnections}
}

// absent says that no daemon is there, as opposed to one that does not answer.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// connect finds the labd to talk to: the running one, or a private one when there is none, or when the user asks.
func (a *app) connect(ctx context.Context) (*client, error) {
	if a.flags.server != "" {
		return a.connectServer()
	}
	if a.flags.local || a.flags.config != "" {
		return a.startPrivate(ctx)
	}
	conn, err := (&net.Dialer{Timeout: a.flags.timeout}).DialContext(ctx, "unix", a.flags.socket)
	if err == nil {
		_ = conn.Close()
		c := newClient(a.flags.socket, a.flags.timeout, a.changeTimeout())
		c.wait = a.signOfLife
		return c, nil
	}
	if a.anyUser && (absent(err) || errors.Is(err, fs.ErrPermission)) {
		return a.startPrivate(ctx)
	}
	if !absent(err) {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, &Error{apiv1.ErrorUnreachable, fmt.Sprintf("no labd answers at %s, and only root may start one for this command", a.flags.socket), "systemctl start labd, or run labctl as root"}
	}
	if !a.flags.quiet {
		a.complain("labctl: ", "no labd is running; one is started for this command only")
	}
	return a.startPrivate(ctx)
}

func (c *client) get(ctx context.Context, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return c.do(ctx, http.MethodGet, path, nil, out)
}

// post sends a request that changes nothing.
func (c *client) post(ctx context.Context, path string, body, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return c.do(ctx, http.MethodPost, path, body, out)
}

// change sends a request that changes something. It waits for the end, since a change that has begun goes on anyway.
func (c *client) change(ctx context.Context, path string, body, out any) error {
	if c.changeTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.changeTimeout)
		defer cancel()
	}
	return c.do(ctx, http.MethodPost, path, body, out)
}

func (c *client) do(ctx context.Context, method, path string, body, out any) error {
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode request %s: %w", path, err)
		}
		reader = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, reader)
	if err != nil {
		return err
	}
	stop := func() {}
	if c.wait != nil {
		stop = c.wait(ctx)
	}
	defer stop()
	resp, err := c.http.Do(req)
	if err != nil {
		return c.silence(ctx, method, path, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return c.silence(ctx, method, path, err)
	}
	stop()
	if resp.StatusCode >= http.StatusBadRequest {
		var e apiv1.ErrorBody
		if json.Unmarshal(data, &e) != nil || e.Error.Code == "" {
			return fmt.Errorf("labd answered %s to %s", resp.Status, path)
		}
		return &Error{e.Error.Code, e.Error.Message, e.Error.Hint}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("decode the answer to %s: %w", path, err)
	}
	return nil
}

// silence is the error of a request that labd did not answer: who did not, what was asked, and for how long.
func (c *client) silence(ctx context.Context, method, path string, err error) error {
	path, _, _ = strings.Cut(path, "?")
	var wait *url.Error
	if errors.As(err, &wait) {
		err = wait.Err // without the address that only the transport needs
	}
	who := fmt.Sprintf("labd at %s did not answer %s %s", c.socket, method, path)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{apiv1.ErrorUnreachable, fmt.Sprintf("%s within %s", who, c.timeout), "journalctl -u labd says what it waits for; --timeout 2m waits longer"}
	case errors.Is(err, fs.ErrPermission):
		return err
	default:
		return &Error{apiv1.ErrorUnreachable, fmt.Sprintf("%s: %v", who, err), "systemctl status labd"}
	}
}
