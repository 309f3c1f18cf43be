package cli

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

func itoa(n int) string { return strconv.Itoa(n) }

// storageOptions are the flags of fix-storage.
type storageOptions struct{ yes, dryRun, disable, fixRefs bool }

func (a *app) fixStorageCommand() *cobra.Command {
	var o storageOptions
	cmd := &cobra.Command{
		Use:   "fix-storage [ID…]",
		Short: "Remove storages that are gone for good, with everything they left; never a live one",
		Long: `For a storage whose disk, pool or server no longer exists. fix-storage finds out which storages are gone and which are
only down, shows its plan and, when you agree, removes the dead ones: PVE's entry, the mount unit or the line of fstab, the
unit that imports a pool, the empty mount point. It repairs a malformed section of storage.cfg, or removes it. labctl undo
brings back what was removed.

Without ID it takes the storages that have been dead for longer than the grace time of the configuration. It takes ZFS
pools, removable disks and network storages only when you name them. A storage that you name needs no grace time.

As long as a guest or a job uses the storage, it is not removed. --fix-refs takes away the references that can go without
loss: it detaches CD images, removes snippets and unused volumes, and switches off backup jobs that could no longer write.`,
		Example: `  labctl fix-storage --dry-run
  labctl fix-storage usb1
  labctl fix-storage nas --disable`,
		ValidArgsFunction: a.complete(0, storageValues),
		RunE: func(cmd *cobra.Command, ids []string) error {
			ctx := cmd.Context()
			return a.with(ctx, func(c *client) error {
				var report apiv1.Envelope[apiv1.StorageItem]
				query := url.Values{"fresh": {"1"}}
				if o.dryRun && len(ids) > 1 {
					query["id"] = ids // one plan for all of them
				}
				if err := c.get(ctx, "/v1/storage?"+query.Encode(), &report); err != nil {
					return err
				}
				if err := selectStorages(&report, ids); err != nil {
					return err
				}
				if o.dryRun && (len(ids) == 0 || !o.disable && !o.fixRefs) {
					return a.storageReport(report, ids)
				}
				return a.fixStorages(ctx, c, report, ids, o)
			})
		},
	}
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "agree to the plan in advance")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "only show what is found and what would be done")
	cmd.Flags().BoolVar(&o.disable, "disable", false, "only switch the entries off; this also takes entries that are only down")
	cmd.Flags().BoolVar(&o.fixRefs, "fix-refs", false, "also take away the references that can go without loss")
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
		a.explain(report.Findings, wide)
		for _, item := range report.Items {
			if item.Plan != nil {
				a.printf("\n")
				a.printPlan(*item.Plan)
				switch {
				case isDue(item) || len(ids) > 0:
				case item.Waits != "":
					a.printf("  note: labctl fix-storage leaves this one alone: %s; labctl fix-storage %s takes it\n", item.Waits, item.Storage)
				default:
					a.printf("  note: labctl fix-storage leaves this one alone until its grace time is over; labctl fix-storage %s takes it now\n", item.Storage)
				}
			}
			if item.Refusal != "" {
				a.printf("\n%s is left alone: %s\n", item.ID, item.Refusal)
			}
			if len(item.References) > 0 {
				a.printReferences(item, wide)
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
		row := []string{i.Storage, i.Type, string(i.Verdict), i.Reason}
		if wide {
			at := ""
			if i.CandidateAt != nil {
				at = i.CandidateAt.Local().Format(time.DateTime)
			}
			row = []string{i.Storage, i.Type, string(i.Verdict), i.Path, itoa(len(i.References)), at, i.Reason}
		}
		rows = append(rows, row)
	}
	a.tableRows(header, rows, func(r int) apiv1.Health { return report.Items[r].Verdict.Health() })
}

// printReferences lists the places that name a storage, worst first.
func (a *app) printReferences(item apiv1.StorageItem, wide bool) {
	const most = 20
	a.printf("\nWhat names %s:\n", item.Storage)
	rows := [][]string{}
	for _, r := range item.References {
		place := r.File
		if r.Section != "" {
			place += " [" + r.Section + "]"
		}
		grade := string(r.Grade)
		if r.Kept {
			grade = "kept"
		}
		rows = append(rows, []string{grade, place, r.Key, r.Value, r.Reason})
	}
	slices.SortStableFunc(rows, func(x, y []string) int { return strings.Compare(x[0], y[0]) })
	rest := len(rows) - most
	if rest > 0 && !wide {
		rows = rows[:most]
	}
	a.tableRows([]string{"GRADE", "FILE", "KEY", "VALUE", "WHAT"}, rows, nil)
	if rest > 0 && !wide {
		a.printf("… and %d more; -o wide lists them all\n", rest)
	}
}

