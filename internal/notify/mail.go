package notify

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/smtp"
	"net/textproto"
	"os"
	"strings"
	"time"

	"labd/internal/finding"
)

// maxReply is the most that is read of all that a mail server says in one session, in bytes.
const maxReply = 64 << 10

// Mail sends messages by SMTP (RFC 5321). labd has no sendmail: its sandbox would not let that work.
type Mail struct {
	// Server is the host and port of the mail server.
	Server string
	From   string
	To     []string
	// TLS replaces the settings for STARTTLS, for tests.
	TLS *tls.Config
}

// ErrNoServer says that nothing listens where the mail server should be.
var ErrNoServer = errors.New("no mail server listens there")

// Notify hands a message to the mail server. Every word of the session must come before ctx ends.
func (m *Mail) Notify(ctx context.Context, msg Message) error {
	host, _, err := net.SplitHostPort(m.Server)
	if err != nil {
		return fmt.Errorf("mail by %s: %w", m.Server, err)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.Server)
	if err != nil {
		if isRefused(err) {
			err = ErrNoServer
		}
		return fmt.Errorf("mail by %s: %w", m.Server, err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return fmt.Errorf("mail by %s: %w", m.Server, err)
		}
	}
	// A cancelled ctx ends the session at once.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := m.session(&boundedConn{Conn: conn, left: maxReply}, host, msg); err != nil {
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
		case ctx.Err() != nil:
			err = fmt.Errorf("no answer in time: %w", ctx.Err())
		}
		return fmt.Errorf("mail by %s: %w", m.Server, err)
	}
	return nil
}

func (m *Mail) session(conn net.Conn, host string, msg Message) error {
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	// An address literal is right for a host whose name nobody can look up (RFC 5321, section 4.1.3).
	if err := c.Hello(literal(conn.LocalAddr())); err != nil {
		return err
	}
	if ok, _ := c.Extension("STARTTLS"); ok && !isLoopback(conn.RemoteAddr()) || ok && m.TLS != nil {
		settings := m.TLS
		if settings == nil {
			settings = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
		}
		if err := c.StartTLS(settings); err != nil {
			return fmt.Errorf("start TLS: %w", err)
		}
	}
	if err := c.Mail(m.From); err != nil {
		return fmt.Errorf("sender %s refused: %w", m.From, err)
	}
	for _, to := range m.To {
		if err := c.Rcpt(to); err != nil {
			return fmt.Errorf("recipient %s refused: %w", to, err)
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	text, err := m.text(msg)
	if err != nil {
		return errors.Join(err, w.Close())
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	// The message is accepted; a server that does not say goodbye properly changes nothing about that.
	_ = c.Quit()
	return nil
}

// text is the message with its header (RFC 5322).
func (m *Mail) text(msg Message) ([]byte, error) {
	var id [12]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	to := strings.Join(m.To, ", ")
	var b bytes.Buffer
	for _, field := range [][2]string{
		{"From", mime.QEncoding.Encode("utf-8", "labd on "+msg.Node) + " <" + m.From + ">"},
		{"To", to},
		{"Subject", mime.QEncoding.Encode("utf-8", msg.Title)},
		{"Date", msg.At.Format(time.RFC1123Z)},
		{"Message-ID", "<" + hex.EncodeToString(id[:]) + "@labd.invalid>"},
		{"Auto-Submitted", "auto-generated"},
		{"X-Labd-Severity", severityWord(msg.Severity)},
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", textproto.CanonicalMIMEHeaderKey(field[0]), field[1])
	}
	b.WriteString("\r\n")
	body := quotedprintable.NewWriter(&b)
	if _, err := io.WriteString(body, msg.Body); err != nil {
		return nil, err
	}
	if err := body.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func severityWord(s finding.Severity) string {
	if s == 0 {
		return "over"
	}
	return s.String()
}

// boundedConn gives up on a server that talks without end.
type boundedConn struct {
	net.Conn
	left int
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.New("the server says more than any mail server has to say")
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

func literal(addr net.Addr) string {
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "localhost"
	}
	if strings.Contains(host, ":") {
		return "[IPv6:" + host + "]"
	}
	return "[" + host + "]"
}

func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
