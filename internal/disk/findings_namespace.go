package disk

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"labd/internal/finding"
)

// noNamespace explains a live controller without namespace.
func (c *diagnosis) noNamespace() finding.Finding {
	ctrl := c.d.Controllers[0]
	state := finding.Evidence{Source: filepath.Join("/sys/class/nvme", ctrl.Name), Text: fmt.Sprintf("state %s, no %sn* below it", orDash(ctrl.State), ctrl.Name)}
	if e, ok := c.last(EventIDsRejected, EventIDsTwice); ok {
		return c.duplicate(e, state)
	}
	out := finding.Finding{
		Code: finding.NVMeNoNamespace, Severity: finding.Fail, Title: "the controller is live and offers no namespace, so there is no disk",
		Confidence: finding.Unknown, Evidence: []finding.Evidence{state},
	}
	if c.explain(atNamespace, &out) || c.blockSize(&out) {
		return out
	}
	if ctrl.Queues == 1 {
		narrow(&out, finding.NVMeQueues)
		because(&out, finding.Likely, "the controller has the admin queue alone, so the kernel could make none for reads and writes")
		out.Evidence = append(out.Evidence, finding.Evidence{Source: filepath.Join("/sys/class/nvme", ctrl.Name, "queue_count"), Text: "1"})
		out.Remedies = c.queueRemedies()
		return out
	}
	if len(c.telling(nil)) == 0 && c.d.logWhole {
		because(&out, finding.Likely, "the drive has no namespace that is attached to this controller: the kernel took it and complained of nothing")
	}
	out.Remedies = attachNamespace(&ctrl)
	return out
}

// attachNamespace are the ways to a namespace for a drive that has none.
func attachNamespace(ctrl *Controller) []finding.Remedy {
	dev := "/dev/" + ctrl.Name
	return []finding.Remedy{
		{Title: "see what namespaces the drive itself lists, and how large it is (package nvme-cli)", Risk: finding.RiskNone, Commands: []string{"apt install nvme-cli", "nvme list-ns --all " + dev, "nvme id-ctrl " + dev + " | grep -E '^(tnvmcap|unvmcap|nn|cntlid)'"}},
		{Title: "where it lists one, attach it; nothing is lost. The number of the controller is cntlid", Risk: finding.RiskLow, Commands: []string{fmt.Sprintf("nvme attach-ns %s --namespace-id=1 --controllers=%d", dev, ctrl.ID), "nvme ns-rescan " + dev}},
		{Title: "where it lists none, make one of the whole drive, in blocks: tnvmcap divided by the block size. Whatever was on the drive is lost", Risk: finding.RiskHigh, Commands: []string{"nvme create-ns " + dev + " --nsze=BLOCKS --ncap=BLOCKS --flbas=0 --dps=0", fmt.Sprintf("nvme attach-ns %s --namespace-id=1 --controllers=%d", dev, ctrl.ID), "nvme ns-rescan " + dev}},
	}
}

// blockSize fills in that a namespace is formatted as the kernel cannot use it.
func (c *diagnosis) blockSize(out *finding.Finding) bool {
	const format = "the namespace is formatted with blocks of a size that the kernel cannot use"
	if e, ok := c.last(EventBlockSize); ok {
		because(out, finding.Certain, format)
		out.Evidence = append(out.Evidence, logEvidence(e))
	} else if e, ok := last(c.facts.Log, EventBlockSize); ok { // the kernel says it once a boot
		because(out, finding.Unknown, "perhaps %s: the kernel says so once a boot, and did for another drive", format)
		out.Evidence = append(out.Evidence, logEvidence(e))
	} else {
		return false
	}
	out.Remedies = reformat(c.d.Controllers[0].Name, 1)
	return true
}

// reformat are the ways to another format of a namespace.
func reformat(ctrl string, nsid int) []finding.Remedy {
	return []finding.Remedy{
		{Title: "see its formats: flbas names the one in use, lbaf lists them with their sizes of data and metadata (package nvme-cli)", Risk: finding.RiskNone, Commands: []string{"apt install nvme-cli", fmt.Sprintf("nvme id-ns --human-readable --namespace-id=%d /dev/%s", max(nsid, 1), ctrl)}},
		{Title: "format it with blocks of 512 or 4096 bytes without metadata; whatever is on it is lost", Risk: finding.RiskHigh, Commands: []string{fmt.Sprintf("nvme format /dev/%s --namespace-id=%d --lbaf=NUMBER", ctrl, max(nsid, 1))}},
	}
}

