package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	apiv1 "labd/api/v1"
	"labd/internal/access"
)

// rights grants what its map holds, by user and action; others are denied. err stands for a PVE that says something else.
type rights struct {
	grants map[string]bool
	err    error
	asked  []access.Target
}

func (r *rights) May(_ context.Context, c access.Credential, a access.Action, t access.Target) error {
	r.asked = append(r.asked, t)
	if r.err != nil {
		return r.err
	}
	if r.grants[c.User+" "+string(a)] {
		return nil
	}
	return &access.DeniedError{User: c.User, Need: access.Need{Privilege: "VM.Console", Path: "/vms/101"}}
}

// lanServer serves callers from the network, and says where.
func lanServer(t *testing.T, r *rights) (address string) {
	t.Helper()
	_, node := streamServer(t, fakeDocker())
	s := testServer(t)
	s.Containers, s.Rights = node, r
	srv := httptest.NewServer(s.LAN())
	t.Cleanup(func() {
		srv.Close()
		for id := range s.streams.execs { // commands that nobody started
			s.streams.forget(id, false)
		}
	})
	return srv.Listener.Addr().String()
}

func lanAsk(t *testing.T, method, address, path, body string, header http.Header) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

func bearer(user string) http.Header {
	return http.Header{"Authorization": {"PVEAPIToken=" + user + "=secret"}}
}

const execLs = `{"cmd":["ls"]}`

func TestCallersFromTheNetwork(t *testing.T) {
	r := &rights{grants: map[string]bool{"ana@pve!ci exec": true, "ana@pve!ci logs": true, "ana@pve!ci read-version": true, "bob@pve!ci logs": true}}
	address := lanServer(t, r)
	ticket := http.Header{"Cookie": {access.CookieName + "=" + url.QueryEscape("PVE:root@pam:68A1B2C3::c2ln")}}
	for _, test := range []struct {
		name, method, path, body string
		header                   http.Header
		status                   int
		want                     string
	}{
		{"a command", "POST", "/v1/containers/101/web/exec", execLs, bearer("ana@pve!ci"), 200, `"container":"web"`},
		{"who may only read logs", "POST", "/v1/containers/101/web/exec", execLs, bearer("bob@pve!ci"), 403, "Permission check failed (/vms/101, VM.Console)"},
		{"which privilege is missing", "POST", "/v1/containers/101/web/exec", execLs, bearer("bob@pve!ci"), 403, "bob@pve!ci needs VM.Console on /vms/101"},
		{"logs", "GET", "/v1/containers/101/web/logs", "", bearer("bob@pve!ci"), 200, "line"},
		{"the version", "GET", "/v1/version", "", bearer("ana@pve!ci"), 200, "labd"},
		{"nobody", "POST", "/v1/containers/101/web/exec", execLs, http.Header{}, 401, "no PVE API token"},
		{"a browser's cookie", "GET", "/v1/containers/101/web/logs", "", ticket, 401, "a cookie is not taken here"},
		{"a password", "GET", "/v1/version", "", http.Header{"Authorization": {"Basic YTpi"}}, 401, "not a PVE API token"},
		{"reports", "GET", "/v1/status", "", bearer("ana@pve!ci"), 404, "for callers from the network"},
		{"plans", "POST", "/v1/plans", "{}", bearer("ana@pve!ci"), 404, "for callers from the network"},
		{"undo", "POST", "/v1/journal/1/undo", "{}", bearer("ana@pve!ci"), 404, "for callers from the network"},
		{"claims of another's name", "GET", "/v1/containers/101/web/logs", "", http.Header{"Labd-User": {"root@pam"}, "X-Forwarded-User": {"root@pam"}}, 401, "no PVE API token"},
	} {
		if status, text := lanAsk(t, test.method, address, test.path, test.body, test.header); status != test.status || !strings.Contains(text, test.want) {
			t.Errorf("%s: %d %s", test.name, status, text)
		}
	}
	for _, target := range r.asked {
		if target.Guest == 101 && (target.Node != "n1" || target.Privileged) {
			t.Errorf("asked about %+v", target)
		}
	}
}

// A container whose root is the host's needs more, and one of which that is not known is refused.
func TestAPrivilegedContainerIsSaidToBeOne(t *testing.T) {
	r := &rights{}
	lanAsk(t, "GET", lanServer(t, r), "/v1/containers/666/web/logs", "", bearer("ana@pve!ci"))
	if len(r.asked) != 1 || !r.asked[0].Privileged {
		t.Errorf("asked about %+v", r.asked)
	}
}

// PVE that does not answer, or refuses the credential, lets nobody in.
func TestPVEThatDoesNotJudge(t *testing.T) {
	for want, err := range map[int]error{401: access.ErrUnauthenticated, 503: errors.New("connection refused")} {
		status, text := lanAsk(t, "POST", lanServer(t, &rights{err: err}), "/v1/containers/101/web/exec", execLs, bearer("ana@pve!ci"))
		if status != want {
			t.Errorf("%v: %d %s", err, status, text)
		}
	}
}

// A command that one caller made is no other's to start, though both may run commands.
func TestACommandOfAnotherCaller(t *testing.T) {
	r := &rights{grants: map[string]bool{"ana@pve!ci exec": true, "eve@pve!ci exec": true}}
	address := lanServer(t, r)
	_, text := lanAsk(t, "POST", address, "/v1/containers/101/web/exec", execLs, bearer("ana@pve!ci"))
	_, rest, _ := strings.Cut(text, `"id":"`)
	id, _, _ := strings.Cut(rest, `"`)
	header := bearer("eve@pve!ci")
	header.Set("Connection", "Upgrade")
	header.Set("Upgrade", apiv1.ProtocolExec)
	if status, text := lanAsk(t, "POST", address, "/v1/exec/"+id+"/start", "", header); status != 404 {
		t.Errorf("%d %s", status, text)
	}
	// A right that is gone between making and starting counts.
	r.grants = nil
	header = bearer("ana@pve!ci")
	header.Set("Connection", "Upgrade")
	header.Set("Upgrade", apiv1.ProtocolExec)
	if status, text := lanAsk(t, "POST", address, "/v1/exec/"+id+"/start", "", header); status != 403 {
		t.Errorf("%d %s", status, text)
	}
}
