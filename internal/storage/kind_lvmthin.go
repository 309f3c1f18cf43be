package storage

import (
	"strings"

	"labd/internal/finding"
)

// thinPool is the type whose volumes lie in a thin pool of a volume group.
type thinPool struct{ volumeGroup }

func (thinPool) lost() string { return "thin pool" }

func (thinPool) judge(f *Facts, e *Entry) {
	group, pool := e.section.Get("vgname"), e.section.Get("thinpool")
	e.volume = group + "/" + pool
	g, ok := findGroup(f, e, group)
	if !ok {
		return
	}
	v, there := g.Volumes[pool]
	switch {
	case g.Missing > 0:
		e.set(VerdictDown, "volume group %s, which holds its thin pool, lacks %s", group, disks(g.Missing))
	case !there:
		e.code = finding.StorageVGGone
		e.set(VerdictGone, "volume group %s is there and whole, and has no volume %s", group, pool)
		e.saw("lvs", "no %s in %s", pool, group)
	case !v.IsPool():
		e.set(VerdictDown, "%s/%s is no thin pool", group, pool)
	case v.Health() != "":
		e.set(VerdictDown, "thin pool %s/%s: %s", group, pool, v.Health())
	case !v.Active():
		e.set(VerdictDown, "thin pool %s/%s is there and not active", group, pool)
	default:
		e.set(VerdictOK, "thin pool %s/%s is active", group, pool)
	}
	if there && e.Verdict == VerdictDown {
		e.saw("lvs", "%s/%s has the attributes %s", group, pool, v.Attr)
	}
}

func (thinPool) isHere(f *Facts, e *Entry) bool {
	group, pool, _ := strings.Cut(e.volume, "/")
	_, there := f.LVM.Groups[group].Volumes[pool]
	return there
}

func (t thinPool) explainGone(x *explanation) {
	if _, there := x.f.LVM.Groups[groupOf(x.e.volume)]; there {
		x.Cause, x.Confidence = "the thin pool was removed or renamed", finding.Likely
		return
	}
	t.volumeGroup.explainGone(x)
}
