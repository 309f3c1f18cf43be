package cli

import (
	"strings"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

func (a *app) netListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "Every Docker network in every running container", Args: noArgs, Example: "  labctl net list\n  labctl net list -o wide",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *client) error {
				var report apiv1.Envelope[apiv1.NetworkItem]
				if err := c.get(cmd.Context(), "/v1/networks?fresh=1", &report); err != nil {
					return err
				}
				err := emit(a, report, func(i apiv1.NetworkItem) string { return i.ID }, func(wide bool) {
					a.printNetworks(report, wide)
					a.explain(report.Findings, wide)
				})
				if err != nil {
					return err
				}
				return checkExit(report.Findings, unknowns(report.Items, func(i apiv1.NetworkItem) apiv1.Health { return i.Verdict.Health() })...)
			})
		},
	}
}

func (a *app) printNetworks(report apiv1.Envelope[apiv1.NetworkItem], wide bool) {
	if len(report.Items) == 0 {
		return
	}
	header := []string{"NETWORK", "SUBNETS", "MODE", "VERDICT", "WHY"}
	if wide {
		header = []string{"NETWORK", "DRIVER", "BRIDGE", "SUBNETS", "MODE", "ALIASES", "VERDICT", "ROUTE", "RULES", "WHY"}
	}
	rows := make([][]string, 0, len(report.Items))
	for _, i := range report.Items {
		subnets := strings.Join(i.Subnets, ",")
		var aliases []string
		for _, alias := range i.Aliases {
			aliases = append(aliases, alias.Prefix)
		}
		mode := string(i.Mode)
		if len(aliases) > 0 {
			mode += " " + strings.Join(aliases, ",")
		}
		row := []string{i.ID, subnets, mode, string(i.Verdict), i.Reason}
		if wide {
			row = []string{i.ID, i.Driver, i.Bridge, subnets, string(i.Mode), strings.Join(aliases, ","), string(i.Verdict), strings.Join(i.Route, ","), itoa(len(i.Rules)), i.Reason}
		}
		rows = append(rows, row)
	}
	a.tableRows(header, rows, func(r int) apiv1.Health { return report.Items[r].Verdict.Health() })
}
