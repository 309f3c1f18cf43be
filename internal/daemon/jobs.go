package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"labd/internal/config"
	"labd/internal/disk"
	"labd/internal/network"
	"labd/internal/plan"
	"labd/internal/server"
	"labd/internal/storage"
)

// jobs are the three jobs of one configuration, and what is known of the last change.
type jobs struct {
	drives   drives
	storages storages
	networks *networks
	placed   *placements
	journal  *plan.Journal
	log      *slog.Logger
	// lastPlan is the last plan for storages that was carried out.
	lastPlan atomic.Pointer[plan.Entry]
}

func newJobs(d drives, s storages, n *networks, placed *placements, journal *plan.Journal, log *slog.Logger) *jobs {
	j := &jobs{drives: d, storages: s, networks: n, placed: placed, journal: journal, log: log}
	j.noteLastPlan()
	return j
}

// operator is a part of labd that changes the host.
type operator interface{ Ops() plan.Ops }

// newRunner returns what carries plans out, with the operations of all.
func newRunner(cfg config.Config, storages *storage.Applier, networks *network.Controller, drives *disk.Applier, access operator) (*plan.Runner, error) {
	ops := plan.Ops{}
	for _, o := range []operator{storages, networks, drives, access} {
		if err := ops.Add(o.Ops()); err != nil {
			return nil, err
		}
	}
	return &plan.Runner{Journal: plan.NewJournal(filepath.Join(cfg.Paths.State, "journal"), time.Now), Ops: ops}, nil
}

// noteLastPlan keeps the outcome of the last plan for storages for the metrics. Entries that cannot be read are left out.
func (j *jobs) noteLastPlan() {
	entries, err := j.journal.Entries()
	if err != nil {
		j.log.Debug("the journal is not wholly readable", "err", err)
	}
	j.lastPlan.Store(storage.LastPlan(entries))
}

// lookAgain observes all jobs anew after a change, so that the next question is answered with what is there now. A job
// that takes longer than a person waits is left to go on.
func (j *jobs) lookAgain() {
	j.noteLastPlan()
	ctx, cancel := context.WithTimeout(context.Background(), server.FreshTimeout)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = j.drives.job.Refresh(ctx) })
	wg.Go(func() { _, _ = j.storages.job.Refresh(ctx) })
	wg.Go(func() { _, _ = j.networks.job.Refresh(ctx) })
	wg.Wait()
}

// ready reports which jobs have no report yet.
func (j *jobs) ready() error {
	var waiting []error
	for _, job := range []struct {
		name string
		ok   bool
	}{{"nvme", j.drives.job.latest() != nil}, {"storage", j.storages.job.latest() != nil}, {"network", j.networks.job.latest() != nil}} {
		if !job.ok {
			waiting = append(waiting, fmt.Errorf("job %s has no report yet", job.name))
		}
	}
	return errors.Join(waiting...)
}

// settled returns when none of the jobs is publishing.
func (j *jobs) settled() {
	j.drives.job.settled()
	j.storages.job.settled()
	j.networks.job.settled()
}
