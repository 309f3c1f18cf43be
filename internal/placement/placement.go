// Package placement joins NVMe drives with the storages that lie on them, once, from the last report of each: which
// storages a drive carries, and which findings about a drive explain that a storage is gone.
package placement

import (
	"slices"
	"strings"

	"labd/internal/disk"
	"labd/internal/finding"
	"labd/internal/layer"
	"labd/internal/storage"
)

// Placement is the reports of both jobs and what follows from the two together. A report that does not exist yet is nil.
type Placement struct {
	Drives   *disk.Report
	Storages *storage.Report
	// Findings are those of both reports, worst first. A finding about a storage depends on those about its drive that took it away.
	Findings []finding.Finding
}

// Join returns the placement of two reports; either may be nil. It changes neither and does no I/O.
func Join(drives *disk.Report, storages *storage.Report) *Placement {
	p := &Placement{Drives: drives, Storages: storages}
	if drives != nil {
		p.Findings = slices.Clone(drives.Findings)
	}
	p.Findings = append(p.Findings, p.storageFindings()...)
	finding.Sort(p.Findings)
	return p
}

// storageFindings are the findings about storages, each with the findings of the drives that its storage was on.
func (p *Placement) storageFindings() []finding.Finding {
	if p.Storages == nil {
		return nil
	}
	out := slices.Clone(p.Storages.Findings)
	if p.Drives == nil {
		return out
	}
	causes := map[finding.Subject][]finding.Ref{}
	for _, e := range p.Storages.Entries {
		if e.Verdict == storage.VerdictOK {
			continue
		}
		subject := p.Storages.Subject(e)
		for _, d := range p.Drives.Drives {
			if carries(d, e.Layers) {
				causes[subject] = append(causes[subject], lost(d, p.Drives.Findings)...)
			}
		}
	}
	for i := range out {
		out[i].DependsOn = append(slices.Clone(out[i].DependsOn), causes[out[i].Subject]...)
	}
	return out
}

// OnDrive returns the storages that lie on a drive, or lay on it when it was last here.
func (p *Placement) OnDrive(d disk.Drive) []finding.Subject {
	return p.where(func(layers []layer.Layer) bool { return carries(d, layers) })
}

// OnNamespace returns the storages that lie on a namespace.
func (p *Placement) OnNamespace(ns disk.Namespace) []finding.Subject {
	held := slices.Concat(ns.Users, ns.Contents)
	return p.where(func(layers []layer.Layer) bool { return meet(held, layers) })
}

func (p *Placement) where(lies func([]layer.Layer) bool) []finding.Subject {
	if p.Storages == nil {
		return nil
	}
	var out []finding.Subject
	for _, e := range p.Storages.Entries {
		if lies(e.Layers) {
			out = append(out, p.Storages.Subject(e))
		}
	}
	return out
}

// lost are the findings that say that a drive offers no disk to write to. One that only warns of its end takes nothing away.
func lost(d disk.Drive, findings []finding.Finding) []finding.Ref {
	var out []finding.Ref
	for _, f := range findings {
		gone := d.Missing || d.Rung != disk.RungOK || f.Code == finding.NVMeReadOnly
		if f.Subject == d.Subject() && f.Severity == finding.Fail && gone {
			out = append(out, f.Ref())
		}
	}
	return out
}

// carries reports whether one of the layers is on the drive, or was when it was last here.
func carries(d disk.Drive, layers []layer.Layer) bool {
	serial := ""
	switch c := d.Controller(); {
	case c != nil && c.Serial != "":
		serial = c.Serial
	case d.Known != nil:
		serial = d.Known.Serial
	}
	named := func(l layer.Layer) bool { return l.Kind == layer.ByID && isNamed(l.Name, serial) }
	return slices.ContainsFunc(layers, named) || meet(d.Contents(), layers)
}

// isNamed reports whether a name of /dev/disk/by-id is that of the NVMe drive with the serial number, of a namespace of it or
// a partition: nvme-MODEL_SERIAL, with _NSID and -partN behind it (60-persistent-storage.rules of systemd).
func isNamed(name, serial string) bool {
	_, after, ok := strings.Cut(name, "_"+serial)
	return ok && serial != "" && strings.HasPrefix(name, "nvme-") && (after == "" || after[0] == '_' || after[0] == '-')
}

// meet reports whether what a disk holds is one of the layers that a storage lies on.
func meet(held, layers []layer.Layer) bool {
	return slices.ContainsFunc(layers, func(want layer.Layer) bool {
		return slices.ContainsFunc(held, func(have layer.Layer) bool { return have.Is(want) })
	})
}
