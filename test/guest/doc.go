// Package guest starts a real Debian kernel in QEMU with emulated NVMe drives, and does things in it: what no machine can
// show without the drives, and no container with them. Linux, TCG only.
package guest
