package daemon

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"labd/internal/config"
)

// configMain is labd config: it reads the configuration and never starts anything.
func configMain(args []string, streams Streams) int {
	flags := flag.NewFlagSet("labd config", flag.ContinueOnError)
	flags.SetOutput(streams.Err)
	file := flags.String("config", "", "configuration `FILE` (default "+config.DefaultFile+", which may be missing)")
	check := flags.Bool("check", false, "only say whether the configuration is valid (exit 2 when it is not)")
	reference := flags.Bool("reference", false, "print every key with its default and what it does")
	effective := flags.Bool("effective", false, "print the configuration that labd would work with (the default)")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	case flags.NArg() > 0:
		fmt.Fprintf(streams.Err, "labd config: unexpected argument %q; name a file with --config\n", flags.Arg(0))
		return exitUsage
	case btoi(*check)+btoi(*reference)+btoi(*effective) > 1:
		fmt.Fprintln(streams.Err, "labd config: only one of --check, --reference and --effective")
		return exitUsage
	}
	if *reference {
		fmt.Fprint(streams.Out, config.Reference())
		return exitOK
	}
	cfg, err := config.Load(*file)
	if err != nil {
		fmt.Fprintf(streams.Err, "labd: %v\n", err)
		return exitUsage
	}
	if *check {
		for _, problem := range cfg.SecretFiles() {
			fmt.Fprintf(streams.Err, "labd: warning: %s\n", problem)
		}
		what := config.FileName(*file)
		if _, err := os.Stat(what); err != nil {
			what += " (missing; the defaults)"
		}
		fmt.Fprintf(streams.Out, "%s: valid\n", what)
		return exitOK
	}
	text, err := cfg.Text()
	if err != nil {
		fmt.Fprintf(streams.Err, "labd: %v\n", err)
		return exitError
	}
	fmt.Fprint(streams.Out, text)
	return exitOK
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
