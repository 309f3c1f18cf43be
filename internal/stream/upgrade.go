package stream

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Limits on the answer to an upgrade.
const (
	// headTime is how long a daemon may take for the head of its answer, in which a process may have to be started.
	headTime = 10 * time.Second
	maxHead  = 64 << 10
	// maxMessage is the most that is read of a refusal, in bytes.
	maxMessage = 64 << 10
)

// Dialer opens one connection, and makes sure of who listens.
type Dialer interface {
	Dial(ctx context.Context) (net.Conn, error)
}

// RefusedError says that an upgrade was answered with something else than 101, in the words of whoever answered.
type RefusedError struct {
	Status  int
	Message string
}

func (e *RefusedError) Error() string { return e.Message }

// Conn is an upgraded connection. What the other side sent right behind its head is read first.
type Conn struct {
	net.Conn
	early io.Reader
}

func (c *Conn) Read(p []byte) (int, error) { return c.early.Read(p) }

// CloseWrite tells the other side that nothing more comes, and leaves the way back open.
func (c *Conn) CloseWrite() error { return closeWrite(c.Conn) }

// Upgrade sends req, whose path and headers are the caller's, over a connection of its own, and returns that connection
// once the other side has changed to protocol. Any other answer is a *RefusedError. The connection outlives ctx, which
// bounds the upgrade alone.
func Upgrade(ctx context.Context, to Dialer, req *http.Request, protocol string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, headTime)
	defer cancel()
	conn, err := to.Dial(ctx)
	if err != nil {
		return nil, err
	}
	upgraded, err := upgrade(ctx, conn, req, protocol)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return upgraded, nil
}

func upgrade(ctx context.Context, conn net.Conn, req *http.Request, protocol string) (*Conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", protocol)
	if err := req.Write(conn); err != nil {
		return nil, fmt.Errorf("ask for an upgrade to %s: %w", protocol, errors.Join(err, ctx.Err()))
	}
	// The head is read through a limit that is lifted when it is over: what follows it is the stream.
	head := &io.LimitedReader{R: conn, N: maxHead}
	reader := bufio.NewReader(head)
	resp, err := http.ReadResponse(reader, req)
	if err != nil {
		if head.N <= 0 {
			err = errors.New("the head of the answer has no end")
		}
		return nil, fmt.Errorf("read the answer to an upgrade to %s: %w", protocol, errors.Join(err, ctx.Err()))
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		head.N = maxMessage
		defer resp.Body.Close()
		return nil, refusal(resp)
	}
	if got := resp.Header.Get("Upgrade"); !strings.EqualFold(got, protocol) {
		return nil, fmt.Errorf("asked for an upgrade to %s, the answer changes to %q", protocol, got)
	}
	if !stop() {
		return nil, ctx.Err()
	}
	early, err := reader.Peek(reader.Buffered())
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: conn, early: io.MultiReader(strings.NewReader(string(early)), conn)}, nil
}

// refusal takes the message out of an answer: Docker's form {"message": …}, labd's {"error":{"message": …}}, or text.
func refusal(resp *http.Response) *RefusedError {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
	var form struct {
		Message string `json:"message"`
		Error   struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	text := strings.TrimSpace(string(body))
	if json.Unmarshal(body, &form) == nil && form.Message+form.Error.Message != "" {
		text = form.Message + form.Error.Message
	}
	if text == "" {
		text = resp.Status
	}
	return &RefusedError{Status: resp.StatusCode, Message: text}
}

// closeWrite closes the sending half where the kind of connection can, else nothing.
func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
