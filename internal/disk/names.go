package disk

import (
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/jaypipes/ghw"

	"labd/internal/host"
)

// names finds the names that the PCI id database has for vendors and products. They are for people; nothing is
// concluded from them, since ghw gives up its whole list for one odd device, with or without an error.
type names struct {
	sysfs string

	mu    sync.Mutex
	known map[string][2]string
}

func newNames(h *host.Host) *names {
	return &names{sysfs: h.Sysfs, known: map[string][2]string{}}
}

// fill puts names into functions. The database is read only when a pair of ids is new, and is let go at once: it is
// many times larger than labd.
func (n *names) fill(functions []Function) {
	n.mu.Lock()
	defer n.mu.Unlock()
	missing := false
	for _, fn := range functions {
		_, known := n.known[pciID(fn)]
		missing = missing || !known
	}
	if missing {
		n.load(functions)
	}
	for i := range functions {
		name := n.known[pciID(functions[i])]
		functions[i].VendorName, functions[i].ProductName = name[0], name[1]
	}
}

func (n *names) load(functions []Function) {
	// The heap that the database took goes back to the system.
	defer debug.FreeOSMemory()
	for _, fn := range functions {
		n.known[pciID(fn)] = [2]string{} // also without a database: it is not tried again
	}
	// Without tools and warnings: ghw would start programs and write to standard error.
	pci, err := ghw.PCI(ghw.WithDisableTools(), ghw.WithDisableTopology(), ghw.WithDisableWarnings(),
		ghw.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))),
		ghw.WithPathOverrides(ghw.PathOverrides{"/sys": filepath.Clean(n.sysfs)}))
	if err != nil {
		return
	}
	for _, fn := range functions {
		device := pci.GetDevice(fn.Address)
		if device == nil || device.Vendor == nil || device.Product == nil {
			continue
		}
		n.known[pciID(fn)] = [2]string{known(device.Vendor.Name), known(device.Product.Name)}
	}
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
