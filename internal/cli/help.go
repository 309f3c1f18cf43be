package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The groups of labctl's commands, in the order of the help.
const (
	groupLook    = "look"
	groupRepair  = "repair"
	groupStreams = "streams"
	groupPast    = "past"
	groupLabd    = "labd"
)

func groups() []*cobra.Group {
	return []*cobra.Group{
		{ID: groupLook, Title: "See what is wrong:"},
		{ID: groupRepair, Title: "Repair it:"},
		{ID: groupStreams, Title: "Enter a Docker container:"},
		{ID: groupPast, Title: "See what labd changed, and take it back:"},
		{ID: groupLabd, Title: "labd itself:"},
	}
}

// helpWidth is the widest that help gets: longer lines are hard to read.
const helpWidth = 100

// help prints the help of a command, fitted to the output.
func (a *app) help(cmd *cobra.Command) {
	width := a.width()
	if width == 0 || width > helpWidth {
		width = helpWidth
	}
	p := func(lines ...string) {
		for _, line := range lines {
			fmt.Fprintln(a.out, line)
		}
	}
	about := cmd.Long
	if about == "" {
		about = cmd.Short + "."
	}
	p(reflow(about, width)...)
	p("", "Usage:")
	use := cmd.UseLine()
	if cmd.HasAvailableSubCommands() && !strings.Contains(cmd.Use, " ") {
		use = cmd.CommandPath() + " COMMAND [flags]"
	}
	p(hanging("  ", strings.ReplaceAll(use, " [flags]", " [OPTION…]"), width)...)
	if cmd.Example != "" {
		p("", "Examples:")
		for line := range strings.Lines(cmd.Example) {
			p(indented(wrapCommand(strings.TrimSpace(line), width-2), 2)...)
		}
	}
	a.commandList(cmd, width)
	local := cmd.LocalNonPersistentFlags()
	if cmd.HasParent() && local.HasAvailableFlags() {
		p("", "Options:")
		p(flagLines(local, width)...)
	}
	if cmd.HasParent() {
		p("")
		p(wrapText("Options of every command, such as -o json and --timeout 1m: labctl --help", width)...)
		return
	}
	p("", "Options of every command:")
	p(flagLines(cmd.PersistentFlags(), width)...)
	p("")
	p(wrapText("labctl COMMAND --help tells more of a command, labctl explain CODE of a finding.", width)...)
}

// commandList prints the commands below cmd, by group.
func (a *app) commandList(cmd *cobra.Command, width int) {
	longest := 0
	for _, c := range cmd.Commands() {
		longest = max(longest, len(c.Name()))
	}
	list := func(title, id string) {
		first := true
		for _, c := range cmd.Commands() {
			if !c.IsAvailableCommand() || c.GroupID != id {
				continue
			}
			if first {
				fmt.Fprintf(a.out, "\n%s\n", title)
			}
			first = false
			for _, line := range hanging(fmt.Sprintf("  %-*s  ", longest, c.Name()), c.Short, width) {
				fmt.Fprintln(a.out, line)
			}
		}
	}
	for _, g := range cmd.Groups() {
		list(g.Title, g.ID)
	}
	list("Commands:", "")
}

// flagLines describe flags, an option a line.
func flagLines(flags *pflag.FlagSet, width int) []string {
	var names, texts []string
	longest := 0
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		value, text := pflag.UnquoteUsage(f)
		name := "    --" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", --" + f.Name
		}
		if value != "" {
			name += " " + strings.ToUpper(value)
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.Value.Type() != "bool" {
			text += " (default " + f.DefValue + ")"
		}
		names, texts = append(names, name), append(texts, text)
		longest = max(longest, len(name))
	})
	var out []string
	for i, name := range names {
		out = append(out, hanging(fmt.Sprintf("  %-*s  ", longest, name), texts[i], width)...)
	}
	return out
}

// reflow wraps paragraphs, which are apart by an empty line. Lines that are indented stay as they are.
func reflow(text string, width int) []string {
	var out, paragraph []string
	flush := func() {
		if len(paragraph) > 0 {
			out = append(out, wrapText(strings.Join(paragraph, " "), width)...)
		}
		paragraph = nil
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.TrimSpace(line) == "":
			flush()
			out = append(out, "")
		case strings.HasPrefix(line, "  "):
			flush()
			out = append(out, hanging(strings.Repeat(" ", len(line)-len(strings.TrimLeft(line, " "))), strings.TrimLeft(line, " "), width)...)
		default:
			paragraph = append(paragraph, line)
		}
	}
	flush()
	return out
}

// suggest names the commands that a wrong word may have meant.
func suggest(cmd *cobra.Command, word string) string {
	names := cmd.SuggestionsFor(word)
	if len(names) == 0 {
		return cmd.CommandPath() + " --help"
	}
	for i, name := range names {
		names[i] = cmd.CommandPath() + " " + name
	}
	return "did you mean " + strings.Join(names, ", or ") + "?"
}

// near reports whether two words differ by at most two letters, or a third of the shorter one's.
func near(a, b string) bool {
	return distance(a, b) <= max(1, min(2, min(len(a), len(b))/3))
}

// nearest returns the word of a list that is most like word, or "" when none is.
func nearest(word string, list []string) string {
	best := ""
	for _, candidate := range list {
		if near(candidate, word) && (best == "" || distance(candidate, word) < distance(best, word)) {
			best = candidate
		}
	}
	return best
}

// distance is how many letters must be put in, taken out or changed to make a into b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		left := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := left
			if a[i] != b[j] {
				change++
			}
			left = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
