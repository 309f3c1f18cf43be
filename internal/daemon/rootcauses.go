package daemon

import (
	"sync"
	"sync/atomic"
	"time"

	"labd/internal/disk"
	"labd/internal/finding"
	"labd/internal/placement"
	"labd/internal/storage"
)

// placements joins drives with storages each time one of the two reports is new, and tells the registry what is wrong then:
// so a storage on a dead drive is a consequence of that for everyone who asks, whichever report came first.
type placements struct {
	findings *finding.Registry

	mu   sync.Mutex
	last atomic.Pointer[placement.Placement]
}

// drives takes a new report on drives.
func (p *placements) drives(r *disk.Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.join(r, p.latest().Storages)
}

// storages takes a new report on storages.
func (p *placements) storages(r *storage.Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.join(p.latest().Drives, r)
}

func (p *placements) join(drives *disk.Report, storages *storage.Report) {
	joined := placement.Join(drives, storages)
	var kinds []finding.Kind
	if drives != nil {
		kinds = append(kinds, finding.KindNVMe)
	}
	if storages != nil {
		kinds = append(kinds, finding.KindStorage, finding.KindPVE)
	}
	p.last.Store(joined)
	p.findings.Update(time.Now(), joined.Findings, kinds...)
}

// latest returns the last placement; one of no reports before there is any.
func (p *placements) latest() *placement.Placement {
	if last := p.last.Load(); last != nil {
		return last
	}
	return &placement.Placement{}
}
