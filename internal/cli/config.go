package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

func (a *app) configCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "The configuration in force, with every key",
		Long: `Prints the configuration that labd works with, as a configuration file. It never holds secrets, only the names of the
files that hold them. labd config --reference explains every key, labd config --check checks a file, and systemctl reload
labd makes labd use a changed file.`,
		Example: "  labctl config",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *client) error {
				var report apiv1.Envelope[apiv1.ConfigItem]
				if err := c.get(cmd.Context(), "/v1/config", &report); err != nil {
					return err
				}
				return emit(a, report, func(i apiv1.ConfigItem) string { return i.File }, func(bool) {
					for _, item := range report.Items {
						a.showConfig(item)
					}
				})
			})
		},
	}
}

func (a *app) showConfig(item apiv1.ConfigItem) {
	a.printf("# %s, in force since %s\n", item.File, item.LoadedAt.Local().Format(time.DateTime))
	if item.Error != "" {
		a.printf("# Refused at %s, so the older configuration stays in force: %s\n", item.TriedAt.Local().Format(time.DateTime), item.Error)
	}
	for line := range strings.Lines(item.Text) {
		a.raw(line)
	}
}
