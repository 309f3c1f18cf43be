package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

// exitCode carries the exit code of a command that ran in a container.
type exitCode int

func (exitCode) Error() string { return "the command failed" }

func (a *app) execCommand() *cobra.Command {
	var req apiv1.ExecRequest
	cmd := &cobra.Command{
		Use:   "exec [-i] [-t] TARGET -- COMMAND [ARG…]",
		Short: "Run a command in a Docker container of an LXC container",
		Long: targetHelp + `

The exit code is the command's. Ctrl-C without -t ends labctl; what runs in the container may go on, as with docker exec.`,
		Example: "  labctl exec 101/web -- nginx -t\n  labctl exec -it 101/web -- sh\n  labctl exec -i 101/web -- tar x -C /srv < site.tar",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return &Error{apiv1.ErrorUsage, "labctl exec takes a TARGET and, behind --, a command", "labctl exec 101/web -- sh -c 'ps aux'"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			req.Command = args[1:]
			return a.with(cmd.Context(), func(c *client) error { return a.exec(cmd.Context(), c, to, req) })
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&req.Stdin, "stdin", "i", false, "give the command this command's input")
	f.BoolVarP(&req.TTY, "tty", "t", false, "give the command a terminal")
	f.StringVarP(&req.User, "user", "u", "", "run it as this user, by name or number, with :GROUP")
	f.StringVarP(&req.WorkDir, "workdir", "w", "", "run it in this directory")
	f.StringArrayVarP(&req.Env, "env", "e", nil, "a variable for it, NAME=VALUE; may be given again")
	return cmd
}

// exec runs a command and waits for its end.
func (a *app) exec(ctx context.Context, c *client, to target, req apiv1.ExecRequest) error {
	terminal := a.inputTerminal()
	if req.TTY && terminal == nil {
		if !a.flags.quiet {
			fmt.Fprintln(a.stderr, "labctl: the input is no terminal; -t is ignored")
		}
		req.TTY = false
	}
	if req.TTY {
		req.Size = terminal.size()
	}
	var made apiv1.Envelope[apiv1.ExecItem]
	if err := c.post(ctx, to.path("exec"), req, &made); err != nil {
		return err
	}
	if len(made.Items) != 1 {
		return fmt.Errorf("labd made %d commands instead of one", len(made.Items))
	}
	id := made.Items[0].ID
	conn, err := c.upgrade(ctx, "/v1/exec/"+id+"/start", apiv1.ProtocolExec)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if req.TTY {
		restore, err := terminal.raw()
		if err != nil {
			return fmt.Errorf("set the terminal up: %w", err)
		}
		defer restore()
		stop := terminal.follow(func(size apiv1.TerminalSize) {
			// A window that is drawn for its old size is not worth an error.
			_ = c.post(ctx, "/v1/exec/"+id+"/resize", size, nil)
		})
		defer stop()
	}
	if req.Stdin {
		go func() {
			_, _ = io.Copy(conn, a.in)
			_ = conn.CloseWrite()
		}()
	} else if err := conn.CloseWrite(); err != nil {
		return fmt.Errorf("end the command's input: %w", err)
	}
	result, err := readStream(conn, a.out, a.stderr)
	switch {
	case err != nil:
		return err
	case result.Error != "":
		return &Error{apiv1.ErrorInternal, to.String() + ": " + result.Error, ""}
	case result.ExitCode != 0:
		return exitCode(result.ExitCode)
	}
	return nil
}
