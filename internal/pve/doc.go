// Package pve is everything labd knows about Proxmox VE (PVE): the grammars of
// the files below /etc/pve as PVE itself reads and writes them, the cluster
// facts those files hold, and a client of PVE's HTTP API that reports what PVE
// said instead of what its status code suggests.
//
// The parsers never fail on bad input: they return what PVE would have
// understood, and the warnings that PVE would have logged.
package pve
