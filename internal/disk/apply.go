package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"labd/internal/host"
	"labd/internal/plan"
)

// Timeouts of a rescue. A probe takes as long as the drive says that it needs to get ready, up to 128 s by its register
// CAP.TO; most take less than a second. What takes longer is reported, and goes on.
const (
	writeTimeout = 20 * time.Second
	liveTimeout  = 45 * time.Second
	livePoll     = 50 * time.Millisecond
)

// Applier carries out rescues.
type Applier struct {
	host *host.Host
	// write puts text into an attribute; a field, so that tests can play the kernel.
	write func(ctx context.Context, path, text string) error
	live  time.Duration
}

// NewApplier returns an Applier for a host.
func NewApplier(h *host.Host) *Applier { return &Applier{h, h.WriteAttr, liveTimeout} }

// Ops are the operations of this domain's plans.
func (a *Applier) Ops() plan.Ops {
	return plan.Ops{
		opReprobe: plan.Typed[rescueParams, struct{}]{
			CheckFunc: a.check, DoFunc: a.reprobe, VerifyFunc: a.verify,
			UndoFunc: func(ctx context.Context, p rescueParams, _ struct{}) error { return a.lookAgain(ctx, p) },
		},
		opBind:  plan.Typed[rescueParams, struct{}]{CheckFunc: a.check, DoFunc: a.bind, VerifyFunc: a.verify},
		opNewID: plan.Typed[rescueParams, struct{}]{CheckFunc: a.check, DoFunc: a.newID, VerifyFunc: a.verify},
	}
}

func (a *Applier) dir(p rescueParams) string {
	return filepath.Join(a.host.Sysfs, "bus/pci/devices", p.Address)
}

