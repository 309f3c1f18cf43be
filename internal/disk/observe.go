package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"labd/internal/host"
	"labd/internal/reconcile"
	"labd/internal/smart"
)

// Observer looks at the NVMe drives of a host.
type Observer struct {
	host    *host.Host
	timeout time.Duration
	now     func() time.Time
	names   *pciNames
	memory  *Memory
	smart   *smart.Keeper // nil where drives are not asked
	onDisk  *contents     // nil where disks are not read
	// function reads one PCI function; a field, so that tests can have it fail.
	function func(address string, l surroundings) *Function

	mu      sync.Mutex
	journal *kernelJournal
	log     *logReader
	// slowAtWork are the counts of Function.SlowAtWork, by address.
	slowAtWork map[string]int
}

// NewObserver returns an Observer. memory may be nil: nothing is remembered then.
func NewObserver(h *host.Host, policy Policy, memory *Memory, now func() time.Time) *Observer {
	o := &Observer{
		host: h, timeout: time.Duration(policy.ReadTimeout), now: now, names: newPCINames(h), memory: memory, smart: newHealth(h, policy, now),
		journal: newKernelJournal(h, now), log: newLogReader(h.KernelLog()),
	}
	o.function = o.readFunction
	if d := host.DefaultPaths(); (h.Sysfs == d.Sysfs) == (h.Dev == d.Dev) {
		o.onDisk = &contents{seen: map[string]signed{}}
	}
	return o
}

// Stuck is how many drives owe an answer to a health command, each a goroutine that waits.
func (o *Observer) Stuck() int {
	if o.smart == nil {
		return 0
	}
	return o.smart.Stuck()
}

// Observe reads sysfs, the mount table and what is new in the kernel log. Drives are read side by side, each with a
// bound on the time that its attributes may hang: a broken drive spoils its own facts only.
func (o *Observer) Observe(ctx context.Context) (*Facts, error) {
	start := time.Now()
	f := &Facts{At: o.now(), Release: o.host.KernelRelease(), Boot: o.host.BootID(), HealthAsked: o.smart != nil}
	bus := newAttributes(o.host, o.timeout)
	defer bus.close()
	addresses, err := bus.reader.Names(o.busDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list PCI functions: %w", err)
	}
	o.mu.Lock()
	o.journal.start(f.Boot)
	o.mu.Unlock()
	mounts, _ := o.host.Mounts(ctx) // without it only the users of drives are unknown
	around := o.surroundings(bus, mounts, f.At)
	results := make([]*Function, len(addresses))
	var wg sync.WaitGroup
	for i, address := range addresses {
		switch class := bus.get(o.busDir(), address, "class"); {
		case strings.HasPrefix(class, classNVM), strings.HasPrefix(class, classOther) && o.boundToNVMe(bus, address):
			wg.Go(func() {
				// A fault of labd that one drive brings out is that drive's problem alone.
				if err := reconcile.Catch(func() error {
					results[i] = o.function(address, around)
					return nil
				}); err != nil {
					results[i] = &Function{Address: address, Unread: true, Problems: []string{err.Error()}}
				}
			})
		case strings.HasPrefix(class, classRAID), strings.HasPrefix(class, classSATA):
			results[i] = o.concealer(bus, address)
		case class == "" && o.memory != nil && o.memory.knows(address):
			// What it is cannot be read; a drive was there.
			results[i] = &Function{Address: address, Unread: true, Hangs: bus.hung, Problems: []string{"its class cannot be read"}}
		}
	}
	wg.Wait()
	f.System, f.Guests, f.Stale = o.system(bus), o.guests(bus), o.stale(around)
	f.Pools = around.states
	f.Problems = bus.problems
	behind := slices.ContainsFunc(results, func(fn *Function) bool { return fn != nil && behindVMD(fn.Address) })
	for _, fn := range results {
		if fn != nil && !(behind && fn.Driver == "vmd") {
			f.Functions = append(f.Functions, *fn)
		}
	}
	f.Elsewhere = o.elsewhere(bus, f.Functions)
	o.forgetHealth(f.Functions)
	// What may wait for something else than a drive gets what is left of the time that one may take.
	left := func() time.Duration { return max(time.Until(start.Add(o.timeout)), 0) }
	o.names.fill(f.Functions, left())
	o.mu.Lock()
	defer o.mu.Unlock()
	o.log.watch(o.watched(f.Functions))
	older := o.journal.take(left())
	f.Past, f.JournalErr = older.events, older.err
	f.Log, f.LogLost, f.LogErr = o.log.poll(older.records)
	f.Log, f.Named, f.Ports = attribute(f.Log, f.Functions), o.log.namings(f.Functions), maps.Clone(o.log.parser.ports)
	o.log.countErrors(f.Functions)
	o.countSlow(f.Functions)
	if o.memory != nil {
		o.remember(f)
	}
	return f, nil
}

