package server

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	apiv1 "labd/api/v1"
	"labd/internal/disk"
	"labd/internal/finding"
	"labd/internal/network"
	"labd/internal/storage"
)

// allFindings are the findings of all jobs with their states, worst first, with the oldest time of their reports.
func (s *Server) allFindings() (findings []finding.Finding, at time.Time, notes []string) {
	add := func(seen time.Time, ns []string) {
		notes = append(notes, ns...)
		if at.IsZero() || seen.Before(at) {
			at = seen
		}
	}
	if r, ok := s.NVMe.Latest(); ok {
		add(r.At, r.Notes)
	}
	if r, ok := s.Storage.Latest(); ok {
		add(r.At, r.Notes)
	}
	if r, ok := s.Network.Latest(); ok {
		add(r.At, r.Notes)
	}
	return s.Findings.Current(time.Now()), at, notes
}

// status answers GET /v1/status: a line for each job, and all findings.
func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	s.observeOnce(r)
	findings, at, notes := s.allFindings()
	if s.LoopNotes != nil {
		notes = append(notes, s.LoopNotes()...)
	}
	items := s.statusItems()
	slices.SortStableFunc(items, func(a, b apiv1.StatusItem) int { return b.Verdict.Compare(a.Verdict) })
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindStatusReport, at, items, findingsToAPI(findings), notes))
}

// observeOnce makes sure that every job has a report where no loop makes one, as in a labd for one command.
func (s *Server) observeOnce(r *http.Request) {
	// An error leaves that job without a report, and its line says so.
	_, _ = get(r, s.NVMe)
	_, _ = get(r, s.Storage)
	_, _ = get(r, s.Network)
}

// jobStatus is a job in one line: how many of its items are well, and the worst finding as its verdict.
type jobStatus struct {
	id, one, many string
	total, well   int
	findings      []finding.Finding
	at            time.Time
	// unread says why nothing could be judged.
	unread string
}

func (j jobStatus) item() apiv1.StatusItem {
	item := apiv1.StatusItem{ID: j.id, Verdict: apiv1.HealthOK, ObservedAt: j.at.UTC()}
	switch worst := finding.Worst(shown(j.findings)); {
	case j.at.IsZero():
		item.Verdict, item.Summary = apiv1.HealthUnknown, "not observed yet"
		return item
	case j.unread != "":
		item.Verdict, item.Summary = apiv1.HealthUnknown, j.unread
		return item
	case worst != 0:
		item.Verdict = worst.Health()
	}
	switch j.total {
	case 0:
		item.Summary = "no " + j.many
	case 1:
		item.Summary = fmt.Sprintf("1 %s, %d ok", j.one, j.well)
	default:
		item.Summary = fmt.Sprintf("%d %s, %d ok", j.total, j.many, j.well)
	}
	return item
}

// shown are the findings that count: not those that an operator silenced, nor those that may be over in a moment.
func shown(fs []finding.Finding) []finding.Finding {
	return slices.DeleteFunc(slices.Clone(fs), func(f finding.Finding) bool {
		return f.State == finding.StateSilenced || f.State == finding.StatePending
	})
}

// count is how many of list are well.
func count[T any](list []T, well func(T) bool) int {
	n := 0
	for _, item := range list {
		if well(item) {
			n++
		}
	}
	return n
}

func (s *Server) statusItems() []apiv1.StatusItem {
	nvme := jobStatus{id: "nvme", one: "NVMe function", many: "NVMe functions"}
	if r, ok := s.NVMe.Latest(); ok {
		nvme.total, nvme.findings, nvme.at = len(r.Drives), s.Findings.Annotate(time.Now(), r.Findings), r.At
		nvme.well = count(r.Drives, func(d disk.Drive) bool { return d.Rung == disk.RungOK })
	}
	storages := jobStatus{id: "storage", one: "storage", many: "storages"}
	if r, ok := s.Storage.Latest(); ok {
		storages.total, storages.findings, storages.at = len(r.Entries), s.Findings.Annotate(time.Now(), r.Findings), r.At
		storages.well = count(r.Entries, func(e storage.Entry) bool { return e.Verdict == storage.VerdictOK })
		if !r.Readable {
			storages.unread = "storage.cfg cannot be read"
		}
	}
	networks := jobStatus{id: "network", one: "Docker network", many: "Docker networks"}
	if r, ok := s.Network.Latest(); ok {
		networks.total, networks.findings, networks.at = len(r.Networks), s.Findings.Annotate(time.Now(), r.Findings), r.At
		networks.well = count(r.Networks, func(n network.Network) bool { return n.Verdict == network.VerdictOK })
	}
	return []apiv1.StatusItem{nvme.item(), storages.item(), networks.item()}
}
