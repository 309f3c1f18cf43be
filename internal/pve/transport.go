package pve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"
)

// strictTransport stands between go-proxmox and the network. go-proxmox takes
// every status except 400, 401, 403, 500 and 501 for a success, drops PVE's
// message of 401 and 403, reads bodies without limit and sets no time-out. Here
// every status of 300 and above becomes an *APIError, redirects included, and
// the body is read whole, bounded in size, within the request's deadline.
type strictTransport struct {
	next    http.RoundTripper
	prefix  string // path of the API's root, cut off in errors
	timeout time.Duration
	limit   int64 // bytes
}

var errTooLarge = errors.New("the answer is too large")

func (t *strictTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Context(), t.timeout)
	defer cancel()
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	failure := &APIError{
		Method: req.Method,
		Path:   strings.TrimPrefix(req.URL.RequestURI(), t.prefix),
	}
	res, err := t.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		failure.kind, failure.cause = ErrUnreachable, err
		// From here on the request may have been received and acted upon.
		if connected.Load() {
			failure.kind = ErrUnknownOutcome
		}
		return nil, failure
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, t.limit+1))
	closeErr := res.Body.Close()
	if err == nil {
		err = closeErr
	}
	if err == nil && int64(len(body)) > t.limit {
		err = fmt.Errorf("%w: more than %d bytes", errTooLarge, t.limit)
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		failure.Status = res.StatusCode
		failure.Reason = trimSpace(strings.TrimPrefix(res.Status, fmt.Sprint(res.StatusCode)))
		failure.Params = rejectedParams(body)
		failure.kind = classify(failure.Status, failure.Reason, failure.Path)
		return nil, failure
	}
	if err != nil {
		failure.kind, failure.cause = ErrUnknownOutcome, err
		return nil, failure
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}

// rejectedParams reads the "errors" object of an answer, if it has one.
func rejectedParams(body []byte) map[string]string {
	var answer struct {
		Errors map[string]string `json:"errors"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return nil
	}
	return answer.Errors
}
