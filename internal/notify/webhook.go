package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/discord"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/slack"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/telegram"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/gotify"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/ntfy"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"labd/internal/finding"
)

// Bounds of a webhook.
const (
	maxAddressFile = 16 << 10
	maxHTTPAnswer  = 256 << 10
	maxRequests    = 32 // of one message: several chats, or a text in parts
)

// Webhook sends messages to the service that the address in a file names, as shoutrrr writes such addresses. The file is
// read for each message, so that a new secret needs no reload. No error names anything of the address but its scheme.
type Webhook struct {
	File string
	// Transport replaces the way to the service, for tests.
	Transport http.RoundTripper
}

// service is what all services of shoutrrr have.
type service interface {
	Initialize(address *url.URL, logger types.StdLogger) error
	SetHTTPClient(client types.HTTPClient)
	Send(message string, params *types.Params) error
}

// newService returns the service of a scheme, nil for one that labd does not offer.
func newService(scheme string) service {
	switch scheme {
	case "ntfy":
		return &ntfy.Service{}
	case "gotify":
		return &gotify.Service{}
	case "discord":
		return &discord.Service{}
	case "slack":
		return &slack.Service{}
	case "telegram":
		return &telegram.Service{}
	default:
		return nil
	}
}

type noSleep struct{}

func (noSleep) Sleep(time.Duration) {}

// Notify sends a message.
func (w *Webhook) Notify(ctx context.Context, m Message) error {
	address, err := w.address()
	if err != nil {
		return err
	}
	transport := w.Transport
	if transport == nil {
		own := &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
			DisableKeepAlives: true, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: maxHTTPAnswer,
		}
		defer own.CloseIdleConnections()
		transport = own
	}
	client := &strictClient{ctx: ctx, client: &http.Client{
		Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	err = send(newService(address.Scheme), address, client, m)
	switch {
	case client.failure != nil:
		return fmt.Errorf("%s: %w", address.Scheme, client.failure)
	case err != nil && client.requests == 0:
		// What shoutrrr says of an address may quote it.
		return fmt.Errorf("%s: the address in %s is not one that this service understands; see docs/notifications.md", address.Scheme, w.File)
	case err != nil:
		return fmt.Errorf("%s: the service answered something that is not its usual answer", address.Scheme)
	}
	return nil
}

// address reads the file.
func (w *Webhook) address() (*url.URL, error) {
	file, err := os.Open(w.File)
	if err != nil {
		return nil, fmt.Errorf("read the address: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxAddressFile))
	if err != nil {
		return nil, fmt.Errorf("read the address: %w", err)
	}
	address, err := url.Parse(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("the text in %s is not an address; see docs/notifications.md", w.File)
	}
	if newService(address.Scheme) == nil {
		return nil, fmt.Errorf("the address in %s is of none of the services ntfy, gotify, discord, slack, telegram", w.File)
	}
	return address, nil
}

// send hands a message to a service; a panic of it is an error.
func send(s service, address *url.URL, client *strictClient, m Message) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the service's code failed")
		}
	}()
	params := types.Params{types.TitleKey: m.Title}
	if priority := priorities[address.Scheme][m.Severity]; priority != "" && !address.Query().Has("priority") {
		params["priority"] = priority
	}
	if err := s.Initialize(address, log.New(io.Discard, "", 0)); err != nil {
		return err
	}
	if d, ok := s.(*discord.Service); ok {
		d.Sleeper = noSleep{} // between attempts of its own, which strictClient ends at once
	}
	s.SetHTTPClient(client)
	return s.Send(m.Body, &params)
}

// priorities are what the services with a priority call each severity. Info and what is over have the default one.
var priorities = map[string]map[finding.Severity]string{
	"ntfy":   {finding.Warn: "high", finding.Fail: "max"},
	"gotify": {finding.Warn: "6", finding.Fail: "9"},
}

// strictClient does the requests of one message within ctx. After one that failed it does no other, so that nothing
// inside a service tries again on its own.
type strictClient struct {
	ctx      context.Context
	client   *http.Client
	requests int
	failure  error
}

// Do implements types.HTTPClient.
func (c *strictClient) Do(req *http.Request) (*http.Response, error) {
	if c.failure != nil {
		return nil, c.failure
	}
	if c.requests++; c.requests > maxRequests {
		c.failure = fmt.Errorf("one message would take more than %d requests", maxRequests)
		return nil, c.failure
	}
	resp, err := c.client.Do(req.WithContext(c.ctx))
	if err != nil {
		c.failure = plain(c.ctx, err)
		return nil, c.failure
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		c.failure = fmt.Errorf("the service answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxHTTPAnswer), resp.Body}
	return resp, nil
}

// plain is what failed without the address, which holds a secret: an error of net/http names it.
func plain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("no answer in time: %w", ctx.Err())
	}
	var op *net.OpError
	var lookup *net.DNSError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &lookup):
		return errors.New("its name cannot be looked up")
	case isRefused(err):
		return errors.New("connection refused")
	case errors.As(err, &cert):
		return fmt.Errorf("its certificate is not trusted: %w", cert.Err)
	case errors.As(err, &op):
		return fmt.Errorf("%s: %w", op.Op, op.Err)
	default:
		return errors.New("the connection failed")
	}
}

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
