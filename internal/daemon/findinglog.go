package daemon

import (
	"context"
	"log/slog"
	"time"

	"labd/internal/finding"
)

// logBacklog is how many changes may wait for a log that is slow; more are counted only.
const logBacklog = 256

// findingLog writes a line of log for each change of a finding, so that journalctl, Loki and whatever reads the journal see it.
type findingLog struct {
	log     *slog.Logger
	changes chan finding.Change
	lost    chan struct{}
}

func newFindingLog(log *slog.Logger) *findingLog {
	return &findingLog{log: log, changes: make(chan finding.Change, logBacklog), lost: make(chan struct{}, 1)}
}

// note takes a change; it never waits.
func (l *findingLog) note(c finding.Change) {
	select {
	case l.changes <- c:
	default:
		select {
		case l.lost <- struct{}{}:
		default:
		}
	}
}

// run writes until ctx ends.
func (l *findingLog) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-l.changes:
			l.write(c)
		case <-l.lost:
			l.log.Warn("more findings changed at once than the log takes; labctl status shows all")
		}
	}
}

// write writes the line of a change. Its level is that of the severity; what is over is told as information.
func (l *findingLog) write(c finding.Change) {
	f := c.Finding
	attrs := []slog.Attr{
		slog.String("code", string(f.Code)), slog.String("subject", string(f.Subject)), slog.String("severity", f.Severity.String()),
		slog.String("title", f.Title),
	}
	level, message := slog.LevelInfo, "finding raised"
	switch f.Severity {
	case finding.Fail:
		level = slog.LevelError
	case finding.Warn:
		level = slog.LevelWarn
	}
	switch c.Kind {
	case finding.Raised:
		attrs = append(attrs, slog.String("cause", f.Cause))
	case finding.Changed:
		message = "finding changed"
		attrs = append(attrs, slog.String("state", string(f.State)))
		if f.State != finding.StateActive {
			level = slog.LevelInfo
		}
	case finding.Cleared:
		level, message = slog.LevelInfo, "finding over"
		attrs = append(attrs, slog.Duration("lasted", c.At.Sub(f.Since).Round(time.Second)))
	}
	l.log.LogAttrs(context.Background(), level, message, attrs...)
}
