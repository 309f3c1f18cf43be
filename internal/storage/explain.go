package storage

import (
	"fmt"

	"labd/internal/finding"
)

// explain makes the finding of an entry that is not well.
func (r *Report) explain(f *Facts, e Entry) finding.Finding {
	out := finding.Finding{
		Subject: r.Subject(e), Confidence: finding.Certain, Title: e.Reason,
		Evidence: []finding.Evidence{{Source: "storage.cfg", Text: fmt.Sprintf("%s: %s", e.Type, e.ID)}},
	}
	evidence := func(source, text string) {
		out.Evidence = append(out.Evidence, finding.Evidence{Source: source, Text: text})
	}
	remedy := func(risk finding.Risk, title string, commands ...string) {
		out.Remedies = append(out.Remedies, finding.Remedy{Title: title, Risk: risk, Commands: commands})
	}
	if e.source.What != "" {
		evidence(e.source.File, "What="+e.source.What)
	}
	switch e.Verdict {
	case VerdictGone:
		out.Code, out.Severity = finding.StorageDeviceGone, finding.Fail
		out.Cause = "its disk was taken out, or died"
		if isKernelName(e.source.What) {
			out.Cause, out.Confidence = "its disk was taken out or died, or has another name now, since the kernel gives such names in the order of discovery", finding.Likely
		}
		if e.mounted {
			evidence("mount table", e.point+" is still mounted")
		} else {
			evidence("mount table", e.point+" is not mounted")
		}
		evidence("/dev", e.source.What+" does not exist")
		if d := f.Directories[e.point]; !e.mounted && d.Entries > 0 {
			evidence(e.point, fmt.Sprintf("%d entries lie below the mount point, on the file system under it; labd does not touch them", d.Entries))
		}
		remedy(finding.RiskNone, "put the disk back and start its unit", "systemctl start "+e.source.Unit)
		if e.Refusal == "" {
			remedy(finding.RiskLow, "remove the storage with all leftovers; labctl undo brings it back", "labctl fix-storage "+e.ID)
		}
	case VerdictMasked:
		out.Code, out.Severity = finding.StorageMasked, finding.Fail
		out.Cause = "the entry lacks is_mountpoint, so PVE makes the directory anew and fills the root file system"
		remedy(finding.RiskLow, "tell PVE that the path must be a mount point, then look at what was written below it", "pvesm set "+e.ID+" --is_mountpoint 1")
	case VerdictDown:
		out.Code, out.Severity = finding.StorageDown, finding.Warn
		out.Cause, out.Confidence = "", finding.Unknown
		if e.source.Unit != "" {
			remedy(finding.RiskNone, "mount it", "systemctl start "+e.source.Unit, "journalctl -b -u "+e.source.Unit)
		} else {
			remedy(finding.RiskNone, "mount what belongs there, or switch the entry off", "pvesm set "+e.ID+" --disable 1")
		}
	case VerdictMalformed:
		out.Code, out.Severity = finding.StorageMalformed, finding.Fail
		out.Cause = "while this section is so, PVE refuses every change to any storage"
		remedy(finding.RiskLow, "correct or remove the section by hand; no panel can", "editor /etc/pve/storage.cfg")
	case VerdictUnsupported:
		out.Code, out.Severity = finding.StorageUnsupported, finding.Warn
		out.Cause = "its plug-in is not installed on this node, or this PVE no longer has the type"
		remedy(finding.RiskLow, "keep a copy of storage.cfg before any change to a storage", "cp /etc/pve/storage.cfg /root/storage.cfg.saved")
	case VerdictOrphanNode:
		out.Code, out.Severity = finding.StorageOrphanNode, finding.Warn
		out.Cause = "the node was removed from the cluster, and its entries stayed"
		remedy(finding.RiskLow, "remove the entry if nothing needs it any more", "pvesm remove "+e.ID)
	}
	return out
}
