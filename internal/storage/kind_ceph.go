package storage

import (
	"net"
	"slices"
	"strings"

	"labd/internal/pve"
)

// cephfs is a file system of a Ceph cluster, rbd a pool of block devices of one.
var (
	cephfs = network{fileSystems: []string{"ceph", "fuse.ceph"}, servers: cephServers}
	rbd    = network{servers: cephServers}
)

// cephServers returns the monitors that an entry names, or those of ceph.conf, by the ports of both protocols.
func cephServers(s *pve.StorageSection, cephMonitors []string) []string {
	monitors := splitWords(s.Get("monhost"))
	if len(monitors) == 0 {
		monitors = cephMonitors
	}
	return slices.Concat(at("3300", monitors...), at("6789", monitors...))
}

// monitorsOf reads mon_host of a ceph.conf: addresses, or lists as [v2:10.0.0.1:3300,v1:10.0.0.1:6789].
func monitorsOf(conf []byte) []string {
	var out []string
	for line := range strings.Lines(string(conf)) {
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.ReplaceAll(strings.TrimSpace(key), " ", "_") != "mon_host" {
			continue
		}
		for _, word := range splitWords(strings.TrimSpace(strings.NewReplacer("[v", " v", "]", " ").Replace(value))) {
			word = strings.TrimPrefix(strings.TrimPrefix(word, "v1:"), "v2:")
			host, _, err := net.SplitHostPort(word)
			if err != nil {
				host = strings.Trim(word, "[]")
			}
			if host != "" && !slices.Contains(out, host) {
				out = append(out, host)
			}
		}
	}
	return out
}

// usesCeph reports whether an entry is on a Ceph cluster.
func (e *Entry) usesCeph() bool { return e.Type == "cephfs" || e.Type == "rbd" }
