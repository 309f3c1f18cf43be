package pve

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Effect is what a hazard of a configuration leads to.
type Effect string

const (
	// Blocks: no write of the file succeeds on any node.
	Blocks Effect = "blocks"
	// Loses: PVE's next write, of whatever entry, leaves it out for good.
	Loses Effect = "loses"
	// Misreads: PVE takes the text for something else than it looks like, and
	// its next write makes that final.
	Misreads Effect = "misreads"
	// Harmless: PVE's next write changes the text and not the meaning.
	Harmless Effect = "harmless"
)

// Hazard is a place in storage.cfg that PVE does not read as it is written, or
// will not keep.
type Hazard struct {
	Code    string // stable, in words with hyphens
	Effect  Effect
	Line    int    // counted from 1; 0 when it has no line
	Section string // the storage that it is about, or ""
	Text    string // what is wrong and what follows, in one sentence
}

// Hazards returns what a person should know about the file before PVE or anybody
// else writes it, in the order of lines. data is what the configuration was
// parsed from.
func (c *StorageConfig) Hazards(data []byte) []Hazard {
	h := hazardFinder{config: c, swallowed: map[string]int{}}
	h.malformed()
	h.skipped()
	h.blocks(data)
	h.properties()
	h.local()
	h.comments(data)
	slices.SortStableFunc(h.found, func(a, b Hazard) int { return a.Line - b.Line })
	return h.found
}

type hazardFinder struct {
	config *StorageConfig
	found  []Hazard
	// swallowed is the line of the first header that each section swallowed.
	swallowed map[string]int
}

func (h *hazardFinder) add(code string, effect Effect, line int, section, format string, args ...any) {
	h.found = append(h.found, Hazard{
		Code: code, Effect: effect, Line: line, Section: section, Text: fmt.Sprintf(format, args...),
	})
}

func (h *hazardFinder) malformed() {
	for _, s := range h.config.Sections {
		if s.Malformed == "" {
			continue
		}
		h.add("malformed-section", Blocks, s.Line, s.ID, "PVE rejects storage %s (%s) and keeps its ID without data: "+
			"adding, changing or removing any storage fails, and the list of storages too", s.ID, s.Malformed)
	}
}

func (h *hazardFinder) skipped() {
	for _, s := range h.config.Skipped {
		switch {
		case strings.HasPrefix(s.Type, "\ufeff"):
			h.add("byte-order-mark", Loses, s.Line, s.ID, "the file begins with a byte order mark, so PVE takes storage %s for one of "+
				"type %s, which it does not know, and drops it", s.ID, strings.TrimPrefix(s.Type, "\ufeff"))
		case s.UnknownType:
			h.add("unknown-type", Loses, s.Line, s.ID, "PVE here does not know the type %s (no plug-in for it is installed) and "+
				"drops storage %s", s.Type, s.ID)
		default:
			h.add("bad-id", Loses, s.Line, s.ID, "PVE accepts no such name and drops the section: %s", s.Reason)
		}
	}
}

// blocks looks at what ends sections: only a really empty line does.
func (h *hazardFinder) blocks(data []byte) {
	seen := map[string]int{}
	last := ""
	for _, b := range scanSections(data) {
		if !b.isSection {
			if !h.outside(b.header, last) {
				last = ""
			}
			continue
		}
		last = b.id
		if CheckStorageID(b.id) == nil && h.known(b.typ) {
			if line, ok := seen[b.id]; ok {
				h.add("duplicate-id", Loses, line, b.id, "a second section of the name %s in line %d takes the place of this one",
					b.id, b.header.number)
			}
			seen[b.id] = b.header.number
		}
		for i, l := range b.body {
			if _, id, ok := parseSectionHeader(l.text); ok {
				if _, known := h.swallowed[b.id]; !known {
					h.swallowed[b.id] = l.number
				}
				h.add("swallowed-section", Misreads, l.number, id, "storage %s does not exist for PVE: no empty line stands before "+
					"its header%s, so its lines belong to %s", id, blankBefore(b.body[:i]), b.id)
			}
		}
	}
}

func (h *hazardFinder) known(typ string) bool {
	_, ok := h.config.schema.types[asciiLower(typ)]
	return ok
}

// blankBefore says what stands where a separator was meant.
func blankBefore(body []textLine) string {
	if len(body) == 0 || trimSpace(body[len(body)-1].text) != "" {
		return ""
	}
	if body[len(body)-1].text == "\r" {
		return " (the line above holds a carriage return)"
	}
	return " (the line above holds blanks)"
}

// outside is a line that belongs to no section; last is the section above it. It
// reports whether a property may follow that was meant for that section too.
func (h *hazardFinder) outside(l textLine, last string) bool {
	p, ok := parseProperty(l)
	switch {
	case trimSpace(l.text) == "":
	case !ok:
		h.add("ignored-line", Loses, l.number, "", "PVE takes this for neither a header nor a property and drops it: %s", trimSpace(l.text))
		return false
	case last == "":
		h.add("ignored-line", Loses, l.number, "", "PVE drops %s here, which belongs to no section", p.Key)
	case p.Key == "nodes":
		h.add("detached-line", Misreads, l.number, last, "an empty line above ends storage %s, so its nodes do not count: it is "+
			"meant for every node", last)
	case p.Key == "disable":
		h.add("detached-line", Misreads, l.number, last, "an empty line above ends storage %s, so it is not switched off", last)
	default:
		h.add("detached-line", Misreads, l.number, last, "an empty line above ends storage %s, so PVE ignores %s here", last, p.Key)
	}
	return true
}

// properties reports what PVE dropped inside sections.
func (h *hazardFinder) properties() {
	for _, w := range h.config.Warnings {
		switch {
		case w.Key == "" && w.Line == 0:
			h.add("dropped-content", Loses, 0, w.Section, "PVE drops a value of storage %s: %s", w.Section, w.Text)
		case w.Key != "" && w.Err == "duplicate attribute" && h.swallowed[w.Section] > 0 && h.swallowed[w.Section] < w.Line:
			// Said already with the header that was swallowed.
		case w.Key != "":
			h.add("dropped-property", Loses, w.Line, w.Section, "PVE drops %s of storage %s: %s", w.Key, w.Section, w.Err)
		case w.Section != "" && strings.Contains(w.Text, "ignore config line: "):
			_, line, _ := strings.Cut(w.Text, "ignore config line: ")
			if _, _, header := parseSectionHeader(line); !header && trimSpace(line) != "" {
				h.add("ignored-line", Loses, w.Line, w.Section, "PVE ignores this line of storage %s, which is not indented: %s",
					w.Section, trimSpace(line))
			}
		}
	}
}

func (h *hazardFinder) local() {
	s := h.config.Section(LocalStorage)
	if s == nil || !s.Injected {
		return
	}
	if h.config.sawLocal {
		h.add("replaced-local", Loses, 0, LocalStorage, "PVE puts its own local (%s) in the place of the one in the file, "+
			"which has another type or path", localPath)
		return
	}
	h.add("injected-local", Harmless, 0, LocalStorage, "the file has no local, so PVE makes one up (%s) and writes it", localPath)
}

func (h *hazardFinder) comments(data []byte) {
	line, count := 0, 0
	for i, l := range bytes.Split(data, []byte{'\n'}) {
		if isComment(l) {
			if count++; count == 1 {
				line = i + 1
			}
		}
	}
	if count > 0 {
		h.add("comments", Harmless, line, "", "PVE keeps no comments; %d of them go with its next write", count)
	}
}
