// Package docs holds the pages about findings, so that labctl can print them without a network and without the package's
// documentation.
package docs

import (
	"embed"
	"io/fs"
	"slices"
	"strings"
)

//go:embed findings/*.*.md
var findings embed.FS

// Finding returns the page of a finding's code as Markdown, and whether there is one.
func Finding(code string) (page string, ok bool) {
	if strings.ContainsAny(code, `/\`) {
		return "", false
	}
	data, err := findings.ReadFile("findings/" + code + ".md")
	return string(data), err == nil
}

//go:embed troubleshooting.md nvme.md
var guides embed.FS

// Runbook returns the page that an alert leads to: that of a finding's code, or troubleshooting or nvme.
func Runbook(name string) (page string, ok bool) {
	if page, ok := Finding(name); ok {
		return page, true
	}
	if strings.ContainsAny(name, `/\\`) {
		return "", false
	}
	data, err := guides.ReadFile(name + ".md")
	return string(data), err == nil
}

// Codes returns the codes of all findings that have a page, in order.
func Codes() []string {
	files, err := fs.Glob(findings, "findings/*.md")
	if err != nil {
		return nil // the pattern is constant and right
	}
	codes := make([]string, 0, len(files))
	for _, file := range files {
		codes = append(codes, strings.TrimSuffix(strings.TrimPrefix(file, "findings/"), ".md"))
	}
	slices.Sort(codes)
	return codes
}
