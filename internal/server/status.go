package server

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	apiv1 "labd/api/v1"
	"labd/internal/disk"
	"labd/internal/finding"
	"labd/internal/health"
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

// jobStatus is a job in one line: how many of its items are well, and the worst of what is known of them as its verdict. What
// labd cannot tell, or not yet, is never well.
type jobStatus struct {
	id, one, many string
	total, well   int
	// unknown are the items of which labd cannot tell; ignored and silenced ones do not count.
	unknown  int
	findings []finding.Finding
	at       time.Time
	// unread says why nothing could be judged, absent why there is nothing to judge.
	unread, absent string
}

func (j jobStatus) item() apiv1.StatusItem {
	item := apiv1.StatusItem{ID: j.id, ObservedAt: j.at.UTC()}
	item.Verdict = finding.Worst(shown(j.findings)).Health()
	if len(shown(j.findings)) == 0 {
		item.Verdict = apiv1.HealthOK
	}
	young, silenced := hidden(j.findings, finding.StatePending), hidden(j.findings, finding.StateSilenced)
	switch {
	case j.at.IsZero():
		item.Verdict, item.Summary = apiv1.HealthUnknown, "not observed yet"
		return item
	case j.absent != "":
		item.Summary = j.absent
		return item
	case j.unread != "":
		item.Verdict, item.Summary = health.Worst(item.Verdict, apiv1.HealthUnknown), j.unread
		return item
	case young > 0 || j.unknown > 0:
		item.Verdict = health.Worst(item.Verdict, apiv1.HealthUnknown)
	case silenced > 0:
		item.Verdict = health.Worst(item.Verdict, apiv1.HealthInfo)
	}
	switch j.total {
	case 0:
		item.Summary = "no " + j.many
	case 1:
		item.Summary = fmt.Sprintf("1 %s, %d ok", j.one, j.well)
	default:
		item.Summary = fmt.Sprintf("%d %s, %d ok", j.total, j.many, j.well)
	}
	for _, more := range []struct {
		n    int
		what string
	}{{j.unknown, "unknown"}, {young, "too new to be certain"}, {silenced, "silenced"}} {
		if more.n > 0 {
			item.Summary += fmt.Sprintf(", %d %s", more.n, more.what)
		}
	}
	return item
}

// hidden returns how many subjects have a finding in the state that would be a warning or worse.
func hidden(fs []finding.Finding, state finding.State) int {
	subjects := map[finding.Subject]bool{}
	for _, f := range fs {
		if f.State == state && f.Severity >= finding.Warn {
			subjects[f.Subject] = true
		}
	}
	return len(subjects)
}

// shown are the findings that count: not those that an operator silenced, nor those that may be over in a moment.
func shown(fs []finding.Finding) []finding.Finding {
	return slices.DeleteFunc(slices.Clone(fs), func(f finding.Finding) bool {
		return f.State == finding.StateSilenced || f.State == finding.StatePending
	})
}

// count is how many of list are so.
func count[T any](list []T, so func(T) bool) int {
	n := 0
	for _, item := range list {
		if so(item) {
			n++
		}
	}
	return n
}

// isSilenced reports whether an operator silenced what is to be said of a subject, or it is too new: then it is counted as that.
func isSilenced(fs []finding.Finding, subject finding.Subject) bool {
	said := slices.DeleteFunc(slices.Clone(fs), func(f finding.Finding) bool { return f.Subject != subject })
	return len(said) > 0 && len(shown(said)) == 0
}

func (s *Server) statusItems() []apiv1.StatusItem {
	placed := s.Placement()
	now := time.Now()
	nvme := jobStatus{id: "nvme", one: "NVMe function", many: "NVMe functions"}
	if r := placed.Drives; r != nil {
		nvme.total, nvme.findings, nvme.at = len(r.Drives), s.Findings.Annotate(now, about(placed, finding.KindNVMe)), r.At
		nvme.well = count(r.Drives, func(d disk.Drive) bool { return d.Rung == disk.RungOK })
		nvme.unknown = count(r.Drives, func(d disk.Drive) bool {
			return d.Verdict == disk.VerdictUnknown && !isSilenced(nvme.findings, d.Subject())
		})
	}
	storages := jobStatus{id: "storage", one: "storage", many: "storages"}
	if r := placed.Storages; r != nil {
		storages.total, storages.findings, storages.at = len(r.Entries), s.Findings.Annotate(now, about(placed, finding.KindStorage, finding.KindPVE)), r.At
		storages.well = count(r.Entries, func(e storage.Entry) bool { return e.Verdict == storage.VerdictOK })
		storages.unknown = count(r.Entries, func(e storage.Entry) bool {
			return e.Verdict == storage.VerdictUnknown && !e.Ignored && !isSilenced(storages.findings, r.Subject(e))
		})
		switch {
		case r.NoPVE:
			storages.absent = "no Proxmox VE on this host"
		case !r.Readable:
			storages.unread = "storage.cfg cannot be read"
		}
	}
	networks := jobStatus{id: "network", one: "Docker network", many: "Docker networks"}
	if r, ok := s.Network.Latest(); ok {
		networks.total, networks.findings, networks.at = len(r.Networks), s.Findings.Annotate(now, r.Findings), r.At
		networks.well = count(r.Networks, func(n network.Network) bool { return n.Verdict == network.VerdictOK })
		networks.unknown = count(r.Networks, func(n network.Network) bool {
			return n.Verdict == network.VerdictUnknown && !isSilenced(networks.findings, n.Subject())
		})
	}
	return []apiv1.StatusItem{nvme.item(), storages.item(), networks.item()}
}
