// Package netfilter reads the iptables rules of a network namespace and keeps labd's own chains in it: LABD-RAW,
// LABD-FWD and LABD-NAT, each with one jump at position 1. The host's programs enter the namespace; nothing that lies
// in a container is run. Foreign chains are never flushed, and no policy is ever set.
package netfilter
