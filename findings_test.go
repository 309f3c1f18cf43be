package labd_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"labd/internal/finding"
)

var codeConstant = regexp.MustCompile(`(?m)^\s+(\w+)\s+Code = "([a-z.-]+)"`)

var codeMention = regexp.MustCompile(`finding\.[A-Z]\w+|[a-z]+\.[a-z]+(?:-[a-z]+)*`)

// collect adds what a text mentions: finding.Constant or code.
func collect(into map[string]bool, data []byte) {
	for _, m := range codeMention.FindAll(data, -1) {
		into[string(m)] = true
	}
}

// Every code that is registered is raised somewhere in the product, and some test or fixture sees it raised: a code that
// nothing raises is a promise that nobody keeps.
func TestEveryFindingIsRaised(t *testing.T) {
	source, err := os.ReadFile("internal/finding/code.go")
	if err != nil {
		t.Fatal(err)
	}
	constants := map[finding.Code]string{}
	for _, m := range codeConstant.FindAllStringSubmatch(string(source), -1) {
		constants[finding.Code(m[2])] = m[1]
	}
	raised, seen := map[string]bool{}, map[string]bool{}
	for _, root := range []string{"internal", "test", "deploy"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasPrefix(path, "internal/finding/") || strings.HasPrefix(path, "internal/server/") || filepath.Base(path) == "docs_test.go" {
				return err
			}
			data, err := os.ReadFile(path)
			if strings.HasPrefix(path, "internal/") && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				collect(raised, data)
			} else {
				collect(seen, data)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, def := range finding.Defs() {
		name, ok := constants[def.Code]
		if !ok {
			t.Errorf("%s has no constant in internal/finding/code.go", def.Code)
			continue
		}
		delete(constants, def.Code)
		if !raised["finding."+name] {
			t.Errorf("nothing raises %s (finding.%s)", def.Code, name)
		}
		if !seen["finding."+name] && !seen[string(def.Code)] {
			t.Errorf("no test or fixture sees %s raised", def.Code)
		}
	}
	for code, name := range constants {
		t.Errorf("finding.%s (%s) is not in finding.Defs", name, code)
	}
}
