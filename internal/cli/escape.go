package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// escape makes foreign text safe to print: control characters (a drive's model may hold an escape sequence), invalid
// bytes and the characters that turn the direction of writing are shown as \x1b or \u202e. Everything that labctl
// prints goes through it, or through writeJSON.
func escape(s string) string {
	if !strings.ContainsFunc(s, unsafe) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1, r < 0x80 && unsafe(r):
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case unsafe(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

func unsafe(r rune) bool {
	return unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}

// writeJSON prints v as indented JSON in which every control character is written as \uXXXX.
func writeJSON(w io.Writer, v any) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		fmt.Fprintf(w, "labctl: encode: %v\n", err)
		return
	}
	fmt.Fprint(w, escapeJSON(b.String()))
}

// escapeJSON writes what encoding/json leaves raw inside strings, where \uXXXX means the same.
func escapeJSON(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r != '\n' && unsafe(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
