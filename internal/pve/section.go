package pve

import (
	"bytes"
	"strings"
)

// RawSection is one section of a file in PVE's section format (storage.cfg,
// jobs.cfg, replication.cfg): a header "type: id" and indented properties,
// ended by an empty line. No schema has been applied.
type RawSection struct {
	Type string // as written
	ID   string
	Line int // of the header, counted from 1

	Properties []RawProperty
}

// RawProperty is one "key value" line of a section. HasValue is false for a
// bare key, which PVE reads as 1 when the property is boolean.
type RawProperty struct {
	Key      string
	Value    string
	HasValue bool
	Line     int // counted from 1
}

// Get returns the first value of key. PVE drops later duplicates.
func (s *RawSection) Get(key string) (string, bool) {
	for _, p := range s.Properties {
		if p.Key == key {
			return p.Value, true
		}
	}
	return "", false
}

// ParseSections reads a file in PVE's section format without a schema. Lines
// that PVE would ignore with a warning are left out.
// Source: PVE::SectionConfig::parse_config.
func ParseSections(data []byte) []RawSection {
	var out []RawSection
	for _, b := range scanSections(data) {
		if !b.isSection {
			continue
		}
		s := RawSection{Type: b.typ, ID: b.id, Line: b.header.number}
		for _, l := range b.body {
			if p, ok := parseProperty(l); ok {
				s.Properties = append(s.Properties, p)
			}
		}
		out = append(out, s)
	}
	return out
}

// textLine is a line of a file without its line feed.
type textLine struct {
	number int // counted from 1
	text   string
}

// sectionBlock is either a section with its body lines, or a single line
// outside any section that is no header.
type sectionBlock struct {
	header    textLine
	isSection bool
	typ, id   string
	body      []textLine
}

// scanSections splits a file into sections. Comment lines are dropped
// everywhere, also inside a section. What ends a section is the first line
// that is false in Perl: the empty line, or a line that is exactly "0".
func scanSections(data []byte) []sectionBlock { return scanSectionsWith(data, parseSectionHeader) }

// scanSectionsWith is scanSections for a file whose headers are read by header.
func scanSectionsWith(data []byte, header func(line string) (typ, id string, ok bool)) []sectionBlock {
	var lines []textLine
	for i, l := range bytes.Split(data, []byte{'\n'}) {
		if !isComment(l) {
			lines = append(lines, textLine{number: i + 1, text: string(l)})
		}
	}
	var blocks []sectionBlock
	for i := 0; i < len(lines); i++ {
		l := lines[i]
		if perlFalse(l.text) {
			continue
		}
		b := sectionBlock{header: l}
		b.typ, b.id, b.isSection = header(l.text)
		if b.isSection {
			for i++; i < len(lines) && !perlFalse(lines[i].text); i++ {
				b.body = append(b.body, lines[i])
			}
		}
		blocks = append(blocks, b)
	}
	return blocks
}

// parseSectionHeader matches ^(\S+):\s*(\S+)\s*$. The first group is greedy, so
// "a:b:c" has the type "a:b".
func parseSectionHeader(line string) (typ, id string, ok bool) {
	if line == "" || isSpace(line[0]) {
		return "", "", false
	}
	f := perlFields(line)
	switch len(f) {
	case 1:
		for i := len(f[0]) - 2; i >= 1; i-- {
			if f[0][i] == ':' {
				return f[0][:i], f[0][i+1:], true
			}
		}
	case 2:
		if n := len(f[0]); n >= 2 && f[0][n-1] == ':' {
			return f[0][:n-1], f[1], true
		}
	}
	return "", "", false
}

// parseProperty matches ^\s+(\S+)(\s+(.*\S))?\s*$.
func parseProperty(l textLine) (RawProperty, bool) {
	if l.text == "" || !isSpace(l.text[0]) {
		return RawProperty{}, false
	}
	rest := trimSpace(l.text)
	if rest == "" {
		return RawProperty{}, false
	}
	i := strings.IndexFunc(rest, func(r rune) bool { return r < 0x80 && isSpace(byte(r)) })
	if i < 0 {
		return RawProperty{Key: rest, Line: l.number}, true
	}
	return RawProperty{Key: rest[:i], Value: trimSpace(rest[i:]), HasValue: true, Line: l.number}, true
}

// isSpace is Perl's \s on a string of bytes: no Unicode blanks.
func isSpace(c byte) bool {
	return c == ' ' || c >= '\t' && c <= '\r'
}

const spaces = " \t\n\v\f\r"

func trimSpace(s string) string { return strings.Trim(s, spaces) }

func perlFields(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r < 0x80 && isSpace(byte(r)) })
}

// perlFalse reports whether Perl takes the string for false.
func perlFalse(s string) bool { return s == "" || s == "0" }

func isComment(line []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(line, spaces), []byte{'#'})
}

// splitList splits as PVE::Tools::split_list does: at commas, semicolons, NUL
// and white space; empty items vanish.
func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool {
		return r == ',' || r == ';' || r == 0 || r < 0x80 && isSpace(byte(r))
	})
}
