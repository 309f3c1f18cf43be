package pve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"labd/internal/host"
)

// Runner runs a program of the host to its end; *host.Host does.
type Runner interface {
	Run(ctx context.Context, c host.Cmd) ([]byte, error)
}

// shellBase is the address in requests that pvesh answers; nothing ever connects to it.
const shellBase = "https://pvesh"

// shellTransport answers requests to PVE's API by running pvesh, PVE's own
// front to the same handlers. It needs root and neither token nor network. Each
// request is one run: it never repeats one.
type shellTransport struct {
	runner  Runner
	timeout time.Duration
	limit   int64 // bytes
}

// shellVerbs are pvesh's words for the HTTP methods. Source: PVE::CLI::pvesh.
var shellVerbs = map[string]string{
	http.MethodGet: "get", http.MethodPost: "create", http.MethodPut: "set", http.MethodDelete: "delete",
}

// secretParams must not stand on a command line, where every process can read
// them.
var secretParams = []string{"password", "encryption-key", "keyring", "secret", "key"}

func (t *shellTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	path := strings.TrimPrefix(req.URL.Path, apiPath)
	failure := &APIError{Method: req.Method, Path: strings.TrimPrefix(req.URL.RequestURI(), apiPath), shell: true}
	params, err := shellParams(req)
	if err != nil {
		failure.kind, failure.cause = ErrInvalid, err
		return nil, failure
	}
	args := []string{shellVerbs[req.Method], path, "--output-format", "json"}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		// Name and value are two words: Getopt::Long takes "--name=" for an
		// error, and a word after a name for its value whatever it begins with.
		args = append(args, "--"+name, params[name])
	}
	ctx, cancel := context.WithTimeout(req.Context(), t.timeout)
	defer cancel()
	out, err := t.runner.Run(ctx, host.Cmd{Name: "pvesh", Args: args, Env: []string{"LC_ALL=C.UTF-8"}})
	if err != nil {
		failure.fromShell(ctx, err)
		return nil, failure
	}
	if int64(len(out)) > t.limit {
		failure.kind, failure.cause = ErrUnknownOutcome, fmt.Errorf("%w: more than %d bytes", errTooLarge, t.limit)
		return nil, failure
	}
	return &http.Response{
		StatusCode: http.StatusOK, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(shellAnswer(out))),
	}, nil
}

// shellParams are the parameters in query and body.
func shellParams(req *http.Request) (map[string]string, error) {
	params := map[string]string{}
	for name, values := range req.URL.Query() {
		params[name] = values[len(values)-1]
	}
	if req.Body != nil {
		defer req.Body.Close()
		data, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		var body map[string]string
		if len(data) > 0 {
			if err := json.Unmarshal(data, &body); err != nil {
				return nil, fmt.Errorf("encode the parameters: %w", err)
			}
		}
		maps.Copy(params, body)
	}
	for name, value := range params {
		// Of encryption-key and master-pubkey, "autogen" and the mark are no secrets.
		if slices.Contains(secretParams, name) && value != "autogen" && value != "1" {
			return nil, fmt.Errorf("%s is a secret, and pvesh would show it to every process of the host", name)
		}
		if strings.ContainsRune(value, 0) {
			return nil, fmt.Errorf("%s holds a zero byte", name)
		}
	}
	return params, nil
}

// shellAnswer wraps pvesh's output as the API does. A task that pvesh runs
// itself prints its log before the result, so the last line counts where the
// whole is no JSON.
func shellAnswer(out []byte) []byte {
	out = bytes.TrimSpace(out)
	if i := bytes.LastIndexByte(out, '\n'); !json.Valid(out) && i >= 0 {
		out = out[i+1:]
	}
	if !json.Valid(out) {
		// A null answer prints nothing; a task's ID comes without quotes.
		text, err := json.Marshal(string(out))
		if err != nil || len(out) == 0 {
			text = []byte("null")
		}
		out = text
	}
	return slices.Concat([]byte(`{"data":`), out, []byte("}"))
}

// fromShell fills in what a run of pvesh that failed means.
func (e *APIError) fromShell(ctx context.Context, err error) {
	var exit *host.ExitError
	switch {
	case errors.As(err, &exit):
		e.readShell(exit)
	case errors.Is(err, host.ErrNoPrograms), errors.Is(err, host.ErrNotInstalled):
		e.kind, e.cause = ErrUnreachable, err
	case ctx.Err() != nil:
		e.kind, e.cause = ErrUnknownOutcome, ctx.Err()
	default:
		e.kind, e.cause = ErrUnknownOutcome, err
	}
}

var (
	shellStatus = regexp.MustCompile(`^(\d{3}) (.*)$`)
	shellParam  = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9_\-\[\]]*): (.+)$`)
)

// readShell reads what pvesh said before it failed. Its exit status is errno of
// whatever failed last and tells nothing; the text is the one that the API puts
// into the status line, after a line for each further attempt to get a lock.
func (e *APIError) readShell(exit *host.ExitError) {
	var lines []string
	for line := range strings.SplitSeq(exit.Stderr, "\n") {
		line = trimSpace(line)
		if strings.HasPrefix(line, "trying to acquire ") || strings.HasPrefix(line, "perl: warning:") {
			continue
		}
		if line == "" && len(lines) > 0 {
			break // what follows is the usage
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	status := 0
	e.Reason = fmt.Sprintf("no message, exit status %d", exit.Code)
	if len(lines) > 0 {
		e.Reason = lines[len(lines)-1]
	}
	for i, line := range lines {
		m := shellStatus.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		status, _ = strconv.Atoi(m[1])
		e.Status, e.Reason = status, m[2]
		e.Params = map[string]string{}
		for _, l := range lines[i+1:] {
			if p := shellParam.FindStringSubmatch(l); p != nil {
				e.Params[p[1]] = p[2]
			}
		}
		break
	}
	switch text := strings.Join(lines, "\n"); {
	case exit.Code < 0, strings.Contains(text, "proxy handler failed"):
		// Killed by a signal; or pvesh on the other node may have done its work.
		e.kind = ErrUnknownOutcome
	case strings.Contains(text, "please run as root"):
		e.kind = ErrNotPermitted
	default:
		e.kind = classify(status, text, shellPath(e.Path))
	}
}

// shellPath is a request's path without the query.
func shellPath(path string) string {
	u, err := url.Parse(path)
	if err != nil {
		return path
	}
	return u.Path
}
