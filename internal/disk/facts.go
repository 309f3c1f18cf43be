package disk

import (
	"time"

	"labd/internal/layer"
	"labd/internal/smart"
)

// Facts are what was observed.
type Facts struct {
	At      time.Time
	Release string // of the running kernel, as in uname -r
	// Functions are the PCI functions of class 0x0108xx, by address.
	Functions []Function
	// Problems are what could not be read of PCI functions whose class is therefore unknown, one sentence each.
	Problems []string
	// Stale are the mounts and swaps of disks that are gone.
	Stale  []layer.Layer
	System System
	// Pools are the states of imported ZFS pools that are not well: DEGRADED, FAULTED, SUSPENDED.
	Pools map[string]string
	// Boot is this boot's id.
	Boot string
	// Remembered are the drives and incidents that were seen before, without those of this observation.
	Remembered Remembered
	// HealthAsked says that drives are asked for their own health.
	HealthAsked bool
	// MemoryErr is why not all is remembered.
	MemoryErr error
	// Log are the kernel log's events about NVMe controllers of this boot, oldest first.
	Log []Event
	// LogErr is why the kernel log could not be read; LogLost says that its oldest records are gone.
	LogErr  error
	LogLost bool
	// Named is how often the log names each PCI function and port, harmless lines included.
	Named map[string]naming
	// Ports are the ports that the log names by the bus below them ("0000:01").
	Ports map[string]string
	// Elsewhere are NVMe drives that are not on the PCI bus.
	Elsewhere []Elsewhere
	// Guests are the guests of this host that have PCI functions.
	Guests Guests
	// Past are the events that the journal has of this and earlier boots, oldest first: once, since they are remembered.
	Past []PastEvent
	// JournalErr is why the journal could not be read.
	JournalErr error
}

// System is what decides which remedies fit this host.
type System struct {
	// ProcVersion is /proc/version, where Debian names the package of the kernel.
	ProcVersion string
	// CommandLine is the kernel's.
	CommandLine string
	// QuirksParameter says that the nvme module has the parameter quirks (7.x), Quirks is its value.
	QuirksParameter bool
	Quirks          string
	DMI             DMI
	// Parameters are the values that modules say they have: "nvme_core.default_ps_max_latency_us".
	Parameters map[string]string
	// BootFiles are the files from which boot loaders take the command line, by path.
	BootFiles map[string]string
	// Debian is the number of the Debian release that the host has, "" where it is not known: Proxmox VE 8 is on 12.
	Debian string
	// Uptime is the time since boot, 0 when it is not known.
	Uptime time.Duration
	// BootTool says that proxmox-boot-tool keeps this host's boot partitions.
	BootTool bool
	// VFIOIDs are the PCI ids that vfio-pci takes, by the command line and modprobe's configuration: "144d:a808".
	VFIOIDs []string
	// Pinned is the kernel that proxmox-boot-tool boots whatever is newer; "" where none is pinned.
	Pinned string
}

// DMI is how the machine's firmware names it (/sys/class/dmi/id); the kernel treats some drives otherwise on some boards.
type DMI struct {
	SysVendor, ProductName, BoardVendor, BoardName string
}

// Function is one PCI function of class 0x0108xx, or one that hides such functions.
type Function struct {
	Address                 string // 0000:01:00.0
	Vendor, Device          uint16
	VendorName, ProductName string
	SubVendor, SubDevice    uint16
	Driver                  string // the driver it is bound to, or ""
	DriverOverride          string
	Enabled                 bool // enable counts at least one user
	Power                   Power
	Link                    Link
	// ASPM are the link's power-saving states that are switched on: l0s_aspm, l1_aspm, l1_1_aspm, clkpm, ….
	ASPM []string
	// SlowAtWork is at how many looks in a row the link was slower than both ends can do, with reads or writes under way.
	SlowAtWork int
	AER        AER
	// Port is the port that the function is plugged into; without Address on a root bus, as in virtual machines.
	Port        Port
	Controllers []Controller
	// Problems are attributes that could not be read, one sentence each.
	Problems []string
	// VMD says that it is an Intel Volume Management Device, behind which drives are; Remapped is how many drives an Intel
	// AHCI controller in RAID mode hides.
	VMD      bool
	Remapped int
	// RAID says that it is an Intel RAID function without driver that labd does not know.
	RAID bool
	// Took is how long it took to look at it.
	Took time.Duration
	// Hangs says that the read of some attribute does not return.
	Hangs bool
	// Unread says that not even vendor and device could be read.
	Unread bool
}

