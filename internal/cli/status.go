package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

// watchInterval is how often status --watch looks again.
const watchInterval = 2 * time.Second

// clearScreen moves to the top left and clears (ECMA-48 CUP, ED).
const clearScreen = "\x1b[H\x1b[2J"

// newsSpan is how far back status tells what changed; newsLines is how much of it.
const (
	newsSpan  = 24 * time.Hour
	newsLines = 10
)

func (a *app) statusCommand() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "One screen: how the host is, worst first, and what changed since yesterday",
		Long: `Shows a line for each job, what is wrong, worst first, with the first thing to do, and what came and went within a day.
It does not show a finding that follows from another one, a silenced finding, and a finding too new to be certain. -o wide
shows all of them, with evidence and every remedy.

The exit code is 0, 3 or 4 by the worst finding that is neither silenced nor too new to be certain.`,
		Example: "  labctl status\n  labctl status -o wide\n  labctl status --watch",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *client) error {
				if watch {
					return a.watchStatus(cmd.Context(), c)
				}
				return a.showStatus(cmd.Context(), c)
			})
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "look again every two seconds until Ctrl-C")
	return cmd
}

// watchStatus shows the status again and again. A labd that is being restarted is waited for.
func (a *app) watchStatus(ctx context.Context, c *client) error {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for shown := false; ; {
		if isTerminal(a.terminal) {
			fmt.Fprint(a.out, clearScreen)
		}
		err := a.showStatus(ctx, c)
		var verdict verdictError
		switch {
		case err == nil || errors.As(err, &verdict):
			shown = true
		case !shown || ctx.Err() != nil:
			return err
		default:
			a.printf("labd does not answer, trying again: %s\n", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

func (a *app) showStatus(ctx context.Context, c *client) error {
	var status apiv1.Envelope[apiv1.StatusItem]
	if err := c.get(ctx, "/v1/status", &status); err != nil {
		return err
	}
	var history apiv1.Envelope[apiv1.HistoryItem]
	people := a.flags.output == formatTable || a.flags.output == formatWide
	if people {
		if err := c.get(ctx, "/v1/history", &history); err != nil {
			return err
		}
	}
	err := emit(a, status, func(i apiv1.StatusItem) string { return i.ID }, func(wide bool) {
		a.headline(status)
		rows := make([][]string, 0, len(status.Items))
		for _, i := range status.Items {
			rows = append(rows, []string{i.ID, string(i.Verdict), i.Summary, age(i.ObservedAt)})
		}
		a.tableRows([]string{"JOB", "VERDICT", "SUMMARY", "SEEN"}, rows, func(r int) apiv1.Health { return status.Items[r].Verdict })
		if wide {
			a.explain(status.Findings, true)
		} else {
			a.findingList(status)
		}
		a.news(history.Items, time.Now())
	})
	if err != nil {
		return err
	}
	jobs := make([]apiv1.Health, 0, len(status.Items))
	for _, i := range status.Items {
		jobs = append(jobs, i.Verdict)
	}
	return checkExit(counted(status.Findings), jobs...)
}

// counted are the findings that decide the exit code of status.
func counted(findings []apiv1.Finding) []apiv1.Finding {
	var out []apiv1.Finding
	for _, f := range findings {
		if f.State != apiv1.StateSilenced && f.State != apiv1.StatePending {
			out = append(out, f)
		}
	}
	return out
}

// headline says in one line how well the whole host is. What is too new to be certain, silenced or unknown is counted: beside it
// nothing is "well".
func (a *app) headline(status apiv1.Envelope[apiv1.StatusItem]) {
	verdict, text := overall(status)
	for _, line := range wrapText(escape(status.Node+": "+text), a.width()) {
		fmt.Fprintln(a.out, a.paint(verdict, line).text)
	}
	fmt.Fprintln(a.out)
}

func overall(status apiv1.Envelope[apiv1.StatusItem]) (apiv1.Health, string) {
	verdict := apiv1.HealthOK
	counts, hidden := map[apiv1.Severity]int{}, map[apiv1.State]int{}
	for _, f := range status.Findings {
		if f.State == "" || f.State == apiv1.StateActive {
			counts[f.Severity]++
			verdict = apiv1.WorstHealth(verdict, f.Severity.Health())
		} else {
			hidden[f.State]++
		}
	}
	var untold []string
	for _, i := range status.Items {
		verdict = apiv1.WorstHealth(verdict, i.Verdict)
		if i.Verdict == apiv1.HealthUnknown {
			untold = append(untold, i.ID)
		}
	}
	var parts []string
	for _, s := range []struct {
		severity  apiv1.Severity
		one, many string
	}{
		{apiv1.SeverityFail, "failure", "failures"}, {apiv1.SeverityWarn, "warning", "warnings"}, {apiv1.SeverityInfo, "note", "notes"},
	} {
		if n := counts[s.severity]; n > 0 {
			parts = append(parts, amount(n, s.one, s.many))
		}
	}
	young, silenced := hidden[apiv1.StatePending], hidden[apiv1.StateSilenced]
	switch {
	case len(parts) > 0:
		if young > 0 {
			parts = append(parts, itoa(young)+" too new to be certain")
		}
		if silenced > 0 {
			parts = append(parts, itoa(silenced)+" silenced")
		}
		return verdict, strings.Join(parts, ", ")
	case young > 0:
		return verdict, "nothing certain yet: " + amount(young, "finding is", "findings are") + " too new"
	case len(untold) > 0:
		return verdict, "not everything is known: " + strings.Join(untold, ", ")
	case verdict.Worse(apiv1.HealthInfo):
		return verdict, "not well"
	case silenced > 0:
		return verdict, "nothing but what is silenced: " + amount(silenced, "finding", "findings")
	default:
		return verdict, "all is well"
	}
}

func amount(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return itoa(n) + " " + many
}

// news tells what came and what went away within a day, the latest first; what has the same minute, by subject.
func (a *app) news(history []apiv1.HistoryItem, now time.Time) {
	minute := func(i apiv1.HistoryItem) time.Time {
		if i.Cleared != nil {
			return i.Cleared.Truncate(time.Minute)
		}
		return i.Since.Truncate(time.Minute)
	}
	history = slices.SortedStableFunc(slices.Values(history), func(a, b apiv1.HistoryItem) int {
		return cmp.Or(minute(b).Compare(minute(a)), strings.Compare(a.Subject, b.Subject))
	})
	type piece struct {
		health     apiv1.Health
		lead, text string
	}
	var lines []piece
	for _, i := range history {
		what := i.Subject + ": " + i.Title
		switch {
		case i.Cleared != nil && now.Sub(*i.Cleared) < newsSpan:
			lines = append(lines, piece{apiv1.HealthOK, "  - " + stamp(*i.Cleared) + "  ", what + " (it was there for " + span(i.Cleared.Sub(i.Since)) + ")"})
		case i.Cleared == nil && now.Sub(i.Since) < newsSpan:
			if i.Episodes > 1 {
				what += " (it came " + itoa(i.Episodes) + " times so far)"
			}
			lines = append(lines, piece{i.Severity.Health(), "  + " + stamp(i.Since) + "  ", what})
		}
	}
	if len(lines) == 0 {
		return
	}
	a.printf("\nSince yesterday (+ came, - went away):\n")
	for i, line := range lines {
		if i == newsLines {
			a.printf("  and %d more\n", len(lines)-i)
			return
		}
		for _, l := range hanging(line.lead, escape(line.text), a.width()) {
			fmt.Fprintln(a.out, a.paint(line.health, l).text)
		}
	}
}

func stamp(t time.Time) string { return t.Local().Format("Mon 15:04") }

// age is how long ago t was, in words.
func age(t time.Time) string {
	if t.IsZero() {
		return "not yet"
	}
	return span(time.Since(t)) + " ago"
}

// span is a duration in its two largest units.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}
