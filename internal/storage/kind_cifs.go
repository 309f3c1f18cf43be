package storage

import "labd/internal/pve"

var cifs = network{
	fileSystems: []string{"cifs", "smb3"},
	servers:     func(s *pve.StorageSection, _ []string) []string { return at("445", s.Get("server")) },
}
