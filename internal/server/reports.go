package server

import (
	"context"
	"net/http"
	"slices"

	apiv1 "labd/api/v1"
	"labd/internal/finding"
	"labd/internal/netfilter"
	"labd/internal/network"
	"labd/internal/placement"
	"labd/internal/storage"
)

func (s *Server) version(w http.ResponseWriter, _ *http.Request) {
	s.write(w, http.StatusOK, apiv1.Version{Labd: s.Version, Kernel: s.Kernel})
}

func (s *Server) nvme(w http.ResponseWriter, r *http.Request) {
	if _, err := both(r, s.NVMe, s.Storage); err != nil {
		s.fail(w, err)
		return
	}
	placed := s.Placement()
	report := placed.Drives
	items := make([]apiv1.NVMeItem, 0, len(report.Drives))
	for _, d := range report.Drives {
		items = append(items, driveToAPI(d, placed))
	}
	if kernel := r.URL.Query().Get("kernel"); kernel != "" {
		if err := predict(report, kernel, items); err != nil {
			s.fail(w, err)
			return
		}
	}
	notes := report.Notes
	if r.URL.Query().Get("disks") != "" && s.OtherDisks != nil && !identity(r.Context()).public { // it starts programs
		notes = slices.Clone(notes)
		for _, d := range s.OtherDisks(r.Context()) {
			notes = append(notes, d.String())
		}
	}
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindNVMeReport, report.At, items, s.findingsToAPI(about(placed, finding.KindNVMe)), notes))
}

// both gets the report of a job, and sees to it that another one, which it is joined with, was looked at once: in a labd for
// one command nothing else does. Without that report only what follows from both is unknown.
func both[R, S any](r *http.Request, asked Source[R], other Source[S]) (R, error) {
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		if _, ok := other.Latest(); ok || identity(r.Context()).public {
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), FreshTimeout)
		defer cancel()
		_, _ = other.Refresh(ctx)
	}()
	report, err := get(r, asked)
	<-looked
	return report, err
}

// about are the findings of the placement about subjects of the kinds.
func about(p *placement.Placement, kinds ...finding.Kind) []finding.Finding {
	return slices.DeleteFunc(slices.Clone(p.Findings), func(f finding.Finding) bool { return !slices.Contains(kinds, f.Subject.Kind()) })
}

func (s *Server) storage(w http.ResponseWriter, r *http.Request) {
	if _, err := both(r, s.Storage, s.NVMe); err != nil {
		s.fail(w, err)
		return
	}
	placed := s.Placement()
	report := placed.Storages
	items := make([]apiv1.StorageItem, 0, len(report.Entries))
	together := s.planTogether(report, r.URL.Query()["id"])
	for _, e := range report.Entries {
		item := s.entryToAPI(report, e)
		if p, named := together[e.ID]; named {
			item.Plan, item.Refusal = p, ""
		}
		if identity(r.Context()).public {
			item.Plan = nil // plans are for those whom the kernel vouches for
		}
		items = append(items, item)
	}
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindStorageReport, report.At, items, s.findingsToAPI(about(placed, finding.KindStorage, finding.KindPVE)), report.Notes))
}

func (s *Server) entryToAPI(report *storage.Report, e storage.Entry) apiv1.StorageItem {
	item := apiv1.StorageItem{
		ID: string(report.Subject(e)), Storage: e.ID, Type: e.Type, Path: e.Path, Verdict: apiv1.StorageVerdict(e.Verdict), Reason: e.Reason,
		References: referencesToAPI(e.References), Findings: finding.Codes(report.Findings, report.Subject(e)), Refusal: e.Refusal,
		Waits: e.Waits,
	}
	if !e.CandidateAt.IsZero() {
		at := e.CandidateAt.UTC()
		item.CandidateAt = &at
	}
	if !e.GoneSince.IsZero() {
		since := e.GoneSince.UTC()
		item.GoneSince = &since
	}
	if e.Plannable() {
		if p, err := s.Planner.StoragePlan(report, e.ID); err == nil {
			shown := planToAPI(p)
			item.Plan = &shown
		} else {
			item.Refusal = err.Error()
		}
	}
	return item
}

// planTogether returns the one plan for several storages that a caller names, at the first of them: two on one disk stand in
// each other's way only while one of them is to stay. It returns none where they cannot go together.
func (s *Server) planTogether(report *storage.Report, ids []string) map[string]*apiv1.Plan {
	if len(ids) < 2 {
		return nil
	}
	p, err := s.Planner.StoragePlan(report, ids...)
	if err != nil {
		return nil
	}
	out := map[string]*apiv1.Plan{}
	for _, id := range ids {
		out[id] = nil
	}
	shown := planToAPI(p)
	out[ids[0]] = &shown
	return out
}

func referencesToAPI(references []storage.Reference) []apiv1.Reference {
	out := make([]apiv1.Reference, 0, len(references))
	for _, r := range references {
		out = append(out, apiv1.Reference{File: r.File, Section: r.Section, Key: r.Key, Value: r.Value, Line: r.Line, Grade: apiv1.Grade(r.Grade), Reason: r.Reason, Kept: r.Kept})
	}
	return out
}

func (s *Server) networks(w http.ResponseWriter, r *http.Request) {
	report, err := get(r, s.Network)
	if err != nil {
		s.fail(w, err)
		return
	}
	items := make([]apiv1.NetworkItem, 0, len(report.Networks))
	for _, n := range report.Networks {
		items = append(items, networkToAPI(n, report.Findings))
	}
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindNetworkReport, report.At, items, s.findingsToAPI(report.Findings), report.Notes))
}

func networkToAPI(n network.Network, findings []finding.Finding) apiv1.NetworkItem {
	item := apiv1.NetworkItem{
		ID: string(n.Subject()), Container: n.Container, Name: n.Name, Driver: n.Driver, Bridge: n.Bridge, Subnets: []string{},
		Mode: apiv1.NetworkMode(n.Mode), Verdict: apiv1.NetworkVerdict(n.Verdict), Reason: n.Reason, Aliases: []apiv1.Alias{}, Route: []string{}, Rules: []string{}, Findings: finding.Codes(findings, n.Subject()),
	}
	for _, subnet := range n.Subnets {
		item.Subnets = append(item.Subnets, subnet.String())
	}
	for _, route := range n.Routes {
		item.Route = append(item.Route, route.String())
	}
	for _, alias := range n.Aliases {
		item.Aliases = append(item.Aliases, apiv1.Alias{Prefix: alias.Prefix.String(), Subnet: alias.Subnet.String()})
	}
	for _, chains := range []netfilter.Chains{n.Rules.IPv4, n.Rules.IPv6} {
		for _, rule := range chains.Raw {
			item.Rules = append(item.Rules, "-t raw -A "+netfilter.ChainRaw+" "+rule.String())
		}
		for _, rule := range chains.NAT {
			item.Rules = append(item.Rules, "-t nat -A "+netfilter.ChainNAT+" "+rule.String())
		}
		for _, rule := range chains.Forward {
			item.Rules = append(item.Rules, "-t filter -A "+netfilter.ChainForward+" "+rule.String())
		}
	}
	for _, rule := range n.Rules.Table.Mark {
		item.Rules = append(item.Rules, "nft inet labd prerouting "+rule)
	}
	for _, rule := range n.Rules.Table.Alias {
		item.Rules = append(item.Rules, "nft inet labd alias "+rule)
	}
	return item
}
