package cli

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

func (a *app) silenceCommand() *cobra.Command {
	var duration, reason string
	cmd := &cobra.Command{
		Use:   "silence FINDING|SUBJECT [SUBJECT] --for 7d --reason TEXT",
		Short: "Hide a finding for some time",
		Long: `Hides findings from status and messages for some time: all with a code (nvme.wear), all of a subject (storage/pve1/nas; *
stands for any text without a slash), or those with a code of one subject when both are given. The check commands, JSON and
metrics still show them, with the state silenced. Consequences of a silenced finding are silenced too. Only root may silence.`,
		Example:           "  labctl silence storage.down storage/pve1/nas --for 7d --reason \"the NAS is being moved\"\n  labctl silence list\n  labctl silence remove 3",
		ValidArgsFunction: a.complete(2, codeValues, subjectValues, thingValues),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return &Error{apiv1.ErrorUsage, cmd.CommandPath() + " takes a finding's code, a subject, or a code and a subject", cmd.CommandPath() + " --help"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := silenceRequest(args, duration, reason)
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(c *client) error {
				var done apiv1.Envelope[apiv1.SilenceItem]
				if err := c.change(cmd.Context(), "/v1/silences", req, &done); err != nil {
					return err
				}
				return a.emitSilences(done, "Silent")
			})
		},
	}
	cmd.Flags().StringVar(&duration, "for", "", "for how long, as `TIME`: 90m, 12h, 7d, 2w (required)")
	cmd.Flags().StringVar(&reason, "reason", "", "why, as `TEXT` for whoever asks later (required)")
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "The silences in force", Args: noArgs, Example: "  labctl silence list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *client) error { return a.listSilences(cmd.Context(), c) })
		},
	}, &cobra.Command{
		Use: "remove ID", Short: "End a silence", Example: "  labctl silence remove 3", ValidArgsFunction: a.complete(1, silenceValues), Args: exactlyOne("silence (labctl silence list shows them)"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *client) error {
				var done apiv1.Envelope[apiv1.SilenceItem]
				if err := c.remove(cmd.Context(), "/v1/silences/"+url.PathEscape(args[0]), &done); err != nil {
					return err
				}
				return a.emitSilences(done, "No longer silent")
			})
		},
	})
	return cmd
}

func silenceRequest(args []string, duration, reason string) (apiv1.SilenceRequest, error) {
	req := apiv1.SilenceRequest{Reason: reason}
	for _, arg := range args {
		// A subject has a slash, a code has none.
		target := &req.Code
		if strings.Contains(arg, "/") {
			target = &req.Subject
		}
		if *target != "" {
			return req, usageError("%q and %q are both of one kind: give a code, a subject, or one of each", *target, arg)
		}
		*target = arg
	}
	if duration == "" || reason == "" {
		return req, usageError("--for and --reason are required")
	}
	d, err := parseSpan(duration)
	if err != nil {
		return req, err
	}
	req.Seconds = int64(d / time.Second)
	return req, nil
}

// parseSpan reads a duration, also in days and weeks: 90m, 12h, 7d, 2w.
func parseSpan(text string) (time.Duration, error) {
	for unit, length := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		number, ok := strings.CutSuffix(text, unit)
		if !ok {
			continue
		}
		if n, err := strconv.Atoi(number); err == nil && n > 0 && n <= 1000 {
			return time.Duration(n) * length, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second {
		return 0, usageError("%q is not a duration such as 90m, 12h, 7d or 2w", text)
	}
	return d, nil
}

func (a *app) emitSilences(done apiv1.Envelope[apiv1.SilenceItem], word string) error {
	return emit(a, done, func(i apiv1.SilenceItem) string { return i.ID }, func(bool) {
		for _, i := range done.Items {
			a.printf("%s: %s until %s (silence %s).\n", word, silenceTarget(i), i.Until.Local().Format(time.DateTime), i.ID)
		}
	})
}

func silenceTarget(i apiv1.SilenceItem) string {
	return strings.TrimSpace(i.Code + " " + i.Subject)
}

func (a *app) listSilences(ctx context.Context, c *client) error {
	var report apiv1.Envelope[apiv1.SilenceItem]
	if err := c.get(ctx, "/v1/silences", &report); err != nil {
		return err
	}
	return emit(a, report, func(i apiv1.SilenceItem) string { return i.ID }, func(bool) {
		if len(report.Items) == 0 {
			a.printf("Nothing is silenced.\n")
			return
		}
		rows := make([][]string, 0, len(report.Items))
		for _, i := range report.Items {
			rows = append(rows, []string{i.ID, i.Code, i.Subject, i.Until.Local().Format(time.DateTime), i.Actor, i.Reason})
		}
		a.tableRows([]string{"ID", "FINDING", "SUBJECT", "UNTIL", "WHO", "REASON"}, rows, nil)
	})
}

// remove sends a DELETE request.
func (c *client) remove(ctx context.Context, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return c.do(ctx, http.MethodDelete, path, nil, out)
}
