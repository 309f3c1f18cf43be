package cli

import (
	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

func (a *app) setupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Give labd what it needs of other systems",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.setupPVECommand())
	return cmd
}

func (a *app) setupPVECommand() *cobra.Command {
	var yes, dryRun, rotate bool
	cmd := &cobra.Command{
		Use:   "pve",
		Short: "Create the API token with the few rights that labd needs",
		Long: `Makes the user labd@pve, two roles with the rights that labd needs to look after storages, and an API token of that user,
writes the token to /etc/labd/token (or where pve.token_file says) for root alone, and tries it. It shows the pveum
commands first and asks.

What is there already stays: run again, it adds what is missing, and does nothing where all is well. labctl undo takes it
back. --rotate gives the token a new secret.`,
		Example: "labctl setup pve --dry-run\nlabctl setup pve",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			req := apiv1.PlanRequest{Action: apiv1.ActionSetupPVE}
			if rotate {
				req.Method = apiv1.MethodRotate
			}
			return a.with(ctx, func(c *client) error {
				if dryRun {
					return a.showPlan(ctx, c, req)
				}
				return a.carryOut(ctx, c, req, yes)
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "agree to the plan beforehand")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only show what would be done")
	cmd.Flags().BoolVar(&rotate, "rotate", false, "replace the token although it works")
	return cmd
}
