package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	apiv1 "labd/api/v1"
	"labd/internal/config"
	"labd/internal/disk"
	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/network"
	"labd/internal/network/container"
	"labd/internal/network/probe"
	"labd/internal/plan"
	"labd/internal/pve"
	"labd/internal/reconcile"
	"labd/internal/server"
	"labd/internal/storage"
)

// build makes the jobs, the runner, the loops and the server.
func (d *daemon) build() error {
	tracker := d.service.tracker
	d.pveVersion = newPVEVersion(d.cfg, d.host)
	d.buildNVMe(tracker)
	storages := storage.Inputs{
		Host: d.host, Node: d.cfg.PVE.Node, Now: time.Now, Major: d.major,
		// Only one labd of a host writes; another one reads what that remembers.
		Memory: storage.NewMemory(d.cfg.Paths.State, func() bool { return d.lock.Acquire() == nil }),
		// A labd that looks at another tree asks no servers of this machine's network.
		Probe: d.cfg.Storage.Probe && d.host.ExecPATH() != "",
	}
	d.buildStorage(tracker, storages)
	d.loops = []*reconcile.Loop{
		d.loop("nvme", time.Duration(d.cfg.NVMe.Resync), observeOnly(d.nvme)),
		d.loop("storage", time.Duration(d.cfg.Storage.Resync), observeOnly(d.storage)),
	}
	containers := container.NewPool(container.LXC(d.host))
	d.prober = probe.New(d.host, containers, time.Now)
	d.buildNetwork(tracker, network.NewState(d.cfg.Paths.State), containers)

	ops := plan.Ops{}
	edit := func(ctx context.Context, change func([]byte) ([]byte, error)) error {
		return pve.StorageFile{Root: d.host.PVE, Major: d.major()}.Edit(ctx, change)
	}
	applier := storage.NewApplier(storages, func(context.Context) (storage.PVE, error) { return connectPVE(d.cfg, d.host) }, edit)
	if err := ops.Add(applier.Ops()); err != nil {
		return err
	}
	if err := ops.Add(d.control.Ops()); err != nil {
		return err
	}
	if err := ops.Add(disk.NewApplier(d.host).Ops()); err != nil {
		return err
	}
	if err := ops.Add(newAccess(d.cfg, d.host).Ops()); err != nil {
		return err
	}
	d.runner = &plan.Runner{Journal: plan.NewJournal(filepath.Join(d.cfg.Paths.State, "journal"), time.Now), Ops: ops}
	d.server = server.New(server.Config{
		Node: d.cfg.PVE.Node, Version: d.version, Kernel: d.host.KernelRelease(), NVMe: d.nvme, Storage: d.storage, Network: d.network, Prober: d, StorageConfig: d,
		Drives: d.drives, Planner: d, Runner: d.runner, BeginChange: d.beginChange, Findings: d.service.tracker, Events: d.service.events, Notifications: d.service.teller, Configuration: d.Configuration,
		LoopNotes: func() []string { return loopNotes(d.loops) }, AfterApply: d.lookAgain, Log: d.log,
	})
	d.noteLastPlan()
	d.metrics = newRegistry(d.version, d.host.Hung, d.loops, d.service.reloads, d.service.keeper, d.service.teller,
		disk.NewCollector(d.nvme.latest), disk.NewStuckCollector(d.stuckDrives), storage.NewCollector(d.storage.latest), storage.NewPlanCollector(d.lastPlan.Load),
		network.NewCollector(d.network.latest), network.NewFiguresCollector(d.control.Figures), d.prober)
	return nil
}

// loop makes a loop with the one key of the host. Its passes leave the metrics of their report behind, so that no scrape
// waits for these.
func (d *daemon) loop(name string, resync time.Duration, work func(context.Context) error) *reconcile.Loop {
	return &reconcile.Loop{
		Name: name, Resync: resync, Log: d.log, OnPanic: d.service.panicked(name),
		Work: func(ctx context.Context, _ string) error {
			err := work(ctx)
			if d.metrics != nil { // not yet built
				d.metrics.Prepare()
			}
			return err
		},
	}
}

// observeOnly is the pass of a job that changes nothing by itself.
func observeOnly[F, R any](j *job[F, R]) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := j.Refresh(ctx)
		return err
	}
}

// noteLastPlan keeps the outcome of the last plan for storages for the metrics. Entries that cannot be read are left out.
func (d *daemon) noteLastPlan() {
	entries, err := d.runner.Journal.Entries()
	if err != nil {
		d.log.Debug("the journal is not wholly readable", "err", err)
	}
	d.lastPlan.Store(storage.LastPlan(entries))
}

// lookAgain observes all jobs anew after a change, so that the next question is answered with what is there now. A job
// that takes longer than a person waits is left to go on.
func (d *daemon) lookAgain() {
	d.noteLastPlan()
	ctx, cancel := context.WithTimeout(context.Background(), server.FreshTimeout)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = d.nvme.Refresh(ctx) })
	wg.Go(func() { _, _ = d.storage.Refresh(ctx) })
	wg.Go(func() { _, _ = d.network.Refresh(ctx) })
	wg.Wait()
}

