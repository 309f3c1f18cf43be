package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	apiv1 "labd/api/v1"
)

// findingGroup is findings that differ only in what they are about: one code, one cause, one way out.
type findingGroup struct {
	findings []apiv1.Finding
	// title and cause are the common text, with … for the words in which the findings differ.
	title, cause string
	// own are the words of each finding that are not in the common texts and not in its subject.
	own []string
}

// group puts findings with one cause and one remedy together, in the order in which they come.
func group(findings []apiv1.Finding) []findingGroup {
	var groups []findingGroup
	place := map[string]int{}
	for _, f := range findings {
		key := groupKey(f)
		i, ok := place[key]
		if !ok {
			i = len(groups)
			place[key] = i
			groups = append(groups, findingGroup{})
		}
		groups[i].findings = append(groups[i].findings, f)
	}
	for i := range groups {
		g := &groups[i]
		var titles, causes []string
		for _, f := range g.findings {
			titles, causes = append(titles, f.Title), append(causes, f.Cause)
		}
		var ofCause []string
		g.title, g.own = common(titles)
		g.cause, ofCause = common(causes)
		for n, f := range g.findings {
			for _, w := range words(ofCause[n]) {
				if !strings.Contains(f.Subject+" "+g.own[n], w) {
					g.own[n] = strings.TrimSpace(g.own[n] + " " + w)
				}
			}
		}
	}
	return groups
}

// groupKey is the same for findings that one sentence can tell: what differs are the names and numbers in it.
func groupKey(f apiv1.Finding) string {
	parts := []string{f.Code, string(f.Severity), string(f.State), string(f.Confidence), subjectKind(f.Subject), shape(f.Title), shape(f.Cause)}
	for _, r := range f.Remedies {
		parts = append(parts, shape(r.Title), string(r.Risk), itoa(len(r.Commands)))
	}
	if f.Silence != nil {
		parts = append(parts, f.Silence.ID)
	}
	if f.Behind != nil {
		parts = append(parts, f.Behind.Code+" "+f.Behind.Subject)
	}
	for _, d := range f.DependsOn {
		parts = append(parts, d.Code+" "+d.Subject)
	}
	return strings.Join(parts, "\x00")
}

func subjectKind(subject string) string {
	kind, _, _ := strings.Cut(subject, "/")
	return kind
}

// shape is text with the words left out that are names or numbers of one thing.
func shape(text string) string {
	list := words(text)
	for i, w := range list {
		if isName(w) {
			list[i] = "…"
		}
	}
	return strings.Join(list, " ")
}

// isName reports whether a word names one thing: it has a digit, a slash, an underscore or a quote.
func isName(word string) bool {
	return strings.ContainsFunc(word, func(r rune) bool { return unicode.IsDigit(r) || strings.ContainsRune(`/_"'`, r) })
}

// common is the text that all have, with … where they differ, and for each the words that stand there.
func common(texts []string) (text string, own []string) {
	own = make([]string, len(texts))
	lists := make([][]string, len(texts))
	for i, t := range texts {
		lists[i] = words(t)
		if len(lists[i]) != len(lists[0]) {
			return texts[0], own
		}
	}
	if !slices.ContainsFunc(texts, func(t string) bool { return t != texts[0] }) {
		return texts[0], own
	}
	out := slices.Clone(lists[0])
	for n := range out {
		if !slices.ContainsFunc(lists, func(l []string) bool { return l[n] != lists[0][n] }) {
			continue
		}
		out[n] = "…"
		for i, l := range lists {
			own[i] = strings.TrimSpace(own[i] + " " + strings.TrimRight(l[n], ",:;."))
		}
	}
	return strings.Join(out, " "), own
}

// kinds are the words for several subjects of a kind.
var kinds = map[string]string{
	"nvme": "NVMe functions", "storage": "storages", "network": "networks", "lxc": "containers", "route": "routes", "node": "nodes", "labd": "parts of labd",
}

// subject is what a group is about: one subject, or how many of which kind.
func (g findingGroup) subject() string {
	if len(g.findings) == 1 {
		return g.findings[0].Subject
	}
	return itoa(len(g.findings)) + " " + cmp.Or(kinds[subjectKind(g.findings[0].Subject)], "subjects")
}

// since is when the first of a group came; zero where it is not known.
func (g findingGroup) since() (since time.Time) {
	for _, f := range g.findings {
		if f.Since != nil && (since.IsZero() || f.Since.Before(since)) {
			since = *f.Since
		}
	}
	return since
}

// subjects are the lines that name what a group of several is about.
func (g findingGroup) subjects() []string {
	out := make([]string, len(g.findings))
	for i, f := range g.findings {
		out[i] = f.Subject
		if g.own[i] != "" {
			out[i] += " (" + g.own[i] + ")"
		}
	}
	return out
}

// head is the first line of a group.
func (a *app) head(g findingGroup) {
	f := g.findings[0]
	for _, line := range hanging(fmt.Sprintf("%-5s ", strings.ToUpper(string(f.Severity))), escape(g.subject()+": "+g.title), a.width()) {
		fmt.Fprintln(a.out, a.paint(f.Severity.Health(), line).text)
	}
	if len(g.findings) > 1 {
		for _, s := range g.subjects() {
			a.line("      ", s)
		}
	}
}

