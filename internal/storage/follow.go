package storage

import "path"

// follow gives a directory inside another storage's mount the verdict that follows from that one: a directory on a share
// that is not mounted, or on a pool that is not imported, is made anew by PVE on the file system below.
func follow(f *Facts, entries []Entry) {
	parents := map[string]*Entry{}
	for i := range entries {
		if point := entries[i].hostPoint(); point != "" {
			parents[point] = &entries[i]
		}
	}
	for i := range entries {
		e := &entries[i]
		if e.section == nil || !isDirectory(e.Type) || e.source.What != "" || e.section.Disabled() {
			continue
		}
		parent, point := parentOf(parents, e)
		if parent == nil {
			continue
		}
		_, seen := mountedAt(f.Mounts, point)
		switch {
		case seen && parent.Verdict == VerdictOK && e.Verdict == VerdictUnknown:
			e.set(VerdictOK, "it lies on storage %s, which is mounted", parent.ID)
		case seen && parent.Verdict == VerdictDown:
			e.set(VerdictDown, "it lies on storage %s, which is down: %s", parent.ID, parent.Reason)
		case !seen && (parent.Verdict == VerdictDown || parent.Verdict == VerdictGone) && e.Verdict == VerdictOK:
			e.set(VerdictMasked, "it lies on storage %s, which is %s, and PVE writes to the file system below %s instead", parent.ID, parent.Verdict, point)
		}
	}
}

// parentOf is the entry inside whose mount a directory lies, and that mount's point: a share, or a pool; nil when there
// is none.
func parentOf(parents map[string]*Entry, e *Entry) (parent *Entry, point string) {
	for dir := range upwards(e.Path) {
		if p := parents[dir]; p != nil && p != e {
			return p, dir
		}
	}
	return nil, ""
}

// hostPoint is where a share or a pool is mounted, "" for other entries. A pool is mounted at its own name unless its
// entry says otherwise.
func (e *Entry) hostPoint() string {
	switch {
	case e.section == nil || e.section.Malformed != "":
		return ""
	case e.Type == "zfspool":
		if m := e.section.Get("mountpoint"); m != "" {
			return path.Clean(m)
		}
		return "/" + datasetOf(e.section)
	case kindOf(e.Type).remote() && e.Path != "":
		return path.Clean(e.Path)
	}
	return ""
}
