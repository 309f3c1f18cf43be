package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	apiv1 "labd/api/v1"
	"labd/internal/disk"
	"labd/internal/finding"
	"labd/internal/network"
	"labd/internal/notify"
	"labd/internal/placement"
	"labd/internal/plan"
	"labd/internal/storage"
)

// fixed is a source of one report.
type fixed[R any] struct{ report R }

func (f fixed[R]) Latest() (R, bool)                  { return f.report, true }
func (f fixed[R]) Refresh(context.Context) (R, error) { return f.report, nil }

type noPlans struct{}

func (noPlans) Plan(context.Context, apiv1.Request) (*plan.Plan, error) {
	return nil, &plan.RefusedError{Reason: "nothing to plan here"}
}

func (noPlans) StoragePlan(*storage.Report, ...string) (*plan.Plan, error) {
	return nil, &plan.RefusedError{Reason: "nothing to plan here"}
}

// drives remembers one drive.
type drives map[string]bool

func (d drives) Forget(serial string) error {
	if !d[serial] {
		return fmt.Errorf("%w with serial number %q", disk.ErrNotRemembered, serial)
	}
	delete(d, serial)
	return nil
}

// storageConfigFile is the host's storage.cfg, on PVE 9.
type storageConfigFile string

func (f storageConfigFile) StorageConfigData(context.Context) ([]byte, error) { return []byte(f), nil }
func (storageConfigFile) PVEMajor(context.Context) int                        { return 9 }

// mailbox is one target that takes everything.
type mailbox struct{}

func (mailbox) Statuses() []notify.Status {
	return []notify.Status{{Target: notify.Target{Name: "mail", Kind: notify.KindMail, To: "root"}, Sent: 2, LastSuccess: at}}
}

func (mailbox) Test(_ context.Context, names []string) ([]notify.Result, string) {
	if len(names) > 0 && names[0] != "mail" {
		return nil, names[0]
	}
	return []notify.Result{{Target: notify.Target{Name: "mail", To: "root"}, Took: time.Second}}, ""
}

var at = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

// testServer is a server of one node with one dead drive.
func testServer(t *testing.T) *Server {
	t.Helper()
	registry, err := finding.NewRegistry(time.Now(), finding.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dead := finding.Finding{Code: finding.NVMeDead, Severity: finding.Fail, Subject: finding.NVMe("0000:01:00.0"), Title: "dead"}
	registry.Update(time.Now(), []finding.Finding{dead}, "nvme")
	drivesReport := &disk.Report{At: at, Findings: []finding.Finding{dead}, Drives: []disk.Drive{
		{Function: disk.Function{Address: "0000:01:00.0", Controllers: []disk.Controller{{Name: "nvme0", Serial: "HERE"}}}, Rung: disk.RungController, Verdict: disk.VerdictFail},
	}}
	storages := &storage.Report{At: at, Readable: true}
	return New(Config{
		Node: "n1", Version: "v", Kernel: "6.8", Findings: registry, Events: NewEvents(at), Log: slog.New(slog.DiscardHandler),
		NVMe:      fixed[*disk.Report]{drivesReport},
		Placement: func() *placement.Placement { return placement.Join(drivesReport, storages) },
		Drives:    drives{"GONE": true}, Containers: &containersOf{},
		Notifications: mailbox{},
		Storage:       fixed[*storage.Report]{storages},
		Network:       fixed[*network.Report]{network.Diagnose(&network.Facts{At: at}, network.DefaultPolicy())},
		Planner:       noPlans{}, Runner: &plan.Runner{Journal: plan.NewJournal(t.TempDir(), time.Now)},
		StorageConfig: storageConfigFile("dir: local\n\tpath /var/lib/vz\n\tcontent iso\n"),
		BeginChange:   func() (func(), error) { return func() {}, nil },
		Configuration: func() (apiv1.ConfigItem, error) { return apiv1.ConfigItem{File: "/etc/labd/labd.toml"}, nil },
	})
}

var (
	root     = caller{name: "root", mayRead: true, mayApply: true}
	reader   = caller{name: "ana", mayRead: true}
	stranger = caller{}
)

// ask sends one request as who and decodes the answer into out, unless that is nil.
func ask(t *testing.T, s *Server, who caller, method, path, body string, out any) *httptest.ResponseRecorder {
	t.Helper()
	limit := time.Second
	if path == "/v1/events" {
		limit = 20 * time.Millisecond // it never ends by itself
	}
	ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), identityKey{}, who), limit)
	defer cancel()
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body)))
	if out != nil {
		if err := json.Unmarshal(rec.Body.Bytes(), out); err != nil {
			t.Fatalf("%s %s: %v: %s", method, path, err, rec.Body)
		}
	}
	return rec
}

// Each route lets in whom it should: nobody unknown, readers only to read, root to all.
func TestWhoMayAskWhat(t *testing.T) {
	s := testServer(t)
	seen := map[audience]int{}
	for _, rt := range s.routes() {
		method, path, _ := strings.Cut(rt.pattern, " ")
		path = strings.ReplaceAll(path, "{id}", "1")
		if isChange := method == http.MethodDelete || strings.HasSuffix(path, "/apply") || strings.HasSuffix(path, "/undo"); isChange && rt.audience != changes {
			t.Errorf("%s is open to readers", rt.pattern)
		}
		seen[rt.audience]++
		for _, tt := range []struct {
			who     caller
			allowed bool
		}{{stranger, false}, {reader, rt.audience == reads}, {root, true}} {
			rec := ask(t, s, tt.who, method, path, "{}", nil)
			if forbidden := rec.Code == http.StatusForbidden; forbidden == tt.allowed {
				t.Errorf("%s as %q: %d", rt.pattern, tt.who.name, rec.Code)
			}
		}
	}
	if seen[reads] < 8 || seen[changes] < 4 {
		t.Errorf("routes by access: %v", seen)
	}
}

