package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	file := flags.String("equivalent", "test/mutants/equivalent.txt", "`file` of mutants that change nothing that can be seen, each with its reason")
	least := flags.Float64("at-least", 0, "fail below so many `percent` killed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	equivalent, err := readEquivalent(*file)
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range flags.Args() {
		r, err := examine(ctx, path, equivalent, func(done, of int) {
			if done%10 == 0 {
				fmt.Fprintf(progress, "\r%s %d/%d ", path, done, of)
			}
		})
		fmt.Fprint(progress, "\r")
		if err != nil {
			return err
		}
		percent := 100.0
		if r.total > 0 {
			percent = 100 * float64(r.killed) / float64(r.total)
		}
		for _, m := range r.survivors {
			fmt.Fprintf(out, "  survives      %-24s %s/%s\n", m.Pos, r.pkg, m.Key)
		}
		for _, m := range r.unreached {
			fmt.Fprintf(out, "  not reached   %-24s %s/%s\n", m.Pos, r.pkg, m.Key)
		}
		for _, key := range r.notAnyLonger {
			errs = append(errs, fmt.Errorf("%s names a mutant that there is not: %s", *file, key))
		}
		fmt.Fprintf(out, "%-28s %4d of %4d killed, %3.0f %%; %d equivalent\n", r.pkg, r.killed, r.total, percent, len(r.equivalent))
		if percent < *least {
			errs = append(errs, fmt.Errorf("%s: %.1f %% of the mutants are killed, less than %.0f %%", r.pkg, percent, *least))
		}
	}
	return errors.Join(errs...)
}

// readEquivalent reads lines "key ## reason"; empty lines and lines that begin with # are for people.
func readEquivalent(name string) (map[string]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[string]string{}
	for scanner := bufio.NewScanner(f); scanner.Scan(); {
		line := strings.TrimSpace(scanner.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, reason, found := strings.Cut(line, " ## ")
		if !found || strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("%s: a mutant without a reason: %s", name, line)
		}
		out[strings.TrimSpace(key)] = reason
	}
	return out, nil
}
