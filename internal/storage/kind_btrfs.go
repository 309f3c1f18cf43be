package storage

// btrfs is a directory that must be on a btrfs file system.
type btrfs struct{ directory }
