package disk

import "time"

// Facts are what was observed.
type Facts struct {
	At      time.Time
	Release string // of the running kernel, as in uname -r
	// Functions are the PCI functions of class 0x0108xx, by address.
	Functions []Function
	// Log are the kernel log's events about NVMe controllers of this boot, oldest first.
	Log []Event
	// LogErr is why the kernel log could not be read; LogLost says that its oldest records are gone.
	LogErr  error
	LogLost bool
}

// Function is one PCI function of class 0x0108xx.
type Function struct {
	Address                 string // 0000:01:00.0
	Vendor, Device          uint16
	VendorName, ProductName string
	SubVendor, SubDevice    uint16
	Driver                  string // the driver it is bound to, or ""
	DriverOverride          string
	Enabled                 bool   // enable counts at least one user
	PowerState              string // D0, D3hot, …; "" where the kernel does not say
	Link                    Link
	Controllers             []Controller
	// Problems are attributes that could not be read, one sentence each.
	Problems []string
	// Unread says that not even vendor and device could be read.
	Unread bool
}

// Link is the PCIe link as sysfs has it: speeds as text ("8.0 GT/s PCIe"), widths in lanes, 0 when unknown.
type Link struct {
	CurrentSpeed, MaxSpeed string
	CurrentWidth, MaxWidth int
}

// Controller is one nvmeN below a function.
type Controller struct {
	Name, State, Model, Serial, Firmware, Transport string
	Namespaces                                      []Namespace
	// Generic counts character devices ngXnY without a block device.
	Generic int
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
	WWID             string
	// HasID says that the namespace has an EUI64, NGUID or UUID of its own.
	HasID bool
	// Users are what holds it: "mount /tank", "holder dm-0".
	Users []string
}
