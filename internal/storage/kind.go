package storage

import (
	"labd/internal/layer"
	"labd/internal/pve"
)

// kind is what labd knows of one type of storage. A new type is a file with its kind, and a line in the table of kindOf.
type kind interface {
	// observe asks for what judge needs to know of an entry.
	observe(q *questions, s *pve.StorageSection)
	// judge gives an entry its verdict from what was observed. It does no I/O.
	judge(f *Facts, e *Entry)
	// backing returns what an entry lies on, as far as its own lines tell; a mount point is found by judge.
	backing(s *pve.StorageSection) []layer.Layer
	// lost returns what an entry of the type has lost when it is gone: "volume group".
	lost() string
	// endpoints returns the addresses, as host:port, of which one must answer while the storage works; none for a local
	// type. cephMonitors are those of ceph.conf.
	endpoints(s *pve.StorageSection, cephMonitors []string) []string
	// remote reports whether the data are on another machine: what is not seen of them is down, and never gone.
	remote() bool
}

// explainer is a kind that has more to say of an entry that is gone or down.
type explainer interface {
	explainGone(x *explanation)
	explainDown(x *explanation)
}

// witness is a kind that can say whether what an entry lies on is seen on this host, working or not.
type witness interface {
	isHere(f *Facts, e *Entry) bool
}

// noter is a kind of which something harmless stays when an entry is removed.
type noter interface {
	leaves(e *Entry) []string
}

// kindOf returns what labd knows of a type of storage.
func kindOf(storageType string) kind {
	switch storageType {
	case "dir":
		return directory{}
	case "btrfs":
		return btrfs{}
	case "lvm":
		return volumeGroup{}
	case "lvmthin":
		return thinPool{}
	case "zfspool":
		return pool{}
	case "nfs":
		return nfs
	case "cifs":
		return cifs
	case "glusterfs":
		return glusterfs
	case "cephfs":
		return cephfs
	case "rbd":
		return rbd
	case "pbs":
		return pbs
	case "esxi":
		return esxi
	case "iscsi":
		return iscsi
	case "zfs":
		return zfsOverISCSI
	case "iscsidirect":
		return iscsiDirect{}
	default:
		return unjudged{}
	}
}

// local is what the types on this machine have in common.
type local struct{}

func (local) endpoints(*pve.StorageSection, []string) []string { return nil }
func (local) remote() bool                                     { return false }

// unjudged is a type that labd does not know.
type unjudged struct{ local }

func (unjudged) observe(*questions, *pve.StorageSection)   {}
func (unjudged) backing(*pve.StorageSection) []layer.Layer { return nil }
func (unjudged) lost() string                              { return "device" }

func (unjudged) judge(_ *Facts, e *Entry) {
	e.set(VerdictUnknown, "labd does not judge storages of type %s", e.Type)
}
