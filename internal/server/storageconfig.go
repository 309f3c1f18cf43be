package server

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"time"

	apiv1 "labd/api/v1"
	"labd/internal/pve"
)

// StorageConfigSource reads what a reading of storage.cfg needs of the host.
type StorageConfigSource interface {
	// StorageConfigData is the host's own storage.cfg.
	StorageConfigData(ctx context.Context) ([]byte, error)
	// PVEMajor is the major version of the host's PVE; 0 where it has none or cannot tell.
	PVEMajor(ctx context.Context) int
}

// ownStorageConfig answers GET /v1/storage-config: PVE's reading of the host's file.
func (s *Server) ownStorageConfig(w http.ResponseWriter, r *http.Request) {
	data, err := s.StorageConfig.StorageConfigData(r.Context())
	if err != nil {
		s.fail(w, &apiError{http.StatusNotFound, apiv1.ErrorNotFound, err.Error(), "is this a PVE host, and does pve-cluster run? labctl lint-storage FILE reads any other file"})
		return
	}
	major := 0
	if text := r.URL.Query().Get("major"); text != "" {
		if major, err = strconv.Atoi(text); err != nil {
			s.fail(w, fmt.Errorf("%w: major: %q is no number", ErrBadRequest, text))
			return
		}
	}
	// Who may read reports need not see a secret that somebody wrote into the file.
	s.writeStorageConfig(w, r, apiv1.StorageConfigRequest{File: "storage.cfg", Data: hideSecrets(data), Major: major}, len(bytes.TrimSpace(data)) == 0)
}

var secretLine = regexp.MustCompile(`(?m)^([ \t]+(?:password|encryption-key|keyring|key|secret)[ \t]+)(\S.*)$`)

// hideSecrets replaces the values of secret properties. PVE keeps these in files of their own (PVE::Storage::Plugin,
// sensitive-properties), but takes a file that has them.
func hideSecrets(data []byte) []byte { return secretLine.ReplaceAll(data, []byte("${1}(hidden)")) }

// storageConfig answers POST /v1/storage-config: PVE's reading of any file.
func (s *Server) storageConfig(w http.ResponseWriter, r *http.Request) {
	req, err := decodeBody[apiv1.StorageConfigRequest](r)
	if err != nil {
		s.fail(w, err)
		return
	}
	if len(req.Data) > apiv1.MaxStorageConfig {
		s.fail(w, fmt.Errorf("%w: the file is longer than 1 MiB, which PVE takes from no file", ErrBadRequest))
		return
	}
	s.writeStorageConfig(w, r, req, false)
}

// writeStorageConfig answers with PVE's reading. missing says that it is the host's own file and is not there.
func (s *Server) writeStorageConfig(w http.ResponseWriter, r *http.Request, req apiv1.StorageConfigRequest, missing bool) {
	var notes []string
	switch req.Major {
	case 0:
		// Another major than these two is read as 9, and said to be.
		switch major := s.StorageConfig.PVEMajor(r.Context()); major {
		case 8, 9:
			req.Major = major
		case 0:
			req.Major = 9
		default:
			req.Major = 9
			notes = append(notes, fmt.Sprintf("this host runs PVE %d, whose reading labd does not know: the file is read as PVE 9 reads it", major))
		}
	case 8, 9:
	default:
		s.fail(w, fmt.Errorf("%w: the reading of PVE %d is not known, only that of 8 and 9", ErrBadRequest, req.Major))
		return
	}
	item := storageConfigToAPI(req)
	if missing {
		item.Hazards = append(item.Hazards, apiv1.StorageHazard{
			Code: "missing", Effect: apiv1.EffectMisreads, Severity: apiv1.SeverityWarn,
			Text: "storage.cfg is missing or empty: PVE knows no storage but its default, local",
		})
	}
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindStorageConfig, time.Now(), []apiv1.StorageConfig{item}, nil, notes))
}

func storageConfigToAPI(req apiv1.StorageConfigRequest) apiv1.StorageConfig {
	config := pve.ParseStorageConfig(req.Data, pve.StorageConfigOptions{File: req.File, Major: req.Major})
	out := apiv1.StorageConfig{
		File: req.File, Major: req.Major, Digest: config.Digest, Sections: map[string]apiv1.StorageProperties{},
		Order: apiv1.SectionOrder{}, Warnings: []string{}, Hazards: []apiv1.StorageHazard{},
	}
	for _, section := range config.Sections {
		out.Order[section.ID] = section.Order
		out.Sections[section.ID] = propertiesToAPI(config, section)
	}
	for _, w := range config.Warnings {
		out.Warnings = append(out.Warnings, w.Text)
	}
	for _, h := range config.Hazards(req.Data) {
		out.Hazards = append(out.Hazards, apiv1.StorageHazard{
			Code: h.Code, Effect: apiv1.Effect(h.Effect), Severity: hazardSeverity(h.Effect), Line: h.Line, Section: h.Section, Text: h.Text,
		})
	}
	text, err := config.Text()
	out.Writable = err == nil
	if err != nil {
		out.WriteError = err.Error()
		return out
	}
	out.Written = &text
	return out
}

// propertiesToAPI has PVE's forms: sets as lists, numbers as numbers; nil for a section that PVE rejects.
func propertiesToAPI(config *pve.StorageConfig, section *pve.StorageSection) apiv1.StorageProperties {
	if section.Malformed != "" {
		return nil
	}
	out := apiv1.StorageProperties{"type": section.Type}
	for key, value := range section.Properties {
		out[key] = value
		if n, err := strconv.Atoi(value); err == nil && config.Numeric(key) {
			out[key] = n
		}
	}
	for key, list := range map[string][]string{"content": section.Content(), "nodes": section.Nodes()} {
		if _, ok := section.Properties[key]; !ok {
			continue
		}
		if list == nil {
			list = []string{}
		}
		out[key] = list
	}
	if section.Injected {
		out["priority"] = 0 // PVE's own, which it never writes
	}
	return out
}

func hazardSeverity(e pve.Effect) apiv1.Severity {
	switch e {
	case pve.Blocks:
		return apiv1.SeverityFail
	case pve.Loses, pve.Misreads:
		return apiv1.SeverityWarn
	default:
		return apiv1.SeverityInfo
	}
}
