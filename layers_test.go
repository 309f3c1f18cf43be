// Package labd_test guards the rules of the house that no compiler checks: which package may import which, that only
// internal/host starts programs, that every package says what it is for.
package labd_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labd/internal/finding"
)

var update = flag.Bool("update", false, "write the table of packages in docs/architecture.md")

type goPackage struct {
	ImportPath string
	Dir        string
	Doc        string
	Imports    []string
	Deps       []string
	GoFiles    []string

	own map[string]bool
}

// ours reports whether an import is of this module.
func (p goPackage) ours(dep string) bool { return p.own[dep] }

func packages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json", "./...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %s", exit.Stderr)
		}
		t.Fatal(err)
	}
	var list []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, "labd/")
		p.own = map[string]bool{}
		for _, dep := range p.Imports {
			if path, ok := strings.CutPrefix(dep, "labd/"); ok {
				p.own[path] = true
			}
		}
		for _, list := range [][]string{p.Imports, p.Deps} {
			for i, dep := range list {
				list[i] = strings.TrimPrefix(dep, "labd/")
			}
		}
		list = append(list, p)
	}
	if len(list) < 10 {
		t.Fatalf("go list found only %d packages", len(list))
	}
	return list
}

// layer is a floor of the house. A package belongs to the layer that lists it, or the nearest package above it.
type layer struct {
	title    string
	packages []string
	// apart says that its packages may not import one another.
	apart bool
	// below are the titles of the layers that its packages may import, besides their own.
	below []string
}

const (
	programs = "programs"
	front    = "front"
	apiTypes = "API types"
	domains  = "domains"
	common   = "common"
	systems  = "systems that labd talks to"
	leaves   = "used by all"
	beside   = "beside the product"
)

// layers are all layers, from the top down. Arrows point down only.
func layers() []layer {
	return []layer{
		{title: programs, packages: []string{"cmd/labd", "cmd/labctl"}, below: []string{front, leaves}},
		{title: front, packages: []string{"internal/daemon", "internal/server", "internal/placement", "internal/cli", "internal/config", "internal/notify", "internal/access", "internal/web"}, below: []string{apiTypes, domains, common, systems, leaves}},
		{title: apiTypes, packages: []string{"api/v1"}, below: []string{leaves}},
		{title: domains, packages: []string{"internal/disk", "internal/storage", "internal/network", "internal/setup"}, apart: true, below: []string{common, systems, leaves}},
		{title: common, packages: []string{"internal/finding", "internal/plan", "internal/reconcile", "internal/policy", "internal/metric", "internal/statefile"}, below: []string{leaves}},
		{title: systems, packages: []string{"internal/pve", "internal/lxc", "internal/docker", "internal/netfilter", "internal/route", "internal/stream", "internal/smart", "internal/host"}, below: []string{leaves}},
		{title: leaves, packages: []string{"internal/printable", "internal/layer", "internal/health", "internal/frame", "docs"}, apart: true},
		{title: beside, packages: []string{"test", "packaging", "deploy", "tools", "internal/disk/quirkgen"}, below: []string{front, apiTypes, domains, common, systems, leaves}},
	}
}

// exceptions are the arrows inside the front and from it that are not allowed although the layers would.
var exceptions = map[string][]string{
	"internal/access":    {"internal/daemon", "internal/server", "internal/cli", "internal/config", "internal/notify", apiTypes, domains, common, systems},
	"internal/cli":       {"internal/access", "internal/daemon", "internal/server", "internal/placement", "internal/config", "internal/notify", domains, systems, common},
	"internal/server":    {"internal/daemon", "internal/cli"},
	"internal/config":    {"internal/daemon", "internal/cli", "internal/server"},
	"internal/notify":    {"internal/daemon", "internal/cli", "internal/server", "internal/config", apiTypes, domains, systems},
	"internal/placement": {"internal/daemon", "internal/cli", "internal/server", "internal/config", "internal/notify", "internal/access", apiTypes, systems},
}

// roomOf returns the layer of a package and the package that the layer lists for it; nothing for one that is in no layer.
func roomOf(p string) (l layer, listed string) {
	for _, candidate := range layers() {
		for _, room := range candidate.packages {
			if (p == room || strings.HasPrefix(p, room+"/")) && len(room) > len(listed) {
				l, listed = candidate, room
			}
		}
	}
	return l, listed
}

