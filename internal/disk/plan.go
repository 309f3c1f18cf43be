package disk

import (
	"fmt"
	"slices"
	"strings"

	"labd/internal/finding"
	"labd/internal/layer"
	"labd/internal/plan"
)

// Names of the operations.
const (
	opReprobe = "nvme.reprobe"
	opBind    = "nvme.bind"
	opNewID   = "nvme.new-id"
)

// Methods of a rescue.
const (
	// MethodReprobe removes the function and has its port look for it again.
	MethodReprobe = "reprobe"
	// MethodBind binds the function to the nvme driver.
	MethodBind = "bind"
	// MethodNewID makes the kernel ignore the drive's ids until the next boot.
	MethodNewID = "new-id"
)

// rescueParams are the parameters of all operations.
type rescueParams struct {
	Address string `json:"address"`
	PCIID   string `json:"pciId"`
	// Port is the port above the function, Bus the PCI bus that it lies on where it has none.
	Port string `json:"port,omitempty"`
	Bus  string `json:"bus,omitempty"`
	// Driver is the driver that the function must have: "" or, for new-id, nvme.
	Driver string `json:"driver,omitempty"`
}

// rescueGuards are the facts that a rescue depends on.
type rescueGuards struct {
	Params  rescueParams `json:"params"`
	Method  string       `json:"method"`
	Boot    string       `json:"boot"`
	Finding []string     `json:"findings"`
	Twins   plan.Set     `json:"twins"`
}

// PlanRescue is what has the kernel try a function again that has no working driver. method "" takes the one that fits. It
// is refused, with a *plan.RefusedError, for anything that is in use or might be.
func PlanRescue(r *Report, address, method string) (*plan.Plan, error) {
	i := slices.IndexFunc(r.Drives, func(d Drive) bool { return d.Address == address })
	if i < 0 {
		return nil, &plan.RefusedError{Reason: fmt.Sprintf("no NVMe function has the PCI address %q", address), Hint: "labctl check-nvme lists them all"}
	}
	d := r.Drives[i]
	codes := finding.Codes(r.Findings, d.Subject())
	if err := rescuable(d, codes); err != nil {
		return nil, err
	}
	fits := MethodReprobe
	switch {
	case d.Driver == "nvme":
		fits = MethodNewID
	case d.neverTried():
		fits = MethodBind
	}
	if method == "" {
		method = fits
	}
	g := rescueGuards{
		Params: rescueParams{Address: d.Address, PCIID: d.PCIID(), Port: d.Port.Address, Driver: d.Driver},
		Method: method, Boot: r.boot, Finding: codes, Twins: r.unbound(d),
	}
	if g.Params.Port == "" {
		g.Params.Bus = d.Address[:strings.LastIndex(d.Address, ":")] // domain and bus of domain:bus:device.function
	}
	step, err := rescueStep(r, d, g)
	if err != nil {
		return nil, err
	}
	p := &plan.Plan{Title: "Have the kernel try NVMe function " + d.Address + " again", Subjects: []finding.Subject{d.Subject()}, Steps: []plan.Step{step}}
	if d.Known != nil {
		p.Notes = append(p.Notes, fmt.Sprintf("Most likely the drive is the %s with serial number %s.", d.Known.Model, d.Known.Serial))
	}
	p.Digest, err = plan.Digest(g)
	return p, err
}

// neverTried says that the kernel's log has no word of a probe, and nothing of it is lost.
func (d Drive) neverTried() bool { return len(d.history) == 0 && d.logWhole }

// rescuable refuses whatever is in use or on purpose as it is.
func rescuable(d Drive, codes []string) error {
	refuse := func(hint, reason string, args ...any) error {
		return &plan.RefusedError{Subject: d.Subject(), Reason: fmt.Sprintf(reason, args...), Hint: hint}
	}
	ctrl := d.Controller()
	switch {
	case d.Missing:
		return refuse("labctl check-nvme "+d.Address+" says what is known of it", "the drive is not on the PCI bus")
	case d.Unread:
		return refuse("switch the machine off and on", "the function's registers cannot be read")
	case d.hides():
		return refuse("see docs/findings/nvme.vmd-hidden.md", "it is no drive; it hides drives")
	case d.passedThrough() || d.setAside() != "" || d.DriverOverride != "" && d.DriverOverride != "nvme":
		return refuse("take the drive out of the guest's configuration first", "it is reserved for %s on purpose", orDash(d.DriverOverride+d.Driver))
	case d.Driver != "" && d.Driver != "nvme":
		return refuse("", "driver %s has it", d.Driver)
	}
	for _, c := range d.Controllers {
		for _, ns := range c.Namespaces {
			if len(ns.Users)+len(ns.Contents) > 0 {
				return refuse("labctl check-nvme -o wide "+d.Address, "its disk %s is in use or holds data: %s", ns.Device, layer.Join(slices.Concat(ns.Users, ns.Contents)))
			}
		}
	}
	if d.Known != nil && slices.ContainsFunc(d.Known.Contents, bootMount) {
		return refuse("boot a rescue system", "this host boots from it")
	}
	if len(d.stale) > 0 {
		return refuse(letGo(d.stale)[0]+" first", "what was on its disk is still in use, though the disk is gone: %s", layer.Join(d.stale))
	}
	switch {
	case ctrl == nil && d.Driver == "":
		return nil
	case ctrl != nil && ctrl.State == "live" && len(ctrl.Namespaces)+ctrl.Generic == 0 && slices.Contains(codes, string(finding.NVMeDuplicateIDs)):
		return nil // the controller works and offers no disk, so nobody can use it
	}
	return refuse("labctl check-nvme "+d.Address+" says what helps", "driver %s is in use", d.Driver)
}

