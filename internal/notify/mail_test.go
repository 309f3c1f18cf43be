package notify

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"labd/internal/finding"
)

// mailServer is a server of as much SMTP as a mail needs, on a port of its own.
type mailServer struct {
	address string
	// answer gives the answer to a command where it is not the usual one: "" leaves it, "hang" says nothing any more.
	answer func(command string) string

	mu       sync.Mutex
	envelope []string
	data     string
}

func startMailServer(t *testing.T, answer func(string) string) *mailServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &mailServer{address: listener.Addr().String(), answer: answer}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { s.session(conn) })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); wg.Wait() })
	return s
}

// session serves one client until it hangs up.
func (s *mailServer) session(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	say := func(command, usual string) bool {
		if other := s.answer(command); other == "hang" {
			_, _ = io.Copy(io.Discard, in)
			return false
		} else if other != "" {
			usual = other
		}
		_, err := fmt.Fprint(conn, usual+"\r\n")
		return err == nil
	}
	if !say("CONNECT", "220 test ESMTP") {
		return
	}
	for {
		command, err := in.ReadString('\n')
		if err != nil {
			return
		}
		command = strings.TrimSpace(command)
		s.mu.Lock()
		s.envelope = append(s.envelope, command)
		s.mu.Unlock()
		usual := "250 ok"
		switch word, _, _ := strings.Cut(strings.ToUpper(command), " "); word {
		case "EHLO":
			usual = "250-test\r\n250 8BITMIME"
		case "DATA":
			if !say("DATA", "354 go on") {
				return
			}
			var text strings.Builder
			for line, err := in.ReadString('\n'); line != ".\r\n"; line, err = in.ReadString('\n') {
				if err != nil {
					return
				}
				text.WriteString(strings.TrimPrefix(line, "."))
			}
			s.mu.Lock()
			s.data = text.String()
			s.mu.Unlock()
			command = "END"
		case "QUIT":
			_ = say(command, "221 bye")
			return
		}
		if !say(command, usual) {
			return
		}
	}
}

func usual(string) string { return "" }

func message() Message {
	return Message{
		Severity: finding.Fail, Node: "pvé1", At: t0, Title: "[labd pvé1] FAIL: storage/pve1/usb1: its disk is gone",
		Body: "FAIL  storage/pve1/usb1\n.\n" + strings.Repeat("ü", 200) + "\n",
	}
}

func TestMail(t *testing.T) {
	s := startMailServer(t, usual)
	target := &Mail{Server: s.address, From: "root", To: []string{"root", "ana@example.org"}}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := target.Notify(ctx, message()); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := strings.Join(s.envelope, "|"); !strings.Contains(got, "EHLO [127.0.0.1]|MAIL FROM:<root> BODY=8BITMIME|RCPT TO:<root>|RCPT TO:<ana@example.org>|DATA|QUIT") {
		t.Errorf("session: %s", got)
	}
	m, err := mail.ReadMessage(strings.NewReader(s.data))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil || subject != message().Title {
		t.Errorf("subject %q, %v", subject, err)
	}
	if date, err := m.Header.Date(); err != nil || !date.Equal(t0) || m.Header.Get("X-Labd-Severity") != "fail" || m.Header.Get("Auto-Submitted") != "auto-generated" {
		t.Errorf("header %v, %v", m.Header, err)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil || strings.ReplaceAll(string(body), "\r\n", "\n") != message().Body {
		t.Errorf("body %q, %v", body, err)
	}
	for line := range strings.Lines(s.data) {
		if len(line) > 1000 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
}

// Whatever the server does, the end comes in time, and the error says what happened.
func TestMailServersThatMisbehave(t *testing.T) {
	at := func(where, what string) func(string) string {
		return func(command string) string {
			if strings.HasPrefix(command, where) {
				return what
			}
			return ""
		}
	}
	for _, tt := range []struct {
		name   string
		answer func(string) string
		want   string
	}{
		{"says nothing at all", at("CONNECT", "hang"), "deadline"},
		{"stops at the sender", at("MAIL", "hang"), "deadline"},
		{"stops after the text", at("END", "hang"), "deadline"},
		{"refuses the sender", at("MAIL", "550 no"), "sender root refused: 550 \"no\""},
		{"refuses the recipient", at("RCPT", "550 unknown"), "recipient root refused: 550 \"unknown\""},
		{"refuses the text", at("END", "554 spam"), `554 "spam"`},
		{"is no mail server", at("CONNECT", "HTTP/1.1 400 Bad Request"), "127.0.0.1"},
		{"talks without end", at("CONNECT", strings.Repeat("220-x\r\n", 20000)), "more than any mail server"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startMailServer(t, tt.answer)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			start := time.Now()
			err := (&Mail{Server: s.address, From: "root", To: []string{"root"}}).Notify(ctx, message())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
	t.Run("goes away while labd stops", func(t *testing.T) {
		s := startMailServer(t, at("MAIL", "hang"))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if err := (&Mail{Server: s.address, From: "root", To: []string{"root"}}).Notify(ctx, message()); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("is not there", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := listener.Addr().String()
		_ = listener.Close()
		if err := (&Mail{Server: address, From: "root", To: []string{"root"}}).Notify(t.Context(), message()); !errors.Is(err, ErrNoServer) {
			t.Errorf("got %v", err)
		}
	})
}
