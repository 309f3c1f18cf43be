package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"labd/internal/frame"
)

// Docker asks one daemon, a connection for each request: none is kept, so none can be mistaken for another's. The paths
// are Docker's without a version, which Docker and Podman answer in their own newest one.
type Docker struct{ To Dialer }

// Limits on a daemon's plain answers.
const (
	plainTime = 10 * time.Second
	maxPlain  = 1 << 20
	// exitTime is how long the exit code of a process that ended may take: Docker says Running for a moment longer.
	exitTime = 2 * time.Second
)

// Size is a terminal's, in characters.
type Size struct{ Rows, Columns uint16 }

// Exec is a command to run in a container.
type Exec struct {
	Command       []string
	TTY, Stdin    bool
	User, WorkDir string
	Env           []string
	Size          Size
}

// execConfig is Docker's body of POST /containers/ID/exec (API 1.24 to 1.52).
type execConfig struct {
	AttachStdin, AttachStdout, AttachStderr, Tty bool
	Cmd, Env                                     []string
	User, WorkingDir                             string
	ConsoleSize                                  *[2]uint16 `json:",omitempty"` // rows, columns; since API 1.42
}

// CreateExec makes an exec of a container, which does not run yet, and returns Docker's id of it.
func (d Docker) CreateExec(ctx context.Context, container string, e Exec) (string, error) {
	body := execConfig{
		AttachStdin: e.Stdin, AttachStdout: true, AttachStderr: !e.TTY, Tty: e.TTY, Cmd: e.Command, Env: e.Env, User: e.User, WorkingDir: e.WorkDir,
	}
	if e.TTY && e.Size != (Size{}) {
		body.ConsoleSize = &[2]uint16{e.Size.Rows, e.Size.Columns}
	}
	var made struct{ ID string }
	if err := d.ask(ctx, http.MethodPost, "/containers/"+url.PathEscape(container)+"/exec", body, &made); err != nil {
		return "", err
	}
	if made.ID == "" {
		return "", errors.New("docker made an exec without an id")
	}
	return made.ID, nil
}

// StartExec runs an exec and returns its stream: frames, or raw bytes of a terminal.
func (d Docker) StartExec(ctx context.Context, id string, e Exec) (*Conn, error) {
	body, err := json.Marshal(struct{ Detach, Tty bool }{false, e.TTY})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://docker/exec/"+url.PathEscape(id)+"/start", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return Upgrade(ctx, d.To, req, "tcp")
}

// ResizeExec tells the terminal of an exec that runs its size. Docker lets a resize before the start wait for 10 s.
func (d Docker) ResizeExec(ctx context.Context, id string, s Size) error {
	q := url.Values{"h": {strconv.Itoa(int(s.Rows))}, "w": {strconv.Itoa(int(s.Columns))}}
	return d.ask(ctx, http.MethodPost, "/exec/"+url.PathEscape(id)+"/resize?"+q.Encode(), nil, nil)
}

// ErrStillRuns says that a stream ended while its process runs on.
var ErrStillRuns = errors.New("its output ended, but the process still runs")

// ExitCode returns the exit code of an exec whose stream has ended. It fails with ErrStillRuns.
func (d Docker) ExitCode(ctx context.Context, id string) (int, error) {
	deadline := time.Now().Add(exitTime)
	for pause := 5 * time.Millisecond; ; pause *= 2 {
		var state struct {
			Running  bool
			ExitCode *int
		}
		if err := d.ask(ctx, http.MethodGet, "/exec/"+url.PathEscape(id)+"/json", nil, &state); err != nil {
			return 0, err
		}
		if !state.Running && state.ExitCode != nil {
			return *state.ExitCode, nil
		}
		if time.Now().Add(pause).After(deadline) {
			return 0, ErrStillRuns
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// LogOptions choose what of a container's log is wanted. Since and Tail are in Docker's words: a Unix time, a number of
// lines or "all"; "" leaves them out.
type LogOptions struct {
	Follow, Timestamps bool
	Since, Tail        string
}

// Logs gives the log of a container to sink, piece by piece, until it ends or ctx does.
func (d Docker) Logs(ctx context.Context, container string, o LogOptions, sink func(id byte, p []byte) error) error {
	tty, err := d.hasTTY(ctx, container)
	if err != nil {
		return err
	}
	q := url.Values{"stdout": {"1"}, "stderr": {"1"}}
	for key, on := range map[string]bool{"follow": o.Follow, "timestamps": o.Timestamps} {
		if on {
			q.Set(key, "1")
		}
	}
	for key, value := range map[string]string{"since": o.Since, "tail": o.Tail} {
		if value != "" {
			q.Set(key, value)
		}
	}
	resp, err := d.send(ctx, http.MethodGet, "/containers/"+url.PathEscape(container)+"/logs?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refusal(resp)
	}
	if tty {
		return frame.Raw(resp.Body, sink)
	}
	return frame.Demux(resp.Body, frame.SystemError, sink)
}

// hasTTY reports whether a container's output is a terminal's: it then has no frames. The content type tells it only
// since API 1.42.
func (d Docker) hasTTY(ctx context.Context, container string) (bool, error) {
	var state struct{ Config struct{ Tty bool } }
	err := d.ask(ctx, http.MethodGet, "/containers/"+url.PathEscape(container)+"/json", nil, &state)
	return state.Config.Tty, err
}

// ask sends a request whose answer is short.
func (d Docker) ask(ctx context.Context, method, path string, body, out any) error {
	ctx, cancel := context.WithTimeout(ctx, plainTime)
	defer cancel()
	resp, err := d.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusMultipleChoices {
		return refusal(resp)
	}
	if out == nil {
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxPlain+1))
	if err != nil {
		return fmt.Errorf("read Docker's answer to %s: %w", path, err)
	}
	if len(data) > maxPlain {
		return fmt.Errorf("docker's answer to %s is larger than %d bytes", path, maxPlain)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("docker's answer to %s is not Docker's: %w", path, err)
	}
	return nil
}

func (d Docker) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var content io.Reader = http.NoBody
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, content)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return d.To.Dial(ctx) },
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHead, ResponseHeaderTimeout: headTime,
	}
	return transport.RoundTrip(req)
}
