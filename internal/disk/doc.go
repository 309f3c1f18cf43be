// Package disk explains where an NVMe drive is: it climbs from the PCI function through driver, controller and namespace
// to the block device, names the first broken rung, and reads the cause from the kernel log and the kernel's release.
package disk