// behindVMD reports whether a function is in one of the PCI domains that VMD makes, which begin at 10000 (drivers/pci/controller/vmd.c,
// vmd_find_free_domain).
func behindVMD(address string) bool {
	domain, _, _ := strings.Cut(address, ":")
	return len(domain) > 4
}

// watched are the functions and ports of which every line of the log counts: those that are here, and those where a remembered
// drive was.
func (o *Observer) watched(functions []Function) map[string]bool {
	out := map[string]bool{}
	add := func(address string) {
		if address != "" {
			out[address] = true
		}
	}
	for _, fn := range functions {
		add(fn.Address)
		add(fn.Port.Address)
	}
	if o.memory != nil {
		known, _ := o.memory.Recall() // what cannot be read is told by remember
		for _, k := range known.Drives {
			add(k.Address)
			add(k.Port)
		}
	}
	return out
}

// remember recalls what was known before and notes what is new. What cannot be read or written is a problem to name; the
// drives are there all the same.
func (o *Observer) remember(f *Facts) {
	noteErr := o.memory.Note(f)
	var readErr error
	f.Remembered, readErr = o.memory.Recall()
	if err := errors.Join(readErr, noteErr); err != nil {
		f.MemoryErr = err
	}
}

// Beginnings of PCI classes: mass storage (base class 01h) with sub-class non-volatile memory, RAID and SATA (PCI code
// and ID assignment).
const (
	classNVM  = "0x0108"
	classRAID = "0x0104"
	classSATA = "0x0106"
	// Other mass storage: Apple's drives, which the driver takes by vendor and device (drivers/nvme/host/pci.c, nvme_id_table).
	classOther = "0x0180"
)

// appleDrives are the devices of vendor 106b that the nvme driver takes.
var appleDrives = []uint16{0x2001, 0x2003, 0x2005}

// boundToNVMe reports whether a function of another class is an NVMe drive all the same: the driver has it or would take it.
func (o *Observer) boundToNVMe(a *attributes, address string) bool {
	dir := filepath.Join(o.busDir(), address)
	return a.link(dir, "driver") == "nvme" || a.id(dir, "vendor") == 0x106b && slices.Contains(appleDrives, a.id(dir, "device"))
}

const vendorIntel = 0x8086

// vmdDevices are the ids in the table of drivers/pci/controller/vmd.c, up to 6.12.
var vmdDevices = []uint16{0x201d, 0x28c0, 0x467f, 0x4c3d, 0x7d0b, 0x9a0b, 0xa77f, 0xad0b, 0xb06f, 0xb60b}

// concealer reads a function that may hide drives; nil when it hides none.
func (o *Observer) concealer(a *attributes, address string) *Function {
	dir := filepath.Join(o.busDir(), address)
	if a.id(dir, "vendor") != vendorIntel {
		return nil
	}
	fn := &Function{Address: address, Vendor: vendorIntel, Device: a.id(dir, "device"), Driver: a.link(dir, "driver"), Remapped: int(a.number(dir, "remapped_nvme"))}
	fn.VMD = slices.Contains(vmdDevices, fn.Device) || fn.Driver == "vmd"
	raid := strings.HasPrefix(a.get(dir, "class"), classRAID)
	fn.RAID = raid && fn.Driver == "" && !fn.VMD
	if fn.VMD || fn.Remapped > 0 || fn.RAID {
		return fn
	}
	return nil
}

