package cli

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	markdownLink = regexp.MustCompile(`\[([^\]]*)\]\(([^)\s]+)\)`)
	listItem     = regexp.MustCompile(`^(\s*)([*-]|\d+\.) +`)
	markdownMark = regexp.MustCompile(`(^|[\s(])\*\*?([^*]+)\*\*?`)
)

// markdown prints a page of labd's documentation: headings, paragraphs, lists and blocks of code, fitted to the output. It
// knows the Markdown that these pages use, no more.
func (a *app) markdown(page string) {
	var lead string
	var paragraph []string
	flush := func() {
		if len(paragraph) > 0 {
			a.line(lead, plainMarkdown(strings.Join(paragraph, " ")))
		}
		lead, paragraph = "", nil
	}
	inCode := false
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		item := listItem.FindString(line)
		switch {
		case fence:
			flush()
			inCode = !inCode
		case inCode:
			a.line(strings.Repeat(" ", 4+len(line)-len(strings.TrimLeft(line, " "))), strings.TrimLeft(line, " "))
		case strings.TrimSpace(line) == "":
			flush()
			fmt.Fprintln(a.out)
		case strings.HasPrefix(line, "#"):
			flush()
			text := plainMarkdown(strings.TrimLeft(line, "# "))
			if strings.HasPrefix(line, "##") {
				text = strings.ToUpper(text)
			}
			a.heading(text)
		case strings.HasPrefix(line, "|"):
			flush()
			a.line("", plainMarkdown(line))
		case item != "":
			flush()
			lead, paragraph = item, []string{line[len(item):]}
		default:
			paragraph = append(paragraph, strings.TrimSpace(line))
		}
	}
	flush()
}

func (a *app) heading(text string) {
	for _, line := range wrapText(escape(text), a.width()) {
		if a.colour() {
			line = "\x1b[1m" + line + "\x1b[0m"
		}
		fmt.Fprintln(a.out, line)
	}
}

// plainMarkdown takes the marks out of a line: emphasis, and links to other pages of the documentation.
func plainMarkdown(text string) string {
	text = markdownLink.ReplaceAllStringFunc(text, func(link string) string {
		m := markdownLink.FindStringSubmatch(link)
		if strings.Contains(m[2], "://") && m[1] != m[2] {
			return m[1] + " (" + m[2] + ")"
		}
		return m[1]
	})
	parts := strings.Split(text, "`")
	for i := 0; i < len(parts); i += 2 { // outside of `code`
		parts[i] = markdownMark.ReplaceAllString(parts[i], "$1$2")
	}
	return strings.Join(parts, "`")
}
