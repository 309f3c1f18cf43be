package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

func (a *app) notifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "notify",
		Short: "Where labd sends messages about findings: mail, chat and push services",
		Long: `labd sends a message when a finding is new, gets worse or is over: by mail to root, and to the services that section
[notify] of labd.toml names. It sends none for silenced findings, for consequences of another finding, and for findings too
new to be certain.`,
		Example: "  labctl notify list\n  labctl notify test",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "The targets, and whether messages reach them", Args: noArgs, Example: "  labctl notify list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *client) error { return a.listTargets(cmd.Context(), c) })
		},
	}, &cobra.Command{
		Use: "test [TARGET…]", Short: "Send a test message to the targets; without a name to all",
		Long:              "Sends a test message to all targets at the same time and waits until each has taken it or its time is over. The exit\ncode is 1 when a target did not take it. Only root may do this.",
		Example:           "  labctl notify test\n  labctl notify test mail",
		ValidArgsFunction: a.complete(0, targetValues),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *client) error { return a.testTargets(cmd.Context(), c, args) })
		},
	})
	return cmd
}

func (a *app) listTargets(ctx context.Context, c *client) error {
	var report apiv1.Envelope[apiv1.NotificationItem]
	if err := c.get(ctx, "/v1/notifications", &report); err != nil {
		return err
	}
	return emit(a, report, func(i apiv1.NotificationItem) string { return i.ID }, func(bool) {
		if len(report.Items) == 0 {
			a.printf("labd sends no messages; see section [notify] of labd.toml.\n")
			return
		}
		rows := make([][]string, 0, len(report.Items))
		for _, i := range report.Items {
			last := "never"
			if i.LastSuccess != nil {
				last = i.LastSuccess.Local().Format(time.DateTime)
			}
			rows = append(rows, []string{i.ID, i.To, strconv.FormatUint(i.Sent, 10), strconv.FormatUint(i.Failed, 10), strconv.Itoa(i.Pending), last, i.Error})
		}
		a.tableRows([]string{"TARGET", "TO", "SENT", "FAILED", "PENDING", "LAST", "ERROR"}, rows, func(row int) apiv1.Health {
			if report.Items[row].Error != "" {
				return apiv1.HealthWarn
			}
			return ""
		})
	})
}

func (a *app) testTargets(ctx context.Context, c *client, names []string) error {
	var report apiv1.Envelope[apiv1.NotificationTestItem]
	if err := c.post(ctx, "/v1/notifications/test", apiv1.NotificationTestRequest{Targets: names}, &report); err != nil {
		return err
	}
	failed := 0
	for _, i := range report.Items {
		if !i.OK {
			failed++
		}
	}
	err := emit(a, report, func(i apiv1.NotificationTestItem) string { return i.ID }, func(bool) {
		if len(report.Items) == 0 {
			a.printf("labd sends no messages; see section [notify] of labd.toml.\n")
		}
		for _, i := range report.Items {
			took := strconv.FormatFloat(i.Seconds, 'f', 1, 64)
			if i.OK {
				a.printf("%s: taken after %s s (to %s)\n", i.ID, took, i.To)
			} else {
				a.printf("%s: not taken after %s s: %s\n", i.ID, took, i.Error)
			}
		}
	})
	if err == nil && failed > 0 {
		err = &Error{apiv1.ErrorInternal, fmt.Sprintf("%d of %d targets did not take the message", failed, len(report.Items)), "labctl notify list; docs/notifications.md says what each service needs"}
	}
	return err
}
