package storage

import "labd/internal/pve"

var pbs = network{
	servers: func(s *pve.StorageSection, _ []string) []string { return at(portOf(s, "8007"), s.Get("server")) },
}
