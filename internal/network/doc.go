// Package network makes Docker networks inside LXC containers reachable: it finds them, decides which may have a route
// on the host and accept rules in the container, programs those, and takes them away again. Everything that a container
// says of itself is checked against the operator's policy and against netlink before it is believed.
package network
