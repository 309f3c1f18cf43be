package stream

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"labd/internal/frame"
)

// unixPair returns the two ends of a connected unix socket.
func unixPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	a, err = net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b = <-accepted
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	return a, b
}

type outcome struct {
	counts Counts
	err    error
}

// tunnelled returns the caller's and the backend's end of a tunnel, and where its outcome comes.
func tunnelled(t *testing.T, ctx context.Context, early string, drain time.Duration) (caller, backend net.Conn, done <-chan outcome) {
	t.Helper()
	caller, near := unixPair(t)
	far, backend := unixPair(t)
	out := make(chan outcome, 1)
	go func() {
		counts, err := Tunnel(ctx, near, far, io.MultiReader(strings.NewReader(early), near), drain)
		out <- outcome{counts, err}
	}()
	return caller, backend, out
}

func wait(t *testing.T, done <-chan outcome) outcome {
	t.Helper()
	select {
	case o := <-done:
		return o
	case <-time.After(10 * time.Second):
		t.Fatal("the tunnel does not end")
		return outcome{}
	}
}

// docker exec without -i closes its sending half at once; the answer must come all the same.
func TestHalfCloseLeavesTheWayBackOpen(t *testing.T) {
	caller, backend, done := tunnelled(t, t.Context(), "early ", time.Minute)
	if _, err := io.WriteString(caller, "question"); err != nil {
		t.Fatal(err)
	}
	if err := closeWrite(caller); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(backend)
	if err != nil || string(got) != "early question" {
		t.Fatalf("the backend got %q, %v", got, err)
	}
	if _, err := io.WriteString(backend, "answer"); err != nil {
		t.Fatal(err)
	}
	_ = backend.Close()
	got, err = io.ReadAll(caller)
	if err != nil || string(got) != "answer" {
		t.Fatalf("the caller got %q, %v", got, err)
	}
	if o := wait(t, done); o.err != nil || o.counts != (Counts{14, 6}) {
		t.Errorf("%+v", o)
	}
}

// A caller that is killed looks like a half-close to a proxy that only copies: the process behind it would live on.
func TestACallerThatIsGoneEndsTheBackend(t *testing.T) {
	for name, before := range map[string]func(net.Conn){
		"at once":            func(net.Conn) {},
		"after a half-close": func(c net.Conn) { _ = closeWrite(c) },
	} {
		t.Run(name, func(t *testing.T) {
			caller, backend, done := tunnelled(t, t.Context(), "", time.Minute)
			before(caller)
			_ = caller.Close()
			if _, err := io.ReadAll(backend); err != nil {
				t.Error(err)
			}
			if o := wait(t, done); !errors.Is(o.err, errCallerGone) {
				t.Errorf("ended with %v", o.err)
			}
		})
	}
}

func TestTheEndOfTheContextClosesBoth(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	caller, backend, done := tunnelled(t, ctx, "", time.Minute)
	why := errors.New("rights gone")
	cancel(why)
	if o := wait(t, done); !errors.Is(o.err, why) {
		t.Errorf("ended with %v", o.err)
	}
	for name, c := range map[string]net.Conn{"caller": caller, "backend": backend} {
		if _, err := io.ReadAll(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDrainAfterTheBackendsEnd(t *testing.T) {
	_, backend, done := tunnelled(t, t.Context(), "", 10*time.Millisecond)
	_ = backend.Close()
	if o := wait(t, done); o.err != nil {
		t.Errorf("ended with %v", o.err)
	}
}

func TestBytesAreExactBothWays(t *testing.T) {
	caller, backend, done := tunnelled(t, t.Context(), "", time.Minute)
	sent := make([]byte, 8<<20)
	_, _ = rand.Read(sent)
	go func() { // echoes, and passes the end on
		_, _ = io.Copy(backend, backend)
		_ = backend.Close()
	}()
	go func() {
		_, _ = caller.Write(sent)
		_ = closeWrite(caller)
	}()
	got, err := io.ReadAll(caller)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d of %d bytes, %v", len(got), len(sent), err)
	}
	if o := wait(t, done); o.err != nil || o.counts != (Counts{int64(len(sent)), int64(len(sent))}) {
		t.Errorf("%+v", o)
	}
}

func TestNothingIsLeftOfManyStreams(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 100 {
		caller, backend, done := tunnelled(t, t.Context(), "", time.Minute)
		_ = closeWrite(caller)
		_ = caller.Close()
		wait(t, done)
		_ = backend.Close()
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before+2; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
	}
}

// dialTo answers each connection with what answer does.
type dialTo struct {
	t      *testing.T
	answer func(c net.Conn)
}

func (d dialTo) Dial(context.Context) (net.Conn, error) {
	a, b := unixPair(d.t)
	go d.answer(b)
	return a, nil
}

func TestUpgrade(t *testing.T) {
	const switching = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
	for name, test := range map[string]struct {
		answer, want string
		status       int
	}{
		"early data of the daemon": {answer: switching + "hello"},
		"another protocol":         {answer: strings.Replace(switching, "tcp", "h2c", 1), want: `changes to "h2c"`},
		"Docker's own message":     {answer: "HTTP/1.1 404 Not Found\r\nContent-Length: 31\r\n\r\n" + `{"message":"No such exec: abcd"}`, want: "No such exec: abcd", status: 404},
		"plain text":               {answer: "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops", want: "oops", status: 502},
		"200 instead of 101":       {answer: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", want: "200 OK", status: 200},
		"a redirect":               {answer: "HTTP/1.1 301 Moved\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n", want: "301 Moved", status: 301},
		"no HTTP":                  {answer: "SSH-2.0-OpenSSH\r\n", want: "read the answer"},
		"a head without end":       {answer: "HTTP/1.1 101 OK\r\nX: " + strings.Repeat("x", 2*maxHead), want: "has no end"},
		"an endless message":       {answer: "HTTP/1.1 500 No\r\n\r\n" + strings.Repeat("y", 4*maxMessage), want: "yyy", status: 500},
		"silence and the end":      {want: "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			d := dialTo{t, func(c net.Conn) {
				buf := make([]byte, 4096)
				_, _ = c.Read(buf)
				_, _ = io.WriteString(c, test.answer)
				_ = c.Close()
			}}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://docker/exec/x/start", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			conn, err := Upgrade(t.Context(), d, req, "tcp")
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
					t.Errorf("read %q, %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 2*maxMessage {
				t.Fatalf("error %.200v", err)
			}
			var refused *RefusedError
			if errors.As(err, &refused) != (test.status != 0) || refused != nil && refused.Status != test.status {
				t.Errorf("refusal %+v", refused)
			}
		})
	}
}

func TestUpgradeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d := dialTo{t, func(c net.Conn) {
		buf := make([]byte, 4096)
		_, _ = c.Read(buf) // and never answers
		cancel()
	}}
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://docker/exec/x/start", http.NoBody)
	if _, err := Upgrade(ctx, d, req, "tcp"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// framed returns the two ends of the stream of a process, and where its outcome comes.
func framed(t *testing.T, terminal bool) (caller, backend net.Conn, done <-chan outcome) {
	t.Helper()
	caller, near := unixPair(t)
	far, backend := unixPair(t)
	out := make(chan outcome, 1)
	go func() {
		counts, err := Framed(t.Context(), near, far, nil, terminal, func(err error) []byte {
			if err != nil {
				return []byte(err.Error())
			}
			return []byte("ended")
		})
		out <- outcome{counts, err}
	}()
	return caller, backend, out
}

func readFrames(t *testing.T, r io.Reader) string {
	t.Helper()
	var b strings.Builder
	if err := frame.Demux(r, frame.Result, func(id byte, p []byte) error { fmt.Fprintf(&b, "[%d %s]", id, p); return nil }); err != nil {
		t.Error(err)
	}
	return b.String()
}

func TestFramedStreams(t *testing.T) {
	for name, test := range map[string]struct {
		terminal bool
		output   string
		want     string
	}{
		"frames":     {false, "\x01\x00\x00\x00\x00\x00\x00\x03out\x02\x00\x00\x00\x00\x00\x00\x03err", "[1 out][2 err][4 ended]"},
		"a terminal": {true, "raw", "[1 raw][4 ended]"},
		"cut":        {false, "\x01\x00\x00\x00\x00\x00\x00\x09out", "[1 out][4 " + frame.ErrCut.Error() + "]"},
	} {
		t.Run(name, func(t *testing.T) {
			caller, backend, done := framed(t, test.terminal)
			_, _ = io.WriteString(backend, test.output)
			_ = backend.Close()
			if got := readFrames(t, caller); got != test.want {
				t.Errorf("got %s", got)
			}
			_ = caller.Close()
			if o := wait(t, done); o.err != nil {
				t.Error(o.err)
			}
		})
	}
}

// yes | labctl exec … head -1: the process ends while its input goes on.
func TestOutputArrivesThoughTheInputIsNotWanted(t *testing.T) {
	caller, backend, done := framed(t, true)
	flooded := make(chan error, 1)
	go func() {
		var err error
		for line := bytes.Repeat([]byte("y\n"), 4096); err == nil; {
			_, err = caller.Write(line)
		}
		flooded <- err
	}()
	_, _ = io.WriteString(backend, "first")
	_ = backend.Close()
	if got := readFrames(t, caller); got != "[1 first][4 ended]" {
		t.Errorf("got %s", got)
	}
	_ = caller.Close()
	<-flooded
	if o := wait(t, done); o.err != nil {
		t.Error(o.err)
	}
}

// secure makes TLS of a pair of connections.
func secure(t *testing.T, near, far net.Conn) (server, client *tls.Conn) {
	t.Helper()
	pair := httptest.NewUnstartedServer(nil)
	pair.StartTLS()
	defer pair.Close()
	server = tls.Server(near, &tls.Config{Certificates: pair.TLS.Certificates})
	client = tls.Client(far, &tls.Config{InsecureSkipVerify: true}) // who it is, is not what is tested
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	if err := errors.Join(client.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	return server, client
}

// By TLS, too, a caller that only sends no more is told from one that is gone.
func TestACallerByTLSThatIsGone(t *testing.T) {
	caller, near := unixPair(t)
	server, client := secure(t, near, caller)
	far, backend := unixPair(t)
	out := make(chan outcome, 1)
	go func() {
		counts, err := Tunnel(t.Context(), server, far, nil, time.Minute)
		out <- outcome{counts, err}
	}()
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(backend); err != nil || len(got) != 0 {
		t.Fatalf("%q, %v", got, err)
	}
	// It still takes an answer.
	if _, err := io.WriteString(backend, "answer"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 6)
	if _, err := io.ReadFull(client, got); err != nil || string(got) != "answer" {
		t.Fatalf("%q, %v", got, err)
	}
	_ = caller.Close() // as a killed process
	if o := wait(t, out); !errors.Is(o.err, errCallerGone) {
		t.Errorf("ended with %v", o.err)
	}
}
