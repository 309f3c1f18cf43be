package labd_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// pages are all Markdown files that a person reads.
func pages(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/findings/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, files...)
	}
	return all
}

var (
	pageLink  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	codeBlock = regexp.MustCompile("(?ms)^ *```.*?^ *```$|`[^`\n]*`")
	heading   = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	dropped   = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// anchors are the names of a page's headings, as GitHub and mkdocs make them.
func anchors(text string) []string {
	var names []string
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		names = append(names, strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return names
}

// Every link from page to page leads somewhere, also to its heading.
func TestLinksLeadSomewhere(t *testing.T) {
	for _, page := range pages(t) {
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range pageLink.FindAllStringSubmatch(codeBlock.ReplaceAllString(string(data), ""), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(m[1], "://") {
				continue
			}
			file := filepath.Join(filepath.Dir(page), target)
			if target == "" {
				file = page
			}
			text, err := os.ReadFile(file)
			if info, statErr := os.Stat(file); statErr == nil && info.IsDir() {
				continue
			}
			if err != nil {
				t.Errorf("%s leads to %s: %v", page, m[1], err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(string(text)), anchor) {
				t.Errorf("%s leads to %s, which has no such heading", page, m[1])
			}
		}
	}
}

// The site has every page of docs/ in its navigation, and the overview links to each.
func TestSiteHasEveryPage(t *testing.T) {
	data, err := os.ReadFile("mkdocs.yml")
	if err != nil {
		t.Fatal(err)
	}
	var site struct {
		DocsDir string `yaml:"docs_dir"`
		Nav     []any  `yaml:"nav"`
	}
	if err := yaml.Unmarshal(data, &site); err != nil {
		t.Fatal(err)
	}
	var named []string
	var collect func(any)
	collect = func(entry any) {
		switch v := entry.(type) {
		case string:
			named = append(named, v)
		case []any:
			for _, e := range v {
				collect(e)
			}
		case map[string]any:
			for _, e := range v {
				collect(e)
			}
		}
	}
	collect(site.Nav)
	for _, page := range named {
		if _, err := os.Stat(filepath.Join(site.DocsDir, page)); err != nil {
			t.Errorf("mkdocs.yml names %s: %v", page, err)
		}
	}
	overview, err := os.ReadFile("docs/README.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		if !slices.Contains(named, name) {
			t.Errorf("mkdocs.yml does not name %s", name)
		}
		if name != "README.md" && !strings.Contains(string(overview), "("+name+")") {
			t.Errorf("docs/README.md does not link to %s", name)
		}
	}
}
