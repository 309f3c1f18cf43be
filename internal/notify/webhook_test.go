package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// webServer is a service that keeps what it is sent.
type webServer struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string // method, path and headers, then the body
	bodies   []string
}

func startWebServer(t *testing.T, answer http.HandlerFunc) *webServer {
	t.Helper()
	s := &webServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.requests = append(s.requests, fmt.Sprintf("%s %s%s title=%q priority=%q auth=%q", r.Method, r.Host, r.URL.Path, r.Header.Get("Title"), r.Header.Get("Priority"), r.Header.Get("Authorization")))
		s.bodies = append(s.bodies, string(body))
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// here leads every request to one server, whatever its name.
type here struct{ address string }

func (h here) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Host, r.URL.Scheme, r.URL.Host = r.URL.Host, "http", h.address
	return http.DefaultTransport.RoundTrip(r)
}

// Secrets in the addresses; none may appear in an error.
const (
	botToken = "123456789:AAF4dLtj-secret0secret1secret2secret33"
	password = "s3cr3t-pass"
	hook     = "dG9rZW4tc2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldC1zZWNyZXQ"
)

// services are an address of each, and what its service answers.
var services = []struct{ name, address, answer, request, body string }{
	{"ntfy", "ntfy://ana:" + password + "@ntfy.example.org/labd-topic", `{"id":"x"}`, `POST ntfy.example.org/labd-topic title="[labd pvé1] FAIL: storage/pve1/usb1: its disk is gone" priority="Max" auth="Basic `, "FAIL  storage/pve1/usb1"},
	{"gotify", "gotify://gotify.example.org/AzyoeNS.D4iJLVa", `{"id":1}`, `POST gotify.example.org/message`, `"priority": 9`},
	{"discord", "discord://" + hook + "@1234567890", ``, `POST discord.com/api/webhooks/1234567890/` + hook, "its disk is gone"},
	{"slack", "slack://hook:A1B2C3D4E-F5G6H7I8J-KLMNOPQRSTUVWXYZ01234567@webhook", `ok`, `POST hooks.slack.com/services/A1B2C3D4E/F5G6H7I8J/KLMNOPQRSTUVWXYZ01234567`, "its disk is gone"},
	{"telegram", "telegram://" + botToken + "@telegram?chats=42", `{"ok":true,"result":{"message_id":1}}`, `POST api.telegram.org/bot` + botToken + `/sendMessage`, `"chat_id": "42"`},
}

func writeAddress(t *testing.T, address string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "phone.url")
	if err := os.WriteFile(file, []byte(address+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func checkNoSecret(t *testing.T, err error) {
	t.Helper()
	for _, secret := range []string{botToken, password, hook, "AzyoeNS", "KLMNOPQ", "labd-topic", "F5G6H7I8J"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error holds a secret: %v", err)
		}
	}
}

func TestWebhooks(t *testing.T) {
	for _, tt := range services {
		t.Run(tt.name, func(t *testing.T) {
			s := startWebServer(t, func(w http.ResponseWriter, _ *http.Request) {
				if tt.answer == "" {
					w.WriteHeader(http.StatusNoContent)
				}
				_, _ = io.WriteString(w, tt.answer)
			})
			w := &Webhook{File: writeAddress(t, tt.address), Transport: here{s.Listener.Addr().String()}}
			if err := w.Notify(t.Context(), message()); err != nil {
				t.Fatal(err)
			}
			if len(s.requests) != 1 || !strings.HasPrefix(s.requests[0], tt.request) || !strings.Contains(s.bodies[0], tt.body) {
				t.Errorf("requests %q\nbodies %q", s.requests, s.bodies)
			}
		})
		for name, answer := range map[string]http.HandlerFunc{
			"refuses": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, botToken+password, http.StatusForbidden) },
			"is busy": func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "3600")
				w.WriteHeader(http.StatusTooManyRequests)
			},
			"breaks": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
			"leads elsewhere": func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://127.0.0.1:1/"+password, http.StatusTemporaryRedirect)
			},
			"answers something": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", 1<<20)) },
		} {
			t.Run(tt.name+" "+name, func(t *testing.T) {
				s := startWebServer(t, answer)
				w := &Webhook{File: writeAddress(t, tt.address), Transport: here{s.Listener.Addr().String()}}
				start := time.Now()
				err := w.Notify(t.Context(), message())
				if took := time.Since(start); took > 10*time.Second {
					t.Errorf("took %s", took)
				}
				// A service may take an odd answer with status 200 for a yes.
				if err == nil && name == "answers something" {
					return
				}
				if err == nil {
					t.Fatal("no error")
				}
				checkNoSecret(t, err)
				if len(s.requests) != 1 {
					t.Errorf("%d requests: nothing but labd's own back-off may try again", len(s.requests))
				}
			})
		}
	}
}

