// Package watch hears what changes on the host and in its containers: interfaces, addresses, routes, rules, Docker's
// networks, files of PVE's configuration, and which containers run.
package watch
