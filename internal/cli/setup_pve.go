package cli

import (
	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

func (a *app) setupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "setup",
		Short:   "Give labd the access that it needs",
		Example: "  labctl setup pve --dry-run\n  labctl setup pve",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
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

What exists already stays. When you run it again it adds what is missing, and does nothing when nothing is missing. labctl
undo takes it back. --rotate gives the token a new secret.`,
		Example: "  labctl setup pve --dry-run\n  labctl setup pve",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			req := apiv1.SetupPVERequest{Rotate: rotate}.PlanRequest()
			return a.with(ctx, func(c *client) error {
				if dryRun {
					return a.showPlan(ctx, c, req)
				}
				return a.carryOut(ctx, c, req, yes)
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "agree to the plan in advance")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only show what would be done")
	cmd.Flags().BoolVar(&rotate, "rotate", false, "replace the token even if it works")
	return cmd
}
