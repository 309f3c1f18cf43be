package storage

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"labd/internal/plan"
	"labd/internal/pve"
)

// cutSection is storage.cfg without one section; all other bytes stay. It fails when the section is not there as it was
// when the plan was made.
func cutSection(text []byte, p sectionParams) ([]byte, error) {
	at := bytes.Index(append([]byte("\n"), text...), []byte("\n"+p.Text))
	if at < 0 {
		return nil, &plan.ChangedError{What: "the section of " + p.ID + " in storage.cfg"}
	}
	return slices.Concat(text[:at], text[at+len(p.Text):]), nil
}

// pasteSection is storage.cfg with the section at its end again, unless it is there.
func pasteSection(text []byte, p sectionParams) []byte {
	if bytes.Contains(append([]byte("\n"), text...), []byte("\n"+p.Text)) {
		return text
	}
	out := bytes.TrimRight(text, "\n")
	if len(out) > 0 {
		out = append(slices.Clone(out), "\n\n"...)
	}
	return append(out, p.Text...)
}

// addProperties is storage.cfg with properties added to the section of an id.
func addProperties(text []byte, id string, props map[string]string) ([]byte, error) {
	line := 0
	for _, s := range pve.ParseSections(text) {
		if s.ID == id {
			line = s.Line
		}
	}
	if line == 0 {
		return nil, fmt.Errorf("storage %s is not in storage.cfg", id)
	}
	var b strings.Builder
	for i, l := range strings.SplitAfter(string(text), "\n") {
		b.WriteString(l)
		if i == line-1 {
			for _, key := range slices.Sorted(maps.Keys(props)) {
				b.WriteString("\t" + key + " " + props[key] + "\n")
			}
		}
	}
	return []byte(b.String()), nil
}