// afterColon is a line's text behind the device's name.
func afterColon(text string) string {
	_, rest, _ := strings.Cut(text, ": ")
	return rest
}

// rejected are the findings about namespaces that the kernel dropped while others of the drive work.
func (c *diagnosis) rejected() []finding.Finding {
	ctrl := c.d.Controllers[0]
	present := map[int]bool{}
	for _, ns := range ctrl.Namespaces {
		present[ns.NSID] = true
	}
	var out []finding.Finding
	said := map[int]bool{}
	for _, e := range slices.Backward(c.events) {
		if e.NSID == 0 || present[e.NSID] || said[e.NSID] {
			continue
		}
		state := finding.Evidence{Source: filepath.Join("/sys/class/nvme", ctrl.Name), Text: fmt.Sprintf("no namespace %d below it, though %d others", e.NSID, len(ctrl.Namespaces))}
		switch e.Kind {
		case EventIDsRejected, EventIDsTwice:
			out = append(out, c.duplicate(e, state))
		case EventIDsChanged:
			out = append(out, finding.Finding{
				Code: finding.NVMeNoNamespace, Severity: finding.Fail, Title: fmt.Sprintf("namespace %d was dropped by the kernel", e.NSID),
				Cause: "the drive's firmware gave other ids after a reset or sleep than before", Confidence: finding.Certain,
				Evidence: []finding.Evidence{state, logEvidence(e)}, Remedies: []finding.Remedy{firmware(c.d), c.bogusNID()},
			})
		default:
			continue
		}
		said[e.NSID] = true
	}
	return out
}

// duplicate explains a namespace that the kernel rejected for its ids.
func (c *diagnosis) duplicate(e Event, state finding.Evidence) finding.Finding {
	out := finding.Finding{
		Code: finding.NVMeDuplicateIDs, Severity: finding.Fail, Title: "the kernel rejected the drive's namespace, because another drive has the same ids",
		Cause: "the drive's firmware gives every drive the same ids", Confidence: finding.Certain,
		Evidence: []finding.Evidence{state, logEvidence(e)},
	}
	if e.Kind == EventIDsTwice {
		out.Title = fmt.Sprintf("the kernel rejected namespace %d, because another namespace of the drive has the same ids", e.NSID)
		out.Cause = "the drive's firmware gives two of its namespaces the same ids"
		out.Remedies = []finding.Remedy{firmware(c.d), c.bogusNID()}
		return out
	}
	fix := c.release.DuplicateIDs()
	if strings.Contains(e.Text, "globally duplicate") && (fix == Affected || fix == AffectedLikely || fix == FixUnknown) {
		title := "boot a kernel that clears such ids instead: 6.1.40, 6.4.5, 6.5 or later"
		if c.release.PVE {
			title = "boot a Proxmox kernel that clears such ids instead: 6.2.16-6 or later"
		}
		out.Remedies = []finding.Remedy{c.kernel(title), firmware(c.d)}
		return out
	}
	// A drive that says that it may have several controllers and shared namespaces is rejected by every kernel.
	out.Remedies = []finding.Remedy{firmware(c.d), c.bogusNID()}
	return out
}

// noBlock explains namespaces without a usable block device.
func (c *diagnosis) noBlock() finding.Finding {
	ctrl := c.d.Controllers[0]
	out := finding.Finding{
		Code: finding.NVMeNoNamespace, Severity: finding.Fail, Title: "the drive has a namespace and no block device of any size", Confidence: finding.Unknown,
		Evidence: []finding.Evidence{{Source: filepath.Join("/sys/class/nvme", ctrl.Name), Text: fmt.Sprintf("state %s, %d block devices, all of size 0", orDash(ctrl.State), len(ctrl.Namespaces))}},
	}
	if c.explain(atBlock, &out) || c.blockSize(&out) {
		return out
	}
	nsid := 1
	if len(ctrl.Namespaces) > 0 {
		nsid = ctrl.Namespaces[0].NSID
	}
	c.formatted(&out, ctrl, nsid)
	return out
}

