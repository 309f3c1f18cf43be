package e2e

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	apiv1 "labd/api/v1"
)

// Requests that labctl never sends: a stale digest, an unknown action, no JSON. None may touch anything.
func TestAPIRefusals(t *testing.T) {
	l, d, _ := storageLab(t, "e2e-api")
	if err := d.PullAndReboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := stateOf(t, l, d)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", l.Path("/run/labd/labd.sock"))
	}}}
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		code                     string
	}{
		{"stale digest", "POST", "/v1/plans/apply", `{"action":"storage.remove","ids":["usb1"],"digest":"0000"}`, 412, apiv1.ErrorChanged},
		{"no digest", "POST", "/v1/plans/apply", `{"action":"storage.remove","ids":["usb1"]}`, 412, apiv1.ErrorChanged},
		{"stale digest of a network plan", "POST", "/v1/plans/apply", `{"action":"network.on","digest":"0000"}`, 412, apiv1.ErrorChanged},
		{"unknown action", "POST", "/v1/plans", `{"action":"storage.wipe","ids":["usb1"]}`, 400, apiv1.ErrorUsage},
		{"steps of the caller's own", "POST", "/v1/plans/apply", `{"action":"storage.remove","steps":[{"op":"x"}]}`, 400, apiv1.ErrorUsage},
		{"no JSON", "POST", "/v1/plans", `storage.remove`, 400, apiv1.ErrorUsage},
		{"a body without end", "POST", "/v1/plans", `{"action":"` + strings.Repeat("x", 1<<20) + `"}`, 400, apiv1.ErrorUsage},
		{"a dead storage and a live one at once", "POST", "/v1/plans", `{"action":"storage.remove","ids":["usb1","local"]}`, 409, apiv1.ErrorRefused},
		{"a storage that never was", "POST", "/v1/plans", `{"action":"storage.remove","ids":["../../etc"]}`, 409, apiv1.ErrorRefused},
		{"undo of nothing", "POST", "/v1/journal/7/undo", `{"digest":"x"}`, 404, apiv1.ErrorNotFound},
		{"undo of a path", "POST", "/v1/journal/..%2f1/undo", `{"digest":"x"}`, 404, apiv1.ErrorNotFound},
		{"no such page", "GET", "/v2/nvme", "", 404, apiv1.ErrorNotFound},
		{"another method", "DELETE", "/v1/storage", "", 404, apiv1.ErrorNotFound},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://labd"+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var body apiv1.ErrorBody
		err = json.NewDecoder(resp.Body).Decode(&body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != tt.status || body.Error.Code != tt.code || body.Error.Message == "" {
			t.Errorf("%s: %s %+v %v; want %d %s", tt.name, resp.Status, body, err, tt.status, tt.code)
		}
	}
	if diff := cmp.Diff(before, stateOf(t, l, d)); diff != "" {
		t.Errorf("something was touched, -want +got:\n%s", diff)
	}
}
