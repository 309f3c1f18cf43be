package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"labd/internal/reconcile"
)

// notifyReady tells systemd that labd answers (sd_notify(3)). Without systemd it does nothing.
func (s *service) notifyReady() {
	status := "Serving node " + s.current.Load().cfg.PVE.Node
	if _, _, err := s.reloads.last(); err != nil {
		status += "; the changed configuration was refused, the old one is in force"
	}
	s.notify(sd.SdNotifyReady + "\nSTATUS=" + status)
}

// notifyReloading begins a reload; systemd wants the time of the monotonic clock with it (sd_notify(3)).
func (s *service) notifyReloading() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		s.log.Warn("systemd not told of the reload", "err", err)
		return
	}
	s.notify(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", sd.SdNotifyReloading, now.Nano()/1000))
}

func (s *service) notifyStopping() { s.notify(sd.SdNotifyStopping) }

func (s *service) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		s.log.Warn("systemd not told", "err", err)
	}
}

// watchdog tells systemd at half its interval that the loops move, until ctx ends. A labd whose loops stand still is
// not kept alive: systemd restarts it.
func (s *service) watchdog(ctx context.Context) {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return
	}
	ticker := time.NewTicker(interval / 2)
	defer ticker.Stop()
	for {
		if err := s.current.Load().Alive(); err != nil {
			s.log.Error("watchdog not fed", "err", err)
		} else {
			s.notify(sd.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Ready reports whether every job has a report.
func (d *daemon) Ready() error { return d.jobs.ready() }

// Alive reports whether every loop moves.
func (d *daemon) Alive() error { return alive(d.loops) }

// alive reports which loops stand still: a pass has a deadline, so one that takes much longer hangs.
func alive(loops []*reconcile.Loop) error {
	var stuck []error
	for _, loop := range loops {
		if working := loop.Status().Working; working > longestPass {
			stuck = append(stuck, fmt.Errorf("loop %s has not ended a pass for %s", loop.Name, working.Round(time.Second)))
		}
	}
	return errors.Join(stuck...)
}

// longestPass is how long a pass may take before its loop counts as standing still.
const longestPass = 4 * observeTimeout
