package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	apiv1 "labd/api/v1"
	"labd/internal/disk"
	"labd/internal/finding"
	"labd/internal/network"
	"labd/internal/placement"
	"labd/internal/plan"
	"labd/internal/pve"
	"labd/internal/storage"
)

// FreshTimeout is how long a request for a fresh report waits for the observation; after that the last one is served.
const FreshTimeout = 2 * time.Second

// firstTimeout is the same where there is no last one: a labd that was started for one command, on a slow host.
const firstTimeout = 20 * time.Second

// maxBody is the most that is read of a request's body, in bytes.
const maxBody = 64 << 10

// maxStorageConfigBody is maxBody for a storage.cfg, which travels in base64.
const maxStorageConfigBody = apiv1.MaxStorageConfig*4/3 + maxBody

// Source gives the reports of one job.
type Source[R any] interface {
	// Latest is the last report; ok is false before the first observation.
	Latest() (report R, ok bool)
	// Refresh observes now and returns the new report, or the last one with an error.
	Refresh(ctx context.Context) (report R, err error)
}

// Planner builds plans: each call observes afresh.
type Planner interface {
	// Plan builds the plan of a request. It fails with a *plan.RefusedError or ErrBadRequest.
	Plan(ctx context.Context, req apiv1.Request) (*plan.Plan, error)
	// StoragePlan is what a removal of one dead storage would do, from facts already observed.
	StoragePlan(report *storage.Report, ids ...string) (*plan.Plan, error)
}

// Config is what a Server works with.
type Config struct {
	Node    string
	Version string
	// Kernel is the kernel's release.
	Kernel  string
	NVMe    Source[*disk.Report]
	Storage Source[*storage.Report]
	Network Source[*network.Report]
	// Placement joins the last reports of drives and storages.
	Placement func() *placement.Placement
	// OtherDisks looks at the disks that are no NVMe drives; nil where nobody does.
	OtherDisks func(context.Context) []disk.OtherDisk
	// Drives forgets drives that are gone for good.
	Drives interface{ Forget(serial string) error }
	// Containers opens what streams lead to.
	Containers Containers
	// Rights says what callers from the network may do; nil where none are let in.
	Rights Rights
	// Prober finds out where packets to a Docker container end.
	Prober  Prober
	Planner Planner
	Runner  *plan.Runner
	// BeginChange takes the right to change this host until end is called, or says why that cannot be now.
	BeginChange func() (end func(), err error)
	// Findings knows all findings, their state and their history.
	Findings *finding.Registry
	// StorageConfig reads the host's storage.cfg.
	StorageConfig StorageConfigSource
	// Events passes on what happens.
	Events *Events
	// Notifications tells people of findings.
	Notifications Notifications
	// Configuration is the effective configuration.
	Configuration func() (apiv1.ConfigItem, error)
	// LoopNotes say what keeps failing in labd's loops.
	LoopNotes func() []string
	// AfterApply is called after every apply and undo, so that the loops look again.
	AfterApply func()
	Log        *slog.Logger
}

// Server answers the API.
type Server struct {
	Config
	mux     *http.ServeMux
	streams streams
}

// New returns a Server.
func New(cfg Config) *Server {
	s := &Server{Config: cfg, mux: http.NewServeMux()}
	for _, rt := range s.routes() {
		s.mux.HandleFunc(rt.pattern, s.guard(rt))
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, &apiError{http.StatusNotFound, apiv1.ErrorNotFound, fmt.Sprintf("no %s %s in the API", r.Method, r.URL.Path), "labctl and labd may be of different versions: see labctl version"})
	})
	return s
}

// ServeHTTP answers one request. The caller's identity comes from the connection (see ConnContext).
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !identity(r.Context()).mayRead {
		s.fail(w, &apiError{http.StatusForbidden, apiv1.ErrorNotPermitted, "only root and members of group labd may ask this labd", "run it as root, or: usermod -aG labd USER"})
		return
	}
	s.mux.ServeHTTP(w, r)
}

// apiError is an error with its HTTP status and code.
type apiError struct {
	status              int
	code, message, hint string
}

func (e *apiError) Error() string { return e.message }

// ErrBadRequest marks errors that the caller made.
var ErrBadRequest = errors.New("bad request")

