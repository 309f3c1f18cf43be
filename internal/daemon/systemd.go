package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"labd/internal/reconcile"
)

// notifyReady tells systemd that labd answers (sd_notify(3)). Without systemd it does nothing.
func (d *daemon) notifyReady() {
	d.notify(sd.SdNotifyReady + "\nSTATUS=Serving node " + d.cfg.PVE.Node)
}

func (d *daemon) notifyStopping() { d.notify(sd.SdNotifyStopping) }

func (d *daemon) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		d.log.Warn("systemd not told", "err", err)
	}
}

// watchdog tells systemd at half its interval that the loops move, until ctx ends. A labd whose loops stand still is
// not kept alive: systemd restarts it.
func (d *daemon) watchdog(ctx context.Context) {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return
	}
	ticker := time.NewTicker(interval / 2)
	defer ticker.Stop()
	for {
		if err := d.Alive(); err != nil {
			d.log.Error("watchdog not fed", "err", err)
		} else {
			d.notify(sd.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Ready says whether every job has a report.
func (d *daemon) Ready() error {
	var waiting []error
	for _, job := range []struct {
		name string
		ok   bool
	}{{"nvme", d.nvme.latest() != nil}, {"storage", d.storage.latest() != nil}, {"network", d.network.latest() != nil}} {
		if !job.ok {
			waiting = append(waiting, fmt.Errorf("job %s has no report yet", job.name))
		}
	}
	return errors.Join(waiting...)
}

// Alive says whether every loop began a pass lately: a pass has a deadline, so one that is much older hangs.
func (d *daemon) Alive() error {
	var stuck []error
	for _, loop := range d.loops {
		if since, stands := stands(loop, time.Now()); stands {
			stuck = append(stuck, fmt.Errorf("loop %s has not ended a pass for %s", loop.Name, since.Round(time.Second)))
		}
	}
	return errors.Join(stuck...)
}

func stands(loop *reconcile.Loop, now time.Time) (time.Duration, bool) {
	status := loop.Status()
	since := now.Sub(status.Moved)
	return since, !status.Moved.IsZero() && since > 2*loop.Interval+2*observeTimeout
}