// check refuses when the function is not the one that the plan was made for, or has a driver or a disk by now.
func (a *Applier) check(_ context.Context, p rescueParams) error {
	r := a.host.NewReader(time.Second)
	defer r.Close()
	vendor, vendorErr := r.Attr(filepath.Join(a.dir(p), "vendor"))
	device, deviceErr := r.Attr(filepath.Join(a.dir(p), "device"))
	if err := errors.Join(vendorErr, deviceErr); err != nil {
		return &plan.ChangedError{What: fmt.Sprintf("the function %s cannot be read: %v", p.Address, err)}
	}
	if id := strings.TrimPrefix(vendor, "0x") + ":" + strings.TrimPrefix(device, "0x"); id != p.PCIID {
		return &plan.ChangedError{What: fmt.Sprintf("the function %s is %s now, not %s", p.Address, id, p.PCIID)}
	}
	driver, err := r.Link(filepath.Join(a.dir(p), "driver"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the driver of %s: %w", p.Address, err)
	}
	if driver != "" {
		driver = filepath.Base(driver)
	}
	if driver != p.Driver {
		return &plan.ChangedError{What: fmt.Sprintf("the function %s has driver %s now", p.Address, orDash(driver))}
	}
	if disks, err := a.disks(r, p); err != nil || len(disks) > 0 {
		return &plan.ChangedError{What: fmt.Sprintf("the function %s offers %s now (%v)", p.Address, strings.Join(disks, ", "), err)}
	}
	return nil
}

// disks are the namespaces below a function.
func (a *Applier) disks(r *host.Reader, p rescueParams) (disks []string, err error) {
	controllers, err := r.Names(filepath.Join(a.dir(p), "nvme"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, c := range controllers {
		names, namesErr := r.Names(filepath.Join(a.dir(p), "nvme", c))
		err = errors.Join(err, namesErr)
		for _, name := range names {
			if namespaceName.MatchString(name) || genericName.MatchString(name) {
				disks = append(disks, name)
			}
		}
	}
	return disks, err
}

func (a *Applier) attr(ctx context.Context, path, text string) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := a.write(ctx, path, text); err != nil {
		return fmt.Errorf("write %q to %s: %w", text, path, err)
	}
	return nil
}

func (a *Applier) reprobe(ctx context.Context, p rescueParams) error {
	if err := a.attr(ctx, filepath.Join(a.dir(p), "remove"), "1"); err != nil {
		return err
	}
	return a.rescan(ctx, p)
}

// rescan has the port alone look for what is plugged into it; the bus where there is no port.
func (a *Applier) rescan(ctx context.Context, p rescueParams) error {
	if p.Port != "" {
		return a.attr(ctx, filepath.Join(a.host.Sysfs, "bus/pci/devices", p.Port, "rescan"), "1")
	}
	return a.attr(ctx, filepath.Join(a.host.Sysfs, "class/pci_bus", p.Bus, "rescan"), "1")
}

// lookAgain is the undo of a removal: nothing where the function is there, also when that has happened before.
func (a *Applier) lookAgain(ctx context.Context, p rescueParams) error {
	if _, err := os.Stat(a.dir(p)); err == nil {
		return nil
	}
	if err := a.rescan(ctx, p); err != nil {
		return err
	}
	if _, err := os.Stat(a.dir(p)); err != nil {
		return fmt.Errorf("the function %s was not found again; switch the machine off and on: %w", p.Address, err)
	}
	return nil
}

func (a *Applier) driver() string { return filepath.Join(a.host.Sysfs, "bus/pci/drivers/nvme") }

// bind tells the driver to take the function. Kernels before 6.2 probe later and say nothing here; the others fail.
func (a *Applier) bind(ctx context.Context, p rescueParams) error {
	if _, err := os.Stat(a.driver()); err != nil {
		return fmt.Errorf("the kernel has no nvme driver loaded (modprobe nvme): %w", err)
	}
	return a.attr(ctx, filepath.Join(a.driver(), "bind"), p.Address)
}

// newID adds a dynamic id with NVME_QUIRK_BOGUS_NID (1<<18), which wins over the driver's own table. All seven fields, since
// fewer are refused for ids that the table has (drivers/pci/pci-driver.c, new_id_store).
func (a *Applier) newID(ctx context.Context, p rescueParams) error {
	vendor, device, _ := strings.Cut(p.PCIID, ":")
	text := fmt.Sprintf("%s %s ffffffff ffffffff 0 0 40000", vendor, device)
	if err := a.attr(ctx, filepath.Join(a.driver(), "new_id"), text); err != nil {
		return err
	}
	if p.Driver != "" {
		if err := a.attr(ctx, filepath.Join(a.driver(), "unbind"), p.Address); err != nil {
			return err
		}
	}
	return a.bind(ctx, p)
}

// verify waits until the drive offers a namespace.
func (a *Applier) verify(ctx context.Context, p rescueParams) error {
	ctx, cancel := context.WithTimeout(ctx, a.live)
	defer cancel()
	tick := time.NewTicker(livePoll)
	defer tick.Stop()
	state := ""
	for {
		var ok bool
		if ok, state = a.works(p); ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the drive does not work: %s; labctl check-nvme %s says what the kernel log has", state, p.Address)
		case <-tick.C:
		}
	}
}

// works reports whether the function has a live controller with a namespace, and how far it is.
func (a *Applier) works(p rescueParams) (ok bool, state string) {
	r := a.host.NewReader(time.Second)
	defer r.Close()
	if _, err := r.Stat(a.dir(p)); err != nil {
		return false, "it is not on the PCI bus"
	}
	driver, err := r.Link(filepath.Join(a.dir(p), "driver"))
	if err != nil {
		return false, "no driver is bound to it"
	}
	controllers, err := r.Names(filepath.Join(a.dir(p), "nvme"))
	if err != nil || len(controllers) == 0 {
		return false, "driver " + filepath.Base(driver) + " offers no controller"
	}
	controller, err := r.Attr(filepath.Join(a.dir(p), "nvme", controllers[0], "state"))
	if err != nil || controller != "live" {
		return false, "controller " + controllers[0] + " is " + orDash(controller)
	}
	disks, err := a.disks(r, p)
	if err != nil || len(disks) == 0 {
		return false, "controller " + controllers[0] + " offers no namespace"
	}
	return true, ""
}
