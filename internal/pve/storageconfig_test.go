package pve

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// storageExpectation is what PVE's own parser and writer made of a sample.
type storageExpectation struct {
	Config struct {
		IDs    map[string]map[string]any `json:"ids"`
		Order  map[string]int            `json:"order"`
		Digest string                    `json:"digest"`
		Errors []struct{ Context, Section, Key, Err string }
	} `json:"cfg"`
	Warnings   []string `json:"warnings"`
	Written    *string  `json:"written"`
	WriteError string   `json:"write_error"`
}

func TestParseStorageConfigAsPVEDoes(t *testing.T) {
	for _, file := range storageSamples(t, "testdata/storage_cfg/*.cfg") {
		t.Run(filepath.Base(file), func(t *testing.T) { checkStorageSample(t, file) })
	}
}

func TestParseStorageConfigOfRealHosts(t *testing.T) {
	fixtures := os.Getenv("LABD_FIXTURES")
	if fixtures == "" {
		t.Skip("LABD_FIXTURES is not set: no samples of real hosts")
	}
	for _, file := range storageSamples(t, filepath.Join(fixtures, "storage_cfg", "wild*.cfg")) {
		t.Run(filepath.Base(file), func(t *testing.T) { checkStorageSample(t, file) })
	}
}

func storageSamples(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no sample matches %s (%v)", pattern, err)
	}
	return files
}

func checkStorageSample(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(strings.TrimSuffix(file, ".cfg") + ".expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var want storageExpectation
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	got := ParseStorageConfig(data, StorageConfigOptions{File: filepath.Base(file)})

	if diff := cmp.Diff(want.Config.Digest, got.Digest); diff != "" {
		t.Errorf("digest:\n%s", diff)
	}
	var warnings []string
	var rejected []struct{ Context, Section, Key, Err string }
	for _, w := range got.Warnings {
		warnings = append(warnings, w.Text)
		if w.Key != "" {
			rejected = append(rejected, struct{ Context, Section, Key, Err string }{
				fmt.Sprintf("file %s line %d", filepath.Base(file), w.Line), w.Section, w.Key, w.Err + "\n",
			})
		}
	}
	if diff := cmp.Diff(want.Warnings, warnings, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("warnings:\n%s", diff)
	}
	if diff := cmp.Diff(want.Config.Errors, rejected); diff != "" {
		t.Errorf("rejected properties:\n%s", diff)
	}
	if diff := cmp.Diff(expectedSections(want), sectionMaps(got)); diff != "" {
		t.Errorf("sections:\n%s", diff)
	}
	order := map[string]int{}
	for _, s := range got.Sections {
		order[s.ID] = s.Order
	}
	if diff := cmp.Diff(want.Config.Order, order); diff != "" {
		t.Errorf("order:\n%s", diff)
	}
	text, err := got.Text()
	if want.Written == nil {
		if err == nil || err.Error() != want.WriteError {
			t.Errorf("Text() error = %v, want %q", err, want.WriteError)
		}
		return
	}
	if err != nil {
		t.Fatalf("Text(): %v", err)
	}
	if diff := cmp.Diff(sortSets(*want.Written), sortSets(text)); diff != "" {
		t.Errorf("written:\n%s", diff)
	}
}

// expectedSections brings PVE's data into the shape of sectionMaps; nil stands
// for a section that PVE keeps without data.
func expectedSections(want storageExpectation) map[string]map[string]string {
	out := map[string]map[string]string{}
	for id, props := range want.Config.IDs {
		if props == nil {
			out[id] = nil
			continue
		}
		m := map[string]string{}
		for k, v := range props {
			if set, ok := v.(map[string]any); ok {
				keys := map[string]bool{}
				for name := range set {
					keys[name] = true
				}
				m[k] = joinSet(keys)
				continue
			}
			m[k] = fmt.Sprint(v)
		}
		// An internal key that PVE never writes.
		delete(m, "priority")
		out[id] = m
	}
	return out
}

func sectionMaps(c *StorageConfig) map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, s := range c.Sections {
		if s.Malformed != "" {
			out[s.ID] = nil
			continue
		}
		m := map[string]string{"type": s.Type}
		for k, v := range s.Properties {
			m[k] = v
		}
		out[s.ID] = m
	}
	return out
}

// sortSets sorts the items of content and nodes lines, which PVE writes in
// random order.
func sortSets(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if key, value, ok := strings.Cut(strings.TrimPrefix(l, "\t"), " "); ok && (key == "content" || key == "nodes") {
			lines[i] = "\t" + key + " " + joinList(splitList(value))
		}
	}
	return strings.Join(lines, "\n")
}
