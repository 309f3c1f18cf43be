package cli

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
	"labd/docs"
)

// completionTimeout is how long completion waits for labd: a person waits at the prompt.
const completionTimeout = 2 * time.Second

// source returns the values that may stand at a place, each with what it is behind a tab.
type source func(ctx context.Context, c *client) []string

// complete returns the completion of a command that takes up to most arguments, each from any of the sources; zero is no
// limit. What labd does not answer is not offered.
func (a *app) complete(most int, sources ...source) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		values := slices.DeleteFunc(a.values(cmd.Context(), sources...), func(v string) bool {
			value, _, _ := strings.Cut(v, "\t")
			return slices.Contains(args, value)
		})
		return values, cobra.ShellCompDirectiveNoFileComp
	}
}

// values asks the running labd, never one of the command's own: that would take too long.
func (a *app) values(ctx context.Context, sources ...source) []string {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	c := newClient(a.flags.socket, completionTimeout, completionTimeout)
	defer c.close()
	var out []string
	for _, s := range sources {
		out = append(out, s(ctx, c)...)
	}
	slices.Sort(out)
	return slices.CompactFunc(out, func(x, y string) bool {
		first, _, _ := strings.Cut(x, "\t")
		second, _, _ := strings.Cut(y, "\t")
		return first == second
	})
}

// flagValues completes the value of a flag of cmd from a source.
func (a *app) flagValues(cmd *cobra.Command, flag string, s source) {
	_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return a.values(cmd.Context(), s), cobra.ShellCompDirectiveNoFileComp
	})
}

// described is a value for completion: escaped, since a shell prints it, with a few words about it.
func described(value, text string) string {
	value, text = escape(value), escape(text)
	if text == "" {
		return value
	}
	return value + "\t" + text
}

// itemsOf asks labd for a report and makes values of its items.
func itemsOf[T any](path string, value func(T) []string) source {
	return func(ctx context.Context, c *client) []string {
		var report apiv1.Envelope[T]
		if c.get(ctx, path, &report) != nil {
			return nil
		}
		var out []string
		for _, item := range report.Items {
			out = append(out, value(item)...)
		}
		return out
	}
}

// The values that commands take.

func codeValues(context.Context, *client) []string { return docs.Codes() }

func storageValues(ctx context.Context, c *client) []string {
	return itemsOf("/v1/storage", func(i apiv1.StorageItem) []string {
		return []string{described(i.Storage, string(i.Verdict)+", "+i.Type)}
	})(ctx, c)
}

func driveValues(ctx context.Context, c *client) []string {
	return itemsOf("/v1/nvme", func(i apiv1.NVMeItem) []string {
		out := []string{described(strings.TrimPrefix(i.ID, "nvme/"), string(i.Verdict)+", "+model(i))}
		if i.Controller != "" {
			out = append(out, described(i.Controller, model(i)))
		}
		return out
	})(ctx, c)
}

func addressValues(ctx context.Context, c *client) []string {
	return itemsOf("/v1/nvme", func(i apiv1.NVMeItem) []string {
		return []string{described(strings.TrimPrefix(i.ID, "nvme/"), string(i.Verdict)+", "+model(i))}
	})(ctx, c)
}

func missingDriveValues(ctx context.Context, c *client) []string {
	return itemsOf("/v1/nvme", func(i apiv1.NVMeItem) []string {
		if !i.Missing || i.Memory == nil {
			return nil
		}
		return []string{described(i.Memory.Serial, i.Memory.Model)}
	})(ctx, c)
}

// subjectValues are the subjects of findings, each with its code.
func subjectValues(ctx context.Context, c *client) []string {
	return itemsOf("/v1/findings", func(f apiv1.Finding) []string { return []string{described(f.Subject, f.Code)} })(ctx, c)
}

// thingValues are all that may become a subject: storages, NVMe functions, networks.
func thingValues(ctx context.Context, c *client) []string {
	return slices.Concat(
		itemsOf("/v1/storage", func(i apiv1.StorageItem) []string { return []string{described(i.ID, string(i.Verdict))} })(ctx, c),
		itemsOf("/v1/nvme", func(i apiv1.NVMeItem) []string { return []string{described(i.ID, model(i))} })(ctx, c),
		itemsOf("/v1/networks", func(i apiv1.NetworkItem) []string { return []string{described(i.ID, string(i.Verdict))} })(ctx, c),
	)
}

// probeValues are the addresses of Docker containers.
func probeValues(ctx context.Context, c *client) []string {
	return itemsOf("/v1/tree", func(i apiv1.TreeItem) []string {
		_, address, ok := cutLast(i.State, ", ")
		if i.Kind != "network" || !ok || strings.Trim(address, "0123456789abcdef.:") != "" || strings.Trim(address, "0123456789") == "" {
			return nil
		}
		return []string{described(address, i.ID)}
	})(ctx, c)
}

func cutLast(text, separator string) (before, after string, found bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(separator):], true
}

func entryValues(ctx context.Context, c *client) []string {
	return itemsOf("/v1/journal", func(i apiv1.JournalItem) []string { return []string{described(i.ID, i.Title)} })(ctx, c)
}

func undoableValues(ctx context.Context, c *client) []string {
	return itemsOf("/v1/journal", func(i apiv1.JournalItem) []string {
		if !i.Undoable || i.UndoneBy != "" {
			return nil
		}
		return []string{described(i.ID, i.Title)}
	})(ctx, c)
}

func silenceValues(ctx context.Context, c *client) []string {
	return itemsOf("/v1/silences", func(i apiv1.SilenceItem) []string { return []string{described(i.ID, silenceTarget(i))} })(ctx, c)
}

func targetValues(ctx context.Context, c *client) []string {
	return itemsOf("/v1/notifications", func(i apiv1.NotificationItem) []string { return []string{described(i.ID, i.Kind)} })(ctx, c)
}

func kernelValues(ctx context.Context, c *client) []string {
	var out []string
	var version apiv1.Version
	if c.get(ctx, "/v1/version", &version) == nil && version.Kernel != "" {
		out = append(out, described(version.Kernel, "runs now"))
	}
	installed, _ := filepath.Glob("/boot/vmlinuz-*") // the pattern is right
	for _, file := range installed {
		if release := strings.TrimPrefix(file, "/boot/vmlinuz-"); release != version.Kernel {
			out = append(out, described(release, "installed"))
		}
	}
	return out
}
