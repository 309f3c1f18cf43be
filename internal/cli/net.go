package cli

import (
	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

func (a *app) netCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "net",
		Short:   "Docker networks in LXC containers: see them, make them reachable, take it all back",
		Example: "  labctl net list\n  labctl net plan\n  labctl net probe 172.18.0.2:80",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		a.netListCommand(),
		a.netProbeCommand(),
		a.netRouterCommand(),
		&cobra.Command{
			Use: "plan", Short: "Show the routes and rules that are missing, and what becomes reachable", Args: noArgs, Example: "  labctl net plan",
			RunE: func(cmd *cobra.Command, _ []string) error {
				return a.with(cmd.Context(), func(c *client) error {
					return a.showPlan(cmd.Context(), c, apiv1.ApplyNetworksRequest{}.PlanRequest())
				})
			},
		},
		a.netChangeCommand("apply", "Make the routes and rules once", apiv1.ApplyNetworksRequest{}),
		a.netChangeCommand("on", "Make the routes and rules, and restore them whenever they change", apiv1.ApplyNetworksRequest{Keep: true}),
		a.netChangeCommand("off", "Take every route, chain and table of labd away, until labctl net on", apiv1.NetworksOffRequest{}),
		a.netApproveCommand(),
	)
	return cmd
}

func (a *app) netChangeCommand(use, short string, req apiv1.Request) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: use, Short: short, Args: noArgs, Example: "  labctl net " + use + "\n  labctl net " + use + " --yes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *client) error {
				return a.carryOut(cmd.Context(), c, req.PlanRequest(), yes)
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "agree to the plan in advance")
	return cmd
}
