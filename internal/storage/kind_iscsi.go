package storage

import "labd/internal/pve"

// iscsi is a target of which each LUN is a volume; zfsOverISCSI is a pool on a server that exports its volumes so.
var (
	iscsi        = network{servers: iscsiPortal}
	zfsOverISCSI = network{servers: iscsiPortal}
)

func iscsiPortal(s *pve.StorageSection, _ []string) []string { return at("3260", s.Get("portal")) }

// iscsiDirect is a target that QEMU itself connects to, so nothing on the node tells whether it works.
type iscsiDirect struct{ network }

func (iscsiDirect) endpoints(s *pve.StorageSection, _ []string) []string { return iscsiPortal(s, nil) }

func (iscsiDirect) judge(f *Facts, e *Entry) {
	e.sawServer(f)
	e.set(VerdictUnknown, "nothing on this node tells whether it works")
}
