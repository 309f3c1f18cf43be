package cli

import (
	"strings"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

func (a *app) rescueNVMeCommand() *cobra.Command {
	var yes, dryRun bool
	var method string
	cmd := &cobra.Command{
		Use:   "rescue-nvme BDF",
		Short: "Have the kernel try an NVMe function again that has no working driver",
		Long: `rescue-nvme has the kernel probe a function again that it gave up: it removes the function and has its port look for it
(reprobe), binds it (bind), or, where the kernel rejects the drive's namespace for its ids, has it ignore them until the
next boot (new-id). Without --method it takes the one that fits.

It refuses a function whose driver is in use or that is passed through, any drive with data or users, and the drive that
the host boots from.

BDF is the PCI address, 0000:01:00.0 or 01:00.0.`,
		Example: `  labctl rescue-nvme 02:00.0 --dry-run
  labctl rescue-nvme 02:00.0`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			req := apiv1.PlanRequest{Action: apiv1.ActionNVMeRescue, IDs: []string{longAddress(args[0])}, Method: method}
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
	cmd.Flags().StringVar(&method, "method", "", "reprobe, bind or new-id, instead of the one that fits")
	return cmd
}

// longAddress adds the PCI domain that lspci leaves out.
func longAddress(address string) string {
	address = strings.TrimPrefix(address, "nvme/")
	if strings.Count(address, ":") == 1 {
		return "0000:" + address
	}
	return address
}
