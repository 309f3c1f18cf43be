package server

import (
	"net/http"
	"time"

	apiv1 "labd/api/v1"
)

// findings answers GET /v1/findings.
func (s *Server) findings(w http.ResponseWriter, r *http.Request) {
	s.observeOnce(r)
	findings, at, notes := s.allFindings()
	items := findingsToAPI(findings)
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindFindingReport, at, items, items, notes))
}

// history answers GET /v1/history.
func (s *Server) history(w http.ResponseWriter, _ *http.Request) {
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindHistoryReport, time.Now(), s.historyItems(), nil, nil))
}

func (s *Server) historyItems() []apiv1.HistoryItem {
	records := s.Findings.History()
	items := make([]apiv1.HistoryItem, 0, len(records))
	for _, r := range records {
		item := apiv1.HistoryItem{
			Code: string(r.Code), Subject: string(r.Subject), Severity: apiv1.Severity(r.Severity.String()), Title: r.Title,
			First: r.First.UTC(), Since: r.Since.UTC(), Last: r.Last.UTC(), Episodes: r.Episodes,
		}
		if !r.Cleared.IsZero() {
			cleared := r.Cleared.UTC()
			item.Cleared = &cleared
		}
		items = append(items, item)
	}
	return items
}
