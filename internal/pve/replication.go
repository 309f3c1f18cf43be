package pve

import (
	"strconv"
	"strings"
)

// ReplicationJob is one section of replication.cfg. It names no storage: the
// volumes of its guest are copied to storages of the same names on the target.
type ReplicationJob struct {
	ID       string // "100-0": guest and number
	Guest    int
	Line     int    // of the header, counted from 1
	Target   string // node
	Source   string // node; "" where PVE has not noted it
	Disabled bool
	// Removing says that the job is to be removed with its copies.
	Removing bool
}

// ParseReplicationConfig reads replication.cfg. Sections whose ID is not
// GUEST-NUMBER, which PVE rejects, are left out.
// Source: PVE::ReplicationConfig.
func ParseReplicationConfig(data []byte) []ReplicationJob {
	var out []ReplicationJob
	for _, s := range ParseSections(data) {
		guest, number, ok := strings.Cut(s.ID, "-")
		id, err := strconv.Atoi(guest)
		if _, numErr := strconv.ParseUint(number, 10, 31); !ok || err != nil || numErr != nil || id <= 0 || asciiLower(s.Type) != "local" {
			continue
		}
		j := ReplicationJob{ID: s.ID, Guest: id, Line: s.Line}
		j.Target, _ = s.Get("target")
		j.Source, _ = s.Get("source")
		for _, p := range s.Properties {
			set := !p.HasValue || p.Value == "1"
			switch p.Key {
			case "disable":
				j.Disabled = set
			case "remove_job":
				j.Removing = true // the value says whether data goes too
			}
		}
		out = append(out, j)
	}
	return out
}