// letGo are the commands that end the use of disks that are gone.
func letGo(stale []layer.Layer) []string {
	var out []string
	for _, user := range stale {
		if user.Kind == layer.Mount {
			out = append(out, "umount -l "+shellWord(user.Name))
		} else {
			out = append(out, "swapoff -a")
		}
	}
	return out
}

// shellWord quotes a text for a shell, where it needs that.
func shellWord(text string) string {
	if strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// bootMount reports whether a layer is a mount without which a host does not run.
func bootMount(l layer.Layer) bool {
	return l.Kind == layer.Mount && (l.Name == "/" || l.Name == "/boot" || strings.HasPrefix(l.Name, "/boot/") || l.Name == "/usr" || l.Name == "/var")
}

// unbound are the other functions with the same PCI ids and no driver: a new id would bind them as well.
func (r *Report) unbound(d Drive) plan.Set {
	var out plan.Set
	for _, other := range r.Drives {
		if other.Address != d.Address && !other.Missing && other.Driver == "" && other.PCIID() == d.PCIID() {
			out = append(out, other.Address)
		}
	}
	return out
}

func rescueStep(r *Report, d Drive, g rescueGuards) (plan.Step, error) {
	refuse := func(hint, reason string, args ...any) (plan.Step, error) {
		return plan.Step{}, &plan.RefusedError{Subject: d.Subject(), Reason: fmt.Sprintf(reason, args...), Hint: hint}
	}
	words := plan.Step{Risk: finding.RiskLow, Verified: "its controller is live and offers a namespace"}
	switch g.Method {
	case MethodReprobe:
		if d.Driver != "" {
			return refuse("", "a driver is bound to it")
		}
		above := "its port " + g.Params.Port
		if g.Params.Port == "" {
			above = "its bus " + g.Params.Bus
		}
		words.Title = "Remove the function and have " + above + " look for it again"
		words.How = fmt.Sprintf("1 to %s/remove, then to the rescan of %s alone", sysfsDir(&d), above)
		words.Undone, words.Undoable = "where the function was not found again, the same place looks once more", true
		return plan.NewStep(opReprobe, g.Params, words)
	case MethodBind:
		if d.Driver != "" {
			return refuse("", "a driver is bound to it")
		}
		words.Title = "Bind the function to the nvme driver"
		words.How = fmt.Sprintf("%s to /sys/bus/pci/drivers/nvme/bind", d.Address)
		return plan.NewStep(opBind, g.Params, words)
	case MethodNewID:
		if !slices.Contains(g.Finding, string(finding.NVMeDuplicateIDs)) {
			return refuse("labctl check-nvme "+d.Address, "ignoring its ids helps only where the kernel rejects a namespace for them")
		}
		if len(g.Twins) > 0 {
			return refuse("", "the new id would also bind %s, which has the same PCI ids and no driver", strings.Join(g.Twins, ", "))
		}
		if r.quirksParameter {
			return refuse("labctl check-nvme "+d.Address+" names the parameter", "this kernel has nvme.quirks, which also works from the next boot on")
		}
		words.Title = "Have the kernel ignore the ids of drives with " + d.PCIID() + " until the next boot, and bind the function anew"
		words.How = "the PCI ids with the quirk bogus_nid to /sys/bus/pci/drivers/nvme/new_id, then unbind and bind"
		return plan.NewStep(opNewID, g.Params, words)
	default:
		return refuse("", "there is no method %q: it is %s, %s or %s", g.Method, MethodReprobe, MethodBind, MethodNewID)
	}
}
