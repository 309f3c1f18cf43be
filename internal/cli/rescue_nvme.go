package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

func (a *app) rescueNVMeCommand() *cobra.Command {
	var yes, dryRun bool
	var method string
	cmd := &cobra.Command{
		Use:   "rescue-nvme DEVICE",
		Short: "Let the kernel try again with an NVMe function that has no working driver",
		Long: `For an NVMe function that the kernel gave up. rescue-nvme has three methods, and without --method it takes the one that
fits:

  reprobe  remove the function, and let its port look for it again
  bind     give the function to the nvme driver
  new-id   let the kernel ignore the ids of the drive's namespace until the next boot, where it rejects them

It refuses a function whose driver works or that is passed through to a guest, every drive with data or users, and the
drive that the host boots from.

DEVICE is a PCI address as lspci writes it (0000:01:00.0 or 01:00.0), or another name of the drive as check-nvme takes it: nvme1,
/dev/nvme1n1, a serial number.`,
		Example: `  labctl rescue-nvme 02:00.0 --dry-run
  labctl rescue-nvme 02:00.0`,
		Args:              exactlyOne("drive"),
		ValidArgsFunction: a.complete(1, addressValues),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if method != "" && !slices.Contains(rescueMethods(), method) {
				return usageError("--method is one of %s", strings.Join(rescueMethods(), ", "))
			}
			return a.with(ctx, func(c *client) error {
				address, err := a.addressOf(ctx, c, args[0])
				if err != nil {
					return err
				}
				req := apiv1.RescueRequest{Address: address, Method: apiv1.RescueMethod(method)}.PlanRequest()
				if dryRun {
					return a.showPlan(ctx, c, req)
				}
				return a.carryOut(ctx, c, req, yes)
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "agree to the plan in advance")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only show what would be done")
	cmd.Flags().StringVar(&method, "method", "", "`METHOD`: reprobe, bind or new-id, instead of the one that fits")
	_ = cmd.RegisterFlagCompletionFunc("method", cobra.FixedCompletions(rescueMethods(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// rescueMethods are the ways of a rescue.
func rescueMethods() []string { return []string{"reprobe", "bind", "new-id"} }

// longAddress adds the PCI domain that lspci leaves out.
func longAddress(address string) string {
	address = strings.TrimPrefix(address, "nvme/")
	if strings.Count(address, ":") == 1 {
		return "0000:" + address
	}
	return address
}
