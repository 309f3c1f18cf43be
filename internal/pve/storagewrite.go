package pve

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Text returns what PVE's next write would leave in storage.cfg. Comments,
// unknown properties and skipped sections are gone in it. Sets are sorted here,
// while PVE writes them in random order. The error is the one with which every
// write by PVE fails.
// Source: PVE::SectionConfig::write_config.
func (c *StorageConfig) Text() (string, error) {
	var b strings.Builder
	for _, s := range c.Sections {
		if s.Malformed != "" {
			return "", fmt.Errorf("unknown section type ''")
		}
		t, ok := c.schema.types[s.Type]
		if !ok {
			return "", fmt.Errorf("unknown section type '%s'", s.Type)
		}
		fmt.Fprintf(&b, "%s: %s\n", s.Type, s.ID)
		if s.Disabled() {
			b.WriteString("\tdisable\n")
		}
		keys := slices.Sorted(maps.Keys(t.options))
		for _, wantRequired := range []bool{true, false} {
			for _, key := range keys {
				if key == "disable" || (t.options[key]&required != 0) != wantRequired {
					continue
				}
				value, ok := s.Properties[key]
				if ok && key == "content" && value == "" {
					value = "none"
				}
				if strings.ContainsAny(value, "\r\n") {
					return "", fmt.Errorf("property '%s' contains a line feed", key)
				}
				if value != "" {
					fmt.Fprintf(&b, "\t%s %s\n", key, value)
				}
			}
		}
		b.WriteByte('\n')
	}
	return b.String(), nil
}
