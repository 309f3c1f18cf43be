package cli

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/mattn/go-runewidth"
	"golang.org/x/sys/unix"
)

// narrowest is the least width, in columns, that output is fitted to: a terminal that says less is not believed.
const narrowest = 20

// width returns how many columns the output has: what the terminal says, or COLUMNS where the output is no terminal. Zero
// means that there is no limit.
func (a *app) width() int {
	columns := 0
	if f, ok := a.terminal.(*os.File); ok && isTerminal(f) {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
			columns = int(size.Col)
		}
	}
	if columns == 0 {
		columns, _ = strconv.Atoi(os.Getenv("COLUMNS"))
	}
	if columns <= 0 {
		return 0
	}
	return max(columns, narrowest)
}

// displayWidth returns how many columns a terminal takes for text: two for a wide character, none for a combining one.
func displayWidth(text string) int { return runewidth.StringWidth(text) }

// wrapText breaks text at its blanks into lines of at most width columns; zero is no limit. A word that is longer than a
// line is broken behind a separator, as ids and paths have them, and elsewhere only where it has none.
func wrapText(text string, width int) []string {
	if width <= 0 || displayWidth(text) <= width {
		return []string{text}
	}
	var lines []string
	line := ""
	for _, word := range words(text) {
		switch {
		case line == "":
			line = word
		case displayWidth(line)+1+displayWidth(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
		for displayWidth(line) > width {
			head, rest := cutWord(line, width)
			lines, line = append(lines, head), rest
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// noBreak is a blank at which no line ends; it is printed as a blank.
const noBreak = "\u00a0"

// words are the parts of text between blanks.
func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\t' || r == '\n' })
}

// separators are the characters behind which a long word may be broken.
const separators = "/-_,:=;.@"

// cutWord splits a word so that the first part has at most width columns.
func cutWord(word string, width int) (head, rest string) {
	at, columns := 0, 0
	best := 0
	for i, r := range word {
		w := runewidth.RuneWidth(r)
		if columns+w > width {
			break
		}
		columns += w
		at = i + len(string(r))
		if strings.ContainsRune(separators, r) {
			best = at
		}
	}
	switch {
	case best > 0:
		at = best
	case at == 0: // one character that is wider than the line
		at = len(string([]rune(word)[:1]))
	}
	return word[:at], word[at:]
}

// wrapCommand breaks a shell command at blanks outside of quotes into lines of at most width columns, each but the last
// with a backslash at its end, so that the whole can be pasted. What cannot be broken so stays whole. A comment is
// wrapped as one.
func wrapCommand(command string, width int) []string {
	if width <= 0 || displayWidth(command) <= width {
		return []string{command}
	}
	if comment, ok := strings.CutPrefix(command, "# "); ok {
		lines := wrapText(comment, width-2)
		for i := range lines {
			lines[i] = "# " + lines[i]
		}
		return lines
	}
	words, ok := shellWords(command)
	if !ok {
		return []string{command}
	}
	var lines []string
	line := words[0]
	for i, word := range words[1:] {
		room := width - 2
		if i == len(words)-2 {
			room = width
		}
		if displayWidth(line)+1+displayWidth(word) <= room {
			line += " " + word
			continue
		}
		lines, line = append(lines, line+" \\"), "  "+word
	}
	return append(lines, line)
}

// shellWords splits a command at single blanks outside of quotes; it gives up on what it would not put together again, as
// several blanks in a row, a here-document or a quote without an end.
func shellWords(command string) (words []string, ok bool) {
	if strings.Contains(command, "<<") || strings.ContainsAny(command, "\\#") {
		return nil, false
	}
	var word strings.Builder
	quote := rune(0)
	for _, r := range command {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '\'' || r == '"':
			quote = r
		case r == ' ':
			words = append(words, word.String())
			word.Reset()
			continue
		}
		word.WriteRune(r)
	}
	words = append(words, word.String())
	return words, quote == 0 && !slices.Contains(words, "")
}
