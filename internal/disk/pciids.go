package disk

import (
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/jaypipes/ghw"

	"labd/internal/host"
)

// pciNames finds the names that the PCI id database has for vendors and products. They are for people; nothing is
// concluded from them, since ghw gives up its whole list for one odd device, with or without an error.
type pciNames struct {
	sysfs string

	mu      sync.Mutex
	known   map[string][2]string
	loading bool
}

func newPCINames(h *host.Host) *pciNames {
	return &pciNames{sysfs: h.Sysfs, known: map[string][2]string{}}
}

// fill puts names into functions. The database is read only when a pair of ids is new, and is let go at once: it is
// many times larger than labd. ghw reads sysfs without a deadline, so fill waits for it no longer than the given time;
// names that come later are there the next time.
func (n *pciNames) fill(functions []Function, wait time.Duration) {
	if done := n.load(functions); done != nil {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range functions {
		name := n.known[pciID(functions[i])]
		functions[i].VendorName, functions[i].ProductName = name[0], name[1]
	}
}

// load starts reading the database when a pair of ids is new and nobody reads it; done is closed when it is read.
func (n *pciNames) load(functions []Function) (done chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	missing := map[string]string{} // ids by address
	for _, fn := range functions {
		if _, known := n.known[pciID(fn)]; !known {
			missing[fn.Address] = pciID(fn)
		}
	}
	if len(missing) == 0 || n.loading {
		return nil
	}
	n.loading = true
	done = make(chan struct{})
	go func() {
		defer close(done)
		found := lookUp(n.sysfs, missing)
		n.mu.Lock()
		defer n.mu.Unlock()
		n.loading = false
		for _, id := range missing {
			n.known[id] = found[id] // also without a name: it is not tried again
		}
	}()
	return done
}

// lookUp asks ghw for the names of ids, given by PCI address.
func lookUp(sysfs string, ids map[string]string) map[string][2]string {
	// The heap that the database took goes back to the system.
	defer debug.FreeOSMemory()
	// Without tools and warnings: ghw would start programs and write to standard error.
	pci, err := ghw.PCI(ghw.WithDisableTools(), ghw.WithDisableTopology(), ghw.WithDisableWarnings(),
		ghw.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))),
		ghw.WithPathOverrides(ghw.PathOverrides{"/sys": filepath.Clean(sysfs)}))
	if err != nil {
		return nil
	}
	names := map[string][2]string{}
	for address, id := range ids {
		device := pci.GetDevice(address)
		if device == nil || device.Vendor == nil || device.Product == nil {
			continue
		}
		names[id] = [2]string{known(device.Vendor.Name), known(device.Product.Name)}
	}
	return names
}

// known drops ghw's word for a name that the database lacks.
func known(name string) string {
	if strings.EqualFold(name, "unknown") {
		return ""
	}
	return strings.Clone(name) // not a view into the database
}

// pciID is vendor:device in hexadecimal, as lspci -n prints it.
func pciID(fn Function) string { return fmt.Sprintf("%04x:%04x", fn.Vendor, fn.Device) }