func isDue(item apiv1.StorageItem) bool {
	return item.CandidateAt != nil && !item.CandidateAt.After(time.Now())
}

// codeClusterDown is the finding with which nothing is known of storages, so that nothing may be changed.
const codeClusterDown = "pve.cluster-filesystem"

// fixStorages carries out one plan for the storages that ids name, or for those whose grace is over.
func (a *app) fixStorages(ctx context.Context, c *client, report apiv1.Envelope[apiv1.StorageItem], ids []string, o storageOptions) error {
	if i := slices.IndexFunc(report.Findings, func(f apiv1.Finding) bool { return f.Code == codeClusterDown }); i >= 0 {
		return &Error{apiv1.ErrorRefused, report.Findings[i].Title, "systemctl status pve-cluster; labctl explain " + codeClusterDown}
	}
	var chosen []string
	for _, item := range report.Items {
		if len(ids) > 0 || item.Plan != nil && isDue(item) {
			chosen = append(chosen, item.Storage)
		}
	}
	req := apiv1.RemoveStoragesRequest{IDs: chosen, FixRefs: o.fixRefs}.PlanRequest()
	if o.disable {
		req = apiv1.DisableStoragesRequest{IDs: chosen}.PlanRequest()
	}
	switch {
	case len(chosen) == 0:
		return a.nothingDue(report)
	case o.dryRun:
		return a.showPlan(ctx, c, req)
	}
	return a.carryOut(ctx, c, req, o.yes)
}

// nothingDue says that there is nothing to remove, and of each storage that is not well why it is left alone.
func (a *app) nothingDue(report apiv1.Envelope[apiv1.StorageItem]) error {
	if a.flags.output != formatTable && a.flags.output != formatWide {
		return emit(a, report, func(i apiv1.StorageItem) string { return i.ID }, nil)
	}
	a.printStorages(report, a.flags.output == formatWide)
	a.notes(report.Notes)
	var early, dead, down, other []apiv1.StorageItem
	for _, item := range report.Items {
		switch {
		case item.Plan != nil && item.CandidateAt != nil:
			early = append(early, item)
		case item.Plan != nil || item.Verdict == apiv1.StorageGone || item.Verdict == apiv1.StorageOrphanNode:
			dead = append(dead, item)
		case item.Verdict == apiv1.StorageDown:
			down = append(down, item)
		case item.Verdict != apiv1.StorageOK && item.Verdict != apiv1.StorageDisabled:
			other = append(other, item)
		}
	}
	if len(early)+len(dead) == 0 {
		a.printf("\nNo storage is dead.\n")
	} else {
		a.printf("\nNo storage is due for removal.\n")
	}
	if len(early) > 0 {
		var names []string
		for _, item := range early {
			names = append(names, item.Storage)
		}
		a.printf("Dead, but within the grace time: %s. To remove now: labctl fix-storage %s\n", strings.Join(names, ", "), strings.Join(names, " "))
	}
	a.leftAlone("Dead, and left alone:", dead, func(i apiv1.StorageItem) string {
		if i.Refusal != "" {
			return i.Refusal
		}
		if i.Waits != "" {
			return i.Waits + "; labctl fix-storage " + i.Storage + " removes it"
		}
		return "labctl fix-storage " + i.Storage + " takes it"
	})
	a.leftAlone("Only down, and left alone because they may come back; labctl fix-storage --disable ID switches one off:", down, func(i apiv1.StorageItem) string { return i.Reason })
	a.leftAlone("Left alone; labctl fix-storage --dry-run says what to do:", other, func(i apiv1.StorageItem) string { return i.Reason })
	return nil
}

func (a *app) leftAlone(title string, items []apiv1.StorageItem, why func(apiv1.StorageItem) string) {
	if len(items) == 0 {
		return
	}
	a.printf("%s\n", title)
	for _, item := range items {
		a.printf("  %s: %s\n", item.Storage, why(item))
	}
}
