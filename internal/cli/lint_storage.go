package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

func (a *app) lintStorageCommand() *cobra.Command {
	var major int
	cmd := &cobra.Command{
		Use:   "lint-storage [FILE]",
		Short: "How PVE reads a storage.cfg: what it ignores, what it would delete, what breaks",
		Long: `For a storage.cfg that was written by hand. lint-storage reads it exactly as PVE does. It shows which storages PVE finds,
what PVE would delete from the file at the next change of any storage, and what makes every change fail. It changes nothing.

Without FILE it reads the storage.cfg of this host. A FILE (- is standard input) needs neither a running labd nor root, nor
a PVE host. The exit code is 0 when PVE keeps everything, 3 when something is lost or read differently than it looks, 4 when
every change fails.`,
		Example: "  labctl lint-storage\n  labctl lint-storage /root/storage.cfg.new\n  labctl lint-storage --pve 8 /root/storage.cfg.new",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError("lint-storage takes at most one FILE")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if major != 0 && major != 8 && major != 9 {
				return usageError("--pve takes 8 or 9, the versions whose reading is known")
			}
			ask := func(ctx context.Context, c *client, out any) error {
				path := "/v1/storage-config"
				if major != 0 {
					path += "?major=" + itoa(major)
				}
				return c.get(ctx, path, out)
			}
			if len(args) == 1 {
				req, err := a.readStorageConfig(args[0])
				if err != nil {
					return err
				}
				req.Major = major
				a.anyUser = true
				ask = func(ctx context.Context, c *client, out any) error {
					return c.post(ctx, "/v1/storage-config", req, out)
				}
			}
			return a.with(cmd.Context(), func(c *client) error {
				var report apiv1.Envelope[apiv1.StorageConfig]
				if err := ask(cmd.Context(), c, &report); err != nil {
					return err
				}
				return a.lintReport(report)
			})
		},
	}
	cmd.Flags().IntVar(&major, "pve", 0, "read it as PVE `VERSION` 8 or 9 does (default: that of this host, else 9)")
	_ = cmd.RegisterFlagCompletionFunc("pve", cobra.FixedCompletions([]string{"8", "9"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// readStorageConfig reads the file as the caller, who may need no more rights than that.
func (a *app) readStorageConfig(name string) (req apiv1.StorageConfigRequest, err error) {
	in := a.in
	req.File = "stdin"
	if name != "-" {
		req.File = filepath.Base(name)
		f, err := os.Open(name)
		if err != nil {
			return req, &Error{apiv1.ErrorInternal, fmt.Sprintf("read the storage.cfg to look at: %v", err), ""}
		}
		defer f.Close()
		in = f
	}
	req.Data, err = io.ReadAll(io.LimitReader(in, apiv1.MaxStorageConfig+1))
	if err != nil {
		return req, fmt.Errorf("read the storage.cfg to look at: %w", err)
	}
	if len(req.Data) > apiv1.MaxStorageConfig {
		return req, &Error{apiv1.ErrorUsage, name + " is longer than 1 MiB, which PVE's cluster file system takes from no file", ""}
	}
	return req, nil
}

func (a *app) lintReport(report apiv1.Envelope[apiv1.StorageConfig]) error {
	err := emit(a, report, func(c apiv1.StorageConfig) string { return c.File }, func(wide bool) {
		for _, c := range report.Items {
			a.printStorageConfig(c, wide)
		}
	})
	if err != nil {
		return err
	}
	var all []apiv1.Finding
	for _, c := range report.Items {
		for _, h := range c.Hazards {
			all = append(all, apiv1.Finding{Severity: h.Severity})
		}
	}
	return checkExit(all)
}

func (a *app) printStorageConfig(c apiv1.StorageConfig, wide bool) {
	a.printf("%s as PVE %d reads it:\n\n", c.File, c.Major)
	states := make([]apiv1.Health, 0, len(c.Order))
	rows := make([][]string, 0, len(c.Order))
	for _, id := range c.Order.IDs() {
		row, state := storageRow(id, c.Sections[id])
		rows, states = append(rows, row), append(states, state)
	}
	if len(rows) > 0 {
		a.tableRows([]string{"STORAGE", "TYPE", "NODES", "CONTENT", "STATE"}, rows, func(r int) apiv1.Health { return states[r] })
	} else {
		a.printf("No storage.\n")
	}
	a.printHazards(c, apiv1.EffectBlocks, "Every change of any storage fails until this is repaired ("+c.WriteError+"):")
	a.printHazards(c, apiv1.EffectMisreads, "PVE reads this differently than it looks:")
	a.printHazards(c, apiv1.EffectLoses, "PVE's next change of any storage deletes this for good:")
	if wide {
		a.printHazards(c, apiv1.EffectHarmless, "Also changed by PVE's next write, without harm:")
		a.printLines("What PVE logs when it reads the file:", c.Warnings, func(l string) { a.line("  ", l) })
		if c.Written != nil {
			a.printLines("What PVE's next write leaves in the file:", strings.Split(strings.TrimRight(*c.Written, "\n"), "\n"), func(l string) { a.raw("  " + l) })
		}
	}
	switch err := checkHazards(c.Hazards); {
	case err == nil:
		a.printf("\nNothing is lost, and nothing blocks a change.\n")
	case len(c.Warnings) > 0 && !wide:
		a.printf("\n-o wide shows PVE's own words, and what its next write leaves in the file.\n")
	}
}

// checkHazards is an error when one of them is more than harmless.
func checkHazards(hazards []apiv1.StorageHazard) error {
	for _, h := range hazards {
		if h.Severity != apiv1.SeverityInfo {
			return errors.New(h.Text)
		}
	}
	return nil
}

func storageRow(id string, p apiv1.StorageProperties) (row []string, health apiv1.Health) {
	if p == nil {
		return []string{id, "", "", "", "rejected"}, apiv1.StorageMalformed.Health()
	}
	state := apiv1.StorageOK
	if fmt.Sprint(p["disable"]) == "1" {
		state = apiv1.StorageDisabled
	}
	nodes := listOf(p["nodes"])
	if nodes == "" {
		nodes = "all"
	}
	typ, _ := p["type"].(string)
	return []string{id, typ, nodes, listOf(p["content"]), string(state)}, state.Health()
}

// listOf joins a list that came as JSON.
func listOf(v any) string {
	items, _ := v.([]any)
	words := make([]string, 0, len(items))
	for _, item := range items {
		words = append(words, fmt.Sprint(item))
	}
	return strings.Join(words, ",")
}

func (a *app) printHazards(c apiv1.StorageConfig, effect apiv1.Effect, title string) {
	var lines []string
	for _, h := range c.Hazards {
		if h.Effect != effect {
			continue
		}
		place := "whole file"
		if h.Line > 0 {
			place = "line " + itoa(h.Line)
		}
		lines = append(lines, place+": "+h.Text)
	}
	a.printLines(title, lines, func(l string) { a.line("  ", l) })
}

func (a *app) printLines(title string, lines []string, show func(string)) {
	if len(lines) == 0 {
		return
	}
	a.printf("\n%s\n", title)
	for _, l := range lines {
		show(strings.ReplaceAll(l, "\t", "    "))
	}
}