// Elsewhere is an NVMe drive, or what may hide one, that is not on the PCI bus: reached over a network, or in a USB enclosure.
type Elsewhere struct {
	// Name is the controller (nvme1) or the USB device (2-1), What says how it is reached.
	Name, What string
}

// Power is the power management of a function.
type Power struct {
	State         string // D0, D3hot, …; "" where the kernel does not say
	Control       string // auto or on
	RuntimeStatus string // active, suspended, …
	// D3ColdAllowed is d3cold_allowed; false also where the kernel does not say.
	D3ColdAllowed bool
}

// AER are the counts of advanced error reporting since boot. Known is false without that capability.
type AER struct {
	Known                        bool
	Correctable, NonFatal, Fatal uint64
	// Kinds are the errors that were counted, by the kernel's short names: RxErr, BadTLP, UnsupReq, …
	Kinds map[string]uint64
}

// Port is a PCIe root or downstream port.
type Port struct {
	Address string
	Link    Link
	// AER of a root port are the counts of all messages that it received, from what is below it as well; Own are the errors
	// that it met itself.
	AER, Own AER
}

// Controller is one nvmeN below a function.
type Controller struct {
	Name, State, Model, Serial, Firmware, Transport string
	// Subsystem is the NVMe qualified name of its subsystem, ID its controller id within that, Queues how many queues it
	// has, the admin queue included; 0 where the kernel does not say.
	Subsystem  string
	ID, Queues int
	HostMemory HostMemory
	// Quirks are what the kernel says that it does differently for the drive (7.x), by name; QuirksKnown that it says so.
	Quirks      []string
	QuirksKnown bool
	Namespaces  []Namespace
	// Health is what the drive says of itself; its Data is nil when it was not asked or did not answer.
	Health smart.Reading
	// Generic counts character devices ngXnY without a block device.
	Generic int
}

// HostMemory is whether a drive uses memory of the host as its buffer.
type HostMemory int

// States of the host memory buffer.
const (
	HostMemoryNotWanted HostMemory = iota // the drive has no use for it
	HostMemoryOff
	HostMemoryOn
)

// String returns on, off, or "" for a drive that wants none.
func (m HostMemory) String() string {
	switch m {
	case HostMemoryOn:
		return "on"
	case HostMemoryOff:
		return "off"
	default:
		return ""
	}
}

// Namespace is one namespace of a controller with its block device.
type Namespace struct {
	// Device is the block device: nvme0n1, the multipath head where there is one.
	Device    string
	NSID      int
	SizeBytes int64
	// LogicalBlockSize is in bytes.
	LogicalBlockSize int
	ReadOnly         bool
	// InFlight is how many reads and writes were under way; 0 where the link runs as fast as it can, since nobody asks then.
	InFlight int64
	WWID     string
	// EUI, NGUID and UUID are ids of its own; none where the drive has none or the kernel cleared them.
	EUI, NGUID, UUID string
	// Paths are the hidden path nodes of a multipath head that lie below this controller: nvme0c1n1.
	Paths []string
	// LoggedErrors are the lines of this boot's kernel log about reads and writes of it that failed, CommandErrors the
	// kernel's own count of failed commands (7.x), nil where it has none.
	LoggedErrors  int
	CommandErrors *uint64
	// Users are what holds it or a partition: mounts, swap, volume groups, pools, device-mapper and md devices.
	Users []layer.Layer
	// Contents are what its first bytes and those of its partitions say that is on it, see signature.
	Contents []layer.Layer
}

// HasID says that the namespace has an id of its own.
func (n Namespace) HasID() bool { return n.EUI+n.NGUID+n.UUID != "" }
