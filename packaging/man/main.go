// Command man writes the manual pages of labctl's commands and of labd.toml into a directory like /usr/share/man, from the
// commands and the reference themselves.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"labd/internal/cli"
	"labd/internal/config"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: man DIR VERSION; SOURCE_DATE_EPOCH dates the pages")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2], os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		fmt.Fprintln(os.Stderr, "write the manual pages:", err)
		os.Exit(1)
	}
}

func write(dir, version, epoch string) error {
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	date := time.Unix(seconds, 0).UTC().Format(time.DateOnly)
	for _, section := range []string{"man1", "man5"} {
		if err := os.MkdirAll(filepath.Join(dir, section), 0o755); err != nil {
			return err
		}
	}
	if err := writeCommands(cli.Commands(version), filepath.Join(dir, "man1"), version, date); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "man5", "labd.toml.5"), []byte(configPage(config.Reference(), version, date)), 0o644)
}

func writeCommands(cmd *cobra.Command, dir, version, date string) error {
	if !cmd.IsAvailableCommand() && cmd.HasParent() {
		return nil
	}
	name := pageName(cmd)
	if err := os.WriteFile(filepath.Join(dir, name+".1"), []byte(commandPage(cmd, version, date)), 0o644); err != nil {
		return err
	}
	for _, c := range cmd.Commands() {
		if err := writeCommands(c, dir, version, date); err != nil {
			return err
		}
	}
	return nil
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }
