package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// page is a manual page in the making, in the macros of man(7).
type page struct{ b strings.Builder }

func newPage(name string, section int, version, date string) *page {
	p := &page{}
	fmt.Fprintf(&p.b, ".TH %s %d %s %s labd\n", quote(strings.ToUpper(name)), section, quote(date), quote("labd "+version))
	p.b.WriteString(".nh\n.ad l\n") // no hyphens in names of files and options
	return p
}

func (p *page) section(title string) { fmt.Fprintf(&p.b, ".SH %s\n", quote(title)) }

// text writes paragraphs, which are apart by an empty line; indented lines stay lines of their own.
func (p *page) text(text string) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "":
			p.b.WriteString(".PP\n")
		case strings.HasPrefix(line, "  "):
			fmt.Fprintf(&p.b, ".br\n%s\n", roff(strings.TrimSpace(line)))
		default:
			fmt.Fprintln(&p.b, roff(line))
		}
	}
}

// term writes a word and what it means.
func (p *page) term(word, text string) {
	fmt.Fprintf(&p.b, ".TP\n\\fB%s\\fR\n%s\n", roff(word), roff(text))
}

// example writes lines as they are.
func (p *page) example(text string) {
	p.b.WriteString(".PP\n.nf\n.RS 4\n")
	for line := range strings.Lines(text) {
		fmt.Fprintln(&p.b, roff(strings.TrimRight(line, "\n")))
	}
	p.b.WriteString(".RE\n.fi\n")
}

// roff escapes what means something to roff (groff_char(7)).
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "…", "...").Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return text
}

func quote(text string) string { return `"` + roff(strings.ReplaceAll(text, `"`, "")) + `"` }

// exitCodes are those of every command.
var exitCodes = [][2]string{
	{"0", "Done, and nothing wrong was found."},
	{"1", "An error."},
	{"2", "Wrong usage."},
	{"3", "The worst that was found is a warning, or a job cannot tell."},
	{"4", "The worst that was found is a failure."},
	{"5", "Refused by a safety guard, or consent is missing."},
	{"6", "Not permitted."},
	{"7", "labd does not answer, or does not run and the caller is not root."},
	{"8", "The state changed since the plan was made; nothing was done."},
	{"130", "Interrupted."},
}

var environment = [][2]string{
	{"NO_COLOR", "When it is set and not empty, the output has no colours."},
	{"TERM", "With the value dumb the output has no colours."},
	{"COLUMNS", "How wide the output is, where it is no terminal. Without it lines are not wrapped."},
}

var files = [][2]string{
	{"/run/labd/labd.sock", "Where the running labd answers. root may change things, members of group labd may read."},
	{"/etc/labd/labd.toml", "The configuration of labd, see labd.toml(5)."},
	{"/usr/share/doc/labd", "The documentation; findings/ holds a page for each finding."},
}

// commandPage is the page of one command.
func commandPage(cmd *cobra.Command, version, date string) string {
	p := newPage(pageName(cmd), 1, version, date)
	p.section("NAME")
	fmt.Fprintf(&p.b, "%s \\- %s\n", roff(pageName(cmd)), roff(lowerFirst(cmd.Short)))
	p.section("SYNOPSIS")
	use := cmd.UseLine()
	if cmd.HasAvailableSubCommands() && !strings.Contains(cmd.Use, " ") {
		use = cmd.CommandPath() + " COMMAND [flags]"
	}
	fmt.Fprintf(&p.b, "\\fB%s\\fR\n", roff(strings.ReplaceAll(use, "[flags]", "[OPTION...]")))
	p.section("DESCRIPTION")
	if cmd.Long != "" {
		p.text(cmd.Long)
	} else {
		p.text(cmd.Short + ".")
	}
	if cmd.HasAvailableSubCommands() {
		p.section("COMMANDS")
		p.commands(cmd)
	}
	if flags := cmd.LocalNonPersistentFlags(); flags.HasAvailableFlags() && cmd.HasParent() {
		p.section("OPTIONS")
		p.flags(flags)
	}
	p.section("OPTIONS OF EVERY COMMAND")
	p.flags(cmd.Root().PersistentFlags())
	if cmd.Example != "" {
		p.section("EXAMPLES")
		p.example(trimIndent(cmd.Example))
	}
	for _, list := range []struct {
		title string
		terms [][2]string
	}{{"EXIT STATUS", exitCodes}, {"ENVIRONMENT", environment}, {"FILES", files}} {
		p.section(list.title)
		for _, t := range list.terms {
			p.term(t[0], t[1])
		}
	}
	p.section("SEE ALSO")
	p.seeAlso(cmd)
	return p.b.String()
}

