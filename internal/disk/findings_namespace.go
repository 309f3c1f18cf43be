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
	if e, ok := c.last(EventIDsChanged); ok {
		out.Cause, out.Confidence = "the drive's firmware gave other ids after a reset or sleep than before, so the kernel dropped the namespace", finding.Certain
		out.Evidence = append(out.Evidence, logEvidence(e))
		out.Remedies = []finding.Remedy{firmware(c.d), c.bogusNID()}
		return out
	}
	if c.unusable(&out) {
		return out
	}
	out.Evidence = append(out.Evidence, finding.Evidence{Source: "kernel log", Text: strings.Replace(silence(c.facts), "no line about it", "no line that says why", 1)})
	out.Remedies = []finding.Remedy{{Title: "see what namespaces the drive itself lists", Risk: finding.RiskNone, Commands: []string{"nvme list-ns --all /dev/" + ctrl.Name, "nvme id-ctrl /dev/" + ctrl.Name}}}
	return out
}

// unusable fills in why the kernel makes no disk of a namespace of which it cannot use or read the format.
func (c *diagnosis) unusable(out *finding.Finding) bool {
	if e, ok := c.last(EventUnsupportedCSI); ok {
		out.Cause, out.Confidence = "the namespace has a command set that this kernel cannot use as a disk", finding.Certain
		out.Evidence = append(out.Evidence, logEvidence(e))
		return true
	}
	if e, ok := c.last(EventIdentifyFailed); ok {
		out.Cause, out.Confidence = "the drive refused to say what its namespaces are", finding.Certain
		out.Evidence = append(out.Evidence, logEvidence(e))
		out.Remedies = []finding.Remedy{firmware(c.d)}
		if strings.HasPrefix(afterColon(e.Text), "Identify Descriptors") {
			out.Remedies = append(out.Remedies, c.quirk("no_ns_desc_list", "have the kernel do without that question"))
		}
		return true
	}
	const format = "the namespace is formatted with blocks of a size that the kernel cannot use"
	if e, ok := c.last(EventBlockSize); ok {
		out.Cause, out.Confidence = format, finding.Certain
		out.Evidence = append(out.Evidence, logEvidence(e))
	} else if e, ok := last(c.facts.Log, EventBlockSize); ok { // the kernel says it once a boot
		out.Cause, out.Confidence = "perhaps "+format+": the kernel says so once a boot, and did for another drive", finding.Unknown
		out.Evidence = append(out.Evidence, logEvidence(e))
	} else {
		return false
	}
	ctrl := c.d.Controllers[0].Name
	out.Remedies = []finding.Remedy{{Title: "see its formats; to format it anew loses what is on it", Risk: finding.RiskNone, Commands: []string{"nvme list-ns --all /dev/" + ctrl, "nvme id-ns --human-readable --namespace-id=1 /dev/" + ctrl}}}
	return true
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
	if e, ok := c.last(EventUnsupportedCSI); ok {
		out.Cause, out.Confidence = "the namespace has a command set that this kernel cannot use as a disk", finding.Certain
		out.Evidence = append(out.Evidence, logEvidence(e))
	} else if e, ok := c.last(EventDown, EventDisabled); ok {
		out.Cause, out.Confidence = "the drive dropped out while it was in use", finding.Likely
		out.Evidence = append(out.Evidence, logEvidence(e))
	}
	return out
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
