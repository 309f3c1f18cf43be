package server

import (
	"context"
	"net/http"

	apiv1 "labd/api/v1"
	"labd/internal/finding"
	"labd/internal/netfilter"
	"labd/internal/network"
	"labd/internal/storage"
)

func (s *Server) version(w http.ResponseWriter, _ *http.Request) {
	s.write(w, http.StatusOK, apiv1.Version{Labd: s.Version, Kernel: s.Kernel})
}

func (s *Server) nvme(w http.ResponseWriter, r *http.Request) {
	joined := make(chan *storage.Report, 1)
	go func() { joined <- s.storagesOnce(r.Context()) }()
	report, err := get(r, s.NVMe)
	storages := <-joined
	if err != nil {
		s.fail(w, err)
		return
	}
	items := make([]apiv1.NVMeItem, 0, len(report.Drives))
	for _, d := range report.Drives {
		items = append(items, driveToAPI(d, report.Findings, storages))
	}
	if kernel := r.URL.Query().Get("kernel"); kernel != "" {
		if err := predict(report, kernel, items); err != nil {
			s.fail(w, err)
			return
		}
	}
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindNVMeReport, report.At, items, s.findingsToAPI(report.Findings), report.Notes))
}

// storagesOnce is the last report on storages. Where there is none yet, as in a labd for one command, they are looked at
// once; without it only the storages on a drive are unknown.
func (s *Server) storagesOnce(ctx context.Context) *storage.Report {
	if report, ok := s.Storage.Latest(); ok || identity(ctx).public {
		return report
	}
	ctx, cancel := context.WithTimeout(ctx, FreshTimeout)
	defer cancel()
	report, err := s.Storage.Refresh(ctx)
	if err != nil {
		return nil
	}
	return report
}

func (s *Server) storage(w http.ResponseWriter, r *http.Request) {
	report, err := get(r, s.Storage)
	if err != nil {
		s.fail(w, err)
		return
	}
	items := make([]apiv1.StorageItem, 0, len(report.Entries))
	for _, e := range report.Entries {
		item := s.entryToAPI(report, e)
		if identity(r.Context()).public {
			item.Plan = nil // plans are for those whom the kernel vouches for
		}
		items = append(items, item)
	}
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindStorageReport, report.At, items, s.findingsToAPI(report.Findings), report.Notes))
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
	if plannable(e) {
		if p, err := s.Planner.StoragePlan(report, e.ID); err == nil {
			shown := planToAPI(p)
			item.Plan = &shown
		} else {
			item.Refusal = err.Error()
		}
	}
	return item
}

// plannable tells the entries for which fix-storage has a plan.
func plannable(e storage.Entry) bool {
	switch e.Verdict {
	case storage.VerdictGone, storage.VerdictOrphanNode, storage.VerdictMalformed, storage.VerdictUnsupported:
		return e.Refusal == "" && !e.Ignored
	}
	return false
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
