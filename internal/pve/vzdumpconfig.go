package pve

import "strings"

// VzdumpConfig is /etc/vzdump.conf of a node: what holds for its backups where a
// job says nothing else.
type VzdumpConfig struct {
	// Properties are all lines "key: value". Of several with one key PVE keeps
	// the last.
	Properties []RawProperty
}

// ParseVzdumpConfig reads /etc/vzdump.conf; lines that PVE would ignore with a
// warning are left out. Source: PVE::JSONSchema::parse_config.
func ParseVzdumpConfig(data []byte) VzdumpConfig {
	var c VzdumpConfig
	number := 0
	for line := range strings.SplitSeq(string(data), "\n") {
		number++
		line = trimSpace(line)
		// ^(\S+?):\s*(.*)$ takes the first colon that has no blank before it.
		key, value, ok := strings.Cut(line, ":")
		if !ok || key == "" || line[0] == '#' || strings.ContainsAny(key, spaces) {
			continue
		}
		c.Properties = append(c.Properties, RawProperty{Key: key, Value: trimSpace(value), HasValue: true, Line: number})
	}
	return c
}
