package server

import (
	"net/http"
	"time"

	apiv1 "labd/api/v1"
)

// configuration answers GET /v1/config: what is in force, and how the last reload went.
func (s *Server) configuration(w http.ResponseWriter, _ *http.Request) {
	item, err := s.Configuration()
	if err != nil {
		s.fail(w, err)
		return
	}
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindConfigReport, time.Now(), []apiv1.ConfigItem{item}, findingsToAPI(s.Own()), nil))
}
