package host

import (
	"strings"
)

// Unit is a systemd unit file: values by section and key in order of appearance.
type Unit map[string]map[string][]string

// Value is the last value of a key, since systemd lets later assignments win, or "".
func (u Unit) Value(section, key string) string {
	values := u[section][key]
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// ParseUnit reads the syntax of systemd.syntax(7) as far as mount units use it: sections, comments, continued lines.
// Lines that are none of these are ignored, as systemd does.
func ParseUnit(data []byte) Unit {
	unit := Unit{}
	section, pending := "", ""
	for line := range strings.SplitSeq(string(data), "\n") {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, ";") {
			continue
		}
		if rest, more := strings.CutSuffix(pending+trimmed, `\`); more {
			pending = rest + " "
			continue
		}
		trimmed, pending = strings.TrimSpace(pending+trimmed), ""
		if strings.HasPrefix(trimmed, "[") && strings.HasSuffix(trimmed, "]") {
			section = trimmed[1 : len(trimmed)-1]
			continue
		}
		key, value, found := strings.Cut(trimmed, "=")
		if !found || section == "" {
			continue
		}
		if unit[section] == nil {
			unit[section] = map[string][]string{}
		}
		key = strings.TrimSpace(key)
		unit[section][key] = append(unit[section][key], strings.TrimSpace(value))
	}
	return unit
}

// MountUnitName is the name of the mount unit for a path, as systemd-escape -p makes it: "/mnt/pve/my-ssd" is
// `mnt-pve-my\x2dssd.mount`. It is "-.mount" for the root.
func MountUnitName(path string) string {
	path = strings.Trim(path, "/")
	if path == "" {
		return "-.mount"
	}
	var b strings.Builder
	afterSlash := true
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c == '/':
			if !afterSlash {
				b.WriteByte('-')
			}
			afterSlash = true
			continue
		case c == '.' && b.Len() == 0, !isUnitChar(c):
			const hex = "0123456789abcdef"
			b.WriteString(`\x`)
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		default:
			b.WriteByte(c)
		}
		afterSlash = false
	}
	return b.String() + ".mount"
}

func isUnitChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == ':' || c == '_' || c == '.'
}
