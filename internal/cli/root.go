package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Streams are where labctl reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// flags are the global flags.
type flags struct {
	output  string
	timeout time.Duration
	noColor bool
	quiet   bool
	config  string
	local   bool
	socket  string
}

// app is one run of labctl.
type app struct {
	flags       flags
	in          io.Reader
	out, stderr io.Writer
	version     string
	timeoutSet  bool
	// anyUser says that the command needs nothing of the host: a labd of the caller's own, root or not, can answer.
	anyUser bool
}

// DefaultTimeout is how long labctl waits for an answer.
const DefaultTimeout = 30 * time.Second

// changeTimeout is the timeout for requests that change something: none unless the user gave one.
func (a *app) changeTimeout() time.Duration {
	if a.timeoutSet {
		return a.flags.timeout
	}
	return 0
}

// Run runs labctl with args and returns its exit code.
func Run(ctx context.Context, version string, args []string, streams Streams) int {
	a := &app{in: streams.In, out: streams.Out, stderr: streams.Err, version: version}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	return report(ctx, a.stderr, a.flags.output == formatJSON, err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "labctl",
		Short: "Explain and repair a Proxmox VE host: NVMe drives, dead storages, Docker networks in LXC",
		Long: `labctl asks labd, the operations daemon of this Proxmox VE host, and changes only what you agree to.

Exit codes: 0 done, nothing wrong found; 1 error; 2 wrong usage; 3 the worst finding is a warning; 4 a failure;
5 refused by a safety guard, or consent missing; 6 not permitted; 7 labd unreachable; 8 the state changed since the
plan was made; 130 interrupted.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.timeoutSet = cmd.Flags().Changed("timeout")
			return a.checkFlags()
		},
	}
	root.SetOut(a.out)
	root.SetErr(a.stderr)
	root.SetIn(a.in)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &Error{"usage", err.Error(), cmd.CommandPath() + " --help"}
	})
	f := root.PersistentFlags()
	f.StringVarP(&a.flags.output, "output", "o", formatTable, "output format: table, wide, json, yaml or name")
	f.StringVar(&a.flags.output, "output-format", formatTable, "the same with PVE's words: text, json, json-pretty or yaml")
	f.DurationVar(&a.flags.timeout, "timeout", DefaultTimeout, "how long to wait for labd")
	f.BoolVar(&a.flags.noColor, "no-color", false, "no colours (also NO_COLOR, and whenever the output is no terminal)")
	f.BoolVarP(&a.flags.quiet, "quiet", "q", false, "print only what was asked for, no remarks")
	f.StringVar(&a.flags.config, "config", "", "configuration for a labd of this command's own; implies --local")
	f.BoolVar(&a.flags.local, "local", false, "do not ask the running labd: start one for this command only (needs root)")
	f.StringVar(&a.flags.socket, "socket", DefaultSocket, "where the running labd answers")
	root.AddCommand(a.statusCommand(), a.checkNVMeCommand(), a.rescueNVMeCommand(), a.fixStorageCommand(), a.netCommand(), a.treeCommand(), a.journalCommand(), a.undoCommand(), a.configCommand(), a.silenceCommand(), a.notifyCommand(), a.versionCommand())
	root.AddCommand(a.lintStorageCommand(), a.setupCommand(), a.supportCommand())
	root.CompletionOptions.HiddenDefaultCmd = false
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats(), cobra.ShellCompDirectiveNoFileComp))
	return root
}

func (a *app) checkFlags() error {
	switch a.flags.output {
	case "text":
		a.flags.output = formatTable
	case "json-pretty":
		a.flags.output = formatJSON
	case formatTable, formatWide, formatJSON, formatYAML, formatName:
	default:
		given := a.flags.output
		a.flags.output = formatTable
		return usageError("unknown output format %q: one of %s", given, strings.Join(formats(), ", "))
	}
	if a.flags.timeout <= 0 {
		return usageError("--timeout must be more than zero")
	}
	return nil
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &Error{"usage", "unknown command or argument " + quoted(args[0]) + " for " + cmd.CommandPath(), cmd.CommandPath() + " --help"}
	}
	return nil
}

func exactlyOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return &Error{"usage", cmd.CommandPath() + " takes one " + what, cmd.CommandPath() + " --help"}
		}
		return nil
	}
}

// with connects, runs do and disconnects.
func (a *app) with(ctx context.Context, do func(c *client) error) error {
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	return do(c)
}

// isTerminal tells whether f is a terminal that a person sits at.
func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && !errors.Is(terminalError(file), errNoTerminal)
}

// Commands returns labctl's commands without anything to run them on, for what is generated from them: man pages, and
// tests of the documentation.
func Commands(version string) *cobra.Command {
	a := &app{in: strings.NewReader(""), out: io.Discard, stderr: io.Discard, version: version}
	root := a.root()
	root.InitDefaultCompletionCmd()
	return root
}
