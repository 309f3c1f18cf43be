package server

import (
	"errors"
	"net/http"
	"strings"

	apiv1 "labd/api/v1"
	"labd/internal/plan"
)

// audience is who may use a route.
type audience int

// Kinds of access. Reads are for root and group labd, the others for root alone. A change holds the right to change the
// host while it runs; a command changes nothing on it.
const (
	reads audience = iota
	changes
	commands
)

// route is one request that the API answers.
type route struct {
	// pattern is the method and the path, as net/http.ServeMux takes them.
	pattern  string
	audience audience
	// public says that it is answered on the TCP port too, where that is turned on.
	public bool
	// lan says that callers from the network may ask it, by the rights that PVE gives them.
	lan     bool
	handler http.HandlerFunc
	summary string
	// fresh says that ?fresh=1 observes first.
	fresh bool
	// query are further parameters of the query, with what they are for.
	query map[string]string
	// limit is the most that is read of a request's body, in bytes; zero means maxBody.
	limit int64
	// stream says that the answer is a stream of events, frames that it is one of frames, upgrade that the connection
	// changes to another protocol.
	stream, frames, upgrade bool
	// body is a value of the type that the request carries, kind and item those of the envelope that answers; an item
	// without kind answers by itself.
	body any
	kind string
	item any
}

// versionPattern is the one request that needs no right but an account.
const versionPattern = "GET /v1/version"