func (d *daemon) buildNVMe(tracker *finding.Registry) {
	// Only one labd of a host writes; another one reads what that remembers.
	d.drives = disk.NewMemory(d.cfg.Paths.State, func() bool { return d.lock.Acquire() == nil })
	observer := disk.NewObserver(d.host, d.cfg.NVMe, d.drives, time.Now)
	d.stuckDrives = observer.Stuck
	d.nvme = &job[*disk.Facts, disk.Report]{
		observe:  observer.Observe,
		diagnose: func(f *disk.Facts) *disk.Report { return disk.Diagnose(f, d.cfg.NVMe) },
		findings: func(r *disk.Report) []finding.Finding { return r.Findings },
		kinds:    []finding.Kind{finding.KindNVMe}, tracker: tracker,
	}
}

func (d *daemon) buildStorage(tracker *finding.Registry, in storage.Inputs) {
	observer := storage.NewObserver(in)
	d.storage = &job[*storage.Facts, storage.Report]{
		observe: observer.Observe,
		diagnose: func(f *storage.Facts) *storage.Report {
			r := storage.Diagnose(f, d.cfg.Storage)
			if err := in.Memory.Note(r); err != nil {
				d.log.Warn("grace of gone storages not remembered", "err", err)
			}
			r.Findings = rootCauses(r, d.nvme.latest())
			return r
		},
		findings: func(r *storage.Report) []finding.Finding { return r.Findings },
		kinds:    []finding.Kind{finding.KindStorage}, tracker: tracker,
	}
}

// Plan builds the plan of a request from fresh facts.
func (d *daemon) Plan(ctx context.Context, req apiv1.PlanRequest) (*plan.Plan, error) {
	switch req.Action {
	case apiv1.ActionNVMeRescue:
		if len(req.IDs) != 1 {
			return nil, fmt.Errorf("%w: %s takes the PCI address of one function", server.ErrBadRequest, req.Action)
		}
		report, err := d.nvme.Refresh(ctx)
		if err != nil {
			return nil, err
		}
		return disk.PlanRescue(report, req.IDs[0], req.Method)
	case apiv1.ActionSetupPVE:
		return d.planSetup(ctx, req)
	case apiv1.ActionStorageRemove, apiv1.ActionStorageDisable:
		report, err := d.storage.Refresh(ctx)
		if err != nil {
			return nil, err
		}
		if req.Action == apiv1.ActionStorageDisable {
			return storage.PlanDisable(report.Facts(), report, req.IDs)
		}
		return storage.PlanRemoval(report.Facts(), report, req.IDs, storage.Options{FixRefs: req.FixRefs})
	case apiv1.ActionNetworkApply, apiv1.ActionNetworkOn, apiv1.ActionNetworkOff:
		report, err := d.network.Refresh(ctx)
		if err != nil {
			return nil, err
		}
		if req.Action == apiv1.ActionNetworkOff {
			return network.PlanOff(d.network.lastFacts())
		}
		return network.PlanApply(report, req.Action == apiv1.ActionNetworkOn)
	default:
		return nil, fmt.Errorf("%w: unknown action %q", server.ErrBadRequest, req.Action)
	}
}

// StoragePlan is the plan of one storage from the facts of the last report.
func (d *daemon) StoragePlan(report *storage.Report, id string) (*plan.Plan, error) {
	return storage.PlanRemoval(report.Facts(), report, []string{id}, storage.Options{})
}

// major is the major version of the PVE that is installed, 0 where its files do not tell.
func (d *daemon) major() int {
	ctx, cancel := context.WithTimeout(context.Background(), host.DefaultReadTimeout)
	defer cancel()
	return d.PVEMajor(ctx)
}

// pveTimeout bounds one request to PVE: a change waits ten seconds for PVE's own lock.
const pveTimeout = 30 * time.Second

// connectPVE makes a client of PVE's API. Token and certificate are read each time: both may come after labd started.
// Without a token all requests go through pvesh, with one those that its rights do not cover.
func connectPVE(cfg config.Config, h *host.Host) (*pve.Client, error) {
	var shell pve.Runner
	if h.HasProgram("pvesh") {
		shell = h
	}
	client, err := tokenClient(cfg, shell)
	if errors.Is(err, errNoToken) && shell != nil {
		return pve.NewClient(pve.ClientConfig{Node: cfg.PVE.Node, Timeout: pveTimeout, Shell: shell})
	}
	return client, err
}

// tokenClient makes a client that has a token; shell, when given, is for what its rights do not cover.
func tokenClient(cfg config.Config, shell pve.Runner) (*pve.Client, error) {
	token, err := readToken(cfg.PVE.TokenFile, os.Getenv("CREDENTIALS_DIRECTORY"), tokenFile)
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(cfg.PVE.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the certificate authority of PVE: %w", err)
	}
	return pve.NewClient(pve.ClientConfig{BaseURL: cfg.PVE.API, Token: token, CA: ca, Node: cfg.PVE.Node, Timeout: pveTimeout, Shell: shell})
}
