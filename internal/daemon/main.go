package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"labd/internal/config"
)

// Exit codes of labd.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// gcPercent keeps the heap small: labd allocates little, and memory belongs to the guests.
const gcPercent = 50

// Streams are where labd reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Main runs labd until ctx ends and returns its exit code.
func Main(ctx context.Context, version string, args []string, streams Streams) int {
	if len(args) > 0 && args[0] == "config" {
		return configMain(args[1:], streams)
	}
	flags := flag.NewFlagSet("labd", flag.ContinueOnError)
	flags.SetOutput(streams.Err)
	file := flags.String("config", "", "configuration `FILE` (default "+config.DefaultFile+", which may be missing)")
	private := flags.String("private", "", "serve one labctl on a socket in `DIR`, without loops, until standard input ends")
	verbose := flags.Bool("verbose", false, "log every pass")
	sweepMarks := flags.Bool("sweep", false, "take away every route, chain and table with labd's mark, switch the network job off, and end")
	showVersion := flags.Bool("version", false, "print the version")
	flags.Usage = func() {
		fmt.Fprint(streams.Err, "Usage: labd [flags]\n       labd config [--check | --reference | --effective] [--config FILE]\n\nlabd is the operations daemon of a Proxmox VE host; labctl asks it. SIGHUP reloads the configuration.\n\n")
		flags.PrintDefaults()
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	case flags.NArg() > 0:
		fmt.Fprintf(streams.Err, "labd: unexpected argument %q\n", flags.Arg(0))
		return exitUsage
	}
	if *showVersion {
		fmt.Fprintln(streams.Out, version)
		return exitOK
	}
	cfg, err := config.Load(*file)
	if err != nil {
		fmt.Fprintf(streams.Err, "labd: %v\n", err)
		return exitUsage
	}
	if *sweepMarks {
		return sweep(ctx, cfg, streams.Err)
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	if *private != "" {
		level = slog.LevelError
	}
	log := slog.New(slog.NewTextHandler(streams.Err, &slog.HandlerOptions{Level: level, ReplaceAttr: dropTime}))
	debug.SetGCPercent(gcPercent)
	// A hangup that comes before labd is ready is kept for later; unhandled it would end the process.
	hangups := make(chan os.Signal, 1)
	if *private == "" {
		signal.Notify(hangups, syscall.SIGHUP)
		defer signal.Stop(hangups)
	}
	service, err := newService(ctx, *file, cfg, version, *private != "", log)
	switch {
	case err != nil:
	case *private != "":
		err = service.runPrivate(ctx, filepath.Join(*private, "labd.sock"), streams)
	default:
		err = service.run(ctx, hangups)
	}
	if err != nil {
		fmt.Fprintf(streams.Err, "labd: %v\n", err)
		return exitError
	}
	return exitOK
}

// dropTime leaves the time to the journal of systemd, which stamps each line.
func dropTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey && os.Getenv("JOURNAL_STREAM") != "" {
		return slog.Attr{}
	}
	return a
}
