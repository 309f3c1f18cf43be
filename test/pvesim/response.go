package pvesim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// response is one answer in PVE's form.
type response struct {
	status int
	reason string
	body   []byte // nil: none, and no content-type either
}

// write sends the answer and reports whether the connection stays open. PVE
// keeps it open after a success only.
func (r *response) write(c net.Conn) bool {
	var b bytes.Buffer
	connection := "Keep-Alive"
	if r.status != http.StatusOK {
		connection = "close"
	}
	now := time.Now().UTC().Format(http.TimeFormat)
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nCache-Control: max-age=0\r\nConnection: %s\r\nDate: %s\r\nPragma: no-cache\r\n"+
		"Server: pve-api-daemon/3.0\r\nExpires: %s\r\n", r.status, r.reason, connection, now, now)
	if r.body != nil {
		fmt.Fprintf(&b, "Content-Length: %d\r\nContent-Type: application/json;charset=UTF-8\r\n", len(r.body))
	}
	b.WriteString("\r\n")
	b.Write(r.body)
	_, err := c.Write(b.Bytes())
	return err == nil && r.status == http.StatusOK
}

// failure is an error that PVE answers with. A plain error becomes a 500.
type failure struct {
	status  int
	message string            // without the final newline
	params  map[string]string // objections by parameter
	bare    bool              // no body
}

func (f *failure) Error() string { return f.message }

func badParams(params map[string]string) error {
	return &failure{status: http.StatusBadRequest, message: "Parameter verification failed.", params: params}
}

func badParam(name, text string) error { return badParams(map[string]string{name: text}) }

func forbidden(what string) error {
	message := "Permission check failed"
	if what != "" {
		message += " (" + what + ")"
	}
	return &failure{status: http.StatusForbidden, message: message}
}

// page is a list of which only a part is sent; PVE leaves out a total of 0.
type page struct {
	rows  []map[string]any
	total int
}

func success(data any) *response {
	answer := map[string]any{"data": data}
	if p, ok := data.(page); ok {
		answer["data"] = p.rows
		if p.total > 0 {
			answer["total"] = p.total
		}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return fail(err)
	}
	return &response{status: http.StatusOK, reason: "OK", body: body}
}

func fail(err error) *response {
	f, ok := err.(*failure)
	if !ok {
		f = &failure{status: http.StatusInternalServerError, message: err.Error()}
	}
	reason, _, _ := strings.Cut(f.message, "\n")
	r := &response{status: f.status, reason: reason}
	if f.bare || f.status == http.StatusUnauthorized {
		return r
	}
	answer := map[string]any{"data": nil, "message": f.message + "\n"}
	if f.status == http.StatusNotImplemented {
		answer["message"] = f.message
	}
	if f.params != nil {
		answer["errors"] = f.params
	}
	r.body, err = json.Marshal(answer)
	if err != nil {
		r.body = nil
	}
	return r
}
