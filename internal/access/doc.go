// Package access says who calls, and what Proxmox VE lets that caller do. labd has no accounts and no rights of its own:
// the kernel names who comes by the unix socket, PVE judges who comes over the network, and one table says which of PVE's
// privileges an action asks for.
package access
