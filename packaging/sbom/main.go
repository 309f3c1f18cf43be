// Command sbom writes what a program is made of: an SPDX document of its modules, and their licences.
package main

import (
	"cmp"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	if len(os.Args) < 5 {
		fmt.Fprintln(os.Stderr, "usage: sbom SPDX-FILE LICENCES-FILE VERSION PROGRAM…; SOURCE_DATE_EPOCH dates the document")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2], os.Args[3], os.Args[4:]); err != nil {
		fmt.Fprintln(os.Stderr, "write the bill of materials:", err)
		os.Exit(1)
	}
}

// module is one Go module in a program, or the Go standard library.
type module struct{ path, version, sum, dir string }

func write(spdxFile, licenceFile, version string, programs []string) error {
	epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	modules, err := modulesOf(programs)
	if err != nil {
		return err
	}
	spdx, err := json.MarshalIndent(document(modules, version, time.Unix(epoch, 0).UTC()), "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", spdxFile, err)
	}
	if err := os.WriteFile(spdxFile, append(spdx, '\n'), 0o644); err != nil {
		return err
	}
	licences, err := licencesOf(modules)
	if err != nil {
		return err
	}
	return os.WriteFile(licenceFile, []byte(licences), 0o644)
}

// modulesOf are the modules that the programs' build information names, in order.
func modulesOf(programs []string) ([]module, error) {
	seen := map[string]module{}
	for _, program := range programs {
		info, err := buildinfo.ReadFile(program)
		if err != nil {
			return nil, fmt.Errorf("read what %s is made of: %w", program, err)
		}
		seen["std"] = module{path: "std", version: info.GoVersion}
		for _, dep := range info.Deps {
			if dep.Replace != nil {
				dep = dep.Replace
			}
			seen[dep.Path] = module{path: dep.Path, version: dep.Version, sum: dep.Sum}
		}
	}
	var modules []module
	for _, m := range seen {
		dir, err := directory(m)
		if err != nil {
			return nil, err
		}
		m.dir = dir
		modules = append(modules, m)
	}
	slices.SortFunc(modules, func(a, b module) int { return cmp.Compare(a.path, b.path) })
	return modules, nil
}

// directory is where a module's files are.
func directory(m module) (string, error) {
	args := []string{"list", "-m", "-f", "{{.Dir}}", m.path}
	if m.path == "std" {
		args = []string{"env", "GOROOT"}
	}
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		return "", fmt.Errorf("find the files of %s: %w", m.path, err)
	}
	return strings.TrimSpace(string(out)), nil
}

var licenceName = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|unlicense)([.-].*)?$`)

// licencesOf are the licence files of all modules, one after the other. A module without one is an error: it must not be
// shipped.
func licencesOf(modules []module) (string, error) {
	var b strings.Builder
	b.WriteString("labd contains the following modules. Their licences follow each other, by module.\n")
	for _, m := range modules {
		entries, err := os.ReadDir(m.dir)
		if err != nil {
			return "", fmt.Errorf("read the files of %s: %w", m.path, err)
		}
		found := false
		for _, e := range entries {
			if !e.Type().IsRegular() || !licenceName.MatchString(e.Name()) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(m.dir, e.Name()))
			if err != nil {
				return "", err
			}
			found = true
			fmt.Fprintf(&b, "\n%s\n%s %s: %s\n\n%s\n", strings.Repeat("=", 80), m.path, m.version, e.Name(), strings.TrimSpace(string(text)))
		}
		if !found {
			return "", errors.New("module " + m.path + " has no licence file in " + m.dir)
		}
	}
	return b.String(), nil
}

// The parts of SPDX 2.3 that are used (https://spdx.github.io/spdx-spec/v2.3/).
type spdxDocument struct {
	Version       string             `json:"spdxVersion"`
	DataLicense   string             `json:"dataLicense"`
	ID            string             `json:"SPDXID"`
	Name          string             `json:"name"`
	Namespace     string             `json:"documentNamespace"`
	CreationInfo  spdxCreation       `json:"creationInfo"`
	Packages      []spdxPackage      `json:"packages"`
	Relationships []spdxRelationship `json:"relationships"`
}

type spdxCreation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	Name             string         `json:"name"`
	ID               string         `json:"SPDXID"`
	Version          string         `json:"versionInfo"`
	DownloadLocation string         `json:"downloadLocation"`
	FilesAnalyzed    bool           `json:"filesAnalyzed"`
	LicenseConcluded string         `json:"licenseConcluded"`
	References       []spdxExternal `json:"externalRefs,omitempty"`
}

type spdxExternal struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type spdxRelationship struct {
	Element string `json:"spdxElementId"`
	Type    string `json:"relationshipType"`
	Related string `json:"relatedSpdxElement"`
}

const noAssertion = "NOASSERTION"

func document(modules []module, version string, created time.Time) spdxDocument {
	d := spdxDocument{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: "labd " + version,
		Namespace:     "https://spdx.org/spdxdocs/labd-" + version,
		CreationInfo:  spdxCreation{Created: created.Format(time.RFC3339), Creators: []string{"Tool: labd-sbom"}},
		Packages:      []spdxPackage{{Name: "labd", ID: "SPDXRef-labd", Version: version, DownloadLocation: noAssertion, LicenseConcluded: noAssertion}},
		Relationships: []spdxRelationship{{"SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-labd"}},
	}
	unsafeID := regexp.MustCompile(`[^A-Za-z0-9.-]`)
	for _, m := range modules {
		id := "SPDXRef-" + unsafeID.ReplaceAllString(m.path, "-")
		d.Packages = append(d.Packages, spdxPackage{
			Name: m.path, ID: id, Version: m.version, DownloadLocation: noAssertion, LicenseConcluded: noAssertion,
			References: []spdxExternal{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + m.path + "@" + m.version}},
		})
		d.Relationships = append(d.Relationships, spdxRelationship{"SPDXRef-labd", "DEPENDS_ON", id})
	}
	return d
}
