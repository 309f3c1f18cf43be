// Package walk follows a packet through the packet filter of one network namespace: iptables and nftables, all tables, in
// the order of the kernel. It says where the packet ends and by which rule, or because of which match that cannot be told.
package walk
