package storage

import (
	"slices"
	"strings"

	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/layer"
	"labd/internal/pve"
)

// network is a type whose data are on another machine: a share, a backup server, a target. It is never gone: a server
// that does not answer may be back in a minute.
type network struct {
	// fileSystems are the types of file system that it is mounted as; none where PVE mounts nothing.
	fileSystems []string
	servers     func(s *pve.StorageSection, cephMonitors []string) []string
}

func (network) observe(*questions, *pve.StorageSection)   {}
func (network) backing(*pve.StorageSection) []layer.Layer { return nil }
func (network) lost() string                              { return "server" }
func (network) remote() bool                              { return true }

func (n network) endpoints(s *pve.StorageSection, cephMonitors []string) []string {
	return n.servers(s, cephMonitors)
}

// judge judges by the mount table and by whether the server lets itself be connected to.
func (n network) judge(f *Facts, e *Entry) {
	server, mounts := f.Servers[e.ID], len(n.fileSystems) > 0
	e.sawServer(f)
	switch {
	case mounts && f.MountsErr != nil:
		e.set(VerdictUnknown, "the mount table cannot be read: %v", f.MountsErr)
		return
	case e.usesCeph() && f.NoMonitors && e.section.Get("monhost") == "" && !mounts:
		e.set(VerdictDown, "no Ceph cluster is set up here: neither the entry nor ceph.conf names a monitor")
		return
	case server.Reach == NotAsked && !mounts:
		e.set(VerdictUnknown, "its server was not asked")
		return
	}
	mount, mounted := mountedAt(f.Mounts, e.Path)
	switch {
	case mounted && mounts && !n.isOwn(mount):
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

// isOwn reports whether a mount is one of the type's.
func (n network) isOwn(m host.Mount) bool {
	return slices.ContainsFunc(n.fileSystems, func(t string) bool { return m.Type == t || strings.HasPrefix(m.Type, t+".") })
}

// sawServer notes what became of the connection to an entry's server.
func (e *Entry) sawServer(f *Facts) {
	if server := f.Servers[e.ID]; server.Reach != NotAsked {
		e.saw("TCP", "%s %s", server.Address, server.Reach)
	}
}

func (network) explainGone(*explanation) {}

func (network) explainDown(x *explanation) {
	if x.e.usesCeph() && x.f.NoMonitors && x.e.section.Get("monhost") == "" {
		x.Cause, x.Confidence = "no Ceph cluster is set up on this host any more: neither the entry nor ceph.conf names a monitor", finding.Likely
		x.evidence("ceph.conf", "names no monitor")
		x.remedy(finding.RiskLow, "if Ceph was removed for good, and no guest needs it, remove the entry", "pvesm remove "+x.e.ID)
		return
	}
	x.remedy(finding.RiskNone, "look at the server and the way to it; the storage comes back by itself")
}
