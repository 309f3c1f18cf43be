// Package labd_test guards the rules of the house that no compiler checks: which package may import which, that only
// internal/host starts programs, that every package says what it is for.
package labd_test

import (
	"bytes"
	"encoding/json"
	"errors"
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

	"labd/internal/finding"
)

type goPackage struct {
	ImportPath string
	Dir        string
	Doc        string
	Imports    []string
	Deps       []string
	GoFiles    []string
}

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

var (
	front   = []string{"internal/daemon", "internal/server", "internal/cli", "internal/config", "internal/notify"}
	domains = []string{"internal/disk", "internal/storage", "internal/network", "internal/setup"}
	systems = []string{"internal/pve", "internal/lxc", "internal/docker", "internal/netfilter", "internal/route", "internal/smart", "internal/host"}
	// leaf depends on nothing and may be used by all.
	leaf   = []string{"internal/printable", "internal/layer"}
	common = []string{"internal/finding", "internal/plan", "internal/reconcile", "internal/policy", "internal/metric", "internal/statefile"}
)

// forbidden are the packages that p may not import.
func forbidden(p string) []string {
	switch {
	case slices.Contains(domains, p):
		others := slices.DeleteFunc(slices.Clone(domains), func(d string) bool { return d == p })
		return slices.Concat(front, others, []string{"api/v1"})
	case slices.Contains(systems, p):
		return slices.Concat(front, domains, common, []string{"api/v1"})
	case slices.Contains(common, p):
		return slices.Concat(front, domains, systems, []string{"api/v1"})
	case p == "internal/cli":
		return slices.Concat(front[:2], front[3:], domains, systems, common)
	case p == "internal/server", p == "internal/config":
		return []string{"internal/daemon", "internal/cli"}
	case p == "internal/notify":
		return slices.Concat(front[:4], domains, systems, []string{"api/v1"})
	case slices.Contains(leaf, p):
		return slices.Concat(front, domains, systems, common, []string{"api/v1"})
	case p == "api/v1":
		return slices.Concat(front, domains, systems, common)
	}
	return nil
}

func TestArrowsPointDown(t *testing.T) {
	for _, p := range packages(t) {
		for _, bad := range forbidden(p.ImportPath) {
			if slices.Contains(p.Imports, bad) {
				t.Errorf("%s imports %s", p.ImportPath, bad)
			}
		}
		for _, dep := range p.Imports {
			if strings.HasPrefix(dep, "test/") && !strings.HasPrefix(p.ImportPath, "test/") {
				t.Errorf("%s imports %s: the product must not need the tests", p.ImportPath, dep)
			}
		}
	}
}

// labctl links the API types, its commands and the printer of foreign text, and nothing below.
func TestLabctlIsThin(t *testing.T) {
	allowed := []string{"api/v1", "internal/cli", "internal/printable"}
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
