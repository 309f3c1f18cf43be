package pve

import "strings"

// DirectoryMapping is one section of mapping/directory.cfg: a directory of the
// host that guests may mount by virtiofs, one per node.
type DirectoryMapping struct {
	ID   string
	Line int // of the header, counted from 1
	Maps []DirectoryMap
}

// DirectoryMap is one "map" line.
type DirectoryMap struct {
	Node  string
	Path  string
	Value string // as written
	Line  int    // counted from 1
}

// ParseDirectoryMappings reads mapping/directory.cfg. Its headers are a name
// alone. Source: PVE::Mapping::Dir, PVE::SectionConfig.
func ParseDirectoryMappings(data []byte) []DirectoryMapping {
	var out []DirectoryMapping
	for _, b := range scanSectionsWith(data, parseNameHeader) {
		if !b.isSection {
			continue
		}
		m := DirectoryMapping{ID: b.id, Line: b.header.number}
		for _, l := range b.body {
			p, ok := parseProperty(l)
			if !ok || p.Key != "map" {
				continue
			}
			d := DirectoryMap{Value: p.Value, Line: p.Line}
			for item := range strings.SplitSeq(p.Value, ",") {
				switch key, value, _ := strings.Cut(trimSpace(item), "="); key {
				case "node":
					d.Node = value
				case "path":
					d.Path = value
				}
			}
			m.Maps = append(m.Maps, d)
		}
		out = append(out, m)
	}
	return out
}

// parseNameHeader matches ^(\S+)\s*$.
func parseNameHeader(line string) (typ, id string, ok bool) {
	f := perlFields(line)
	if len(f) != 1 || isSpace(line[0]) {
		return "", "", false
	}
	return "", f[0], true
}
