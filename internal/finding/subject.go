package finding

import (
	"slices"
	"strings"
)

// Kind is what sort of thing a Subject names.
type Kind string

// Kinds of Subject. A node, and what labd is itself, are subjects too.
const (
	KindNVMe    Kind = "nvme"
	KindStorage Kind = "storage"
	KindLXC     Kind = "lxc"
	KindNetwork Kind = "network"
	KindRoute   Kind = "route"
	KindPVE     Kind = "pve"
	KindLabd    Kind = "labd"
)

// Kinds returns all kinds.
func Kinds() []Kind {
	return []Kind{KindNVMe, KindStorage, KindLXC, KindNetwork, KindRoute, KindPVE, KindLabd}
}

// Subject is what a finding is about, written as PVE writes ids: nvme/0000:01:00.0, storage/pve1/usb1, lxc/101,
// network/101/web_default, route/10.118.3.0/24, pve/pve1, labd/config. The kind stands before the first slash; what is behind
// it are the parts, of which only the last may hold a slash.
type Subject string

// NVMe returns the subject of the NVMe function at a PCI address.
func NVMe(address string) Subject { return subject(KindNVMe, address) }

// Storage returns the subject of a storage as a node sees it.
func Storage(node, id string) Subject { return subject(KindStorage, node, id) }

// LXC returns the subject of an LXC container.
func LXC(id string) Subject { return subject(KindLXC, id) }

// Network returns the subject of a Docker network in an LXC container.
func Network(container, name string) Subject { return subject(KindNetwork, container, name) }

// Route returns the subject of a route to a prefix.
func Route(prefix string) Subject { return subject(KindRoute, prefix) }

// PVE returns the subject of what PVE itself keeps on a node.
func PVE(node string) Subject { return subject(KindPVE, node) }

// Labd returns the subject of a part of labd itself.
func Labd(part string) Subject { return subject(KindLabd, part) }

func subject(kind Kind, parts ...string) Subject {
	return Subject(string(kind) + "/" + strings.Join(parts, "/"))
}

// Kind returns the kind, which is none of Kinds in a text that is no subject.
func (s Subject) Kind() Kind {
	kind, _, _ := strings.Cut(string(s), "/")
	return Kind(kind)
}

// IsKind reports whether s is of the kind.
func (s Subject) IsKind(kind Kind) bool { return s.Kind() == kind }

// Parts returns what is behind the kind: two parts of a storage (node, id) or a network (container, name), one of any other
// kind; nil where s is no subject.
func (s Subject) Parts() []string {
	kind, rest, ok := strings.Cut(string(s), "/")
	if !ok || !slices.Contains(Kinds(), Kind(kind)) {
		return nil
	}
	want := 1
	if Kind(kind) == KindStorage || Kind(kind) == KindNetwork {
		want = 2
	}
	parts := strings.SplitN(rest, "/", want)
	if len(parts) < want || slices.Contains(parts, "") {
		return nil
	}
	return parts
}

// Name returns the last part: the PCI address, storage id, container id, network name or prefix; empty where s is no subject.
func (s Subject) Name() string {
	parts := s.Parts()
	if len(parts) == 0 {
		return ""
	}
	return parts[len(parts)-1]
}
