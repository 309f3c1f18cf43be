package daemon

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"

	"labd/internal/config"
	"labd/internal/disk"
	"labd/internal/host"
	"labd/internal/metric"
	"labd/internal/network"
	"labd/internal/network/probe"
	"labd/internal/plan"
	"labd/internal/reconcile"
	"labd/internal/server"
	"labd/internal/storage"
)

// daemon is labd with one configuration: its jobs, loops and handlers. A reload makes another one; what outlives it
// is in service.
type daemon struct {
	cfg     config.Config
	host    *host.Host
	version string
	log     *slog.Logger
	service *service

	nvme    *job[*disk.Facts, disk.Report]
	storage *job[*storage.Facts, storage.Report]
	network *job[*network.Facts, network.Report]
	runner  *plan.Runner
	lock    *applyLock
	loops   []*reconcile.Loop
	// tasks run beside the loops.
	tasks   []func(context.Context)
	server  *server.Server
	metrics *metric.Gatherer
	// telemetry answers on the TCP port.
	telemetry http.Handler

	control *network.Controller
	// pveVersion knows which PVE the host runs.
	pveVersion *pveVersion
	// lastPlan is the last plan for storages that was carried out.
	lastPlan atomic.Pointer[plan.Entry]
	prober   *probe.Prober
	// drives remembers NVMe drives and their incidents.
	drives      *disk.Memory
	stuckDrives func() int
}

func newDaemon(cfg config.Config, h *host.Host, s *service) (*daemon, error) {
	d := &daemon{cfg: cfg, host: h, version: s.version, log: s.log, service: s, lock: s.lock}
	if err := d.build(); err != nil {
		return nil, err
	}
	var api http.Handler
	if cfg.Listen.API {
		api = d.server.Public()
	}
	d.telemetry = server.NewTelemetry(d.metrics, d, cfg.Listen.Hosts, api)
	return d, nil
}

// startLoops starts the loops. stop ends them and waits until none is in a pass any more.
func (d *daemon) startLoops(parent context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(parent)
	var wg sync.WaitGroup
	for _, loop := range d.loops {
		wg.Go(func() { loop.Run(ctx) })
	}
	for _, task := range d.tasks {
		wg.Go(func() { task(ctx) })
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// beginChange is the right to change this host until end is called; it fails while another labd has it or while the
// configuration is being reloaded.
func (d *daemon) beginChange() (end func(), err error) {
	if err := d.lock.Acquire(); err != nil {
		return nil, err
	}
	return d.service.changes.enter()
}
