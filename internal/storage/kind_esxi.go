package storage

import "labd/internal/pve"

var esxi = network{
	servers: func(s *pve.StorageSection, _ []string) []string { return at(portOf(s, "443"), s.Get("server")) },
}
