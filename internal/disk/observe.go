package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"labd/internal/host"
)

// Observer looks at the NVMe drives of a host.
type Observer struct {
	host    *host.Host
	timeout time.Duration
	now     func() time.Time
	names   *names

	mu  sync.Mutex
	log *logReader
}

// NewObserver returns an Observer.
func NewObserver(h *host.Host, policy Policy, now func() time.Time) *Observer {
	return &Observer{host: h, timeout: time.Duration(policy.ReadTimeout), now: now, names: newNames(h), log: newLogReader(h.KernelLog())}
}

// Observe reads sysfs, the mount table and what is new in the kernel log. Drives are read side by side, and every
// attribute has a deadline: a broken drive spoils its own facts only.
func (o *Observer) Observe(ctx context.Context) (*Facts, error) {
	f := &Facts{At: o.now(), Release: o.host.KernelRelease()}
	reader := o.host.NewReader(o.timeout)
	defer reader.Close()
	addresses, err := reader.Names(o.busDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list PCI functions: %w", err)
	}
	mounts, _ := o.host.Mounts(ctx) // without it only the users of drives are unknown
	results := make([]*Function, len(addresses))
	var wg sync.WaitGroup
	for i, address := range addresses {
		class, err := reader.Attr(filepath.Join(o.busDir(), address, "class"))
		if err != nil || !strings.HasPrefix(class, "0x0108") {
			continue
		}
		wg.Go(func() { results[i] = o.function(address, mounts) })
	}
	wg.Wait()
	for _, fn := range results {
		if fn != nil {
			f.Functions = append(f.Functions, *fn)
		}
	}
	o.names.fill(f.Functions)
	o.mu.Lock()
	defer o.mu.Unlock()
	f.Log, f.LogLost, f.LogErr = o.log.poll()
	return f, nil
}

func (o *Observer) busDir() string { return filepath.Join(o.host.Sysfs, "bus/pci/devices") }

// attributes reads the attributes of one drive and notes what cannot be read.
type attributes struct {
	reader   *host.Reader
	problems []string
}

// get returns an attribute, "" when the kernel does not have it or it cannot be read.
func (a *attributes) get(parts ...string) string {
	path := filepath.Join(parts...)
	value, err := a.reader.Attr(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.problems = append(a.problems, err.Error())
	}
	return value
}

func (a *attributes) number(parts ...string) int64 {
	n, err := strconv.ParseInt(a.get(parts...), 0, 64)
	if err != nil {
		return 0
	}
	return n
}

func (a *attributes) id(parts ...string) uint16 {
	n, err := strconv.ParseUint(a.get(parts...), 0, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}

func (a *attributes) names(parts ...string) []string {
	path := filepath.Join(parts...)
	names, err := a.reader.Names(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.problems = append(a.problems, err.Error())
	}
	return names
}

var (
	controllerName = regexp.MustCompile(`^nvme\d+$`)
	namespaceName  = regexp.MustCompile(`^nvme(\d+)(?:c\d+)?n(\d+)$`)
	pathName       = regexp.MustCompile(`^nvme(\d+)c\d+n(\d+)$`)
	genericName    = regexp.MustCompile(`^ng\d+n\d+$`)
	partitionName  = regexp.MustCompile(`^nvme\d+n\d+p\d+$`)
)

// function reads one PCI function and everything below it.
func (o *Observer) function(address string, mounts []host.Mount) *Function {
	a := &attributes{reader: o.host.NewReader(o.timeout)}
	defer a.reader.Close()
	dir := filepath.Join(o.busDir(), address)
	fn := &Function{
		Address: address, Vendor: a.id(dir, "vendor"), Device: a.id(dir, "device"), SubVendor: a.id(dir, "subsystem_vendor"),
		SubDevice: a.id(dir, "subsystem_device"), PowerState: a.get(dir, "power_state"), Enabled: a.number(dir, "enable") > 0,
	}
	fn.Unread = fn.Vendor == 0 || fn.Vendor == 0xffff
	if override := a.get(dir, "driver_override"); override != "(null)" { // what an unset override reads as
		fn.DriverOverride = override
	}
	if target, err := a.reader.Link(filepath.Join(dir, "driver")); err == nil {
		fn.Driver = filepath.Base(target)
	} else if !errors.Is(err, fs.ErrNotExist) {
		a.problems = append(a.problems, err.Error())
	}
	fn.Link = Link{
		CurrentSpeed: a.get(dir, "current_link_speed"), MaxSpeed: a.get(dir, "max_link_speed"),
		CurrentWidth: int(a.number(dir, "current_link_width")), MaxWidth: int(a.number(dir, "max_link_width")),
	}
	for _, name := range a.names(dir, "nvme") {
		if controllerName.MatchString(name) {
			fn.Controllers = append(fn.Controllers, o.controller(a, filepath.Join(dir, "nvme", name), name, mounts))
		}
	}
	fn.Problems = a.problems
	return fn
}

func (o *Observer) controller(a *attributes, dir, name string, mounts []host.Mount) Controller {
	c := Controller{
		Name: name, State: a.get(dir, "state"), Model: a.get(dir, "model"), Serial: a.get(dir, "serial"),
		Firmware: a.get(dir, "firmware_rev"), Transport: a.get(dir, "transport"),
	}
	for _, child := range a.names(dir) {
		switch {
		case namespaceName.MatchString(child):
			c.Namespaces = append(c.Namespaces, o.namespace(a, dir, child, mounts))
		case genericName.MatchString(child):
			c.Generic++
		}
	}
	// A multipath drive has a path of each controller to the same head.
	slices.SortFunc(c.Namespaces, func(x, y Namespace) int { return strings.Compare(x.Device, y.Device) })
	c.Namespaces = slices.CompactFunc(c.Namespaces, func(x, y Namespace) bool { return x.Device == y.Device })
	c.Generic = max(0, c.Generic-len(c.Namespaces))
	return c
}

// namespace reads one namespace. A hidden path node (nvme0c1n2) stands for the head nvme0n2, which lies below the
// subsystem and not below the controller (drivers/nvme/host/multipath.c).
func (o *Observer) namespace(a *attributes, controllerDir, name string, mounts []host.Mount) Namespace {
	dir := filepath.Join(controllerDir, name)
	if m := pathName.FindStringSubmatch(name); m != nil {
		name = "nvme" + m[1] + "n" + m[2]
		dir = filepath.Join(o.host.Sysfs, "block", name)
	}
	ns := Namespace{
		Device: name, NSID: int(a.number(dir, "nsid")), SizeBytes: a.number(dir, "size") * 512, // sysfs counts in 512 bytes whatever the block size
		LogicalBlockSize: int(a.number(dir, "queue/logical_block_size")), ReadOnly: a.number(dir, "ro") == 1, WWID: a.get(dir, "wwid"),
	}
	for _, id := range []string{"eui", "nguid", "uuid"} {
		ns.HasID = ns.HasID || a.get(dir, id) != ""
	}
	ns.Users = users(a, dir, mounts)
	for _, child := range a.names(dir) {
		if partitionName.MatchString(child) {
			ns.Users = append(ns.Users, users(a, filepath.Join(dir, child), mounts)...)
		}
	}
	return ns
}

// users are what holds a block device: device-mapper and the like by sysfs holders, file systems by the mount table.
func users(a *attributes, dir string, mounts []host.Mount) []string {
	var out []string
	for _, holder := range a.names(dir, "holders") {
		out = append(out, "holder "+holder)
	}
	number := a.get(dir, "dev")
	for _, m := range mounts {
		if number != "" && m.Device == number {
			out = append(out, "mount "+m.Point)
		}
	}
	return out
}
