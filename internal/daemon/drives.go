package daemon

import (
	"context"
	"time"

	"labd/internal/config"
	"labd/internal/disk"
	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/metric"
	"labd/internal/reconcile"
)

// drives are the parts of the NVMe job.
type drives struct {
	job      *job[*disk.Facts, disk.Report]
	memory   *disk.Memory
	observer *disk.Observer
	applier  *disk.Applier
}

func newDrives(life context.Context, cfg config.Config, h *host.Host, s *service, placed *placements) drives {
	memory := disk.NewMemory(cfg.Paths.State, s.mayWrite)
	observer := disk.NewObserver(h, cfg.NVMe, memory, time.Now)
	return drives{
		memory: memory, observer: observer, applier: disk.NewApplier(h),
		job: &job[*disk.Facts, disk.Report]{
			life: life, observe: observer.Observe,
			diagnose: func(f *disk.Facts) *disk.Report {
				r := disk.Diagnose(f, cfg.NVMe)
				finding.Sort(r.Findings)
				return r
			},
			published: placed.drives,
		},
	}
}

func (d drives) loop(cfg config.Config, s *service, reports *metric.Gatherer) *reconcile.Loop {
	return observingLoop("nvme", time.Duration(cfg.NVMe.Resync), d.job.Refresh, s, reports)
}

// observingLoop returns a loop with the one key of the host, which changes nothing by itself. Its passes leave the metrics of
// their report behind, so that no scrape waits for these.
func observingLoop[R any](name string, resync time.Duration, refresh func(context.Context) (R, error), s *service, reports *metric.Gatherer) *reconcile.Loop {
	return &reconcile.Loop{
		Name: name, Resync: resync, Log: s.log, OnPanic: s.panicked(name),
		Work: func(ctx context.Context, _ string) error {
			_, err := refresh(ctx)
			reports.Prepare()
			return err
		},
	}
}
