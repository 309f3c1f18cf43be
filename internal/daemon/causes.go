package daemon

import (
	"slices"
	"strings"

	"labd/internal/disk"
	"labd/internal/finding"
	"labd/internal/layer"
	"labd/internal/storage"
)

// rootCauses are the findings of a storage report, each with the findings of the NVMe drive that its storage was on: a
// storage whose drive is dead is a consequence of that. It joins two domains, and does no I/O.
func rootCauses(r *storage.Report, drives *disk.Report) []finding.Finding {
	if drives == nil {
		return r.Findings
	}
	out := slices.Clone(r.Findings)
	for i := range out {
		for _, e := range r.Entries {
			if r.Subject(e) != out[i].Subject || e.Verdict == storage.VerdictOK {
				continue
			}
			for _, d := range drives.Drives {
				if holds(d, e.Layers) {
					out[i].DependsOn = append(out[i].DependsOn, failures(drives.Findings, d.Subject())...)
				}
			}
		}
	}
	return out
}

// failures are the findings about a drive that can take its storages away.
func failures(findings []finding.Finding, drive finding.Subject) []finding.Ref {
	var out []finding.Ref
	for _, f := range findings {
		if f.Subject == drive && f.Severity == finding.Fail {
			out = append(out, f.Ref())
		}
	}
	return out
}

// holds tells whether a drive holds, or held when it was last here, what a storage is on.
func holds(d disk.Drive, on []layer.Layer) bool {
	contents := d.Contents()
	serial := ""
	if d.Known != nil {
		serial = d.Known.Serial
	}
	return slices.ContainsFunc(on, func(want layer.Layer) bool {
		if want.Kind == layer.ByID {
			return serial != "" && strings.HasPrefix(want.Name, "nvme-") && strings.Contains(want.Name, "_"+serial)
		}
		return slices.ContainsFunc(contents, func(have layer.Layer) bool { return have.Is(want) })
	})
}