// wrongArrow says why from may not import to; it is empty where it may.
func wrongArrow(from, to string) string {
	upper, room := roomOf(from)
	lower, other := roomOf(to)
	switch {
	case room == "":
		return from + " is in no layer: list it in layers_test.go"
	case other == "":
		return to + " is in no layer: list it in layers_test.go"
	case room == other:
		return ""
	case slices.Contains(exceptions[room], other), slices.Contains(exceptions[room], lower.title):
		return room + " may not import " + other
	case upper.title == lower.title && !upper.apart:
		return ""
	case upper.title == lower.title || !slices.Contains(upper.below, lower.title):
		return "from " + upper.title + " to " + lower.title
	}
	return ""
}

func TestArrowsPointDown(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath == "labd" {
			continue // the tests beside this one
		}
		if _, room := roomOf(p.ImportPath); room == "" {
			t.Errorf("%s is in no layer: list it in layers_test.go", p.ImportPath)
		}
		for _, dep := range p.Imports {
			if !p.ours(dep) {
				continue
			}
			if why := wrongArrow(p.ImportPath, dep); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, dep, why)
			}
		}
	}
}

// The rules themselves: what they allow and what they do not, also for packages that nobody listed.
func TestLayerRules(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		allowed  bool
	}{
		{"internal/daemon", "internal/disk", true},
		{"internal/server", "internal/network/probe", true},
		{"internal/network/probe", "internal/network", true},
		{"internal/network", "internal/network/container", true},
		{"internal/network/router", "internal/route", true},
		{"internal/disk", "internal/storage", false},
		{"internal/disk", "internal/network/probe", false},
		{"internal/disk", "api/v1", false},
		{"internal/disk", "internal/layer", true},
		{"internal/finding", "internal/host", false},
		{"internal/host", "internal/finding", false},
		{"internal/pve", "internal/host", true},
		{"internal/cli", "internal/printable", true},
		{"internal/cli", "internal/finding", false},
		{"internal/cli", "internal/config", false},
		{"internal/notify", "api/v1", false},
		{"internal/server", "internal/daemon", false},
		{"internal/layer", "internal/health", false},
		{"internal/disk", "test/lab", false},
		{"test/e2e", "internal/daemon", true},
		{"internal/diskette", "internal/layer", false},
		{"internal/disk", "internal/newroom", false},
	} {
		if why := wrongArrow(tt.from, tt.to); (why == "") != tt.allowed {
			t.Errorf("%s to %s: %q", tt.from, tt.to, why)
		}
	}
}

const (
	architecture = "docs/architecture.md"
	houseBegin   = "<!-- the house: go test . -update -->\n"
	houseEnd     = "<!-- end of the house -->\n"
)

