// Package pvesim stands in for Proxmox VE in tests and in the lab: its API over
// TLS with tokens and permissions, the storage, disk, task, guest, backup and
// access endpoints, with the status lines, texts and side effects recorded from
// PVE 9.2; pvesh and pveum over the same handlers; and, in package pmxcfs,
// /etc/pve with the rules of the cluster file system. It works on the tree of a
// host below a root directory and keeps no configuration of its own.
package pvesim
