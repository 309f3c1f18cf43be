package daemon

import (
	"context"
	"time"

	"labd/internal/config"
	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/metric"
	"labd/internal/pve"
	"labd/internal/reconcile"
	"labd/internal/storage"
)

// storages are the parts of the storage job.
type storages struct {
	job     *job[*storage.Facts, storage.Report]
	applier *storage.Applier
}

func newStorages(life context.Context, cfg config.Config, h *host.Host, s *service, versions *pveVersion, placed *placements) storages {
	memory := storage.NewMemory(cfg.Paths.State)
	// Only one labd of a host writes; another one reads what that remembers.
	memory.MayWrite = s.mayWrite
	observer := storage.NewObserver(h, cfg.PVE.Node, memory, time.Now)
	// A labd that looks at another tree asks no servers of this machine's network.
	observer.Probe, observer.Major = cfg.Storage.Probe && h.ExecPATH() != "", versions.installed
	applier := storage.NewApplier(h, cfg.PVE.Node, func(context.Context) (storage.PVE, error) { return connectPVE(cfg, h) })
	applier.Major = versions.installed
	applier.Edit = func(ctx context.Context, change func([]byte) ([]byte, error)) error {
		return pve.StorageFile{Root: h.PVE, Major: versions.installed()}.Edit(ctx, change)
	}
	return storages{
		applier: applier,
		job: &job[*storage.Facts, storage.Report]{
			life: life, observe: observer.Observe,
			diagnose: func(f *storage.Facts) *storage.Report {
				r := storage.Diagnose(f, cfg.Storage)
				finding.Sort(r.Findings)
				return r
			},
			published: placed.storages,
			remember: func(r *storage.Report) {
				if err := memory.Note(r); err != nil {
					s.log.Warn("grace of gone storages not remembered", "err", err)
				}
			},
		},
	}
}

func (d storages) loop(cfg config.Config, s *service, reports *metric.Gatherer) *reconcile.Loop {
	return observingLoop("storage", time.Duration(cfg.Storage.Resync), d.job.Refresh, s, reports)
}
