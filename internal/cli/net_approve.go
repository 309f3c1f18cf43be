package cli

import (
	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

func (a *app) netApproveCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "approve [PREFIX…]", Short: "Let Docker networks with subnets outside the pools be made reachable",
		Long:    "Let Docker networks whose subnets lie outside network.pools be made reachable. Name prefixes, or none for every subnet that waits.",
		Example: "  labctl net approve\n  labctl net approve 10.118.3.0/24 --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *client) error {
				return a.carryOut(cmd.Context(), c, apiv1.ApproveNetworksRequest{Prefixes: args}.PlanRequest(), yes)
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "agree to the plan in advance")
	return cmd
}