func (o *Observer) busDir() string { return filepath.Join(o.host.Sysfs, "bus/pci/devices") }

var (
	controllerName = regexp.MustCompile(`^nvme\d+$`)
	namespaceName  = regexp.MustCompile(`^nvme(\d+)(?:c\d+)?n(\d+)$`)
	pathName       = regexp.MustCompile(`^nvme(\d+)c\d+n(\d+)$`)
	genericName    = regexp.MustCompile(`^ng\d+n\d+$`)
	partitionName  = regexp.MustCompile(`^nvme\d+n\d+p\d+$`)
)

// readFunction reads one PCI function and everything below it.
func (o *Observer) readFunction(address string, l surroundings) *Function {
	start := time.Now()
	a := newAttributes(o.host, o.timeout)
	defer a.close()
	l.a = a
	dir := filepath.Join(o.busDir(), address)
	fn := &Function{
		Address: address, Vendor: a.id(dir, "vendor"), Device: a.id(dir, "device"), SubVendor: a.id(dir, "subsystem_vendor"),
		SubDevice: a.id(dir, "subsystem_device"), Enabled: a.number(dir, "enable") > 0,
	}
	fn.Unread = fn.Vendor == 0 || fn.Vendor == 0xffff
	if override := a.get(dir, "driver_override"); override != "(null)" { // what an unset override reads as
		fn.DriverOverride = override
	}
	fn.Driver = a.link(dir, "driver")
	fn.Power = Power{
		State: a.get(dir, "power_state"), Control: a.get(dir, "power/control"), RuntimeStatus: a.get(dir, "power/runtime_status"),
		D3ColdAllowed: a.number(dir, "d3cold_allowed") == 1,
	}
	fn.Link, fn.AER = link(a, dir), aer(a, dir, "aer_dev_correctable", "aer_dev_nonfatal", "aer_dev_fatal")
	for _, state := range a.names(dir, "link") {
		if a.number(dir, "link", state) == 1 {
			fn.ASPM = append(fn.ASPM, state)
		}
	}
	fn.Port = o.port(a, dir)
	l.slow = fn.slow()
	for _, name := range a.names(dir, "nvme") {
		if controllerName.MatchString(name) {
			fn.Controllers = append(fn.Controllers, o.controller(l, filepath.Join(dir, "nvme", name), name))
		}
	}
	fn.Problems, fn.Took, fn.Hangs = a.problems, time.Since(start), a.hung
	return fn
}

func (o *Observer) controller(l surroundings, dir, name string) Controller {
	a := l.a
	c := Controller{
		Name: name, State: a.get(dir, "state"), Model: identified(a.get(dir, "model")), Serial: identified(a.get(dir, "serial")),
		Firmware: identified(a.get(dir, "firmware_rev")), Transport: a.get(dir, "transport"), Subsystem: identified(a.get(dir, "subsysnqn")),
		ID: int(a.number(dir, "cntlid")), Queues: int(a.number(dir, "queue_count")),
	}
	for _, child := range a.names(dir) {
		switch {
		case child == "hmb":
			c.HostMemory = HostMemoryOff
			if a.number(dir, child) == 1 {
				c.HostMemory = HostMemoryOn
			}
		case child == "quirks":
			c.Quirks, c.QuirksKnown = quirkNames(a.get(dir, child)), true
		case namespaceName.MatchString(child):
			c.Namespaces = append(c.Namespaces, o.namespace(l, dir, child))
		case genericName.MatchString(child):
			c.Generic++
		}
	}
	// A multipath drive has a path of each controller to the same head.
	c.Namespaces = heads(c.Namespaces)
	c.Generic = max(0, c.Generic-len(c.Namespaces))
	o.health(&c)
	return c
}

// identified drops what the kernel prints for a controller that has not said yet who it is: its attributes then follow a
// pointer to nothing (drivers/nvme/host/sysfs.c, lib/vsprintf.c check_pointer_msg()).
func identified(text string) string {
	if text == "(efault)" || text == "(null)" {
		return ""
	}
	return text
}
