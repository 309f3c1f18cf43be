package cli

import (
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

// routerFlags are the flags of labctl net router.
type routerFlags struct {
	style, hosts string
	remove       bool
}

func (a *app) netRouterCommand() *cobra.Command {
	styles, formats := apiv1.RouterStyles(), apiv1.HostsFormats()
	flags := routerFlags{style: styles[0]}
	cmd := &cobra.Command{
		Use: "router", Short: "Routes for the router of your LAN, so that it sends the Docker networks to this host", Args: noArgs,
		Long: `Prints what the router of your LAN, its DHCP server or a client needs, written for that program, so that you can paste it.
It is one route for a whole pool where nothing else lies in the pool. The text says where it goes, how to test it from a
client and how to undo it. Pasting it twice, or again after a change, leaves what is wanted and nothing else. Warnings come
on standard error. It changes nothing, on this host or elsewhere.

With --hosts it prints names for the DNS server instead: container.project.ct for each Docker container that is reached.`,
		Example: `  labctl net router
  labctl net router --style openwrt
  labctl net router --style openwrt --remove
  labctl net router --hosts
  labctl net router --hosts=pihole`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := flags.path(cmd.Flags().Changed("style"))
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(c *client) error {
				var report apiv1.Envelope[apiv1.RouterItem]
				if err := c.get(cmd.Context(), path, &report); err != nil {
					return err
				}
				text := a.flags.output == formatTable || a.flags.output == formatWide
				notes := report.Notes
				if text {
					report.Notes = nil // not among what is for pasting
				}
				err := emit(a, report, func(i apiv1.RouterItem) string { return i.ID }, func(bool) {
					for _, item := range report.Items {
						for line := range strings.Lines(item.Text) {
							a.raw(line)
						}
					}
				})
				if text {
					a.remarks(notes)
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&flags.style, "style", flags.style, "what takes the routes: "+strings.Join(styles, ", "))
	cmd.Flags().BoolVar(&flags.remove, "remove", false, "print what takes away again what the style's text made")
	cmd.Flags().StringVar(&flags.hosts, "hosts", "", "print names for a DNS server instead of routes: "+strings.Join(formats, ", "))
	cmd.Flags().Lookup("hosts").NoOptDefVal = formats[0]
	_ = cmd.RegisterFlagCompletionFunc("style", cobra.FixedCompletions(styles, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("hosts", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// path returns what to ask labd for.
func (f routerFlags) path(styleGiven bool) (string, error) {
	if f.hosts != "" {
		if f.remove {
			return "", usageError("--hosts prints names and says how to undo them; --remove is for routes")
		}
		// --hosts --style pihole means the names for Pi-hole.
		if styleGiven {
			format, _, _ := strings.Cut(f.style, "-")
			if !slices.Contains(apiv1.HostsFormats(), format) {
				return "", usageError("there are no names for the style %q; --hosts=FORMAT takes %s", f.style, strings.Join(apiv1.HostsFormats(), ", "))
			}
			f.hosts = format
		}
		if !slices.Contains(apiv1.HostsFormats(), f.hosts) {
			return "", usageError("unknown format of names %q: one of %s", f.hosts, strings.Join(apiv1.HostsFormats(), ", "))
		}
		return "/v1/router?fresh=1&hosts=" + url.QueryEscape(f.hosts), nil
	}
	if !slices.Contains(apiv1.RouterStyles(), f.style) {
		return "", usageError("unknown style %q: one of %s", f.style, strings.Join(apiv1.RouterStyles(), ", "))
	}
	path := "/v1/router?fresh=1&style=" + url.QueryEscape(f.style)
	if f.remove {
		path += "&remove=1"
	}
	return path, nil
}
