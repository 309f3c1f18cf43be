package storage

import (
	"strings"

	"labd/internal/host"
)

// networkFS are the types of file system that a network storage is mounted as; other network storages are not mounted.
var networkFS = map[string][]string{
	"nfs": {"nfs", "nfs4"}, "cifs": {"cifs", "smb3"}, "cephfs": {"ceph", "fuse.ceph"}, "glusterfs": {"fuse.glusterfs"},
}

// judgeNetwork judges a storage on another machine by the mount table and by whether its server lets itself be connected
// to. It is never gone: a server that does not answer may be back in a minute.
func judgeNetwork(f *Facts, e *Entry) {
	server := f.Servers[e.ID]
	types, mounts := networkFS[e.Type]
	if server.Reach != NotAsked {
		e.saw("TCP", "%s %s", server.Address, server.Reach)
	}
	switch {
	case e.Type == "iscsidirect":
		e.set(VerdictUnknown, "nothing on this node tells whether it works")
		return
	case mounts && f.MountsErr != nil:
		e.set(VerdictUnknown, "the mount table cannot be read: %v", f.MountsErr)
		return
	case server.Reach == NotAsked && !mounts:
		e.set(VerdictUnknown, "its server was not asked")
		return
	}
	mount, mounted := mountedAt(f.Mounts, e.Path)
	switch {
	case mounted && mounts && !isOneOf(mount, types):
		e.set(VerdictDown, "%s is mounted at %s in its place (%s)", mount.Source, e.Path, mount.Type)
	case server.Reach == Refused, server.Reach == Silent, server.Reach == NoName:
		e.set(VerdictDown, "its server %s %s", server.Address, server.Reach)
	case mounts && !mounted && server.Reach == Answers:
		e.set(VerdictDown, "its server answers, and nothing is mounted at %s", e.Path)
	case mounts && !mounted:
		e.set(VerdictDown, "nothing is mounted at %s", e.Path)
	case mounts && server.Reach == Answers:
		e.set(VerdictOK, "mounted, and its server answers")
	case mounts:
		e.set(VerdictOK, "mounted; whether its server answers was not asked")
	default:
		e.set(VerdictOK, "its server answers")
	}
}

func isOneOf(m host.Mount, types []string) bool {
	for _, t := range types {
		if m.Type == t || strings.HasPrefix(m.Type, t+".") {
			return true
		}
	}
	return false
}

// String says what became of the connection, as the end of a sentence about the server.
func (r Reach) String() string {
	switch r {
	case Answers:
		return "answers"
	case Refused:
		return "refuses the connection"
	case Silent:
		return "does not answer"
	case NoName:
		return "has no address: its name is not known"
	default:
		return "was not asked"
	}
}
