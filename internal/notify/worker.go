package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"labd/internal/finding"
)

// failingAfter is after how many failures in a row a target counts as one that keeps failing.
const failingAfter = 3

// progress is what outlives a worker when the configuration changes.
type progress struct {
	told         []Told
	sent, failed uint64
	success      time.Time
	failure      time.Time
	err          error
	inARow       int // failures since the last success
	retry        time.Time
	pending      int
}

// worker tells one target.
type worker struct {
	center *Center
	target Target
	least  finding.Severity
	node   string
	// begin is when it may tell something for the first time.
	begin time.Time

	gathering time.Time // since when there is something to tell; of the worker's goroutine alone

	mu sync.Mutex
	progress
}

func (w *worker) snapshot() progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.progress
	p.told = slices.Clone(p.told)
	return p
}

// run tells until ctx ends.
func (w *worker) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timer.Reset(w.step(ctx, time.Now()))
	}
}

// step tells what there is to tell, if it is time, and returns how long nothing will be to do.
func (w *worker) step(ctx context.Context, now time.Time) time.Duration {
	timing := w.center.opts.Timing
	before := w.snapshot()
	changes := slices.DeleteFunc(compare(before.told, w.center.opts.Findings, w.least, now), w.isAboutItself)
	w.mu.Lock()
	w.pending = len(changes)
	w.mu.Unlock()
	if len(changes) == 0 {
		w.gathering = time.Time{}
		return timing.Poll
	}
	if w.gathering.IsZero() {
		w.gathering = now
	}
	for _, until := range []time.Time{w.begin, before.retry, w.gathering.Add(timing.Gather)} {
		if wait := until.Sub(now); wait > 0 {
			return min(wait, timing.Poll)
		}
	}
	if w.center.opts.MayTell != nil && !w.center.opts.MayTell() {
		return timing.Poll
	}
	err := w.deliver(ctx, compose(w.node, changes, now))
	if ctx.Err() != nil {
		return timing.Poll
	}
	w.mu.Lock()
	if err != nil {
		w.retry = time.Now().Add(min(timing.BackOff<<min(w.inARow-1, 16), timing.MaxBackOff))
	} else {
		w.told, w.retry, w.pending = note(w.told, changes, now), time.Now().Add(timing.Gap), 0
		w.gathering = time.Time{}
	}
	inARow := w.inARow
	w.mu.Unlock()
	if err == nil {
		w.center.save()
		w.center.opts.Log.Info("findings told", "target", w.target.Name, "changes", len(changes))
	} else if inARow == 1 || inARow == failingAfter {
		w.center.opts.Log.Warn("findings not told", "target", w.target.Name, "err", err, "failures", inARow)
	}
	w.center.reportFailing()
	return timing.Poll
}

// isAboutItself tells whether a change is about this very target: it cannot say that it does not work.
func (w *worker) isAboutItself(c change) bool {
	return c.finding.Code == finding.LabdNotifyFailing && c.finding.Subject == subject(w.target.Name)
}

func subject(target string) finding.Subject { return finding.Labd("notify/" + target) }

// deliver sends one message within its deadline and takes note of how that went. A panic of a notifier is an error.
func (w *worker) deliver(ctx context.Context, m Message) (err error) {
	ctx, cancel := context.WithTimeout(ctx, w.center.opts.Timing.Deadline)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		now := time.Now()
		if err != nil {
			w.failed, w.failure, w.err = w.failed+1, now, err
			w.inARow++
			return
		}
		w.sent, w.success, w.err, w.inARow, w.retry = w.sent+1, now, nil, 0, time.Time{}
	}()
	return w.target.Notifier.Notify(ctx, m)
}

func (w *worker) status() Status {
	p := w.snapshot()
	return Status{
		Target: w.target, Pending: p.pending, Sent: p.sent, Failed: p.failed, LastSuccess: p.success, LastFailure: p.failure,
		Err: p.err, Failing: p.inARow >= failingAfter,
	}
}

// failing is the finding that the target keeps failing.
func (w *worker) failing() (finding.Finding, bool) {
	s := w.status()
	if !s.Failing {
		return finding.Finding{}, false
	}
	f := finding.Finding{
		Code: finding.LabdNotifyFailing, Severity: finding.Warn, Subject: subject(w.target.Name), Confidence: finding.Certain,
		Title: fmt.Sprintf("the notification target %s does not take messages", w.target.Name), Cause: s.Err.Error(),
		Evidence: []finding.Evidence{{Source: "notify", Text: fmt.Sprintf("to %s: %v", w.target.To, s.Err)}},
		Remedies: []finding.Remedy{{Title: "mend the target, then have labd try it", Risk: finding.RiskNone, Commands: []string{"labctl notify test " + w.target.Name}}},
	}
	if errors.Is(s.Err, ErrNoServer) {
		// A host without a mail server was perhaps never meant to send any.
		f.Severity = finding.Info
		f.Remedies = append(f.Remedies, finding.Remedy{Title: "or have no mail: set mail_to = [] in section [notify] of labd.toml", Risk: finding.RiskNone, Commands: []string{"systemctl reload labd"}})
	}
	return f, true
}
