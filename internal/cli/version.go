package cli

import (
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "The versions of labctl and of the running labd", Args: noArgs, Example: "  labctl version",
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := apiv1.Version{Labctl: a.version}
			c := newClient(a.flags.socket, a.flags.timeout, 0)
			if a.flags.server != "" {
				var err error
				if c, err = a.connectServer(); err != nil {
					return err
				}
			}
			defer c.close()
			var daemon apiv1.Version
			err := c.get(cmd.Context(), "/v1/version", &daemon)
			if err == nil {
				v.Labd, v.Kernel = daemon.Labd, daemon.Kernel
			}
			switch a.flags.output {
			case formatJSON:
				writeJSON(a.out, v)
			case formatYAML:
				return a.emitYAML(v)
			default:
				a.printf("labctl %s\n", v.Labctl)
				switch {
				case err == nil:
					a.printf("labd   %s on kernel %s\n", v.Labd, v.Kernel)
				case errors.Is(err, fs.ErrPermission):
					a.printf("labd   not known: you may not ask it at %s; run labctl as root, or as member of group labd\n", a.flags.socket)
				case absent(err):
					a.printf("labd   not running at %s\n", a.flags.socket)
				default:
					a.printf("labd   does not answer at %s\n", a.flags.socket)
				}
			}
			return nil
		},
	}
}
