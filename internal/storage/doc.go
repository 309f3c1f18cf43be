// Package storage tells storages whose device is gone from those that are merely down, and removes the dead ones with
// all their leftovers: PVE's entry, the mount unit, the empty mount point. Whatever it is not sure of, it leaves alone.
package storage
