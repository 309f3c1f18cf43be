package storage

import (
	"maps"
	"slices"
	"strings"

	"labd/internal/finding"
	"labd/internal/layer"
	"labd/internal/pve"
)

// pool is the type whose volumes lie in a ZFS pool or dataset.
type pool struct{ local }

func (pool) observe(q *questions, s *pve.StorageSection) {
	q.datasets = append(q.datasets, datasetOf(s))
}
func (pool) lost() string { return "pool" }

func (pool) backing(s *pve.StorageSection) []layer.Layer {
	return []layer.Layer{{Kind: layer.Pool, Name: poolOf(datasetOf(s))}}
}

// datasetOf returns the pool or dataset of an entry.
func datasetOf(s *pve.StorageSection) string { return strings.Trim(s.Get("pool"), "/") }

// judge judges by the pool. One that is degraded works; one that is unavailable or suspended is damaged; one that could be
// imported is only down.
func (pool) judge(f *Facts, e *Entry) {
	dataset := datasetOf(e.section)
	pool := poolOf(dataset)
	e.volume = dataset
	health, imported := f.ZFS.Pools[pool]
	state, importable := f.ZFS.Importable[pool]
	switch {
	case f.ZFS.Err != nil:
		e.set(VerdictUnknown, "ZFS cannot be asked: %v", f.ZFS.Err)
	case !f.ZFS.Asked:
		e.set(VerdictUnknown, "ZFS was not asked")
	case imported && !worksZFS(health):
		e.set(VerdictDown, "pool %s is %s: damaged, not gone", pool, health)
		e.saw("zpool list", "%s %s", pool, health)
	case imported && f.ZFS.Missing[dataset]:
		e.code = finding.StoragePoolGone
		e.set(VerdictGone, "pool %s is there, and has no dataset %s", pool, dataset)
		e.saw("zfs list", "%s: dataset does not exist", dataset)
	case imported && dataset != pool && f.ZFS.DatasetErr != nil:
		e.set(VerdictUnknown, "whether pool %s has dataset %s cannot be told: %v", pool, dataset, f.ZFS.DatasetErr)
	case imported && health == "DEGRADED":
		e.set(VerdictOK, "pool %s works, and is degraded", pool)
	case imported:
		e.set(VerdictOK, "pool %s is imported", pool)
	case importable:
		e.set(VerdictDown, "pool %s is there and not imported, in state %s", pool, state)
		e.saw("zpool import", "%s %s", pool, state)
	case f.ZFS.ScanErr != nil:
		e.set(VerdictUnknown, "pool %s is not imported, and whether its disks are there cannot be told: %v", pool, f.ZFS.ScanErr)
	default:
		if where := f.Blocks.memberOf(pool); where != "" {
			e.set(VerdictUnknown, "pool %s is not imported, and %s has a label of it", pool, where)
			return
		}
		if e.lost(f, "pool "+pool) {
			e.code = finding.StoragePoolGone
			e.set(VerdictGone, "there is no pool %s, and no disk has a label of it", pool)
			e.saw("zpool list, zpool import", "no pool %s, imported or not", pool)
		}
	}
}

// leaves names what ZFS keeps of a dead pool, which does no harm.
func (pool) leaves(*Entry) []string {
	return []string{"If the pool is named in /etc/zfs/zpool.cache, that stays; the next import of any pool writes it anew."}
}

func (pool) isHere(f *Facts, e *Entry) bool {
	name := poolOf(e.volume)
	return f.ZFS.Pools[name] != "" && !f.ZFS.Missing[e.volume] || f.ZFS.Importable[name] != ""
}

func (pool) explainGone(x *explanation) {
	if x.f.ZFS.Pools[poolOf(x.e.volume)] != "" {
		x.Cause, x.Confidence = "the dataset was destroyed or renamed", finding.Likely
		x.remedy(finding.RiskLow, "make the dataset anew, empty", "zfs create "+shellWord(x.e.volume))
		return
	}
	if others := unnamedPools(x.f); len(others) > 0 {
		x.Cause, x.Confidence = "pool "+strings.Join(others, ", ")+", which no storage names, is here: it may be the same under another name; else its disks were taken out, or died", finding.Likely
		x.evidence("zpool list, zpool import", "pools that no storage names: "+strings.Join(others, ", "))
	}
	x.putDiskBack()
}

// unnamedPools are the pools, imported or not, that no entry names: a pool that was renamed is among them.
func unnamedPools(f *Facts) []string {
	named := map[string]bool{}
	for _, s := range f.Config.Sections {
		if s.Type == "zfspool" {
			named[poolOf(datasetOf(s))] = true
		}
	}
	names := slices.Concat(slices.Collect(maps.Keys(f.ZFS.Pools)), slices.Collect(maps.Keys(f.ZFS.Importable)))
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return named[name] })
}

func (pool) explainDown(x *explanation) {
	name := poolOf(x.e.volume)
	switch {
	case x.e.proof.reason != "":
	case x.f.ZFS.Importable[name] != "":
		x.remedy(finding.RiskLow, "import the pool", "zpool import "+shellWord(name))
	case x.f.ZFS.Pools[name] == "SUSPENDED":
		x.remedy(finding.RiskNone, "see which disk is missing", "zpool status -v "+shellWord(name))
		x.remedy(finding.RiskLow, "plug the disk in again; this may revive the pool", "zpool clear "+shellWord(name))
		x.remedy(finding.RiskHigh, "if the disk is lost for good, only a reboot lets go of the pool; after that labctl fix-storage "+x.e.ID+" can take the entry", "reboot")
	default:
		x.remedy(finding.RiskNone, "see what ails the pool", "zpool status -v "+shellWord(name))
	}
}
