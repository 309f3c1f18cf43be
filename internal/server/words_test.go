package server

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	apiv1 "labd/api/v1"
	"labd/internal/finding"
	"labd/internal/health"
)

// words are the values that a word type of api/v1 lists; nil for any other type.
func words(t reflect.Type) []string {
	method, ok := t.MethodByName("Values")
	if !ok || t.Kind() != reflect.String {
		return nil
	}
	list := method.Func.Call([]reflect.Value{reflect.Zero(t)})[0]
	out := make([]string, list.Len())
	for i := range out {
		out[i] = list.Index(i).String()
	}
	return out
}

// constants are the string constants of a package whose names begin with prefix, by their values.
func constants(t *testing.T, dir, prefix string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.CONST {
				continue
			}
			for _, s := range group.Specs {
				spec := s.(*ast.ValueSpec)
				for i, name := range spec.Names {
					if !strings.HasPrefix(name.Name, prefix) || i >= len(spec.Values) {
						continue
					}
					if lit, ok := spec.Values[i].(*ast.BasicLit); ok && lit.Kind == token.STRING {
						out = append(out, constant.StringVal(constant.MakeFromLiteral(lit.Value, token.STRING, 0)))
					}
				}
			}
		}
	}
	return out
}

// Every word that a domain may say is listed in api/v1, and so in openapi.yaml.
func TestDomainsSayListedWords(t *testing.T) {
	for _, tt := range []struct {
		dir, prefix string
		listed      []string
	}{
		{"../disk", "Rung", words(reflect.TypeFor[apiv1.Rung]())},
		{"../disk", "Verdict", words(reflect.TypeFor[apiv1.Health]())},
		{"../disk", "Outcome", words(reflect.TypeFor[apiv1.Outcome]())},
		{"../storage", "Verdict", words(reflect.TypeFor[apiv1.StorageVerdict]())},
		{"../network", "Verdict", slices.Concat(words(reflect.TypeFor[apiv1.NetworkVerdict]()), words(reflect.TypeFor[apiv1.ProbeVerdict]()))},
		{"../finding", "State", words(reflect.TypeFor[apiv1.State]())},
		{"../finding", "Risk", words(reflect.TypeFor[apiv1.Risk]())},
		{"../plan", "State", words(reflect.TypeFor[apiv1.JournalState]())},
	} {
		said := constants(t, tt.dir, tt.prefix)
		if len(said) == 0 {
			t.Errorf("%s says no word that begins with %s", tt.dir, tt.prefix)
		}
		for _, word := range said {
			if !slices.Contains(tt.listed, word) {
				t.Errorf("%s says %q (%s…), which api/v1 does not list", tt.dir, word, tt.prefix)
			}
		}
	}
	for _, severity := range finding.Severities() {
		if !slices.Contains(words(reflect.TypeFor[apiv1.Severity]()), severity.String()) || !slices.Contains(health.Levels(), severity.Health()) {
			t.Errorf("severity %s is not listed", severity)
		}
	}
	for _, word := range []finding.Confidence{finding.Certain, finding.Likely, finding.Unknown} {
		if !slices.Contains(words(reflect.TypeFor[apiv1.Confidence]()), string(word)) {
			t.Errorf("confidence %s is not listed", word)
		}
	}
}

var hopLiteral = regexp.MustCompile(`\bHop\{Name: "([a-z-]+)"`)

// Every place on a packet's way that a probe may name is listed, and none is listed that no probe names.
func TestHopsAreListed(t *testing.T) {
	listed := words(reflect.TypeFor[apiv1.HopName]())
	said := map[string]bool{}
	var text strings.Builder
	err := filepath.WalkDir("../network", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		text.Write(data)
		for _, m := range hopLiteral.FindAllStringSubmatch(string(data), -1) {
			said[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for word := range said {
		if !slices.Contains(listed, word) {
			t.Errorf("a probe names the hop %q, which api/v1 does not list", word)
		}
	}
	for _, word := range listed {
		if !strings.Contains(text.String(), `"`+word+`"`) {
			t.Errorf("api/v1 lists the hop %q, which no probe names", word)
		}
	}
}
