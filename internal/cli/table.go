package cli

import (
	"fmt"
	"slices"
	"strings"

	apiv1 "labd/api/v1"
)

// columnGap is the space between two columns of a table.
const columnGap = 2

// longWord is the width from which on a word of a table may be broken at its separators.
const longWord = 30

// tableRows prints aligned columns. Where they do not fit, the widest are wrapped at their words; where even that is too
// wide, each row becomes a paragraph of its own.
func (a *app) tableRows(header []string, rows [][]string, health func(row int) apiv1.Health) {
	cells := make([][]string, 0, len(rows)+1)
	for _, row := range append([][]string{header}, rows...) {
		line := make([]string, len(header))
		for i := range line {
			line[i] = "-"
			if i < len(row) && row[i] != "" {
				line[i] = escape(row[i])
			}
		}
		cells = append(cells, line)
	}
	paint := func(row int, line string) string {
		line = strings.ReplaceAll(line, noBreak, " ")
		if row > 0 && health != nil {
			return a.paint(health(row-1), line).text
		}
		return line
	}
	widths, fits := columnWidths(cells, a.width())
	if !fits {
		a.paragraphs(cells, paint)
		return
	}
	for i, row := range cells {
		for _, line := range tableLines(row, widths) {
			fmt.Fprintln(a.out, paint(i, line))
		}
	}
}

// columnWidths returns the width of each column so that a row has at most width columns, and whether that can be. Zero is
// no limit. Columns are narrowed from the widest on, none below its longest word.
func columnWidths(cells [][]string, width int) (widths []int, fits bool) {
	count := len(cells[0])
	widths, least := make([]int, count), make([]int, count)
	for _, row := range cells {
		for i, cell := range row {
			widths[i] = max(widths[i], displayWidth(cell))
			for _, word := range words(cell) {
				least[i] = max(least[i], leastWidth(word))
			}
		}
	}
	if width == 0 {
		return widths, true
	}
	for total(widths) > width {
		widest := -1
		for i := range widths {
			if widths[i] > least[i] && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return nil, false
		}
		widths[widest]--
	}
	return widths, true
}

// leastWidth is the width below which a word is not broken well: all of it, or for a long one what separators leave.
func leastWidth(word string) int {
	w := displayWidth(word)
	if w <= longWord {
		return w
	}
	longest := 0
	for _, part := range strings.FieldsFunc(word, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
		longest = max(longest, displayWidth(part)+1)
	}
	return min(w, max(longWord, longest))
}

func total(widths []int) int {
	sum := columnGap * (len(widths) - 1)
	for _, w := range widths {
		sum += w
	}
	return sum
}

// tableLines are the lines of one row.
func tableLines(row []string, widths []int) []string {
	wrapped := make([][]string, len(row))
	height := 0
	for i, cell := range row {
		wrapped[i] = wrapText(cell, widths[i])
		height = max(height, len(wrapped[i]))
	}
	lines := make([]string, 0, height)
	for n := range height {
		var line strings.Builder
		for i, cell := range wrapped {
			text := ""
			if n < len(cell) {
				text = cell[n]
			}
			line.WriteString(text)
			line.WriteString(strings.Repeat(" ", max(0, widths[i]-displayWidth(text)+columnGap)))
		}
		lines = append(lines, strings.TrimRight(line.String(), " "))
	}
	return lines
}

// paragraphs prints each row as a block: the first cell, and below it what else is known, a line a column. cells begins
// with the header.
func (a *app) paragraphs(cells [][]string, paint func(row int, line string) string) {
	label := 0
	for _, name := range cells[0][1:] {
		label = max(label, displayWidth(name)+1)
	}
	for i, row := range cells[1:] {
		for _, line := range wrapText(row[0], a.width()) {
			fmt.Fprintln(a.out, paint(i+1, line))
		}
		for n, cell := range row[1:] {
			if cell == "-" {
				continue
			}
			name := strings.ToLower(cells[0][n+1]) + ":"
			for _, line := range hanging("  "+name+strings.Repeat(" ", label-displayWidth(name)+1), cell, a.width()) {
				fmt.Fprintln(a.out, paint(i+1, line))
			}
		}
	}
}

// hanging are the lines of text behind a lead, the later ones indented to where the text begins; where that would leave
// too little room, by four.
func hanging(lead, text string, width int) []string {
	if width <= 0 {
		return []string{lead + text}
	}
	indent := displayWidth(lead)
	if width-indent < narrowest {
		indent = min(4, indent)
		words := wrapText(strings.TrimRight(lead, " ")+" "+strings.TrimSpace(text), width-indent)
		first := strings.Repeat(" ", min(indent, len(lead)-len(strings.TrimLeft(lead, " "))))
		return slices.Concat([]string{first + words[0]}, indented(words[1:], indent))
	}
	lines := wrapText(text, width-indent)
	return slices.Concat([]string{lead + lines[0]}, indented(lines[1:], indent))
}

func indented(lines []string, by int) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = strings.Repeat(" ", by) + line
	}
	return out
}