// A service that never answers costs no more than the deadline.
func TestWebhookThatNeverAnswers(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // connections are made by the kernel, and nobody accepts them
	for _, tt := range services {
		t.Run(tt.name, func(t *testing.T) {
			w := &Webhook{File: writeAddress(t, tt.address), Transport: here{listener.Addr().String()}}
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			start := time.Now()
			err := w.Notify(ctx, message())
			if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > 10*time.Second {
				t.Errorf("%v after %s", err, took)
			}
			checkNoSecret(t, err)
		})
	}
}

// The address decides about TLS; a certificate that nobody vouches for is refused, also where the address says otherwise.
func TestWebhookCertificate(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	address := strings.TrimPrefix(s.URL, "https://")
	for _, url := range []string{"ntfy://" + address + "/labd-topic", "ntfy://" + address + "/labd-topic?disabletlsverification=yes", "gotify://" + address + "/AzyoeNS.D4iJLVa?insecureskipverify=yes"} {
		err := (&Webhook{File: writeAddress(t, url)}).Notify(t.Context(), message())
		if err == nil || !strings.Contains(err.Error(), "certificate is not trusted") {
			t.Errorf("%s: %v", url, err)
			continue
		}
		checkNoSecret(t, err)
	}
	plain := startWebServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	if err := (&Webhook{File: writeAddress(t, "ntfy://"+plain.Listener.Addr().String()+"/labd-topic?disabletls=yes")}).Notify(t.Context(), message()); err != nil {
		t.Errorf("without TLS: %v", err)
	}
}

func TestWebhookAddresses(t *testing.T) {
	for _, text := range []string{
		"", "not an address " + password, "https://hooks.example.org/" + password, "telegram://" + password, "slack://" + hook, "discord://" + password,
		"gotify://", "ntfy://", "ntfy://host/topic?nonsense=" + password, "smtp://u:" + password + "@h/", "\x00", "ntfy://[::1/" + password,
	} {
		err := (&Webhook{File: writeAddress(t, text), Transport: here{"127.0.0.1:1"}}).Notify(t.Context(), message())
		if err == nil {
			t.Errorf("%q: no error", text)
			continue
		}
		checkNoSecret(t, err)
	}
	if err := (&Webhook{File: "/nonexistent/phone.url"}).Notify(t.Context(), message()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func FuzzWebhookAddress(f *testing.F) {
	for _, s := range services {
		f.Add(s.address)
	}
	f.Fuzz(func(t *testing.T, address string) {
		file := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(file, []byte(address), 0o600); err != nil {
			t.Fatal(err)
		}
		// Must not panic, nor reach anything.
		_ = (&Webhook{File: file, Transport: here{"127.0.0.1:1"}}).Notify(t.Context(), message())
	})
}

func TestPolicy(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Policy)
		want   string
	}{
		{"default", func(*Policy) {}, ""},
		{"no mail", func(p *Policy) { p.MailTo = nil }, ""},
		{"line end in an address", func(p *Policy) { p.MailTo = []string{"root\r\nBcc: x"} }, "mail_to"},
		{"no sender", func(p *Policy) { p.MailFrom = "" }, "mail_from"},
		{"server without a port", func(p *Policy) { p.MailServer = "mail" }, "mail_server"},
		{"relative file", func(p *Policy) { p.WebhookFiles = []string{"phone"} }, "absolute"},
		{"one name twice", func(p *Policy) { p.WebhookFiles = []string{"/a/phone.url", "/b/phone"} }, "phone"},
		{"a webhook named mail", func(p *Policy) { p.WebhookFiles = []string{"/a/mail.url"} }, "mail"},
		{"severity", func(p *Policy) { p.MinSeverity = "error" }, "min_severity"},
		{"grace", func(p *Policy) { p.Grace = -1 }, "grace"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := DefaultPolicy()
			tt.change(&p)
			if err := p.Validate(); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