// classify gives any error its status and code.
func classify(err error) *apiError {
	var api *apiError
	var refused *plan.RefusedError
	var changed *plan.ChangedError
	var step *plan.StepError
	var silence *finding.SilenceError
	hint := ""
	switch {
	case !errors.As(err, &step):
	case step.Undoes != "":
		hint = fmt.Sprintf("once the cause is gone, labctl undo %s again: it takes back what is left", step.Undoes)
	case step.Touched:
		hint = fmt.Sprintf("labctl journal shows what was done; labctl undo %s takes it back", step.Entry)
	}
	switch {
	case errors.As(err, &api):
		return api
	case errors.As(err, &refused):
		if hint == "" {
			hint = refused.Hint
		}
		return &apiError{http.StatusConflict, apiv1.ErrorRefused, err.Error(), hint}
	case errors.As(err, &changed):
		if hint == "" {
			hint = "nothing was touched; look at the new plan and try again"
		}
		return &apiError{http.StatusPreconditionFailed, apiv1.ErrorChanged, err.Error(), hint}
	case errors.Is(err, pve.ErrUnauthenticated), errors.Is(err, pve.ErrNotPermitted):
		return &apiError{http.StatusForbidden, apiv1.ErrorNotPermitted, err.Error(), strings.TrimPrefix(hint+"; labctl setup pve mends labd's access to PVE", "; ")}
	case errors.Is(err, plan.ErrBusy):
		return &apiError{http.StatusConflict, apiv1.ErrorRefused, err.Error(), ""}
	case errors.Is(err, plan.ErrNoEntry):
		return &apiError{http.StatusNotFound, apiv1.ErrorNotFound, err.Error(), "labctl journal lists the entries"}
	case errors.Is(err, disk.ErrNotRemembered):
		return &apiError{http.StatusNotFound, apiv1.ErrorNotFound, err.Error(), "labctl check-nvme -o wide shows the serial numbers"}
	case errors.Is(err, finding.ErrNoSilence):
		return &apiError{http.StatusNotFound, apiv1.ErrorNotFound, err.Error(), "labctl silence list shows them"}
	case errors.As(err, &silence):
		return &apiError{http.StatusBadRequest, apiv1.ErrorUsage, err.Error(), "labctl silence --help"}
	case errors.Is(err, ErrBadRequest):
		return &apiError{http.StatusBadRequest, apiv1.ErrorUsage, err.Error(), ""}
	case errors.Is(err, context.Canceled):
		return &apiError{http.StatusInternalServerError, apiv1.ErrorInterrupted, err.Error(), hint}
	default:
		return &apiError{http.StatusInternalServerError, apiv1.ErrorInternal, err.Error(), hint}
	}
}

func (s *Server) fail(w http.ResponseWriter, err error) {
	e := classify(err)
	if e.status >= http.StatusInternalServerError {
		s.Log.Error("request failed", "err", err)
	}
	s.writeAs(w, "application/problem+json", e.status, apiv1.Problem{
		Type: "tag:labd,2026:" + e.code, Title: http.StatusText(e.status), Status: e.status, Detail: e.message, Hint: e.hint,
		Error: apiv1.ErrorDetail{Code: e.code, Message: e.message, Hint: e.hint},
	})
}

func (s *Server) write(w http.ResponseWriter, status int, body any) {
	s.writeAs(w, "application/json", status, body)
}

func (s *Server) writeAs(w http.ResponseWriter, contentType string, status int, body any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		s.Log.Debug("answer not delivered", "err", err)
	}
}

func decodeBody[T any](r *http.Request) (body T, err error) {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		return body, fmt.Errorf("%w: body: %w", ErrBadRequest, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return body, fmt.Errorf("%w: body: something stands behind the JSON object", ErrBadRequest)
	}
	return body, nil
}

// get returns a job's report: the last one, or a fresh one when the request asks with ?fresh=1. A device or container
// that is slow to answer makes the caller wait FreshTimeout at most; it is then served the last report. Where there is none it waits longer.
func get[R any](r *http.Request, source Source[R]) (report R, err error) {
	report, ok := source.Latest()
	// Who comes by TCP is served what is there: a port must not be a way to keep the host busy.
	if ok && (r.URL.Query().Get("fresh") == "" || identity(r.Context()).public) {
		return report, nil
	}
	limit := FreshTimeout
	if !ok {
		limit = firstTimeout
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	report, err = source.Refresh(ctx)
	if err != nil && ok {
		last, _ := source.Latest()
		return last, nil
	}
	return report, err
}

// envelope puts items into the outer object.
func envelope[T any](node, kind string, at time.Time, items []T, findings []apiv1.Finding, notes []string) apiv1.Envelope[T] {
	if items == nil {
		items = []T{}
	}
	if findings == nil {
		findings = []apiv1.Finding{}
	}
	return apiv1.Envelope[T]{
		APIVersion: apiv1.APIVersion, Kind: kind, Node: node, ObservedAt: at.UTC(),
		Items: items, Findings: findings, Notes: notes,
	}
}
