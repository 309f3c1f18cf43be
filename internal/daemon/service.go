package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/exporter-toolkit/web"

	"labd/internal/config"
	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/notify"
	"labd/internal/server"
)

// service is what outlives a reload: the process with its sockets, the right to change the host, and what is
// remembered of findings.
type service struct {
	// file is the configuration file; empty means the default one, which may be missing.
	file    string
	version string
	log     *slog.Logger
	lock    *applyLock
	// findings know what is wrong; keeper lets time pass for them, self is what labd has to say about itself.
	findings      *finding.Registry
	keeper        *keeper
	findingLog    *findingLog
	self          *selfFindings
	events        *server.Events
	notifications *notify.Center
	changes       changeLock
	reloads       *reloads
	current       atomic.Pointer[daemon]
}

// stopTimeout is how long open requests may take to end after SIGTERM; a step of a plan gets its own, longer time.
const stopTimeout = time.Second

// newService puts labd together; private says that it serves one command and has no time to watch findings.
func newService(parent context.Context, file string, cfg config.Config, version string, private bool, log *slog.Logger) (*service, error) {
	registry := newFindings(cfg.Paths.State, private, log)
	s := &service{
		file: file, version: version, log: log, lock: &applyLock{state: cfg.Paths.State}, findings: registry,
		keeper: &keeper{registry: registry, log: log}, self: &selfFindings{registry: registry}, reloads: newReloads(time.Now()),
		events: server.NewEvents(time.Now()), findingLog: newFindingLog(log),
	}
	registry.Listen(s.events.Finding)
	registry.Listen(s.findingLog.note)
	s.notifications = newNotifications(s, cfg)
	d, err := newDaemon(parent, cfg, host.New(cfg.Paths, cfg.Kernel.Release), s)
	if err != nil {
		return nil, err
	}
	s.current.Store(d)
	return s, nil
}

// mayWrite reports whether this labd is the one of the host that may change it and remember things.
func (s *service) mayWrite() bool { return s.lock.Acquire() == nil }

// beginChange takes the right to change this host until end is called; it fails while another labd has it or while the
// configuration is being reloaded.
func (s *service) beginChange() (end func(), err error) {
	if err := s.lock.Acquire(); err != nil {
		return nil, err
	}
	return s.changes.enter()
}

// api answers with the handlers of the configuration that is in force when a request comes.
func (s *service) api(w http.ResponseWriter, r *http.Request) {
	s.current.Load().server.ServeHTTP(w, r)
}

func (s *service) telemetry(w http.ResponseWriter, r *http.Request) {
	s.current.Load().telemetry.ServeHTTP(w, r)
}

// How long one who may be anybody may take: to send a request, to take an answer (an event stream sets this anew for each
// event), and to say nothing between two.
const (
	readHeaderTimeout = 5 * time.Second
	publicRead        = 15 * time.Second
	publicWrite       = 30 * time.Second
	idleTimeout       = time.Minute
)

// publicLimits bound the TCP port: a scraper or two, a page, some people with curl.
var publicLimits = server.Limits{Connections: 128, PerAddress: 32}

// httpServer returns a server for handler. Its requests end when ctx ends: a plan then finishes its step and says interrupted.
func (s *service) httpServer(ctx context.Context, handler http.HandlerFunc) *http.Server {
	return &http.Server{
		Handler: handler, ConnContext: server.ConnContext, BaseContext: func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// serve answers on the unix socket until ctx ends.
func (s *service) serve(ctx context.Context, listener net.Listener, handler http.HandlerFunc, name string) error {
	srv := s.httpServer(ctx, handler)
	return s.until(ctx, srv, func() error { return srv.Serve(listener) }, name)
}

// servePublic answers on the TCP port until ctx ends, with TLS and passwords where webConfig, a file of the Prometheus
// exporters' kind, asks for them.
func (s *service) servePublic(ctx context.Context, listener net.Listener, webConfig string) error {
	srv := s.httpServer(ctx, s.telemetry)
	srv.ReadTimeout, srv.WriteTimeout, srv.MaxHeaderBytes = publicRead, publicWrite, 16<<10
	limited := server.Limit(listener, publicLimits)
	quiet := slog.New(slog.DiscardHandler) // labd says itself where it listens
	return s.until(ctx, srv, func() error { return web.Serve(limited, srv, &web.FlagConfig{WebConfigFile: &webConfig}, quiet) }, "metrics")
}

// until runs srv by run until ctx ends.
func (s *service) until(ctx context.Context, srv *http.Server, run func() error, name string) error {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		s.current.Load().runner.Wait()
		shutdown, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if srv.Shutdown(shutdown) != nil {
			_ = srv.Close()
		}
	})
	err := run()
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve %s: %w", name, err)
}

