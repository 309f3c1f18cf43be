package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/goccy/go-yaml"
	"golang.org/x/sys/unix"

	apiv1 "labd/api/v1"
)

// Output formats.
const (
	formatTable = "table"
	formatWide  = "wide"
	formatJSON  = "json"
	formatYAML  = "yaml"
	formatName  = "name"
)

func formats() []string { return []string{formatTable, formatWide, formatJSON, formatYAML, formatName} }

// emit prints an envelope in the chosen format; ids and table are the forms for people.
func emit[T any](a *app, envelope apiv1.Envelope[T], id func(T) string, table func(wide bool)) error {
	switch a.flags.output {
	case formatJSON:
		writeJSON(a.out, envelope)
	case formatYAML:
		return a.emitYAML(envelope)
	case formatName:
		for _, item := range envelope.Items {
			a.printf("%s\n", id(item))
		}
	default:
		table(a.flags.output == formatWide)
		a.notes(envelope.Notes)
	}
	return nil
}

func (a *app) emitYAML(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	text, err := yaml.JSONToYAML(data)
	if err != nil {
		return fmt.Errorf("encode as YAML: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		fmt.Fprintln(a.out, escape(strings.TrimSuffix(line, "\n")))
	}
	return nil
}

// printf prints with every string argument escaped.
func (a *app) printf(format string, args ...any) {
	for i, arg := range args {
		switch v := arg.(type) {
		case string:
			args[i] = escape(v)
		case error:
			args[i] = escape(v.Error())
		case fmt.Stringer:
			args[i] = escape(v.String())
		}
	}
	fmt.Fprintf(a.out, format, args...)
}

// painted is text that is escaped already and holds colour codes.
type painted struct{ text string }

func (a *app) notes(notes []string) {
	if a.flags.quiet {
		return
	}
	for _, n := range notes {
		a.printf("note: %s\n", n)
	}
}

// remarks prints notes where they are not among what was asked for.
func (a *app) remarks(notes []string) {
	if a.flags.quiet {
		return
	}
	for _, n := range notes {
		fmt.Fprintf(a.stderr, "note: %s\n", escape(n))
	}
}

// tableRows prints aligned columns. Colour is put on the finished line, since tabwriter counts its codes as width.
func (a *app) tableRows(header []string, rows [][]string, health func(row int) apiv1.Health) {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(header, "\t"))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = strings.ReplaceAll(escape(cell), "\t", " ")
			if cells[i] == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	_ = w.Flush()
	for i, line := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
		line = strings.TrimRight(line, " ")
		if i > 0 && health != nil {
			line = a.paint(health(i-1), line).text
		}
		fmt.Fprintln(a.out, line)
	}
}

// paint colours escaped text by how well what it speaks of is, where colours are on.
func (a *app) paint(health apiv1.Health, escaped string) painted {
	code := ""
	switch health {
	case apiv1.HealthFail:
		code = "31"
	case apiv1.HealthWarn:
		code = "33"
	case apiv1.HealthOK:
		code = "32"
	case apiv1.HealthInfo:
		code = "36"
	}
	if code == "" || !a.colour() {
		return painted{escaped}
	}
	return painted{"\x1b[" + code + "m" + escaped + "\x1b[0m"}
}

func (a *app) colour() bool {
	return !a.flags.noColor && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(a.out)
}

// explain prints findings one after another: what, evidence, cause, what to do.
func (a *app) explain(findings []apiv1.Finding) {
	for _, f := range findings {
		fmt.Fprintf(a.out, "\n%s\n", a.paint(f.Severity.Health(), escape(fmt.Sprintf("%s  %s: %s", strings.ToUpper(string(f.Severity)), f.Subject, f.Title))).text)
		if f.Cause != "" {
			a.printf("  cause:    %s (%s)\n", f.Cause, f.Confidence)
		} else {
			a.printf("  cause:    unknown\n")
		}
		for _, e := range f.Evidence {
			a.printf("  evidence: %s: %s\n", e.Source, e.Text)
		}
		for _, d := range f.DependsOn {
			a.printf("  because:  %s of %s\n", d.Code, d.Subject)
		}
		switch {
		case f.State == apiv1.StateSilenced && f.Silence != nil:
			a.printf("  silenced: until %s by %s: %s (silence %s)\n", f.Silence.Until.Local().Format(time.DateTime), f.Silence.Actor, f.Silence.Reason, f.Silence.ID)
		case f.State == apiv1.StateConsequence && f.Behind != nil:
			a.printf("  hidden:   behind %s of %s\n", f.Behind.Code, f.Behind.Subject)
		case f.State == apiv1.StatePending:
			a.printf("  hidden:   too young to tell whether it lasts\n")
		}
		for i, r := range f.Remedies {
			a.printf("  remedy %s: %s (risk: %s)\n", strconv.Itoa(i+1), r.Title, r.Risk)
			for _, c := range r.Commands {
				a.printf("      %s\n", c)
			}
		}
		if f.Since != nil {
			a.printf("  code:     %s, since %s\n", f.Code, f.Since.Local().Format(time.DateTime))
		}
	}
}

// printPlan prints what labd would do.
func (a *app) printPlan(p apiv1.Plan) {
	a.printf("%s\n", p.Title)
	for i, s := range p.Steps {
		a.printf("  %s. %s (risk: %s)\n", strconv.Itoa(i+1), s.Title, s.Risk)
		a.printf("       how:    %s\n", s.How)
		a.printf("       verify: %s\n", s.Verify)
		switch {
		case s.Undo != "":
			a.printf("       undo:   %s\n", s.Undo)
		case !s.Undoable:
			a.printf("       undo:   cannot be taken back\n")
		}
	}
	for _, n := range p.Notes {
		a.printf("  note: %s\n", n)
	}
}

// size prints bytes the way drives are sold.
func size(bytes int64) string {
	switch {
	case bytes <= 0:
		return ""
	case bytes >= 1e12:
		return strconv.FormatFloat(float64(bytes)/1e12, 'f', 2, 64) + " TB"
	case bytes >= 1e9:
		return strconv.FormatFloat(float64(bytes)/1e9, 'f', 1, 64) + " GB"
	default:
		return strconv.FormatFloat(float64(bytes)/1e6, 'f', 1, 64) + " MB"
	}
}

func quoted(s string) string { return strconv.Quote(s) }

var errNoTerminal = errors.New("not a terminal")

// terminalError asks the kernel for the terminal's settings: only a terminal has any (tcgetattr(3)).
func terminalError(f *os.File) error {
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return errNoTerminal
	}
	return nil
}