// mostEvidence is of how many findings of a group the evidence is shown.
const mostEvidence = 3

// explain prints findings one after another: what, evidence, cause, what to do. Those with one cause and one remedy are
// one block; with each, every finding has its own.
func (a *app) explain(findings []apiv1.Finding, each bool) {
	groups := group(findings)
	if each {
		groups = groups[:0]
		for _, f := range findings {
			groups = append(groups, findingGroup{findings: []apiv1.Finding{f}, title: f.Title, cause: f.Cause, own: []string{""}})
		}
	}
	for _, g := range groups {
		a.explainGroup(g)
	}
}

func (a *app) explainGroup(g findingGroup) {
	f := g.findings[0]
	fmt.Fprintln(a.out)
	a.head(g)
	if g.cause != "" {
		a.line("  cause:    ", g.cause+" ("+string(f.Confidence)+")")
	} else {
		a.line("  cause:    ", "unknown")
	}
	a.evidence(g)
	for _, d := range f.DependsOn {
		a.line("  because:  ", d.Code+" of "+d.Subject)
	}
	switch s := f.Silence; {
	case f.State == apiv1.StateSilenced && s != nil:
		a.line("  silenced: ", fmt.Sprintf("until %s by %s: %s (silence %s)", s.Until.Local().Format(time.DateTime), s.Actor, s.Reason, s.ID))
	case f.State == apiv1.StateConsequence && f.Behind != nil:
		a.line("  hidden:   ", "behind "+f.Behind.Code+" of "+f.Behind.Subject)
	case f.State == apiv1.StatePending:
		a.line("  hidden:   ", "not there for long enough to know whether it lasts")
	}
	for i, r := range f.Remedies {
		a.line("  remedy "+itoa(i+1)+": ", g.remedyTitle(i)+" (risk: "+string(r.Risk)+")")
		for _, c := range g.commands(i) {
			a.command(6, c)
		}
	}
	code := f.Code
	if since := g.since(); !since.IsZero() {
		code += ", since " + since.Local().Format(time.DateTime)
	}
	a.line("  code:     ", code)
	a.more(f.Code, "  more:     ")
}

// more ends a finding with the command that shows its page.
func (a *app) more(code, lead string) {
	if code != "" {
		a.line(lead, "labctl explain "+code)
	}
}

// evidence prints what the findings of a group stand on, each text once.
func (a *app) evidence(g findingGroup) {
	seen := map[string]bool{}
	for i, f := range g.findings {
		if i == mostEvidence {
			a.line("  evidence: ", fmt.Sprintf("that of %d more: -o wide shows all", len(g.findings)-i))
			return
		}
		for _, e := range f.Evidence {
			text := e.Source + ": " + e.Text
			if !seen[text] {
				a.line("  evidence: ", text)
			}
			seen[text] = true
		}
	}
}

func (g findingGroup) remedyTitle(i int) string {
	var titles []string
	for _, f := range g.findings {
		titles = append(titles, f.Remedies[i].Title)
	}
	title, _ := common(titles)
	return title
}

// commands are those of remedy i of all findings of a group, each once.
func (g findingGroup) commands(i int) []string {
	var out []string
	for _, f := range g.findings {
		for _, c := range f.Remedies[i].Commands {
			if !slices.Contains(out, c) {
				out = append(out, c)
			}
		}
	}
	return out
}

// findingList lists what is to be seen, with the first thing to do, and counts the rest.
func (a *app) findingList(status apiv1.Envelope[apiv1.StatusItem]) {
	var shown []apiv1.Finding
	hidden := map[apiv1.State]int{}
	for _, f := range status.Findings {
		if f.State != "" && f.State != apiv1.StateActive {
			hidden[f.State]++
			continue
		}
		shown = append(shown, f)
	}
	for _, g := range group(shown) {
		fmt.Fprintln(a.out)
		a.head(g)
		f := g.findings[0]
		if since := g.since(); !since.IsZero() {
			a.line("      since: ", age(since))
		}
		if len(f.Remedies) > 0 {
			a.line("      do:    ", g.remedyTitle(0))
		}
		a.more(f.Code, "      more:  ")
	}
	if verdict, _ := overall(status); verdict == apiv1.HealthOK {
		a.printf("\nNothing is wrong.\n")
	}
	var also []string
	for _, s := range []struct {
		state     apiv1.State
		one, many string
	}{
		{apiv1.StateConsequence, "consequence of these", "consequences of these"},
		{apiv1.StateSilenced, "silenced", "silenced"},
		{apiv1.StatePending, "too new to be certain", "too new to be certain"},
	} {
		if n := hidden[s.state]; n > 0 {
			also = append(also, amount(n, s.one, s.many))
		}
	}
	if len(also) > 0 {
		fmt.Fprintln(a.out)
		a.line("", "Not shown: "+strings.Join(also, ", ")+" (labctl status -o wide shows them).")
	}
}
