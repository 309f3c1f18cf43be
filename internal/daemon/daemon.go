package daemon

import (
	"context"
	"net/http"
	"sync"
	"time"

	"labd/internal/access"
	"labd/internal/config"
	"labd/internal/host"
	"labd/internal/metric"
	"labd/internal/plan"
	"labd/internal/reconcile"
	"labd/internal/server"
	"labd/internal/web"
)

// daemon is labd with one configuration: its jobs, loops and handlers. A reload makes another one; what outlives it
// is in service.
type daemon struct {
	cfg  config.Config
	host *host.Host
	jobs *jobs
	// loops keep the reports up to date; tasks run beside them.
	loops  []*reconcile.Loop
	tasks  []func(context.Context)
	runner *plan.Runner
	server *server.Server
	// metrics are what telemetry answers on the TCP port, among others.
	metrics   *metric.Gatherer
	telemetry http.Handler
	// lan answers callers from the network.
	lan http.Handler
	// end ends the life of the jobs.
	end context.CancelFunc
}

// newDaemon puts labd together for a configuration: systems first, then the domains, then what answers. Nothing is set
// afterwards. The jobs live until parent ends or the daemon is closed.
func newDaemon(parent context.Context, cfg config.Config, h *host.Host, s *service) (*daemon, error) {
	life, end := context.WithCancel(parent)
	d, err := buildDaemon(life, end, cfg, h, s)
	if err != nil {
		end()
	}
	return d, err
}

func buildDaemon(life context.Context, end context.CancelFunc, cfg config.Config, h *host.Host, s *service) (*daemon, error) {
	versions := newPVEVersion(cfg, h)
	placed := &placements{findings: s.findings}
	drives := newDrives(life, cfg, h, s, placed)
	storages := newStorages(life, cfg, h, s, versions, placed)
	networks := newNetworks(life, cfg, h, s)
	runner, err := newRunner(cfg, storages.applier, networks.control, drives.applier, newAccess(cfg, h))
	if err != nil {
		return nil, err
	}
	all := newJobs(drives, storages, networks, placed, runner.Journal, s.log)
	reports := newReportMetrics(all)
	loops := []*reconcile.Loop{drives.loop(cfg, s, reports), storages.loop(cfg, s, reports), networks.loop}
	answers := server.New(server.Config{
		Node: cfg.PVE.Node, Version: s.version, Kernel: h.KernelRelease(), NVMe: drives.job, Storage: storages.job, Network: networks.job,
		Placement: placed.latest, Prober: networks, StorageConfig: storageConfig{cfg, h, versions}, Drives: drives.memory, OtherDisks: drives.observer.OtherDisks,
		Containers: lxcContainers{h}, Rights: access.NewJudge(callerRights{cfg}, func() int { return versions.major(life) }, time.Now),
		Planner: &planner{cfg: cfg, host: h, jobs: all}, Runner: runner, BeginChange: s.beginChange, Findings: s.findings, Events: s.events,
		Notifications: s.notifications, Configuration: s.configurationOf(cfg), LoopNotes: func() []string { return loopNotes(loops) },
		AfterApply: all.lookAgain, Log: s.log,
	})
	d := &daemon{
		cfg: cfg, host: h, jobs: all, loops: loops, tasks: []func(context.Context){networks.watch}, runner: runner, server: answers, end: end,
		metrics: reports.With(newOwnMetrics(s, h, loops, all)...),
	}
	var api, page http.Handler
	if cfg.Listen.API {
		api = answers.Public()
		if page, err = web.New(web.Config{API: api, Version: s.version, Now: time.Now, Log: s.log}); err != nil {
			return nil, err
		}
	}
	d.lan = answers.LAN()
	d.telemetry, err = server.Telemetry{Node: cfg.PVE.Node, Version: s.version, Metrics: d.metrics, Health: d, Hosts: cfg.Listen.Hosts, API: api, Page: page}.Handler()
	return d, err
}

// startLoops starts the loops. stop ends them and waits until none is in a pass any more.
func (d *daemon) startLoops(parent context.Context) (stop func()) {
	return startLoops(parent, d.loops, d.tasks)
}

func startLoops(parent context.Context, loops []*reconcile.Loop, tasks []func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(parent)
	var wg sync.WaitGroup
	for _, loop := range loops {
		wg.Go(func() { loop.Run(ctx) })
	}
	for _, task := range tasks {
		wg.Go(func() { task(ctx) })
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// close ends the life of the jobs: when it returns, none of them publishes anything any more.
func (d *daemon) close() {
	d.end()
	d.jobs.settled()
}
