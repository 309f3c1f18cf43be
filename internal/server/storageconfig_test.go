package server

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	apiv1 "labd/api/v1"
)

func lintBody(t *testing.T, file string, data []byte, major int) string {
	t.Helper()
	body, err := json.Marshal(apiv1.StorageConfigRequest{File: file, Data: data, Major: major})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// Every sample comes out of the API as PVE's own parser and writer had it.
func TestStorageConfigOfSamples(t *testing.T) {
	patterns := []string{"../pve/testdata/storage_cfg/*.cfg"}
	if fixtures := os.Getenv("LABD_FIXTURES"); fixtures != "" {
		patterns = append(patterns, filepath.Join(fixtures, "storage_cfg/*.cfg"))
	} else {
		t.Log("LABD_FIXTURES is not set: without the samples of real hosts")
	}
	s := testServer(t)
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no sample matches %s (%v)", pattern, err)
		}
		for _, file := range files {
			t.Run(filepath.Base(file), func(t *testing.T) { checkStorageConfig(t, s, file) })
		}
	}
}

func checkStorageConfig(t *testing.T, s *Server, file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(strings.TrimSuffix(file, ".cfg") + ".expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Config struct {
			IDs    map[string]map[string]any `json:"ids"`
			Order  map[string]int            `json:"order"`
			Digest string                    `json:"digest"`
		} `json:"cfg"`
		Warnings   []string `json:"warnings"`
		Written    *string  `json:"written"`
		WriteError string   `json:"write_error"`
	}
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	var answer apiv1.Envelope[apiv1.StorageConfig]
	ask(t, s, reader, http.MethodPost, "/v1/storage-config", lintBody(t, filepath.Base(file), data, 9), &answer)
	if answer.Kind != apiv1.KindStorageConfig || len(answer.Items) != 1 {
		t.Fatalf("answer %+v", answer)
	}
	got := answer.Items[0]
	sections := map[string]map[string]string{}
	for id, properties := range got.Sections {
		sections[id] = plain(properties)
	}
	wantSections := map[string]map[string]string{}
	for id, properties := range want.Config.IDs {
		wantSections[id] = plain(properties)
	}
	if diff := cmp.Diff(wantSections, sections); diff != "" {
		t.Errorf("sections:\n%s", diff)
	}
	if diff := cmp.Diff(want.Config.Order, map[string]int(got.Order)); diff != "" {
		t.Errorf("order:\n%s", diff)
	}
	if diff := cmp.Diff(want.Warnings, got.Warnings, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("warnings:\n%s", diff)
	}
	if got.Digest != want.Config.Digest || got.Writable != (want.Written != nil) || got.WriteError != want.WriteError || (got.Written == nil) == got.Writable {
		t.Errorf("digest %s, writable %v, write error %q", got.Digest, got.Writable, got.WriteError)
	}
}

// plain writes values as texts and sets as sorted lists; nil stays nil.
func plain(properties map[string]any) map[string]string {
	if properties == nil {
		return nil
	}
	out := map[string]string{}
	for key, value := range properties {
		var items []string
		switch v := value.(type) {
		case map[string]any:
			for name := range v {
				items = append(items, name)
			}
			slices.Sort(items)
		case []any:
			for _, name := range v {
				items = append(items, fmt.Sprint(name))
			}
		default:
			out[key] = fmt.Sprint(v)
			continue
		}
		out[key] = strings.Join(items, ",")
	}
	return out
}

func TestStorageConfigOfTheHost(t *testing.T) {
	s := testServer(t)
	var answer apiv1.Envelope[apiv1.StorageConfig]
	ask(t, s, reader, http.MethodGet, "/v1/storage-config", "", &answer)
	if got := answer.Items[0]; got.File != "storage.cfg" || got.Major != 9 || !got.Writable || got.Sections["local"]["path"] != "/var/lib/vz" {
		t.Errorf("answer %+v", got)
	}
	ask(t, s, reader, http.MethodGet, "/v1/storage-config?major=8", "", &answer)
	if answer.Items[0].Major != 8 {
		t.Errorf("major %d", answer.Items[0].Major)
	}
}

func TestStorageConfigRejects(t *testing.T) {
	s := testServer(t)
	for name, body := range map[string]string{
		"no base64":    `{"file":"x","data":"!"}`,
		"other major":  lintBody(t, "x", nil, 7),
		"too long":     lintBody(t, "x", make([]byte, apiv1.MaxStorageConfig+1), 9),
		"far too long": `{"file":"x","data":"` + base64.StdEncoding.EncodeToString(make([]byte, 2*apiv1.MaxStorageConfig)) + `"}`,
	} {
		var problem apiv1.Problem
		if rec := ask(t, s, reader, http.MethodPost, "/v1/storage-config", body, &problem); rec.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
		}
	}
	if rec := ask(t, s, reader, http.MethodPost, "/v1/storage-config", lintBody(t, "x", make([]byte, apiv1.MaxStorageConfig), 9), nil); rec.Code != http.StatusOK {
		t.Errorf("the longest file: %d", rec.Code)
	}
}

// The other routes keep their small bound.
func TestBodiesAreBounded(t *testing.T) {
	body := `{"action":"` + strings.Repeat("x", maxBody) + `"}`
	if rec := ask(t, testServer(t), root, http.MethodPost, "/v1/plans", body, nil); rec.Code != http.StatusBadRequest {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}
