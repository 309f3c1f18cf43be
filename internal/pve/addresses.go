package pve

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// linkAddress is a line of corosync.conf with the address of one of a node's links (corosync.conf(5), nodelist).
var linkAddress = regexp.MustCompile(`^ring[0-7]_addr$`)

// ClusterPrefixes are the addresses and networks of the cluster that a file of /etc/pve names: .members, corosync.conf
// (the nodes' links), datacenter.cfg (the networks of migration and replication). Names of hosts are left out.
func ClusterPrefixes(name string, data []byte) []netip.Prefix {
	var out []netip.Prefix
	add := func(text string) {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				return
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		if prefix = prefix.Masked(); prefix.Addr().Zone() == "" && !slices.Contains(out, prefix) {
			out = append(out, prefix)
		}
	}
	switch name {
	case ".members":
		list, err := ParseMembers(data)
		if err != nil {
			return nil
		}
		for _, m := range list.Members {
			add(m.IP)
		}
	case "corosync.conf":
		for line := range strings.Lines(string(data)) {
			if key, value, ok := strings.Cut(line, ":"); ok && linkAddress.MatchString(trimSpace(key)) {
				add(trimSpace(value))
			}
		}
	case "datacenter.cfg":
		// migration: secure,network=10.1.2.0/24
		for line := range strings.Lines(string(data)) {
			key, value, ok := strings.Cut(line, ":")
			if !ok || trimSpace(key) != "migration" && trimSpace(key) != "replication" {
				continue
			}
			for part := range strings.SplitSeq(value, ",") {
				if text, ok := strings.CutPrefix(trimSpace(part), "network="); ok {
					add(text)
				}
			}
		}
	}
	return out
}