func TestSilenceRequests(t *testing.T) {
	s := testServer(t)
	state := func() apiv1.State {
		var report apiv1.Envelope[apiv1.NVMeItem]
		ask(t, s, reader, "GET", "/v1/nvme", "", &report)
		return report.Findings[0].State
	}
	var report apiv1.Envelope[apiv1.SilenceItem]
	rec := ask(t, s, root, "POST", "/v1/silences", `{"subject":"nvme/0000:01:00.0","reason":"known","seconds":3600}`, &report)
	if rec.Code != http.StatusOK || len(report.Items) != 1 || report.Items[0].Actor != "root" || state() != apiv1.StateSilenced {
		t.Fatalf("%d %+v, state %s", rec.Code, report.Items, state())
	}
	ask(t, s, reader, "GET", "/v1/silences", "", &report)
	if len(report.Items) != 1 || report.Items[0].Reason != "known" {
		t.Errorf("%+v", report.Items)
	}
	for _, body := range []string{
		`{"code":"nvme.nonsense","reason":"x","seconds":60}`, `{"reason":"x","seconds":60}`, `{"code":"nvme.dead","reason":"x","seconds":0}`,
		`{"code":"nvme.dead","seconds":60}`, `{"code":"nvme.dead","reason":"x","seconds":9223372036854775807}`, `{"nonsense":1}`, `no JSON`,
	} {
		var e apiv1.ErrorBody
		if rec := ask(t, s, root, "POST", "/v1/silences", body, &e); rec.Code != http.StatusBadRequest || e.Error.Code != apiv1.ErrorUsage {
			t.Errorf("%s: %d %+v", body, rec.Code, e)
		}
	}
	if rec := ask(t, s, root, "DELETE", "/v1/silences/1", "", nil); rec.Code != http.StatusOK || state() != apiv1.StateActive {
		t.Errorf("%d, state %s", rec.Code, state())
	}
	var e apiv1.ErrorBody
	if rec := ask(t, s, root, "DELETE", "/v1/silences/1", "", &e); rec.Code != http.StatusNotFound || e.Error.Code != apiv1.ErrorNotFound {
		t.Errorf("%d %+v", rec.Code, e)
	}
}

// The same findings in every answer: status, findings, the job's own report, history.
func TestOneRegistry(t *testing.T) {
	s := testServer(t)
	for _, path := range []string{"/v1/status", "/v1/findings", "/v1/nvme"} {
		var report apiv1.Envelope[json.RawMessage]
		ask(t, s, reader, "GET", path, "", &report)
		if len(report.Findings) != 1 || report.Findings[0].State != apiv1.StateActive || report.Findings[0].Since == nil {
			t.Errorf("%s: %+v", path, report.Findings)
		}
	}
	var history apiv1.Envelope[apiv1.HistoryItem]
	ask(t, s, reader, "GET", "/v1/history", "", &history)
	if len(history.Items) != 1 || history.Items[0].Code != string(finding.NVMeDead) || history.Items[0].Cleared != nil {
		t.Errorf("%+v", history.Items)
	}
}

func TestPeerCredentialsOnly(t *testing.T) {
	s := testServer(t)
	srv := httptest.NewUnstartedServer(s)
	srv.Config.ConnContext = ConnContext
	srv.Start()
	defer srv.Close()
	resp, err := http.Post(srv.URL+"/v1/silences", "application/json", bytes.NewReader([]byte("{}")))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a TCP connection: %s", resp.Status)
	}
}

// Only a drive that is gone is forgotten, and only once.
func TestForgetDrive(t *testing.T) {
	s := testServer(t)
	for _, tt := range []struct {
		serial string
		status int
	}{{"HERE", http.StatusConflict}, {"NOSUCH", http.StatusNotFound}, {"GONE", http.StatusOK}, {"GONE", http.StatusNotFound}} {
		if got := ask(t, s, root, http.MethodDelete, "/v1/nvme/"+tt.serial, "", nil).Code; got != tt.status {
			t.Errorf("forget %s: status %d, want %d", tt.serial, got, tt.status)
		}
	}
}

// A prediction needs a kernel release.
func TestPrediction(t *testing.T) {
	s := testServer(t)
	var report apiv1.Envelope[apiv1.NVMeItem]
	ask(t, s, reader, http.MethodGet, "/v1/nvme?kernel=6.2.16-3-pve", "", &report)
	if p := report.Items[0].Prediction; p == nil || p.Kernel != "6.2.16-3-pve" || p.Outcome == "" || p.Reason == "" {
		t.Errorf("got %+v", p)
	}
	if got := ask(t, s, reader, http.MethodGet, "/v1/nvme?kernel=banana", "", nil).Code; got != http.StatusBadRequest {
		t.Errorf("no release: status %d", got)
	}
}
