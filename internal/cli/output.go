package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"

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

// PVE's words for them.
const (
	formatText       = "text"
	formatJSONPretty = "json-pretty"
)

func formats() []string { return []string{formatTable, formatWide, formatJSON, formatYAML, formatName} }

// formatsOf are the values of the option that takes labctl's words, or of the one that takes PVE's.
func formatsOf(option string) []string {
	if option == "output-format" {
		return []string{formatText, formatJSON, formatJSONPretty, formatYAML}
	}
	return formats()
}

// emit prints an envelope in the chosen format; ids and table are the forms for people.
func emit[T any](a *app, envelope apiv1.Envelope[T], id func(T) string, table func(wide bool)) error {
	switch a.flags.output {
	case formatJSON:
		writeJSON(a.out, envelope)
	case formatYAML:
		return a.emitYAML(envelope)
	case formatName:
		for _, item := range envelope.Items {
			a.raw(id(item))
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

// printf prints whole lines with every string argument escaped, wrapped to the width of the output. What is for pasting
// goes through raw instead.
func (a *app) printf(format string, args ...any) {
	for i, arg := range args {
		switch v := arg.(type) {
		case string:
			args[i] = escape(v)
		case error:
			args[i] = escape(v.Error())
		case fmt.Stringer:
			args[i] = escape(v.String())
		default:
			if value := reflect.ValueOf(arg); value.Kind() == reflect.String { // a word of the API
				args[i] = escape(value.String())
			}
		}
	}
	for line := range strings.Lines(fmt.Sprintf(format, args...)) {
		text := strings.TrimLeft(strings.TrimSuffix(line, "\n"), " ")
		indent := len(strings.TrimSuffix(line, "\n")) - len(text)
		first, rest := strings.Repeat(" ", indent), indent
		if indent > 0 {
			rest += columnGap
		}
		for i, part := range wrapText(text, a.width()-rest) {
			if i > 0 {
				first = strings.Repeat(" ", rest)
			}
			fmt.Fprintln(a.out, first+part)
		}
	}
}

// raw prints a line of foreign text as it is, however long: it is for pasting, or for a program.
func (a *app) raw(line string) { fmt.Fprintln(a.out, escape(strings.TrimSuffix(line, "\n"))) }

// painted is text that is escaped already and holds colour codes.
type painted struct{ text string }

func (a *app) notes(notes []string) {
	if a.flags.quiet {
		return
	}
	for _, n := range notes {
		a.line("note: ", n)
	}
}

// remarks prints notes where they are not among what was asked for.
func (a *app) remarks(notes []string) {
	if a.flags.quiet {
		return
	}
	for _, n := range notes {
		a.complain("note: ", n)
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
	return !a.flags.noColor && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(a.terminal)
}

// line prints text behind a lead, wrapped to the width of the output, the later lines below the text of the first. lead is
// labctl's own; text is foreign.
func (a *app) line(lead, text string) {
	for _, line := range hanging(lead, escape(text), a.width()) {
		fmt.Fprintln(a.out, line)
	}
}

// command prints a command for pasting, indented.
func (a *app) command(indent int, text string) {
	for _, line := range indented(wrapCommand(escape(text), a.width()-indent), indent) {
		fmt.Fprintln(a.out, line)
	}
}

// printPlan prints what labd would do.
func (a *app) printPlan(p apiv1.Plan) {
	a.line("", p.Title)
	for i, s := range p.Steps {
		a.line("  "+itoa(i+1)+". ", s.Title+" (risk: "+string(s.Risk)+")")
		a.line("       how:    ", s.How)
		a.line("       verify: ", s.Verify)
		switch {
		case s.Undo != "":
			a.line("       undo:   ", s.Undo)
		case !s.Undoable:
			a.line("       undo:   ", "cannot be taken back")
		}
	}
	for _, n := range p.Notes {
		a.line("  note: ", n)
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

// complain prints a line on standard error behind a lead.
func (a *app) complain(lead, text string) {
	for _, line := range hanging(lead, escape(text), a.width()) {
		fmt.Fprintln(a.stderr, line)
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
