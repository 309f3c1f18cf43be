package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"labd/internal/config"
	"labd/internal/disk"
	"labd/internal/host"
	"labd/internal/network"
	"labd/internal/plan"
	"labd/internal/reconcile"
	"labd/internal/server"
	"labd/internal/storage"
)

// daemon is one labd.
type daemon struct {
	cfg     config.Config
	host    *host.Host
	version string
	log     *slog.Logger

	nvme    *job[*disk.Facts, disk.Report]
	storage *job[*storage.Facts, storage.Report]
	network *job[*network.Facts, network.Report]
	runner  *plan.Runner
	lock    *applyLock
	loops   []*reconcile.Loop
	server  *server.Server
	metrics prometheus.Gatherer

	control *network.Controller
}

// stopTimeout is how long open requests may take to end after SIGTERM; a step of a plan gets its own, longer time.
const stopTimeout = time.Second

func newDaemon(cfg config.Config, h *host.Host, version string, log *slog.Logger) (*daemon, error) {
	d := &daemon{cfg: cfg, host: h, version: version, log: log, lock: &applyLock{state: cfg.Paths.State}}
	if err := d.build(); err != nil {
		return nil, err
	}
	return d, nil
}

// serve returns a task that answers on listener until ctx ends.
func (d *daemon) serve(ctx context.Context, listener net.Listener, handler http.Handler, name string) func() error {
	// Requests end when labd stops: a plan then finishes its step and says interrupted.
	srv := &http.Server{
		Handler: handler, ConnContext: server.ConnContext, BaseContext: func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
	}
	return func() error {
		stopped := make(chan error, 1)
		stop := context.AfterFunc(ctx, func() {
			d.runner.Wait()
			shutdown, cancel := context.WithTimeout(context.Background(), stopTimeout)
			defer cancel()
			if srv.Shutdown(shutdown) != nil {
				_ = srv.Close()
			}
			stopped <- nil
		})
		err := srv.Serve(listener)
		if !stop() {
			<-stopped
		}
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return fmt.Errorf("serve %s: %w", name, err)
	}
}

// run is the daemon under systemd.
func (d *daemon) run(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	if err := d.lock.Acquire(); err != nil {
		d.log.Warn("this labd only reads for now", "err", err)
	}
	defer func() { _ = d.lock.Release() }()
	listener, err := listenUnix(filepath.Join(d.cfg.Paths.Run, "labd.sock"))
	if err != nil {
		return err
	}
	tasks := []func() error{d.serve(ctx, listener, d.server, "the API")}
	if address := d.cfg.Listen.Metrics; address != "" {
		tcp, err := net.Listen("tcp", address)
		if err != nil {
			return errors.Join(fmt.Errorf("listen for metrics (listen.metrics): %w", err), listener.Close())
		}
		tasks = append(tasks, d.serve(ctx, tcp, server.NewTelemetry(d.metrics, d, d.cfg.Listen.Hosts), "metrics"))
	}
	for _, loop := range d.loops {
		tasks = append(tasks, func() error { loop.Run(ctx); return nil })
	}
	tasks = append(tasks, func() error { d.watchdog(ctx); return nil })

	var wg sync.WaitGroup
	for _, task := range tasks {
		wg.Go(func() {
			if err := task(); err != nil {
				cancel(err)
			}
		})
	}
	d.log.Info("labd serves", "version", d.version, "node", d.cfg.PVE.Node, "socket", listener.Addr().String(), "metrics", d.cfg.Listen.Metrics)
	d.notifyReady()
	<-ctx.Done()
	d.notifyStopping()
	wg.Wait()
	if cause := context.Cause(ctx); parent.Err() == nil {
		return cause
	}
	return nil
}

// runPrivate serves one labctl: no loops, no port, and the end comes with the end of standard input.
func (d *daemon) runPrivate(parent context.Context, socket string, streams Streams) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	defer func() { _ = d.lock.Release() }()
	listener, err := listenUnix(socket)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, streams.In)
		cancel()
	}()
	serve := d.serve(ctx, listener, d.server, "the API")
	if _, err := fmt.Fprintln(streams.Out, "ready"); err != nil {
		return fmt.Errorf("tell labctl that labd is ready: %w", err)
	}
	return serve()
}
