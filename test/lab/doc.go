// Package lab starts a Proxmox VE host made of real parts for tests and the demo: a private set of namespaces with
// systemd as its first process, a bridge, LXC containers with a real Docker, disks with real mount units, and a client
// on a LAN of its own. Only PVE itself is missing; labd/test/pvesim plays it.
//
// A lab needs root. It touches nothing outside: its processes live in one cgroup, its interfaces in two network
// namespaces, its mounts in one mount namespace, its files below one directory, and all of them are found again by
// the lab's name, so that the next start cleans up after one that was killed.
package lab