func (s *Server) routes() []route {
	return []route{
		{pattern: versionPattern, public: true, lan: true, handler: s.version, summary: "Versions of labd and of the kernel", item: apiv1.Version{}},
		{pattern: "GET /v1/status", public: true, handler: s.status, summary: "A line for each job, and all findings", fresh: true, kind: apiv1.KindStatusReport, item: apiv1.StatusItem{}},
		{pattern: "GET /v1/nvme", public: true, handler: s.nvme, summary: "NVMe functions", fresh: true, query: map[string]string{"kernel": "A kernel release, as uname -r prints it: each item then says what that kernel would make of it", "disks": "1: notes has one line for each disk that is no NVMe drive (SATA, SAS, USB)"}, kind: apiv1.KindNVMeReport, item: apiv1.NVMeItem{}},
		{pattern: "DELETE /v1/nvme/{id}", audience: changes, handler: s.forget, summary: "Forget a drive that is gone for good; id is its serial number", kind: apiv1.KindNVMeReport, item: apiv1.NVMeItem{}},
		{pattern: "GET /v1/storage", public: true, handler: s.storage, summary: "Storages as this node sees them", fresh: true, kind: apiv1.KindStorageReport, item: apiv1.StorageItem{}},
		{pattern: "GET /v1/storage-config", handler: s.ownStorageConfig, summary: "The host's storage.cfg as PVE reads it, and what PVE's next write would lose", query: map[string]string{"major": "The PVE whose reading is wanted, 8 or 9; default that of the host"}, kind: apiv1.KindStorageConfig, item: apiv1.StorageConfig{}},
		{pattern: "POST /v1/storage-config", handler: s.storageConfig, limit: maxStorageConfigBody, summary: "The same for any other text; nothing of the host is read for it", body: apiv1.StorageConfigRequest{}, kind: apiv1.KindStorageConfig, item: apiv1.StorageConfig{}},
		{pattern: "GET /v1/networks", public: true, handler: s.networks, summary: "Docker networks in LXC containers", fresh: true, kind: apiv1.KindNetworkReport, item: apiv1.NetworkItem{}},
		{pattern: "GET /v1/tree", public: true, handler: s.tree, summary: "Node, LXC containers, compose projects, Docker containers, networks and routes, with their health", fresh: true, kind: apiv1.KindTreeReport, item: apiv1.TreeItem{}},
		{pattern: "GET /v1/router", handler: s.routerAdvice, summary: "What the LAN's router must know", fresh: true, query: map[string]string{"style": "The router: " + strings.Join(apiv1.RouterStyles(), ", "), "remove": "1: what takes it away again", "hosts": "Names instead of routes, for: " + strings.Join(apiv1.HostsFormats(), ", ")}, kind: apiv1.KindRouterReport, item: apiv1.RouterItem{}},
		{pattern: "POST /v1/probes", handler: s.probe, summary: "Look at each hop to an address in a Docker network, and send packets to it", body: apiv1.ProbeRequest{}, kind: apiv1.KindProbeReport, item: apiv1.ProbeItem{}},
		{pattern: "POST /v1/containers/{ct}/{name}/exec", audience: commands, lan: true, handler: s.createExec, summary: "Make a command in a Docker container; ct is an LXC container's id or name, name a Docker container's name, PROJECT/SERVICE or id", body: apiv1.ExecRequest{}, kind: apiv1.KindExecReport, item: apiv1.ExecItem{}},
		{pattern: "POST /v1/exec/{id}/start", audience: commands, lan: true, handler: s.startExec, summary: "Start it: an upgrade to labd-exec/1, plain input, output as frames with the exit code in the last", upgrade: true},
		{pattern: "POST /v1/exec/{id}/resize", audience: commands, lan: true, handler: s.resizeExec, summary: "Tell its terminal a new size", body: apiv1.TerminalSize{}},
		{pattern: "GET /v1/containers/{ct}/{name}/logs", audience: commands, lan: true, handler: s.logs, summary: "What a Docker container printed, as frames", query: map[string]string{"follow": "1: go on with what comes", "timestamps": "1: with the time of each line", "since": "A Unix time", "tail": "How many of the last lines; all without it"}, frames: true},
		{pattern: "POST /v1/containers/{ct}/{name}/connect", audience: commands, lan: true, handler: s.connect, summary: "One TCP connection into a Docker container: an upgrade to tcp", query: map[string]string{"port": "The TCP port"}, upgrade: true},
		{pattern: "GET /v1/findings", public: true, handler: s.findings, summary: "The findings of all jobs, as items and as findings", fresh: true, kind: apiv1.KindFindingReport, item: apiv1.Finding{}},
		{pattern: "GET /v1/history", public: true, handler: s.history, summary: "Findings that are there, and those that went away, the latest first", kind: apiv1.KindHistoryReport, item: apiv1.HistoryItem{}},
		{pattern: "GET /v1/events", public: true, handler: s.events, summary: "Findings and plans as they come, as server-sent events", stream: true},
		{pattern: "GET /v1/silences", handler: s.silences, summary: "The silences in force", kind: apiv1.KindSilenceReport, item: apiv1.SilenceItem{}},
		{pattern: "POST /v1/silences", audience: changes, handler: s.silence, summary: "Keep findings out of sight for a time", body: apiv1.SilenceRequest{}, kind: apiv1.KindSilenceReport, item: apiv1.SilenceItem{}},
		{pattern: "DELETE /v1/silences/{id}", audience: changes, handler: s.unsilence, summary: "End a silence", kind: apiv1.KindSilenceReport, item: apiv1.SilenceItem{}},
		{pattern: "GET /v1/notifications", handler: s.notifications, summary: "Where findings are told, and how that goes", kind: apiv1.KindNotificationReport, item: apiv1.NotificationItem{}},
		{pattern: "POST /v1/notifications/test", audience: commands, handler: s.notifyTest, summary: "Send a test message to targets, and say how that went", body: apiv1.NotificationTestRequest{}, kind: apiv1.KindNotificationTest, item: apiv1.NotificationTestItem{}},
		{pattern: "GET /v1/config", handler: s.configuration, summary: "The configuration in force, and how the last reload went", kind: apiv1.KindConfigReport, item: apiv1.ConfigItem{}},
		{pattern: "GET /v1/journal", handler: s.journal, summary: "What labd changed on this host, newest first", kind: apiv1.KindJournalReport, item: apiv1.JournalItem{}},
		{pattern: "GET /v1/journal/{id}", handler: s.journalEntry, summary: "One change, step by step: what was done and how, what was there before, when, and the error", kind: apiv1.KindJournalReport, item: apiv1.JournalItem{}},
		{pattern: "POST /v1/plans", handler: s.plan, summary: "What an action would do", body: apiv1.PlanRequest{}, kind: apiv1.KindPlan, item: apiv1.Plan{}},
		{pattern: "POST /v1/plans/apply", audience: changes, handler: s.apply, summary: "Do what a plan says, with its digest as consent", body: apiv1.PlanRequest{}, kind: apiv1.KindJournalReport, item: apiv1.JournalItem{}},
		{pattern: "POST /v1/journal/{id}/undo", audience: changes, handler: s.undo, summary: "Take a journal entry back", body: apiv1.UndoRequest{}, kind: apiv1.KindJournalReport, item: apiv1.JournalItem{}},
	}
}

// guard bounds what is read of a request and lets a route's callers in.
func (s *Server) guard(rt route) http.HandlerFunc {
	limit := rt.limit
	if limit == 0 {
		limit = maxBody
	}
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		s.allow(rt)(w, r)
	}
}

// allow lets a route's callers in: root alone where it changes something, and only one labd of a host.
func (s *Server) allow(rt route) http.HandlerFunc {
	if rt.audience == reads {
		return rt.handler
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if !identity(r.Context()).mayApply {
			s.fail(w, &apiError{http.StatusForbidden, apiv1.ErrorNotPermitted, "only root may do this", "run it as root"})
			return
		}
		if rt.audience == commands {
			rt.handler(w, r)
			return
		}
		end, err := s.BeginChange()
		if errors.Is(err, plan.ErrLocked) {
			s.fail(w, &apiError{http.StatusConflict, apiv1.ErrorRefused, "this labd only reads: " + err.Error(), "use the labd that runs as a service, or stop it: systemctl stop labd"})
			return
		}
		if err != nil {
			s.fail(w, &apiError{http.StatusConflict, apiv1.ErrorRefused, err.Error(), ""})
			return
		}
		defer end()
		rt.handler(w, r)
	}
}
