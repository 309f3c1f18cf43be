// Package smart asks NVMe drives for what they know of themselves: health, errors, firmware slots, self-tests and
// identity, by the kernel's admin command ioctl. Parsing is pure; asking is bounded in time, one command at a time.
package smart