// The table of docs/architecture.md says what the packages say of themselves.
func TestTheHouseIsDescribed(t *testing.T) {
	byRoom := map[string][]string{}
	for _, p := range packages(t) {
		l, _ := roomOf(p.ImportPath)
		if l.title != "" && p.Doc != "" {
			byRoom[l.title] = append(byRoom[l.title], fmt.Sprintf("| `%s` | %s |\n", p.ImportPath, purpose(p.Doc)))
		}
	}
	var b strings.Builder
	for _, l := range layers() {
		fmt.Fprintf(&b, "\n### %s\n\n| package | what it is for |\n|---|---|\n%s", strings.ToUpper(l.title[:1])+l.title[1:], strings.Join(byRoom[l.title], ""))
	}
	page, err := os.ReadFile(architecture)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), houseBegin)
	old, after, ok2 := strings.Cut(rest, houseEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table of packages", architecture)
	}
	if *update {
		if err := os.WriteFile(architecture, []byte(before+houseBegin+b.String()+"\n"+houseEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(b.String()+"\n", old); diff != "" {
		t.Errorf("%s is not what the packages say (go test . -update), -want +got:\n%s", architecture, diff)
	}
}

// purpose is a package comment without its first words, "Package disk" or "Command labd", as a phrase.
func purpose(doc string) string {
	words := strings.SplitN(doc, " ", 3)
	if len(words) < 3 || words[0] != "Package" && words[0] != "Command" {
		return doc
	}
	return strings.TrimSuffix(strings.TrimPrefix(words[2], "is "), ".")
}

// labctl links the API types, its commands and the printer of foreign text, and nothing below.
func TestLabctlIsThin(t *testing.T) {
	allowed := []string{"api/v1", "internal/cli", "internal/frame", "internal/health", "internal/printable"}
	heavy := []string{"github.com/docker/", "github.com/vishvananda/", "github.com/luthermonson/", "github.com/jaypipes/", "github.com/prometheus/"}
	for _, p := range packages(t) {
		if p.ImportPath != "cmd/labctl" {
			continue
		}
		for _, dep := range p.Deps {
			own := strings.HasPrefix(dep, "internal/") || strings.HasPrefix(dep, "api/")
			own = own && isOurs(dep)
			if own && !slices.Contains(allowed, dep) {
				t.Errorf("labctl links %s", dep)
			}
			for _, h := range heavy {
				if strings.HasPrefix(dep, h) {
					t.Errorf("labctl links %s", dep)
				}
			}
		}
		return
	}
	t.Error("cmd/labctl not found")
}

// What only the tests need is not in the product.
func TestProductLinksNoTestLibraries(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath != "cmd/labd" && p.ImportPath != "cmd/labctl" {
			continue
		}
		for _, dep := range p.Deps {
			if strings.HasPrefix(dep, "github.com/hanwen/go-fuse/") || strings.HasPrefix(dep, "github.com/google/go-cmp/") || dep == "testing" {
				t.Errorf("%s links %s", p.ImportPath, dep)
			}
		}
	}
}

// isOurs tells a package of this module from one of the standard library with the same beginning (internal/abi).
func isOurs(dep string) bool {
	_, err := os.Stat(dep)
	return err == nil
}

func TestOnlyHostStartsPrograms(t *testing.T) {
	// labctl starts its private labd; it must not link internal/host for that.
	allowed := []string{"internal/host", "internal/cli"}
	for _, p := range packages(t) {
		if slices.Contains(p.Imports, "os/exec") && !slices.Contains(allowed, p.ImportPath) &&
			!strings.HasPrefix(p.ImportPath, "test/") && !strings.HasPrefix(p.ImportPath, "packaging/") { // never part of labd
			t.Errorf("%s imports os/exec; programs are started by internal/host", p.ImportPath)
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		if base := filepath.Base(p.ImportPath); base == "util" || base == "utils" {
			t.Errorf("%s: a package is named by what it provides", p.ImportPath)
		}
	}
}

func TestHouseRulesInCode(t *testing.T) {
	for _, p := range packages(t) {
		for _, name := range p.GoFiles {
			file := filepath.Join(p.Dir, name)
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, decl := range f.Decls {
				fn, ok := decl.(*ast.FuncDecl)
				if !ok {
					continue
				}
				if fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s: func init has side effects at import", fset.Position(fn.Pos()))
				}
				if lines := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line; f.Name.Name == "main" && fn.Name.Name == "main" && lines > 40 {
					t.Errorf("%s: main has %d lines, more than 40", fset.Position(fn.Pos()), lines)
				}
				if strings.HasPrefix(p.ImportPath, "internal/") {
					ast.Inspect(fn, func(n ast.Node) bool {
						if call, ok := n.(*ast.CallExpr); ok {
							if id, ok := call.Fun.(*ast.Ident); ok && id.Name == "panic" {
								t.Errorf("%s: panic in library code", fset.Position(call.Pos()))
							}
						}
						return true
					})
				}
			}
		}
	}
}

func TestEveryFindingHasAPage(t *testing.T) {
	pages, err := filepath.Glob("docs/findings/*.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"README": true}
	for _, def := range finding.Defs() {
		known[string(def.Code)] = true
		if _, err := os.Stat("docs/findings/" + string(def.Code) + ".md"); err != nil {
			t.Errorf("finding %s has no page: %v", def.Code, err)
		}
		if def.Meaning == "" || def.Severity == 0 {
			t.Errorf("finding %s is not defined fully", def.Code)
		}
	}
	for _, page := range pages {
		if name := strings.TrimSuffix(filepath.Base(page), ".md"); !known[name] {
			t.Errorf("%s describes a finding that does not exist", page)
		}
	}
}
