package cli

import (
	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

func (a *app) undoCommand() *cobra.Command {
	var yes, dryRun bool
	cmd := &cobra.Command{
		Use:   "undo ID",
		Short: "Take back what a journal entry did",
		Long: `Shows the plan that takes back what a journal entry did and, when you agree, carries it out. It is refused when a later
change touched the same things.`,
		Example:           "  labctl undo 3 --dry-run\n  labctl undo 3",
		ValidArgsFunction: a.complete(1, undoableValues),
		Args:              exactlyOne("journal entry (labctl journal lists them)"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := apiv1.UndoEntryRequest{ID: args[0]}.PlanRequest()
			return a.with(cmd.Context(), func(c *client) error {
				if dryRun {
					return a.showPlan(cmd.Context(), c, req)
				}
				return a.carryOut(cmd.Context(), c, req, yes)
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "agree to the plan in advance")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only show what would be done")
	return cmd
}
