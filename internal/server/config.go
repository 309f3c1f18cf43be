package server

import (
	"net/http"
	"slices"
	"time"

	apiv1 "labd/api/v1"
	"labd/internal/finding"
)

// configuration answers GET /v1/config: what is in force, and how the last reload went.
func (s *Server) configuration(w http.ResponseWriter, _ *http.Request) {
	item, err := s.Configuration()
	if err != nil {
		s.fail(w, err)
		return
	}
	own := slices.DeleteFunc(s.Findings.Current(time.Now()), func(f finding.Finding) bool { return !f.Subject.IsKind(finding.KindLabd) })
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindConfigReport, time.Now(), []apiv1.ConfigItem{item}, findingsToAPI(own), nil))
}
