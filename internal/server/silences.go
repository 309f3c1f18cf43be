package server

import (
	"net/http"
	"time"

	apiv1 "labd/api/v1"
	"labd/internal/finding"
)

// silences answers GET /v1/silences.
func (s *Server) silences(w http.ResponseWriter, _ *http.Request) {
	s.writeSilences(w, s.Findings.Silences(time.Now()))
}

// silence answers POST /v1/silences.
func (s *Server) silence(w http.ResponseWriter, r *http.Request) {
	req, err := decodeBody[apiv1.SilenceRequest](r)
	if err != nil {
		s.fail(w, err)
		return
	}
	// More seconds than fit into a duration are as wrong as any number above the limit.
	duration := time.Duration(min(req.Seconds, int64(finding.MaxSilence/time.Second)+1)) * time.Second
	made, err := s.Findings.Silence(time.Now(), finding.Silence{
		Code: finding.Code(req.Code), Subject: req.Subject, Reason: req.Reason, Actor: identity(r.Context()).name,
	}, duration)
	if err != nil {
		s.fail(w, err)
		return
	}
	s.writeSilences(w, []finding.Silence{made})
}

// unsilence answers DELETE /v1/silences/{id} with the silence that was removed.
func (s *Server) unsilence(w http.ResponseWriter, r *http.Request) {
	removed, err := s.Findings.Unsilence(time.Now(), r.PathValue("id"))
	if err != nil {
		s.fail(w, err)
		return
	}
	s.writeSilences(w, []finding.Silence{removed})
}

func (s *Server) writeSilences(w http.ResponseWriter, list []finding.Silence) {
	items := make([]apiv1.SilenceItem, 0, len(list))
	for _, silence := range list {
		items = append(items, silenceToAPI(silence))
	}
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindSilenceReport, time.Now(), items, nil, nil))
}

func silenceToAPI(s finding.Silence) apiv1.SilenceItem {
	return apiv1.SilenceItem{ID: s.ID, Code: string(s.Code), Subject: s.Subject, Reason: s.Reason, Actor: s.Actor, Created: s.Created.UTC(), Until: s.Until.UTC()}
}
