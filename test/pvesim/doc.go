// Package pvesim stands in for Proxmox VE's API in tests and in the lab: TLS, API
// tokens, permissions, the storage, disk, task and backup endpoints, with the
// status lines, texts and side effects recorded from PVE 9.2. It works on the
// tree of a host below a root directory and keeps no configuration of its own.
package pvesim
