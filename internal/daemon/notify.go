package daemon

import (
	"errors"
	"path/filepath"

	"labd/internal/config"
	"labd/internal/finding"
	"labd/internal/notify"
	"labd/internal/plan"
	"labd/internal/statefile"
)

// newNotifications returns what sends findings to people. Of several labds on a host, the one that may change it does.
func newNotifications(s *service, cfg config.Config) *notify.Center {
	center, err := notify.New(cfg.Notify, cfg.PVE.Node, notify.Options{
		Findings: s.findings, Store: statefile.New(filepath.Join(cfg.Paths.State, "notify.json"), notify.StateVersion),
		// Where the lock cannot be had since the disk is read-only, there is no other labd, and all the more to tell.
		MayTell: func() bool { return !errors.Is(s.lock.Acquire(), plan.ErrLocked) },
		Failing: func(found []finding.Finding) { s.self.Set("notify", found...) },
		Log:     s.log, Timing: notify.DefaultTiming(),
	})
	if err != nil {
		s.log.Warn("not all of what was told of findings could be read; some may be told again", "err", err)
	}
	return center
}
