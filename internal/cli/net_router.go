package cli

import (
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

func (a *app) netRouterCommand() *cobra.Command {
	styles := apiv1.RouterStyles()
	style := styles[0]
	cmd := &cobra.Command{
		Use: "router", Short: "Text for the LAN's router, so that it sends the Docker networks to this host", Args: noArgs,
		Long: `Prints the routes that the LAN's router needs, in the words of that router, for pasting: one route for a whole pool where
nothing else lies in it. Warnings come on standard error. It changes nothing, on this host or elsewhere.`,
		Example: "labctl net router\nlabctl net router --style openwrt",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(styles, style) {
				return usageError("unknown style %q: one of %s", style, strings.Join(styles, ", "))
			}
			return a.with(cmd.Context(), func(c *client) error {
				var report apiv1.Envelope[apiv1.RouterItem]
				if err := c.get(cmd.Context(), "/v1/router?fresh=1&style="+url.QueryEscape(style), &report); err != nil {
					return err
				}
				notes := report.Notes
				if a.flags.output == formatTable || a.flags.output == formatWide {
					report.Notes = nil // not among what is for pasting
				}
				err := emit(a, report, func(i apiv1.RouterItem) string { return i.ID }, func(bool) {
					for _, item := range report.Items {
						for line := range strings.Lines(item.Text) {
							a.printf("%s\n", strings.TrimSuffix(line, "\n"))
						}
					}
				})
				if report.Notes == nil {
					a.remarks(notes)
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&style, "style", style, "the router: "+strings.Join(styles, ", "))
	_ = cmd.RegisterFlagCompletionFunc("style", cobra.FixedCompletions(styles, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}
