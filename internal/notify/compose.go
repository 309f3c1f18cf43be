package notify

import (
	"fmt"
	"strings"
	"time"

	"labd/internal/finding"
	"labd/internal/printable"
)

// Bounds of a message: chat services take about two thousand characters.
const (
	maxListed    = 12
	maxTitle     = 160
	maxLine      = 400
	maxCommands  = 4
	maxBodyBytes = 16 << 10
)

// compose writes the message for changes, which are not empty.
func compose(node string, changes []change, now time.Time) Message {
	m := Message{At: now, Node: printable.Text(node)}
	news, over := 0, 0
	for _, c := range changes {
		if c.kind == isOver {
			over++
			continue
		}
		news++
		m.Severity = max(m.Severity, c.finding.Severity)
	}
	m.Title = title(m, changes[0], news, over)
	var b strings.Builder
	for i, c := range changes {
		if i == maxListed || b.Len() > maxBodyBytes {
			fmt.Fprintf(&b, "… and %d more\n\n", len(changes)-i)
			break
		}
		describe(&b, c)
	}
	fmt.Fprintf(&b, "On %s: labctl status shows everything.\nlabctl silence CODE SUBJECT --for 7d --reason TEXT ends messages about a finding.\n", m.Node)
	m.Body = b.String()
	return m
}

// title is one line that can be read in a list of mails.
func title(m Message, first change, news, over int) string {
	what := line(fmt.Sprintf("%s: %s", first.finding.Subject, first.finding.Title), maxTitle)
	switch {
	case news == 0 && over == 1:
		return fmt.Sprintf("[labd %s] over: %s", m.Node, what)
	case news == 0:
		return fmt.Sprintf("[labd %s] over: %d findings, among them %s", m.Node, over, what)
	case news == 1:
		return fmt.Sprintf("[labd %s] %s: %s", m.Node, strings.ToUpper(m.Severity.String()), what)
	default:
		return fmt.Sprintf("[labd %s] %s: %d findings, first %s", m.Node, strings.ToUpper(m.Severity.String()), news, what)
	}
}

func describe(b *strings.Builder, c change) {
	f := c.finding
	head := strings.ToUpper(f.Severity.String())
	switch c.kind {
	case isOver:
		fmt.Fprintf(b, "OVER  %s\n  code: %s, told on %s\n\n", line(fmt.Sprintf("%s: %s", f.Subject, f.Title), maxLine), line(string(f.Code), maxLine), stamp(f.Since))
		return
	case isWorse:
		head += " (worse than before)"
	}
	fmt.Fprintf(b, "%s  %s\n", head, line(fmt.Sprintf("%s: %s", f.Subject, f.Title), maxLine))
	if f.Cause != "" {
		fmt.Fprintf(b, "  cause: %s (%s)\n", line(f.Cause, maxLine), line(string(f.Confidence), maxLine))
	}
	if len(f.Remedies) > 0 {
		r := f.Remedies[0]
		fmt.Fprintf(b, "  remedy: %s (risk: %s)\n", line(r.Title, maxLine), line(string(r.Risk), maxLine))
		for i, command := range r.Commands {
			if i == maxCommands {
				b.WriteString("      …\n")
				break
			}
			fmt.Fprintf(b, "      %s\n", line(command, maxLine))
		}
	}
	fmt.Fprintf(b, "  code: %s, since %s\n\n", line(string(f.Code), maxLine), stamp(f.Since))
}

// testMessage is what labctl notify test sends.
func testMessage(node string, now time.Time) Message {
	node = printable.Text(node)
	return Message{
		Severity: finding.Info, At: now, Node: node, Title: fmt.Sprintf("[labd %s] test", node),
		Body: fmt.Sprintf("This is a test of labd on %s, asked for by labctl notify test. Findings come this way.\n", node),
	}
}

// line is text on one line, safe to show and bounded in characters.
func line(text string, most int) string {
	text = printable.Text(strings.ReplaceAll(strings.TrimSpace(text), "\n", " "))
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
