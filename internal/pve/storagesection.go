package pve

import (
	"slices"
	"strings"
)

// Get returns a property's value, or "" when it is not set.
func (s *StorageSection) Get(key string) string { return s.Properties[key] }

// Bool reports whether a boolean property is set and true.
func (s *StorageSection) Bool(key string) bool { return s.Properties[key] == "1" }

// Disabled reports whether the entry is switched off on every node.
func (s *StorageSection) Disabled() bool { return s.Bool("disable") }

// Shared reports whether PVE takes the storage for the same one on all its
// nodes: always for most network types, by the property for dir, btrfs, lvm
// and esxi.
func (s *StorageSection) Shared() bool { return s.Bool("shared") }

// Path returns the directory of a file based storage, else "".
func (s *StorageSection) Path() string { return s.Properties["path"] }

// Content returns the sorted content types.
func (s *StorageSection) Content() []string { return splitList(s.Properties["content"]) }

// Nodes returns the sorted nodes that the entry is restricted to; nil means
// that it is meant for every node.
func (s *StorageSection) Nodes() []string {
	if n := splitList(s.Properties["nodes"]); len(n) > 0 {
		return n
	}
	return nil
}

// OnNode reports whether the entry is meant for that node.
func (s *StorageSection) OnNode(node string) bool {
	n := s.Nodes()
	return n == nil || slices.Contains(n, node)
}

// MountPoint returns the directory that has to be a mount point before PVE
// uses the storage, or "" when PVE does not insist on one: is_mountpoint is a
// boolean word, meaning the storage's own path, or a path.
// Source: PVE::Storage::DirPlugin::parse_is_mountpoint.
func (s *StorageSection) MountPoint() string {
	v := s.Properties["is_mountpoint"]
	switch strings.ToLower(v) {
	case "", "0", "no", "off", "false":
		return ""
	case "1", "yes", "on", "true":
		return s.Properties["path"]
	}
	return v
}
