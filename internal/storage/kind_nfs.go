package storage

import (
	"strings"

	"labd/internal/pve"
)

var nfs = network{
	fileSystems: []string{"nfs", "nfs4"},
	servers: func(s *pve.StorageSection, _ []string) []string {
		return at(nfsPort(s.Get("options")), s.Get("server"))
	},
}

// nfsPort returns the port that a mount's options name, or NFS's own.
func nfsPort(options string) string {
	for _, o := range strings.Split(options, ",") {
		if p, ok := strings.CutPrefix(strings.TrimSpace(o), "port="); ok && p != "" && p != "0" {
			return p
		}
	}
	return "2049"
}
