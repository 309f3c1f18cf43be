// Package printable makes foreign text safe to show: it is the one place that knows which characters may not reach a
// terminal, a mail or a chat. It depends on nothing, so that labctl and labd share it.
package printable

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text is s with control characters (a drive's model may hold an escape sequence), invalid bytes and the characters
// that turn the direction of writing shown as \x1b or \u202e. A line end is a control character too.
func Text(s string) string {
	if !strings.ContainsFunc(s, Unsafe) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1, r < 0x80 && Unsafe(r):
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case Unsafe(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

// Unsafe tells whether a character must not be printed as it is.
func Unsafe(r rune) bool {
	return unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}
