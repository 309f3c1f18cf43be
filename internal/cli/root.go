package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
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
	// server, tokenFile and caFile say which labd elsewhere is asked, and as whom.
	server, tokenFile, caFile string
}

// app is one run of labctl.
type app struct {
	flags       flags
	in          io.Reader
	out, stderr io.Writer
	// terminal is what out writes to, for the questions whether it is a terminal and how wide.
	terminal   io.Writer
	version    string
	timeoutSet bool
	// anyUser says that the command needs nothing of the host: a labd of the caller's own, root or not, can answer.
	anyUser bool
	// runs says that the command line was understood: what fails from there on is no wrong usage.
	runs bool
	// changing says that labd was told to carry out a plan.
	changing bool
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
	out := &checkedWriter{to: streams.Out}
	a := &app{in: streams.In, terminal: streams.Out, out: out, stderr: streams.Err, version: version}
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	var known *Error
	if err != nil && !a.runs && !errors.As(err, &known) {
		// cobra itself refused the line: an argument too many, two options that exclude each other.
		err = &Error{apiv1.ErrorUsage, err.Error(), cmd.CommandPath() + " --help"}
	}
	var verdict verdictError
	if out.err != nil && (err == nil || errors.As(err, &verdict)) {
		err = &Error{apiv1.ErrorInternal, "write the output: " + out.err.Error(), ""}
	}
	return a.report(ctx, wantsJSON(a.flags.output, args), err)
}

// checkedWriter keeps the first error of writing, so that an output that is cut short is no success.
type checkedWriter struct {
	to  io.Writer
	err error
}

func (w *checkedWriter) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	if w.err == nil {
		w.err = err
	}
	return n, err
}

// wantsJSON reports whether errors are to be JSON: by the option, or by args where a wrong option came before it.
func wantsJSON(output string, args []string) bool {
	for i, arg := range args {
		value, joined := "", false
		for _, name := range []string{"--output-format=", "--output=", "-o=", "-o"} {
			if value, joined = strings.CutPrefix(arg, name); joined {
				break
			}
		}
		if !joined && (arg == "--output" || arg == "--output-format") || arg == "-o" {
			value = strings.Join(args[i+1:min(i+2, len(args))], "")
		}
		if value == formatJSON || value == formatJSONPretty {
			return true
		}
	}
	return output == formatJSON
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "labctl",
		Short: "Explain and repair a Proxmox VE host: NVMe drives, dead storages, Docker networks in LXC",
		Long: `labctl asks labd, the operations daemon of this Proxmox VE host, and changes only what you agree to.

Exit codes: 0 done, nothing wrong found; 1 error; 2 wrong usage; 3 the worst finding is a warning; 4 a failure;
5 refused by a safety guard, or consent missing; 6 not permitted; 7 labd unreachable; 8 the state changed since the
plan was made; 130 interrupted.`,
		Example: `  labctl status
  labctl fix-storage --dry-run
  labctl explain storage.down`,
		Version:       a.version,
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
	root.SetVersionTemplate("labctl {{.Version}}\n")
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { a.help(cmd) })
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &Error{apiv1.ErrorUsage, err.Error(), cmd.CommandPath() + " --help"}
	})
	f := root.PersistentFlags()
	f.StringVarP(&a.flags.output, "output", "o", formatTable, "output `FORMAT`: table, wide, json, yaml or name")
	f.StringVar(&a.flags.output, "output-format", formatTable, "the same with PVE's words: text, json, json-pretty or yaml")
	f.DurationVar(&a.flags.timeout, "timeout", DefaultTimeout, "how long to wait for labd")
	f.BoolVar(&a.flags.noColor, "no-color", false, "no colours (also NO_COLOR, and whenever the output is no terminal)")
	f.BoolVarP(&a.flags.quiet, "quiet", "q", false, "print only what was asked for, no notes")
	f.StringVar(&a.flags.config, "config", "", "start a labd of this command's own with the configuration `FILE` (needs root)")
	f.BoolVar(&a.flags.local, "local", false, "do not ask the running labd: start one for this command only (needs root)")
	f.StringVar(&a.flags.server, "server", "", "ask the labd at `URL`, such as https://pve1:9718, by your own rights in PVE: exec, logs, port-forward and version")
	f.StringVar(&a.flags.tokenFile, "token-file", "", "`FILE` with your PVE API token for --server, one line user@realm!name=secret")
	f.StringVar(&a.flags.caFile, "ca-file", "", "`FILE` with the authority of --server's certificate; PVE's own is /etc/pve/pve-root-ca.pem")
	f.StringVar(&a.flags.socket, "socket", DefaultSocket, "where the running labd answers")
	root.AddGroup(groups()...)
	add := func(id string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = id
		}
		root.AddCommand(commands...)
	}
	add(groupLook, a.statusCommand(), a.checkNVMeCommand(), a.lintStorageCommand(), a.treeCommand(), a.explainCommand())
	add(groupRepair, a.fixStorageCommand(), a.netCommand(), a.rescueNVMeCommand())
	add(groupStreams, a.execCommand(), a.logsCommand(), a.portForwardCommand())
	add(groupPast, a.journalCommand(), a.undoCommand())
	add(groupLabd, a.silenceCommand(), a.notifyCommand(), a.configCommand(), a.setupCommand(), a.supportCommand(), a.versionCommand())
	root.SetHelpCommandGroupID(groupLabd)
	root.SetCompletionCommandGroupID(groupLabd)
	root.SetHelpCommand(helpCommand())
	root.CompletionOptions.HiddenDefaultCmd = false
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, name := range []string{"output", "output-format"} {
		_ = root.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(formatsOf(name), cobra.ShellCompDirectiveNoFileComp))
	}
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Short = "Print the script that completes commands and values in a shell"
			c.Long = "Prints the script for a shell. The package brings those for bash, zsh and fish. Values, such as the names of storages,\ncome from the running labd."
			c.Example = "  labctl completion bash > /etc/bash_completion.d/labctl"
		}
	}
	a.prepare(root)
	return root
}

// prepare gives every command what all have: suggestions, and a mark that says that the command line was right.
func (a *app) prepare(cmd *cobra.Command) {
	cmd.SuggestionsMinimumDistance = 2
	if cmd.RunE == nil && cmd.Run == nil { // a command of cobra's own that only has others below it
		cmd.Args = noArgs
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			a.runs = true
			return run(cmd, args)
		}
	}
	for _, c := range cmd.Commands() {
		a.prepare(c)
	}
}

// helpCommand is labctl help COMMAND. Unlike cobra's own it fails for a command that does not exist.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Help about a command", Example: "  labctl help fix-storage", GroupID: groupLabd,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			at, _, err := cmd.Root().Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			for _, c := range at.Commands() {
				if c.IsAvailableCommand() {
					names = append(names, c.Name()+"\t"+c.Short)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			at, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return &Error{apiv1.ErrorUsage, "there is no command " + quoted("labctl "+strings.Join(args, " ")), "labctl --help"}
			}
			return at.Help()
		},
	}
}

func (a *app) checkFlags() error {
	switch a.flags.output {
	case formatText:
		a.flags.output = formatTable
	case formatJSONPretty:
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
		return &Error{apiv1.ErrorUsage, "unknown command or argument " + quoted(args[0]) + " for " + cmd.CommandPath(), suggest(cmd, args[0])}
	}
	return nil
}

func exactlyOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return &Error{apiv1.ErrorUsage, cmd.CommandPath() + " takes one " + what, cmd.CommandPath() + " --help"}
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

// isTerminal reports whether f is a terminal that a person sits at.
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
	return a.root()
}