// commands lists what is below cmd, with a sentence each.
func (p *page) commands(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			p.term(c.Name(), c.Short+". See "+pageName(c)+"(1).")
		}
	}
}

func (p *page) flags(set *pflag.FlagSet) {
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		value, text := pflag.UnquoteUsage(f)
		word := "--" + f.Name
		if f.Shorthand != "" {
			word = "-" + f.Shorthand + ", " + word
		}
		if value != "" {
			word += " " + strings.ToUpper(value)
		}
		if f.DefValue != "" && f.Value.Type() != "bool" && f.DefValue != "0" {
			text += "; the default is " + f.DefValue
		}
		p.term(word, upperFirst(text)+".")
	})
}

func (p *page) seeAlso(cmd *cobra.Command) {
	var names []string
	if cmd.HasParent() {
		names = append(names, pageName(cmd.Parent())+"(1)")
	}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, pageName(c)+"(1)")
		}
	}
	names = append(names, "labd(8)", "labd.toml(5)")
	fmt.Fprintln(&p.b, roff(strings.Join(names, ", ")))
}

var (
	tomlSection = regexp.MustCompile(`^\[(.+)\]$`)
	tomlKey     = regexp.MustCompile(`^(\w+)\s*=\s*(.*?)\s*(?:#\s*(.*))?$`)
)

// configPage is labd.toml(5): each key of the reference with its default and what it does.
func configPage(reference, version, date string) string {
	p := newPage("labd.toml", 5, version, date)
	p.section("NAME")
	p.b.WriteString("labd.toml \\- configuration of labd\n")
	p.section("DESCRIPTION")
	p.text(`/etc/labd/labd.toml is the configuration of labd(8), in TOML. Every key has a default, so that the file may be empty or
missing. A key that labd does not know is an error, which names the file, the line and the nearest key.

"labd config --check" checks the file, and "systemctl reload labd" makes labd use it. A wrong file is refused as a whole: the
old configuration stays in force.`)
	for line := range strings.Lines(reference) {
		line = strings.TrimSpace(line)
		if m := tomlSection.FindStringSubmatch(line); m != nil {
			p.section("SECTION [" + m[1] + "]")
			continue
		}
		if m := tomlKey.FindStringSubmatch(line); m != nil {
			text := "The default is " + m[2] + "."
			if m[3] != "" {
				text = strings.TrimRight(m[3], ".") + ". " + text
			}
			p.term(m[1], text)
		}
	}
	p.section("EXAMPLES")
	p.example("[network]\nmode = \"reconcile\"\n\n[notify]\nmail_to = [\"root\"]\n")
	p.section("FILES")
	p.term("/etc/labd/labd.toml", "The configuration.")
	p.section("SEE ALSO")
	fmt.Fprintln(&p.b, roff("labd(8), labctl-config(1), /usr/share/doc/labd/configuration.md"))
	return p.b.String()
}

func lowerFirst(s string) string {
	if len(s) > 1 && s[1] >= 'a' && s[1] <= 'z' || strings.HasPrefix(s, "A ") {
		return strings.ToLower(s[:1]) + s[1:]
	}
	return s
}

func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func trimIndent(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.Join(lines, "\n") + "\n"
}