// running is a service at work: what a reload exchanges.
type running struct {
	*service
	ctx  context.Context
	fail context.CancelCauseFunc
	wg   sync.WaitGroup

	stopLoops func()
	stopPort  func()
}

// start runs task until it returns; its error ends the daemon.
func (r *running) start(task func() error) {
	r.wg.Go(func() {
		if err := task(); err != nil {
			r.fail(err)
		}
	})
}

// openPort listens for scrapes; an empty address opens no port.
func (r *running) openPort(listen config.Listen) (stop func(), err error) {
	address := listen.Metrics
	if address == "" {
		return func() {}, nil
	}
	if err := web.Validate(listen.WebConfigFile); err != nil {
		return nil, fmt.Errorf("key %q: %s: %w", "listen.web_config_file", listen.WebConfigFile, err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for metrics (listen.metrics): %w", err)
	}
	ctx, cancel := context.WithCancel(r.ctx)
	r.start(func() error { return r.servePublic(ctx, listener, listen.WebConfigFile) })
	return cancel, nil
}

// run is the daemon under systemd; each value of hangups reloads the configuration.
func (s *service) run(parent context.Context, hangups <-chan os.Signal) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	d := s.current.Load()
	if err := s.lock.Acquire(); err != nil {
		s.log.Warn("this labd only reads for now", "err", err)
	}
	defer func() { _ = s.lock.Release() }()
	listener, err := listenUnix(filepath.Join(d.cfg.Paths.Run, "labd.sock"))
	if err != nil {
		return err
	}
	r := &running{service: s, ctx: ctx, fail: cancel}
	if r.stopPort, err = r.openPort(d.cfg.Listen); err != nil {
		return errors.Join(err, listener.Close())
	}
	if err := r.openLAN(d.cfg, d.host); err != nil {
		// The node's own jobs do not depend on callers from elsewhere.
		s.log.Error("callers from the network are not served", "err", err)
	}
	r.start(func() error { return s.serve(ctx, listener, s.api, "the API") })
	r.stopLoops = d.startLoops(ctx)
	r.start(func() error { s.watchdog(ctx); return nil })
	r.start(func() error { s.keeper.run(ctx); return nil })
	r.start(func() error { s.findingLog.run(ctx); return nil })
	s.startWell(d)
	s.notifications.Start(ctx)
	s.log.Info("labd serves", "version", s.version, "node", d.cfg.PVE.Node, "socket", listener.Addr().String(), "metrics", d.cfg.Listen.Metrics)
	s.notifyReady()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-hangups:
			r.hangup()
		}
	}
	s.notifyStopping()
	r.stopLoops()
	s.notifications.Stop()
	r.wg.Wait()
	if cause := context.Cause(ctx); parent.Err() == nil {
		return cause
	}
	return nil
}

// startWell ends what was said of labd itself before it was started: its configuration is in force, and its loops are new.
func (s *service) startWell(d *daemon) {
	s.self.Set("config")
	for _, loop := range d.loops {
		s.self.Set(loop.Name)
	}
	var targets []string
	for _, status := range s.notifications.Statuses() {
		targets = append(targets, status.Name)
	}
	s.self.setAside(targets)
}

// runPrivate serves one labctl: no loops, no port, and the end comes with the end of standard input.
func (s *service) runPrivate(parent context.Context, socket string, streams Streams) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	defer func() { _ = s.lock.Release() }()
	listener, err := listenUnix(socket)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, streams.In)
		cancel()
	}()
	if _, err := fmt.Fprintln(streams.Out, "ready"); err != nil {
		return fmt.Errorf("tell labctl that labd is ready: %w", err)
	}
	return s.serve(ctx, listener, s.api, "the API")
}
