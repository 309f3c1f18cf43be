package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

// maxSupportFile is the most that one file of a bundle may hold, in bytes.
const maxSupportFile = 2 << 20

func (a *app) supportCommand() *cobra.Command {
	var hide bool
	cmd := &cobra.Command{
		Use:   "support [FILE]",
		Short: "Put what labd knows into one file, for the person who helps you",
		Long: `Writes a .tar.gz with what labd reports: findings, drives, storages, networks, history, titles of the journal and the
configuration. Only listed fields get into it, and none of them holds a secret: no token, key or password, no value of
storage.cfg or of a guest's configuration, no log. MANIFEST.txt in it lists its contents. With - as FILE it writes to
standard output.`,
		Example: "  labctl support\n  labctl support --redact /tmp/bundle.tar.gz",
		Args:    atMostOne("file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *client) error {
				b, err := a.collectSupport(cmd.Context(), c, hide)
				if err != nil {
					return err
				}
				return a.writeSupport(b, strings.Join(args, ""))
			})
		},
	}
	cmd.Flags().BoolVar(&hide, "redact", false, "leave out what identifies this machine: serial numbers, ids, the node's name, mail addresses")
	return cmd
}

func atMostOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return &Error{apiv1.ErrorUsage, cmd.CommandPath() + " takes at most one " + what, cmd.CommandPath() + " --help"}
		}
		return nil
	}
}

// bundle is a support bundle in the making.
type bundle struct {
	node  string
	made  time.Time
	files []bundleFile
	// missing are the parts that labd did not answer, with the reason.
	missing []string
}

type bundleFile struct {
	name, what string
	data       []byte
	// left is how many items were left out for the sake of size.
	left int
}

// collectSupport asks labd for everything that a bundle holds. A part that it does not answer is named in the manifest.
func (a *app) collectSupport(ctx context.Context, c *client, hide bool) (*bundle, error) {
	var version apiv1.Version
	if err := c.get(ctx, "/v1/version", &version); err != nil {
		return nil, err
	}
	r := &supportReports{}
	b := &bundle{made: time.Now().UTC()}
	for _, part := range []struct {
		path string
		out  any
	}{
		{"/v1/status?fresh=1", &r.status},
		{"/v1/nvme", &r.nvme},
		{"/v1/storage", &r.storage},
		{"/v1/networks", &r.networks},
		{"/v1/history", &r.history},
		{"/v1/journal", &r.journal},
		{"/v1/notifications", &r.targets},
		{"/v1/config", &r.config},
	} {
		if err := c.get(ctx, part.path, part.out); err != nil {
			if errors.Is(err, context.Canceled) {
				return nil, err
			}
			b.missing = append(b.missing, scrub(fmt.Sprintf("%s: %v", part.path, err)))
		}
	}
	change := scrub
	b.node = r.status.Node
	if hide {
		redact := redactor(r.names())
		change = func(text string) string { return scrub(redact(text)) }
		b.node = "NODE"
	}
	v := supportVersion{Labctl: a.version, Labd: version.Labd, Kernel: version.Kernel, Node: b.node, Made: b.made, Redacted: hide}
	add(b, "version.json", "versions of labd, labctl and the kernel", []supportVersion{v}, change)
	add(b, "status.json", "one line for each job", r.status.Items, change)
	add(b, "findings.json", "findings: code, severity, subject, title, cause, evidence, titles of remedies", r.status.Findings, change)
	add(b, "history.json", "which findings came and went", r.history.Items, change)
	add(b, "nvme.json", "NVMe functions: model, serial number, firmware, link, errors, health, namespaces, incidents", r.nvme.Items, change)
	add(b, "storage.json", "storages: type, path, verdict, how many references", r.storage.Items, change)
	add(b, "networks.json", "Docker networks: subnets, verdict, routes and rules that labd wants", r.networks.Items, change)
	add(b, "journal.json", "titles of what labd changed, and how that went", r.journal.Items, change)
	add(b, "notifications.json", "targets of messages: whether they are reached, not where they are", r.targets.Items, change)
	add(b, "config.json", "the effective configuration; it names files with secrets and holds none", r.configuration(hide), change)
	return b, nil
}

// add puts a list into a bundle: of each item the fields that may be in one, every string of them through change, and as
// many items as there is room for.
func add[T any](b *bundle, name, what string, items []T, change func(string) string) {
	eachString(&items, change)
	total := len(items)
	for {
		var data bytes.Buffer
		writeJSON(&data, supportValue(reflect.ValueOf(items)))
		if data.Len() <= maxSupportFile || len(items) == 0 {
			b.files = append(b.files, bundleFile{name, what, data.Bytes(), total - len(items)})
			return
		}
		items = items[:len(items)/2]
	}
}

// manifest is the list of what is in a bundle.
func (b *bundle) manifest() string {
	var m strings.Builder
	fmt.Fprintf(&m, "Support bundle of labd on %s, made at %s.\n\n", escape(b.node), b.made.Format(time.RFC3339))
	m.WriteString("It is built from a list of fields. It holds no token, key or password, no value of storage.cfg, of a guest's\nconfiguration or of the journal, and no log. Text that looks like a secret is " + masked + ".\n\n")
	for _, f := range b.files {
		fmt.Fprintf(&m, "%-20s %8d bytes  %s\n", f.name, len(f.data), f.what)
		if f.left > 0 {
			fmt.Fprintf(&m, "%-20s %d items left out for the sake of size\n", "", f.left)
		}
	}
	for _, missing := range b.missing {
		fmt.Fprintf(&m, "missing: %s\n", escape(missing))
	}
	m.WriteString("\nSHA-256:\n")
	for _, f := range b.files {
		fmt.Fprintf(&m, "%x  %s\n", sha256.Sum256(f.data), f.name)
	}
	return m.String()
}

// pack writes a bundle as .tar.gz.
func (b *bundle) pack(w io.Writer) error {
	dir := "labd-support-" + b.made.Format("20060102T150405Z") + "/"
	zip := gzip.NewWriter(w)
	out := tar.NewWriter(zip)
	for _, f := range append([]bundleFile{{name: "MANIFEST.txt", data: []byte(b.manifest())}}, b.files...) {
		if err := out.WriteHeader(&tar.Header{Name: dir + f.name, Mode: 0o600, Size: int64(len(f.data)), ModTime: b.made, Format: tar.FormatPAX}); err != nil {
			return err
		}
		if _, err := out.Write(f.data); err != nil {
			return err
		}
	}
	return errors.Join(out.Close(), zip.Close())
}

// writeSupport writes a bundle to file, which must not be there, and says what is in it.
func (a *app) writeSupport(b *bundle, file string) error {
	var packed bytes.Buffer
	if err := b.pack(&packed); err != nil {
		return fmt.Errorf("pack the support bundle: %w", err)
	}
	if file == "-" {
		if isTerminal(a.terminal) {
			return usageError("a .tar.gz is not for a terminal: name a FILE, or redirect the output")
		}
		_, err := a.out.Write(packed.Bytes())
		return err
	}
	if file == "" {
		file = "labd-support-" + b.made.Format("20060102T150405Z") + ".tar.gz"
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return &Error{apiv1.ErrorInternal, "write the support bundle: " + err.Error(), "name another file: labctl support FILE"}
	}
	_, err = f.Write(packed.Bytes())
	if err := errors.Join(err, f.Close()); err != nil {
		return &Error{apiv1.ErrorInternal, "write the support bundle " + file + ": " + errors.Join(err, os.Remove(file)).Error(), "is the disk full?"}
	}
	if a.flags.output == formatJSON {
		writeJSON(a.out, map[string]any{"file": file, "bytes": packed.Len(), "manifest": b.manifest()})
		return nil
	}
	for line := range strings.Lines(b.manifest()) {
		a.raw(line)
	}
	a.printf("\n%s, %s bytes. Look into it before you give it away.\n", file, fmt.Sprint(packed.Len()))
	return nil
}
