package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	apiv1 "labd/api/v1"
	"labd/internal/frame"
)

// target is a Docker container in an LXC container.
type target struct{ ct, container string }

// targetHelp says how a TARGET is written.
const targetHelp = `TARGET is CT/CONTAINER: the LXC container by its id or host name, the Docker container by its name, by
PROJECT/SERVICE of compose, or by at least 12 digits of its id. labctl tree lists them.`

// parseTarget reads CT/CONTAINER.
func parseTarget(text string) (target, error) {
	ct, container, ok := strings.Cut(text, "/")
	if !ok || ct == "" || container == "" {
		return target{}, usageError("%q is no TARGET: write CT/CONTAINER, such as 101/web", text)
	}
	return target{ct, container}, nil
}

func (t target) String() string { return t.ct + "/" + t.container }

// path is the path of what is asked of the container.
func (t target) path(what string) string {
	return "/v1/containers/" + url.PathEscape(t.ct) + "/" + url.PathEscape(t.container) + "/" + what
}

// duplex is an upgraded connection.
type duplex interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// upgrade opens a stream. Its end is the caller's to close; ctx ends it too.
func (c *client) upgrade(ctx context.Context, path, protocol string) (duplex, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", protocol)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		return nil, refusedStream(resp, path)
	}
	conn, ok := resp.Body.(duplex)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the answer to %s is no stream", path), resp.Body.Close())
	}
	return conn, nil
}

// refusedStream is the error of an answer that opens no stream.
func refusedStream(resp *http.Response, path string) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer to %s: %w", path, err)
	}
	var e apiv1.ErrorBody
	if json.Unmarshal(data, &e) != nil || e.Error.Code == "" {
		return fmt.Errorf("labd answered %s to %s", resp.Status, path)
	}
	return &Error{e.Error.Code, e.Error.Message, e.Error.Hint}
}

// errStreamCut says that a stream ended without its last frame.
var errStreamCut = &Error{apiv1.ErrorUnreachable, "the stream was cut: labd or the way to it ended", "a command in the container may still run; labctl exec TARGET -- ps shows it"}

// readStream gives the output of a stream to out and errOut, and returns its last frame.
func readStream(r io.Reader, out, errOut io.Writer) (apiv1.ExecResult, error) {
	var last []byte
	err := frame.Demux(r, frame.Result, func(id byte, p []byte) error {
		var err error
		switch id {
		case frame.Result:
			last = append(last, p...)
		case frame.Stderr:
			_, err = errOut.Write(p)
		default:
			_, err = out.Write(p)
		}
		return err
	})
	if err != nil && last == nil {
		if errors.Is(err, frame.ErrCut) {
			return apiv1.ExecResult{}, errStreamCut
		}
		return apiv1.ExecResult{}, err
	}
	var result apiv1.ExecResult
	if last == nil || json.Unmarshal(last, &result) != nil {
		return apiv1.ExecResult{}, errStreamCut
	}
	return result, nil
}
