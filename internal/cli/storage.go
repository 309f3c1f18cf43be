package cli

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

func itoa(n int) string { return strconv.Itoa(n) }

func (a *app) storageCommand() *cobra.Command {
	var yes, dryRun bool
	cmd := &cobra.Command{
		Use:   "fix-storage [ID…]",
		Short: "Remove storages whose disk is gone, with all leftovers; never a live one",
		Long: `fix-storage tells storages whose device is gone from those that are merely down, shows the plan and, with your
consent, removes the dead ones: PVE's entry, the mount unit and the empty mount point. labctl undo brings them back.

Without ID it takes the storages that have been dead for the grace time of the configuration. A storage that you name
needs no grace.`,
		RunE: func(cmd *cobra.Command, ids []string) error {
			ctx := cmd.Context()
			return a.with(ctx, func(c *client) error {
				var report apiv1.Envelope[apiv1.StorageItem]
				if err := c.get(ctx, "/v1/storage?fresh=1", &report); err != nil {
					return err
				}
				if err := selectStorages(&report, ids); err != nil {
					return err
				}
				if dryRun {
					return a.storageReport(report, ids)
				}
				return a.fixStorages(ctx, c, report, ids, yes)
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "agree to the plan beforehand")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only show what is found and what would be done")
	return cmd
}

// selectStorages keeps the storages that ids name, and their findings.
func selectStorages(report *apiv1.Envelope[apiv1.StorageItem], ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	keep := map[string]bool{}
	items := []apiv1.StorageItem{}
	for _, id := range ids {
		found := false
		for _, item := range report.Items {
			if id == item.Storage || id == item.ID {
				items, found, keep[item.ID] = append(items, item), true, true
			}
		}
		if !found && len(report.Items) == 0 && len(report.Notes) > 0 {
			return &Error{apiv1.ErrorRefused, "nothing is known of storage " + quoted(id) + ": " + strings.Join(report.Notes, "; "), ""}
		}
		if !found {
			return &Error{apiv1.ErrorNotFound, "this node has no storage " + quoted(id), "labctl fix-storage --dry-run lists them all"}
		}
	}
	findings := []apiv1.Finding{}
	for _, f := range report.Findings {
		if keep[f.Subject] {
			findings = append(findings, f)
		}
	}
	report.Items, report.Findings = items, findings
	return nil
}

func (a *app) storageReport(report apiv1.Envelope[apiv1.StorageItem], ids []string) error {
	err := emit(a, report, func(i apiv1.StorageItem) string { return i.ID }, func(wide bool) {
		a.printStorages(report, wide)
		a.explain(report.Findings)
		for _, item := range report.Items {
			if item.Plan != nil {
				a.printf("\n")
				a.printPlan(*item.Plan)
				if !isDue(item) && len(ids) == 0 {
					a.printf("  note: labctl fix-storage leaves this one alone until its grace time is over; labctl fix-storage %s takes it now\n", item.Storage)
				}
			}
			if item.Refusal != "" {
				a.printf("\n%s is left alone: %s\n", item.ID, item.Refusal)
			}
		}
	})
	if err != nil {
		return err
	}
	return checkExit(report.Findings)
}

func (a *app) printStorages(report apiv1.Envelope[apiv1.StorageItem], wide bool) {
	if len(report.Items) == 0 {
		return
	}
	header := []string{"STORAGE", "TYPE", "VERDICT", "WHY"}
	if wide {
		header = []string{"STORAGE", "TYPE", "VERDICT", "PATH", "REFERENCES", "CANDIDATE AT", "WHY"}
	}
	rows := make([][]string, 0, len(report.Items))
	for _, i := range report.Items {
		row := []string{i.Storage, i.Type, i.Verdict, i.Reason}
		if wide {
			at := ""
			if i.CandidateAt != nil {
				at = i.CandidateAt.Local().Format(time.DateTime)
			}
			row = []string{i.Storage, i.Type, i.Verdict, i.Path, itoa(len(i.References)), at, i.Reason}
		}
		rows = append(rows, row)
	}
	a.tableRows(header, rows, func(r int) string { return report.Items[r].Verdict })
}

func isDue(item apiv1.StorageItem) bool {
	return item.CandidateAt != nil && !item.CandidateAt.After(time.Now())
}

// fixStorages removes the storages that ids name, or those whose grace is over, one plan after another.
func (a *app) fixStorages(ctx context.Context, c *client, report apiv1.Envelope[apiv1.StorageItem], ids []string, yes bool) error {
	people := a.flags.output == formatTable || a.flags.output == formatWide
	var chosen []apiv1.StorageItem
	for _, item := range report.Items {
		if len(ids) > 0 || item.Plan != nil && isDue(item) {
			chosen = append(chosen, item)
		}
	}
	if len(chosen) == 0 {
		if !people {
			return emit(a, report, func(i apiv1.StorageItem) string { return i.ID }, nil)
		}
		a.printStorages(report, a.flags.output == formatWide)
		var early, other []string
		for _, item := range report.Items {
			switch {
			case item.Plan != nil:
				early = append(early, item.Storage)
			case item.Verdict != "ok" && item.Verdict != "disabled":
				other = append(other, item.Storage)
			}
		}
		a.notes(report.Notes)
		a.printf("\nNo storage is due for removal.\n")
		if len(early) > 0 {
			a.printf("Dead, but within the grace time: %s. To remove now: labctl fix-storage %s\n", strings.Join(early, ", "), strings.Join(early, " "))
		}
		if len(other) > 0 {
			a.printf("Left alone: %s. labctl fix-storage --dry-run says why.\n", strings.Join(other, ", "))
		}
		return nil
	}
	for _, item := range chosen {
		req := apiv1.PlanRequest{Action: apiv1.ActionStorageRemove, IDs: []string{item.Storage}}
		if err := a.carryOut(ctx, c, req, yes); err != nil {
			return err
		}
	}
	return nil
}
