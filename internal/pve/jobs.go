package pve

import "strings"

// Job is one section of jobs.cfg: a backup job ("vzdump") or one of another type.
type Job struct {
	Type    string // "vzdump", "realm-sync"
	ID      string
	Line    int  // of the header, counted from 1
	Enabled bool // PVE's default is yes
	Section RawSection
}

// ParseJobs reads jobs.cfg. Of several sections with one ID the last counts.
// Source: PVE::Jobs, PVE::SectionConfig.
func ParseJobs(data []byte) []Job {
	var out []Job
	at := map[string]int{}
	for _, s := range ParseSections(data) {
		enabled, ok := s.Get("enabled")
		j := Job{Type: asciiLower(s.Type), ID: s.ID, Line: s.Line, Enabled: !ok || enabled == "" || enabled == "1", Section: s}
		if i, dup := at[s.ID]; dup {
			out[i] = j
			continue
		}
		at[s.ID] = len(out)
		out = append(out, j)
	}
	return out
}

// fleecingStorage reads "enabled=1,storage=ID".
func fleecingStorage(value string) string {
	for item := range strings.SplitSeq(value, ",") {
		if id, ok := strings.CutPrefix(trimSpace(item), "storage="); ok {
			return id
		}
	}
	return ""
}
