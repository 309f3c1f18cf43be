package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

// watchInterval is how often status --watch looks again.
const watchInterval = 2 * time.Second

// clearScreen moves to the top left and clears (ECMA-48 CUP, ED).
const clearScreen = "\x1b[H\x1b[2J"

func (a *app) statusCommand() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "One screen: how the host is, worst first",
		Args:  noArgs,
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

func (a *app) watchStatus(ctx context.Context, c *client) error {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		if isTerminal(a.out) {
			fmt.Fprint(a.out, clearScreen)
		}
		if err := a.showStatus(ctx, c); err != nil {
			if _, ok := err.(verdictError); !ok {
				return err
			}
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
	err := emit(a, status, func(i apiv1.StatusItem) string { return i.ID }, func(wide bool) {
		rows := make([][]string, 0, len(status.Items))
		for _, i := range status.Items {
			rows = append(rows, []string{i.ID, i.Verdict, i.Summary, age(i.ObservedAt)})
		}
		a.tableRows([]string{"JOB", "VERDICT", "SUMMARY", "SEEN"}, rows, func(r int) string { return status.Items[r].Verdict })
		if wide {
			a.explain(status.Findings)
			return
		}
		if len(status.Findings) == 0 {
			a.printf("\nNothing is wrong.\n")
			return
		}
		a.printf("\n")
		rows = rows[:0]
		for _, f := range status.Findings {
			todo := ""
			if len(f.Remedies) > 0 {
				todo = f.Remedies[0].Title
			}
			rows = append(rows, []string{f.Severity, f.Subject, f.Title, todo})
		}
		a.tableRows([]string{"SEVERITY", "SUBJECT", "WHAT", "DO"}, rows, func(r int) string { return status.Findings[r].Severity })
	})
	if err != nil {
		return err
	}
	return checkExit(status.Findings)
}

// age is how long ago t was, in words.
func age(t time.Time) string {
	if t.IsZero() {
		return "not yet"
	}
	d := time.Since(t)
	if d < time.Minute {
		return fmt.Sprintf("%d s ago", max(0, int(d.Seconds())))
	}
	return d.Truncate(time.Minute).String() + " ago"
}
