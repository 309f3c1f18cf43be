package storage

import "labd/internal/pve"

var glusterfs = network{
	fileSystems: []string{"fuse.glusterfs"},
	servers: func(s *pve.StorageSection, _ []string) []string {
		return at("24007", s.Get("server"), s.Get("server2"))
	},
}
