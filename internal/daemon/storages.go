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
	access  *pveAccess
}

func newStorages(life context.Context, cfg config.Config, h *host.Host, s *service, versions *pveVersion, placed *placements) storages {
	access := &pveAccess{cfg: cfg, host: h}
	in := storage.Inputs{
		Access: func(ctx context.Context) error { return access.Check(ctx, false) },
		Host:   h, Node: cfg.PVE.Node, Now: time.Now, Major: versions.installed, Memory: storage.NewMemory(cfg.Paths.State, s.mayWrite),
		// A labd that looks at another tree asks no servers of this machine's network.
		Probe: cfg.Storage.Probe && h.ExecPATH() != "",
	}
	observer := storage.NewObserver(in)
	connect := func(context.Context) (storage.PVE, error) { return connectPVE(cfg, h) }
	edit := func(ctx context.Context, change func([]byte) ([]byte, error)) error {
		return pve.StorageFile{Root: h.PVE, Major: versions.installed()}.Edit(ctx, change)
	}
	var last *storage.Report // the last one that could read storage.cfg
	return storages{
		applier: storage.NewApplier(in, connect, edit), access: access,
		job: &job[*storage.Facts, storage.Report]{
			life: life, observe: observer.Observe,
			diagnose: func(f *storage.Facts) *storage.Report {
				r := storage.Diagnose(f, cfg.Storage)
				if r.Readable {
					last = r
				}
				r.Keep(last)
				finding.Sort(r.Findings)
				return r
			},
			published: placed.storages,
			remember: func(r *storage.Report) {
				if err := in.Memory.Note(r); err != nil {
					s.log.Warn("grace of gone storages not remembered", "err", err)
				}
			},
		},
	}
}

func (d storages) loop(cfg config.Config, s *service, reports *metric.Gatherer) *reconcile.Loop {
	return observingLoop("storage", time.Duration(cfg.Storage.Resync), d.job.Refresh, s, reports)
}
