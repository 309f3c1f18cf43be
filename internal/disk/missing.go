package disk

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"labd/internal/finding"
	"labd/internal/layer"
)

// ErrNotRemembered says that no such drive was ever seen.
var ErrNotRemembered = errors.New("no drive is remembered")

// contents are what a controller's namespaces hold, sorted.
func (c *Controller) contents() []layer.Layer {
	var out []layer.Layer
	for _, ns := range c.Namespaces {
		out = append(out, ns.Contents...)
		for _, user := range ns.Users {
			switch user.Kind {
			case layer.Mount, layer.VolumeGroup, layer.Pool:
				out = append(out, user)
			default: // what lies below tells as much
			}
		}
	}
	slices.SortFunc(out, func(a, b layer.Layer) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(out)
}

// Contents are what the drive holds, or held when it was last seen: what is on its disks and where that is mounted.
func (d Drive) Contents() []layer.Layer {
	var out []layer.Layer
	for i := range d.Controllers {
		out = append(out, d.Controllers[i].contents()...)
	}
	if d.Known != nil {
		out = append(out, d.Known.Contents...)
	}
	return out
}

// recognise gives each remembered drive that is not seen by its serial number to a function that has no controller to
// tell it, by slot and PCI ids, or by PCI ids alone after slots were renumbered. A function that cannot be read is taken for
// the drive that was in its slot. What is left over is missing.
func recognise(functions []Function, known []Known) (here map[string]Known, missing []Known) {
	here = map[string]Known{}
	var silent []Function
	seen := map[[2]string]bool{}
	for _, fn := range functions {
		if len(fn.Controllers) == 0 || fn.Controllers[0].Serial == "" {
			silent = append(silent, fn)
		}
		for _, c := range fn.Controllers {
			seen[[2]string{c.Model, c.Serial}] = true
		}
	}
	known = slices.DeleteFunc(slices.Clone(known), func(k Known) bool { return seen[[2]string{k.Model, k.Serial}] })
	// The one seen last was in the slot last.
	slices.SortStableFunc(known, func(a, b Known) int { return b.Last.Compare(a.Last) })
	for _, sameSlot := range []bool{true, false} {
		known = slices.DeleteFunc(known, func(k Known) bool {
			for _, fn := range silent {
				_, taken := here[fn.Address]
				same := pciID(fn) == k.PCIID || sameSlot && fn.Unread
				if !taken && same && (!sameSlot || fn.Address == k.Address) {
					here[fn.Address] = k
					return true
				}
			}
			return false
		})
	}
	return here, known
}

// missing is a drive that was here and is gone, as an item of the report with its finding.
func (f *Facts) missing(k Known, running Release) (Drive, finding.Finding) {
	d := Drive{Function: Function{Address: k.Address, Port: Port{Address: f.portOf(k.Address, k.Port)}}, Rung: RungPCI, Verdict: VerdictFail, Known: &k, Missing: true}
	slot := k.Address
	if slices.ContainsFunc(f.Functions, func(fn Function) bool { return fn.Address == k.Address }) {
		d.Address += "#" + k.Serial // another drive is in its slot now
	}
	out := finding.Finding{
		Code: finding.NVMeMissing, Severity: finding.Fail, Subject: d.Subject(), Confidence: finding.Unknown,
		Title:    fmt.Sprintf("a drive that was here is gone: %s, serial number %s", orDash(k.Model), k.Serial),
		Evidence: []finding.Evidence{{Source: "labd's memory", Text: fmt.Sprintf("last seen %s at %s%s, first %s", k.Last.Format(time.DateTime), k.Address, underKernel(k.Release), k.First.Format(time.DateOnly))}},
	}
	if len(k.Contents) > 0 {
		out.Evidence = append(out.Evidence, finding.Evidence{Source: "labd's memory", Text: "it held " + layer.Join(k.Contents)})
	}
	d.Incidents = f.incidents(k.Address, k.Serial)
	d.history, d.logWhole = about(f.Log, slot), f.LogErr == nil && !f.LogLost
	c := &diagnosis{facts: f, d: &d, events: d.history, portEvents: about(f.Log, d.Port.Address), release: running}
	if d.Address != slot {
		c.events, c.portEvents = nil, nil // they are about the drive that is there now
	}
	updated := k.Release != "" && f.Release != "" && k.Release != f.Release
	switch {
	case c.explain(atMissing, &out):
	case updated:
	default:
		if i, ok := lastDrop(d.Incidents, k.Serial); ok {
			out.Evidence = append(out.Evidence, finding.Evidence{Source: "labd's memory", Text: fmt.Sprintf("%s, an earlier boot: %s", i.At.Format(time.DateTime), i.Text)})
			because(&out, finding.Likely, "it dropped out before it was gone, which points to its power, link or slot")
		}
	}
	if updated {
		out.Evidence = append(out.Evidence, finding.Evidence{Source: "uname -r", Text: f.Release + ", and it was last seen under " + k.Release})
		text := fmt.Sprintf("it was last seen under kernel %s and %s runs now: perhaps this kernel does not bring it up", k.Release, f.Release)
		if out.Cause != "" && out.Confidence != finding.Unknown {
			text = out.Cause + "; " + text
		}
		because(&out, finding.Likely, "%s", text)
		out.Remedies = append(out.Remedies, f.formerKernel(k.Release, running))
	}
	out.Remedies = append(out.Remedies,
		finding.Remedy{Title: "switch the machine off and on, look whether the firmware set-up (BIOS) lists it, and try it in another slot", Risk: finding.RiskHigh},
		finding.Remedy{Title: "if it was taken out for good, have labd forget it", Risk: finding.RiskNone, Commands: []string{"labctl check-nvme --forget " + k.Serial}},
	)
	return d, out
}

func underKernel(release string) string {
	if release == "" {
		return ""
	}
	return " under kernel " + release
}

// formerKernel is the way back to the kernel under which a drive was there.
func (f *Facts) formerKernel(release string, running Release) finding.Remedy {
	out := finding.Remedy{Title: "boot the kernel under which it was there, " + release + ", and see whether it comes back", Risk: finding.RiskLow}
	if running.PVE || f.System.BootTool {
		out.Commands = []string{"proxmox-boot-tool kernel list", "proxmox-boot-tool kernel pin " + release + " --next-boot", "reboot"}
		return out
	}
	out.Title += "; it is below \"Advanced options\" in the boot menu"
	out.Commands = []string{"ls /boot/vmlinuz-*", "reboot"}
	return out
}

// kernelList are the commands that list the kernels that a host has.
func (f *Facts) kernelList() []string {
	if f.release().PVE || f.System.BootTool {
		return []string{"proxmox-boot-tool kernel list"}
	}
	return []string{"ls /boot/vmlinuz-*"}
}

// portOf is the port above a function that is gone: as it is remembered, else as the log names it.
func (f *Facts) portOf(address, remembered string) string {
	if remembered != "" {
		return remembered
	}
	if i := strings.LastIndexByte(address, ':'); i > 0 && f.Ports[address[:i]] != "" {
		return f.Ports[address[:i]]
	}
	return f.slotThen(address)
}

// slotThen is the one port whose slot lost its link when the drive dropped out; "" where there is none, or several.
func (f *Facts) slotThen(address string) string {
	port := ""
	for _, e := range about(f.Log, address) {
		if !slices.Contains(dropKinds, e.Kind) {
			continue
		}
		for _, s := range f.Log {
			if (s.Kind != EventSlotDown && s.Kind != EventSlotFault) || s.Time-e.Time > 5*time.Second || e.Time-s.Time > 5*time.Second || s.Address == port {
				continue
			}
			if port != "" {
				return ""
			}
			port = s.Address
		}
	}
	return port
}

// lostInThisBoot are the drives that this boot's log found and that are on the bus no more, as far as labd's memory does not
// have them: a labd that was installed after it happened.
func (f *Facts) lostInThisBoot(here map[string]Known, missing []Known) []Function {
	var out []Function
	seen := map[string]bool{}
	for _, fn := range f.Functions {
		seen[fn.Address] = true
	}
	for _, k := range missing {
		seen[k.Address] = true
	}
	for _, k := range here { // at another address by now
		seen[k.Address] = true
	}
	for _, address := range f.Remembered.Forgotten {
		seen[address] = true
	}
	for _, e := range f.Log {
		if e.Kind != EventFound || e.Address == "" || seen[e.Address] {
			continue
		}
		seen[e.Address] = true
		out = append(out, Function{Address: e.Address, Port: Port{Address: f.portOf(e.Address, "")}})
	}
	return out
}

// lost is a drive that only this boot's log knows, as an item of the report with its finding.
func (f *Facts) lost(fn Function, running Release) (Drive, finding.Finding) {
	d := Drive{Function: fn, Rung: RungPCI, Verdict: VerdictFail, Missing: true, history: about(f.Log, fn.Address), logWhole: f.LogErr == nil && !f.LogLost}
	c := &diagnosis{facts: f, d: &d, events: lastProbe(d.history), portEvents: about(f.Log, fn.Port.Address), release: running}
	out := finding.Finding{
		Code: finding.NVMeMissing, Severity: finding.Fail, Subject: d.Subject(), Confidence: finding.Unknown, Title: "a drive that was here in this boot has left the PCI bus",
	}
	if e, ok := c.last(EventFound); ok {
		out.Evidence = append(out.Evidence, logEvidence(e))
	}
	c.explain(atMissing, &out)
	out.Remedies = append(out.Remedies,
		finding.Remedy{Title: "if nobody took it out: switch the machine off and on, look whether the firmware set-up (BIOS) lists it, and try it in another slot", Risk: finding.RiskHigh})
	return d, out
}

// dropKinds are the incidents in which a drive leaves.
var dropKinds = []EventKind{EventDown, EventDisabled, EventInaccessible, EventPowerRefused, EventBusError}

// usersLeft are the mounts and swaps of disks that are gone which were this drive's, as far as labd remembers it.
func (d Drive) usersLeft(stale []layer.Layer) []layer.Layer {
	if d.Known == nil || len(d.Controllers) > 0 {
		return nil
	}
	var out []layer.Layer
	for _, user := range stale {
		if slices.ContainsFunc(d.Known.Contents, func(content layer.Layer) bool {
			return content == user || user.Kind == layer.Swap && content.Kind == layer.Swap
		}) {
			out = append(out, user)
		}
	}
	return out
}

// lastDrop is a drive's newest incident in which it left.
func lastDrop(incidents []Incident, serial string) (Incident, bool) {
	for _, i := range slices.Backward(incidents) {
		if i.Serial == serial && slices.Contains(dropKinds, i.Kind) {
			return i, true
		}
	}
	return Incident{}, false
}

// drops counts the drop-outs in one slot. What follows one within a minute, as the reset that fails, is the same one.
func drops(incidents []Incident, address string) (n int) {
	var before time.Time
	for _, i := range incidents {
		if i.Address != address || !slices.Contains(dropKinds, i.Kind) {
			continue
		}
		if i.At.Sub(before) > time.Minute {
			n++
		}
		before = i.At
	}
	return n
}

// slotDrives are the serial numbers of the drives that dropped out in one slot.
func slotDrives(incidents []Incident, address string) []string {
	var out []string
	for _, i := range incidents {
		if i.Address == address && i.Serial != "" && slices.Contains(dropKinds, i.Kind) && !slices.Contains(out, i.Serial) {
			out = append(out, i.Serial)
		}
	}
	return out
}
