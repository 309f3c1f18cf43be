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

// StorageServer is the address of a server that a storage is on.
type StorageServer struct {
	Storage string
	Address netip.Addr
}

// StorageServers returns the servers that storage.cfg names by address: of shares, PBS, iSCSI portals, Ceph monitors
// (PVE::Storage::*Plugin). Names of hosts are left out.
func StorageServers(data []byte) []StorageServer {
	var out []StorageServer
	for _, s := range ParseSections(data) {
		for _, p := range s.Properties {
			switch p.Key {
			case "server", "server2", "portal", "monhost":
			default:
				continue
			}
			for text := range strings.FieldsFuncSeq(p.Value, func(r rune) bool { return r == ' ' || r == ',' || r == ';' }) {
				addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
				if err != nil {
					port, err := netip.ParseAddrPort(text)
					if err != nil {
						continue
					}
					addr = port.Addr()
				}
				out = append(out, StorageServer{s.ID, addr.Unmap().WithZone("")})
			}
		}
	}
	return out
}