// formatted fills in the format as the cause of a disk of size 0 that the kernel does not complain of: it takes a namespace with
// metadata beside its blocks, and offers no capacity where it cannot handle them (drivers/nvme/host/core.c, nvme_update_disk_info).
func (c *diagnosis) formatted(out *finding.Finding, ctrl Controller, nsid int) {
	if len(c.telling(nil)) == 0 && c.d.logWhole {
		because(out, finding.Likely, "the namespace is formatted with metadata or protection information beside its blocks (as 512 + 8 or 520 bytes), which the kernel does not use as a disk")
	}
	out.Remedies = append(out.Remedies, reformat(ctrl.Name, nsid)...)
}

// emptyDisks returns the finding of disks of size 0 beside others that work.
func (c *diagnosis) emptyDisks() (finding.Finding, bool) {
	ctrl := c.d.Controllers[0]
	var empty []Namespace
	for _, ns := range ctrl.Namespaces {
		if ns.SizeBytes == 0 {
			empty = append(empty, ns)
		}
	}
	if len(empty) == 0 || len(empty) == len(ctrl.Namespaces) {
		return finding.Finding{}, false
	}
	ns := empty[0]
	out := finding.Finding{
		Code: finding.NVMeNoNamespace, Severity: finding.Fail, Title: fmt.Sprintf("namespace %d has a disk of size 0: %s", ns.NSID, ns.Device), Confidence: finding.Unknown,
		Evidence: []finding.Evidence{{Source: filepath.Join("/sys/block", ns.Device, "size"), Text: fmt.Sprintf("0; %d of %d disks of the drive have a size", len(ctrl.Namespaces)-len(empty), len(ctrl.Namespaces))}},
	}
	if !c.explain(atBlock, &out) && !c.blockSize(&out) {
		c.formatted(&out, ctrl, ns.NSID)
	}
	return out, true
}

// byModel is the advice for drives whose ids are not their own.
var byModel = finding.Remedy{
	Title: "name the drive by model and serial, never by nvme-eui, in pools and filters: which of the two loses its id changes from boot to boot",
	Risk:  finding.RiskNone, Commands: []string{"ls -l /dev/disk/by-id/"},
}

// idsCleared returns the finding of a working drive whose ids the kernel cleared.
func (c *diagnosis) idsCleared() (finding.Finding, bool) {
	e, ok := c.last(EventIDsCleared)
	evidence := []finding.Evidence{logEvidence(e)}
	for _, ns := range c.d.Controllers[0].Namespaces {
		ok = ok && !(ns.HasID() && (e.NSID == 0 || ns.NSID == e.NSID))
		if ns.NSID == e.NSID {
			evidence = append(evidence, finding.Evidence{Source: filepath.Join("/sys/block", ns.Device), Text: "no eui, nguid or uuid; wwid " + ns.WWID})
		}
	}
	if !ok {
		return finding.Finding{}, false
	}
	return finding.Finding{
		Code: finding.NVMeIDsCleared, Severity: finding.Info, Title: "the kernel cleared the drive's ids, since another drive has the same ones; the drive works",
		Cause: "the drive's firmware gives every drive the same ids", Confidence: finding.Certain,
		Evidence: evidence, Remedies: []finding.Remedy{byModel},
	}, true
}

// sameIDs returns the finding of two disks with the same wwid that the kernel let pass: links and pools by id reach one or the other.
func (c *diagnosis) sameIDs(other string) finding.Finding {
	return finding.Finding{
		Code: finding.NVMeDuplicateIDs, Severity: finding.Warn, Title: "a disk of " + other + " has the same wwid, so whatever goes by id may reach the wrong one",
		Cause: "the drives' firmware gives both the same ids, and this kernel does not check", Confidence: finding.Likely,
		Evidence: []finding.Evidence{{Source: "/sys/block", Text: "the same wwid on disks of " + c.d.Address + " and " + other}}, Remedies: []finding.Remedy{byModel, firmware(c.d)},
	}
}
